"""Rules across values: addresses, total threads, folders that must not contain each other."""

import re
from collections.abc import Iterator, Mapping
from fnmatch import fnmatch
from itertools import permutations, product
from pathlib import Path
from urllib.parse import urlsplit

from dropsight.config.addresses import host_and_port, is_loopback
from dropsight.config.crops import broken_crops
from dropsight.config.event_rules import broken_events
from dropsight.config.filters import broken_filters
from dropsight.config.forms import spoken_list
from dropsight.config.keys import Key, dotted
from dropsight.config.layers import Fault
from dropsight.config.name_patterns import TooSlowError, name_pattern
from dropsight.config.receivers import Mqtt, Notify, Web, Webhook
from dropsight.config.tree import Config, Watch
from dropsight.records import Normalization

_ROOT, _ETC = Path("/"), Path("/etc")
# What is read of an inbox is filed away: never the pictures of programs and the system.
_OURS = Path(__file__).resolve(), Path(re.__file__).resolve()
# The unit has TasksMax=2048; XNNPACK ends the process where it gets no thread.
MOST_THREADS = 512
MOST_WATCHES = 256
SCHEMES = ("mqtt", "mqtts", "ws", "wss", "mqtt+unix")
# Also of more brackets in one another, or of more repetitions, than it takes.
_NO_PATTERN = (re.error, RecursionError, OverflowError)
_TARGET_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_UNQUOTED = "has a /, ? or # in its password; write it as %2F, %3F or %23, or use mqtt.password_file"
_BROKEN_URL = "has an invalid host or port; give it as mqtt://HOST:PORT, the port from 1 to 65535"


def broken_rules(config: Config) -> Iterator[Fault]:
    if len(config.watch) > MOST_WATCHES:
        text = f"names {len(config.watch)} folders, at most {MOST_WATCHES} are watched"
        yield Fault(("watch",), f"{text}; watch the folder above them, its sub-folders are cameras")
        return
    yield from _inboxes(config.watch)
    yield from _outlets(config.watch)
    yield from _around_us(config.watch)
    yield from _below_etc(config)
    for index, watch in enumerate(config.watch):
        yield from _patterns(_watch_key(index, "patterns"), watch.patterns)
        yield from _ignored(index, watch)
        yield from _camera(index, watch)
        if watch.name_pattern is not None:
            yield from _name_pattern(_watch_key(index, "name_pattern"), watch.name_pattern)
    if config.video:
        yield from _patterns(("video", "patterns"), config.video.patterns)
    yield from broken_filters(config)
    yield from broken_crops(config)
    yield from broken_events(config)
    if config.model.normalization:
        yield from _normalization(config.model.normalization)
    if config.model.heads and config.model.output is not None:
        text = "has no effect beside model.heads, whose first head is the main answer; give one of them"
        yield Fault(("model", "output"), text, also=(("model", "heads"),))
    if config.model.delegate and config.model.accelerator != "cpu":
        text = "has no effect beside model.delegate, which is what computes the model; give one of them"
        yield Fault(("model", "accelerator"), text, also=(("model", "delegate"),))
    yield from _threads(config)
    if config.mqtt:
        yield from _mqtt(config.mqtt)
    yield from _webhooks(config.webhooks)
    yield from _notify(config.notify)
    if config.web:
        yield from _web(config.web)


def _watch_key(index: int, name: str) -> Key:
    return ("watch", str(index), name)


def keys_without_effect(config: Config) -> Iterator[str]:
    """Yield a line for each key of an earlier version that is read still, so that its file is accepted."""
    if config.inference.decoders is not None:
        yield "inference.decoders: has no effect, each worker decodes for itself; remove it"


def _inboxes(watches: tuple[Watch, ...]) -> Iterator[Fault]:
    for (outer, one), (inner, other) in permutations(enumerate(watches), 2):
        here, there = _watch_key(inner, "path"), _watch_key(outer, "path")
        if one.path == other.path and outer < inner:
            text = f"is the same folder as {dotted(there)}; watch it once"
            both = one.mqtt is not None and other.mqtt is not None
            yield Fault(here, f"{text}, give another path" if both else text, also=(there,))
        if one.path in other.path.parents:
            text = f"lies inside {dotted(there)}; watch only the outer one, its sub-folders are cameras"
            yield Fault(here, text, also=(there,))


