"""URLs that people and their lists name: which are not opened, and by what a server is known."""

import re
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from importlib.util import find_spec

from dropsight import installing
from dropsight.archive.ftp_answers import names_encoding
from dropsight.archive.ssh_answers import bound_waiting
from dropsight.archive.web_answers import bound_answers
from dropsight.errors import ConfigError

_HOSTS, WEB = {"sftp", "ssh"}, {"http", "https"}
# What ~/.ssh/config makes commands of, as ProxyCommand: they have no blanks, options and signs of a shell.
_SSH_HOST = re.compile(r"([\w.+][\w.+@-]*@)?(\[[\w.:%]+\]|\w[\w.-]*)(:\d*)?")
# Stores that the user's own settings lead to, and servers whose answers are bounded.
_LISTED = {
    *("s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "oss", "r2", "memory", "file", "zip", "tar"),
    *_HOSTS,
    *WEB,
}
# Its file says what else to read, and has templates filled in, which older versions of fsspec run as code.
_INDIRECT = "reference"


def check_url(url: str) -> None:
    """Raise ConfigError for one with a password or an odd host, or whose files say what to open elsewhere."""
    for protocol, rest in _links(url):
        if protocol == _INDIRECT:
            raise ConfigError([f"{url}: reference:// says what to read elsewhere: name the files themselves"])
        user, _, there = rest.partition("/")[0].rpartition("@")
        if ":" in user:
            shown = f"{protocol}://{user.partition(':')[0]}@{there}"
            way_out = f"FSSPEC_{protocol.upper()}_PASSWORD, ~/.config/fsspec, or a key of SSH"
            raise ConfigError(
                [f"{shown}: a password in the URL would be written into every row: give it in {way_out}"]
            )
        if protocol in _HOSTS and not _SSH_HOST.fullmatch(rest.partition("/")[0]):
            raise ConfigError([f"{url}: {rest.partition('/')[0]} is no user and host of a server"])


def check_listed(url: str, *, given: Collection[str] = ()) -> None:
    """Raise ConfigError for a URL of a list or of results, perhaps a stranger's, that may lead to any server.

    What answers is bounded for some; of others, all is kept in memory, or on the disk, as it comes. `given`
    are the protocols of sources that a person named.
    """
    *outer, last = url.split("::")
    for link in (*outer, last if "://" in last else "file://"):
        protocol = link.partition("://")[0]
        is_arn = "://arn:" in link  # of anybody's account, at a host of its name
        if (protocol not in _LISTED or is_arn) and protocol not in given:
            raise ConfigError([f"{url}: {protocol}:// is opened only where it is given as a source"])


def is_of_any_server(url: str, *, given: Collection[str]) -> bool:
    """Whether it lies on a server that whoever wrote its URL has chosen, by none of the protocols `given`."""
    protocol = url.rpartition("::")[2].partition("://")[0]
    return protocol in WEB | _HOSTS and protocol not in given


def check_from_elsewhere(url: str) -> None:
    """Raise ConfigError for a URL of a list from a server that leads into a file of this machine."""
    last = url.rpartition("::")[2]
    if "://" not in last or last.startswith("file://"):
        raise ConfigError([f"{url}: a list from elsewhere names a file of this machine"])


def protocols_of(sources: Iterable[str]) -> tuple[str, ...]:
    """Return by which protocols, and other names of them, what sources lead to is opened."""
    import fsspec

    found = set[str]()
    for source in sources:
        for protocol, _ in _links(source):
            with suppress(ImportError, ValueError):  # of packages that are missing, and of paths
                names = fsspec.get_filesystem_class(protocol).protocol
                found |= {protocol, *([names] if isinstance(names, str) else names)}
    return tuple(sorted(found))


def know_servers(url: str) -> None:
    """Have servers of SFTP known by their keys, as ssh does; raises ConfigError where that cannot be.

    Who has set fsspec's own known_hosts for them is obeyed: a file, or null for any server. What web servers
    send is bounded, and so is how long is waited for what those of SFTP send.
    """
    import fsspec

    protocols = {protocol for protocol, _ in _links(url)}
    if not protocols.isdisjoint(WEB):
        bound_answers()
    if "ftp" in protocols:
        fsspec.config.conf.setdefault("ftp", {}).setdefault("encoding", names_encoding())
    if protocols.isdisjoint(_HOSTS):
        return
    if find_spec("sshfs") is None:
        needed = installing.packages("sshfs")
        raise ConfigError([f"{url}: needs sshfs, which knows servers by their keys: {needed}"])
    for name in _HOSTS:
        bound_waiting(name)
        # A name of other bytes than UTF-8 would end the list of all that lies beside it.
        any_bytes = {"path_errors": "surrogateescape"}
        fsspec.config.conf.setdefault(name, {}).setdefault("sftp_client_kwargs", any_bytes)
        fsspec.config.conf.setdefault(name, {}).setdefault("known_hosts", ())


def _links(url: str) -> Iterator[tuple[str, str]]:
    """Yield protocol and rest of each: an archive within another system is named zip://a.jpg::s3://b/c.zip."""
    for link in url.split("::"):
        protocol, _, rest = link.partition("://")
        yield protocol, rest
