"""Secrets: read from their files or from systemd's credentials, kept out of everything shown."""

import os
import re
import stat
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from dropsight.bounded import SECRET_BYTES, read_bounded
from dropsight.config.last_read import LAST_READ
from dropsight.config.receivers import Mqtt, Notify, Web, Webhook
from dropsight.config.tree import Config
from dropsight.errors import ConfigError

LEAST_TOKEN = 16
HEADERS = "webhooks.headers_file"
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_FRAMING = {"connection", "content-length", "content-type", "host", "idempotency-key", "transfer-encoding"}
_USER_INFO = re.compile(r"(?<=://)([^:@/]*):.*@", re.DOTALL)


# systemd names the folder of a unit's credentials in the first variable (systemd.exec, LoadCredential=).
CREDENTIALS, CREDENTIAL = "CREDENTIALS_DIRECTORY", "dropsight.mqtt-password"
NOTIFY_CREDENTIAL = "dropsight.notify-"
# Where it looks for a credential of the unit that is given by its name alone.
STORES = ("/etc/credstore", "/run/credstore", "/usr/local/lib/credstore", "/usr/lib/credstore")

RUNNING = "/run/credentials/dropsight.service"


def password(mqtt: Mqtt, environ: Mapping[str, str] = os.environ) -> str | None:
    """The text of `password_file`, else of systemd's credential, without line ends at its end; None without.

    Raises ConfigError.
    """
    path = mqtt.password_file or _credential(CREDENTIAL, environ)
    if path is None:
        return None
    return _secret("mqtt.password_file", path, "password")


def stored_password() -> str | None:
    """What systemd would hand to the unit, None where there is none, or where only root may look for it."""
    return _stored(CREDENTIAL)


def stored_urls(name: str) -> str | None:
    """The same of a target of notifications."""
    return _stored(NOTIFY_CREDENTIAL + name)


def has_other_urls(name: str, stored: str | None) -> bool:
    """Whether the unit still runs with a credential other than is stored: it gets them at its start alone."""
    running = _first(NOTIFY_CREDENTIAL + name, (RUNNING,))
    return None not in (stored, running) and stored != running


def _stored(credential: str) -> str | None:
    return _first(credential, STORES)


def _first(credential: str, stores: Sequence[str]) -> str | None:
    for store in stores:
        with suppress(OSError):
            return _read(Path(store) / credential)
    return None


def notify_urls(
    name: str, settings: Notify, *, credential: str | None = None, environ: Mapping[str, str] = os.environ
) -> list[str]:
    """The URLs of a target's file, else of its credential: one a line, but for empty ones and # comments.

    `credential` is its text where that is known already. Raises ConfigError, which quotes none.
    """
    key = f"notify.{name}.targets_file"
    path = settings.targets_file or _credential(NOTIFY_CREDENTIAL + name, environ)
    if path is None and credential is None:
        way_out = f"name a file with its Apprise URLs, or store the credential {NOTIFY_CREDENTIAL}{name}"
        if any(Path(store).is_dir() and not os.access(store, os.X_OK) for store in STORES):
            way_out += " (where it is stored, only root may read it: sudo)"
        raise ConfigError([f"{key}: is not given; {way_out}"])
    text = _secret(key, path, "Apprise URLs") if path else credential or ""
    lines = [line.strip() for line in text.splitlines()]
    urls = [line for line in lines if line and not line.startswith("#")]
    if not urls:
        raise ConfigError([f"{key}: {path or 'the credential'} contains no URL; write one a line"])
    if fault := next(
        (number for number, line in enumerate(lines, 1) if line in urls and "://" not in line), 0
    ):
        text = (
            f"line {fault} of {path or 'the credential'} is no URL; write it as Apprise does, SERVICE://..."
        )
        raise ConfigError([f"{key}: {text}"])
    return urls


