"""The broker's password: read from its file or systemd's credential, kept out of everything shown."""

import os
import re
from pathlib import Path
from urllib.parse import urlsplit

from dropsight.config.tree import Mqtt
from dropsight.errors import ConfigError

CREDENTIAL = "dropsight.mqtt-password"
_USER_INFO = re.compile(r"(?<=://)([^:@/]*):.*@", re.DOTALL)


def password(mqtt: Mqtt) -> str | None:
    """The text of `password_file`, or of the credential, without its last line end; raises ConfigError."""
    path = mqtt.password_file or _credential(mqtt)
    if path is None:
        return None
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is no UTF-8 text"
        fault = f"mqtt.password_file: {path} cannot be read ({reason})"
        raise ConfigError([f"{fault}; put the password there, readable for the user of dropsight"]) from error
    return text.removesuffix("\n")


def _credential(mqtt: Mqtt) -> Path | None:
    """What systemd hands over (LoadCredential=), for a name that has no password of its own."""
    folder, url = os.environ.get("CREDENTIALS_DIRECTORY"), urlsplit(mqtt.url)
    if folder is None or url.password or not (mqtt.username or url.username):
        return None
    path = Path(folder, CREDENTIAL)
    return path if path.exists() else None


def redacted_url(url: str) -> str:
    """The URL with *** for its password."""
    return _USER_INFO.sub(r"\1:***@", url)