def _outlets(watches: tuple[Watch, ...]) -> Iterator[Fault]:
    """Processed and failed images must not come in again."""
    for (index, watch), (other, inbox) in product(enumerate(watches), repeat=2):
        there = _watch_key(other, "path")
        for name, folder in (("processed", watch.processed), ("failed", watch.failed)):
            if clash := _clash(folder, inbox.path, dotted(there), is_own=index == other):
                yield Fault(_watch_key(index, name), clash, also=(there,))


def _around_us(watches: tuple[Watch, ...]) -> Iterator[Fault]:
    """As / or a clone of the repository would be. What is hidden or ignored is not looked into."""
    for index, watch in enumerate(watches):
        below = [ours.relative_to(watch.path).parts for ours in _OURS if watch.path in ours.parents]
        skipped = (".*", *watch.ignore)
        is_around = any(not any(fnmatch(part, each) for part in path for each in skipped) for path in below)
        if watch.recursive and watch.after != "keep" and (is_around or watch.path == _ROOT):
            text = (
                "holds programs, whose pictures would be filed away; name a folder of cameras' images alone"
            )
            yield Fault(_watch_key(index, "path"), text)


def _patterns(key: Key, patterns: tuple[str, ...]) -> Iterator[Fault]:
    for number, pattern in enumerate(patterns):
        if "/" in pattern or pattern.startswith(".") or not pattern:
            text = "matches no file: patterns are of names, without folders, and hidden files are left alone"
            yield Fault((*key, str(number)), f'{text}; give one such as "*.jpg"')


def _ignored(index: int, watch: Watch) -> Iterator[Fault]:
    for number, pattern in enumerate(watch.ignore):
        if "/" in pattern or pattern.startswith(".") or not pattern:
            text = "matches no folder: give a name alone; hidden folders are skipped anyway"
            yield Fault((*_watch_key(index, "ignore"), str(number)), text)


def _name_pattern(key: Key, pattern: str) -> Iterator[Fault]:
    try:
        names = re.compile(pattern).groupindex
    except _NO_PATTERN as error:
        yield Fault(key, f"is not a valid pattern: {error}")
    else:
        if not names:
            text = (
                "has no named group; the name is the tag's, as in (?P<serial>[0-9]+)_(?P<captured>[0-9]{14})"
            )
            yield Fault(key, text)
        yield from _slow(key, pattern)


def _slow(key: Key, pattern: str) -> Iterator[Fault]:
    try:
        name_pattern(pattern)
    except TooSlowError as error:
        yield Fault(key, f"{error}; write ++ for + and *+ for * where the next character ends it")


def _camera(index: int, watch: Watch) -> Iterator[Fault]:
    key, said = _watch_key(index, "camera"), watch.camera
    if isinstance(said, int):
        if said < 1:
            yield Fault(key, f"is {said}, and folders below the inbox count from 1")
    elif said is not None and "(" in said:
        try:
            groups = re.compile(said).groups
        except _NO_PATTERN as error:
            yield Fault(key, f"is not a valid pattern: {error}")
        else:
            if not groups:
                yield Fault(key, "has no group; put what is the name in brackets, as in ([^/]+)_[0-9]+")
            yield from _slow(key, said)
    elif said is not None and (not said.strip() or "/" in said):
        yield Fault(
            key, "is not a name; give one without /, the number of a folder, or a pattern with a group"
        )


def _below_etc(config: Config) -> Iterator[Fault]:
    """Where relative paths of a config in /etc end up, and where no service may write."""
    written: list[tuple[Key, Path]] = [
        (("log", "path"), config.log.path),
        (("store", "path"), config.store.path),
    ]
    for index, watch in enumerate(config.watch):
        written.append((_watch_key(index, "path"), watch.path))
        if watch.after != "keep":
            written.append((_watch_key(index, "failed"), watch.failed))
        if watch.after == "move":
            written.append((_watch_key(index, "processed"), watch.processed))
    for key, path in written:
        if _ETC in path.parents:
            better = Path("/var/lib/dropsight", path.name)
            yield Fault(
                key, f"is {path}, and /etc is for configs alone; give an absolute path such as {better}"
            )


def _clash(folder: Path, inbox: Path, name: str, *, is_own: bool) -> str | None:
    if folder == inbox:
        return f"is {name} itself; give another folder"
    if folder in inbox.parents:
        return f"contains {name}; give a folder beside or inside it"
    if inbox in folder.parents and not is_own:
        return f"lies inside {name}, another inbox; give a folder outside it"
    return None