def token(web: Web) -> str | None:
    """The text of `token_file` without white space, None where there is none; raises ConfigError."""
    return LAST_READ.read(web, partial(_token, web))


def _token(web: Web) -> str | None:
    if web.token_file is None:
        return None
    found = _secret("web.token_file", web.token_file, "token").strip()
    if len(found) < LEAST_TOKEN or not (found.isascii() and found.isprintable()):
        fault = (
            f"web.token_file: {web.token_file} contains no token of at least {LEAST_TOKEN} letters and digits"
        )
        raise ConfigError([f"{fault}; make one: openssl rand -hex 24 >{web.token_file}"])
    return found


def secret_files(config: Config) -> list[tuple[str, Path]]:
    """Return the files of secrets that this config names, each with its key."""
    mqtt, web = config.mqtt, config.web
    files = [("web.token_file", web.token_file if web else None)]
    if mqtt:
        files += [("mqtt.password_file", mqtt.password_file), ("mqtt.tls.key", mqtt.tls.key)]
    files += [(HEADERS, hook.headers_file) for hook in config.webhooks]
    files += [(f"notify.{name}.targets_file", each.targets_file) for name, each in config.notify.items()]
    return [(key, path) for key, path in files if path]


def certificate_files(config: Config) -> list[tuple[str, Path]]:
    """The same of what everybody may read."""
    files = [("webhooks.ca_file", hook.ca_file) for hook in config.webhooks]
    if config.mqtt:
        files += [("mqtt.tls.ca", config.mqtt.tls.ca), ("mqtt.tls.cert", config.mqtt.tls.cert)]
    return [(key, path) for key, path in files if path]


def open_to_all(config: Config) -> list[str]:
    """Name secrets that every user of this machine may read, with the way out."""
    found = []
    for key, path in secret_files(config):
        with suppress(OSError):
            if path.stat().st_mode & stat.S_IROTH:
                found.append(f"{key}: {path} is readable by every user of this machine; chmod o= {path}")
    return found


def _credential(name: str, environ: Mapping[str, str]) -> Path | None:
    folder = environ.get(CREDENTIALS)
    path = Path(folder) / name if folder else None
    return path if path and path.exists() else None


def has_password(url: str) -> bool:
    return bool(_USER_INFO.search(url))


def redacted_url(url: str) -> str:
    """The URL with *** for its password."""
    return _USER_INFO.sub(r"\1:***@", url)


def redacted_hook(url: str) -> str:
    """The URL of a webhook as far as its host: many have their secret in the path."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}" + ("/***" if parts.path.strip("/") or parts.query else "")


def hook_headers(hook: Webhook) -> dict[str, str]:
    """The headers of `headers_file`, one a line as `Name: value`; raises ConfigError, which quotes none."""
    path, found = hook.headers_file, dict[str, str]()
    for number, line in enumerate(_secret(HEADERS, path, "headers").splitlines() if path else (), start=1):
        name, colon, value = (part.strip() for part in line.partition(":"))
        if not line.strip():
            continue
        if not (colon and _HEADER_NAME.fullmatch(name) and value.isascii() and value.isprintable()):
            raise ConfigError(
                [f"{HEADERS}: line {number} of {path} is not a header; write it as Name: value"]
            )
        if name.lower() in _FRAMING:
            raise ConfigError([f"{HEADERS}: line {number} of {path}: dropsight sends {name}; leave it out"])
        found[name] = value
    return found


def _secret(key: str, path: Path, what: str) -> str:
    try:
        return _read(path)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is not UTF-8 text"
        fault = f"{key}: {path} cannot be read ({reason})"
        raise ConfigError(
            [f"{fault}; put the {what} there, readable by the user that runs dropsight"]
        ) from error


def _read(path: Path) -> str:
    """As editors leave it: with a byte-order mark, perhaps, and empty lines at its end."""
    return read_bounded(path, SECRET_BYTES).decode("utf-8-sig").rstrip("\r\n")