def _normalization(norm: Normalization) -> Iterator[Fault]:
    key = ("model", "normalization")
    for name, values in (("mean", norm.mean), ("std", norm.std)):
        if len(values) not in {1, 3}:
            yield Fault(
                (*key, name), f"holds {len(values)} numbers; give 1 for all channels or 3, one per channel"
            )
    if any(value <= 0 for value in norm.std):
        yield Fault((*key, "std"), "divides, so it cannot be 0 or less; give numbers above 0")


def _threads(config: Config) -> Iterator[Fault]:
    each, workers = config.model.threads, config.inference.workers
    if each != "auto" and workers != "auto" and each * workers > MOST_THREADS:
        text = f"times inference.workers makes {each * workers} threads; give at most {MOST_THREADS} in all"
        yield Fault(("model", "threads"), text, also=(("inference", "workers"),))


def _mqtt(mqtt: Mqtt) -> Iterator[Fault]:
    if fault := _url_fault(mqtt.url):
        yield Fault(("mqtt", "url"), fault)
    elif mqtt.password_file and not mqtt.username and not urlsplit(mqtt.url).username:
        yield Fault(("mqtt", "password_file"), "has no effect without a user name; give mqtt.username, too")
    if mqtt.tls.key and not mqtt.tls.cert:
        yield Fault(("mqtt", "tls", "key"), "has no effect without a certificate; give mqtt.tls.cert, too")


def _url_fault(url: str) -> str | None:
    """Never quotes the URL: it may hold a password."""
    try:
        parts = urlsplit(url)
        if parts.scheme != "mqtt+unix" and "@" in parts.path + parts.query + parts.fragment:
            return _UNQUOTED
        if parts.port == 0 or any(sign.isspace() for sign in url):
            return _BROKEN_URL
    except ValueError:
        return _BROKEN_URL
    if parts.scheme not in SCHEMES:
        return f"has an unknown scheme; start it with {spoken_list([f'{name}://' for name in SCHEMES])}"
    if parts.scheme == "mqtt+unix":
        return None if parts.path.strip("/") else "names no socket; give it as mqtt+unix:///run/broker.sock"
    return None if parts.hostname else "names no host; give it as mqtt://HOST:PORT"


def hook_name(hook: Webhook) -> str:
    """What a webhook's place in the journal goes by; raises ValueError for a broken URL."""
    return hook.name or urlsplit(hook.url).hostname or ""


def _webhooks(hooks: tuple[Webhook, ...]) -> Iterator[Fault]:
    first: dict[str, str] = {}
    for index, hook in enumerate(hooks):
        if not hook:  # it has no URL, which was told
            continue
        above = ("webhooks", str(index))
        if fault := _hook_fault(hook.url):
            yield Fault((*above, "url"), fault)
            continue
        there = dotted((*above, "name"))
        if (other := first.setdefault(hook_name(hook), there)) != there:
            yield Fault((*above, "name"), f"is that of {other}; give each a name of its own")
        if hook.ca_file and not hook.url.lower().startswith("https:"):
            yield Fault(
                (*above, "ca_file"), "has no effect without https://; give such a url, or leave it out"
            )


def _hook_fault(url: str) -> str | None:
    """Never quotes the URL: it may hold a secret."""
    try:
        parts = urlsplit(url)
        broken = parts.port == 0 or not parts.hostname
    except ValueError:
        broken = True
    if broken or not url.isascii() or any(sign.isspace() or not sign.isprintable() for sign in url):
        return "has an invalid host or port, or characters to be written as %XX; give it as https://HOST/PATH"
    if parts.scheme not in {"http", "https"}:
        return "has an unknown scheme; start it with https:// or http://"
    return None


def _notify(targets: Mapping[str, Notify]) -> Iterator[Fault]:
    for name, target in targets.items():
        if not _TARGET_NAME.fullmatch(name):
            yield Fault(("notify", name), "is not a name: letters, digits and ._- alone, at most 64")
        if target.quiet and len(set(target.quiet.split("-"))) == 1:
            text = "begins when it ends; give hours such as 22:00-07:00, or leave the target out of the rules"
            yield Fault(("notify", name, "quiet"), text)


def _web(web: Web) -> Iterator[Fault]:
    key = ("web", "listen")
    try:
        host, _ = host_and_port(web.listen)
    except ValueError:
        yield Fault(key, "is not an address; give it as HOST:PORT, such as 127.0.0.1:8080")
        return
    if not is_loopback(host) and web.token_file is None:
        text = (
            "is open to other machines, which requires a token; give web.token_file, or a host of 127.0.0.1"
        )
        yield Fault(key, text, also=(("web", "token_file"),))
