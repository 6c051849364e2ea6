"""Access control: the token, the cookie that stands for it in a browser, and the allowed host names."""

import hmac
import logging
import secrets
import time
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from dropsight.bounded import STATE_BYTES, read_bounded
from dropsight.config import is_loopback
from dropsight.files.disk import write_whole

log = logging.getLogger(__name__)

COOKIE_SECONDS = 30 * 86_400
OWN_HEADER = "x-dropsight"
NAME = "signed-out.json"
MOST_ENDED = 1_000
_BEARER = "bearer "


class EndedSessions(msgspec.Struct):
    """Cookies that are good no more: all of another era, and by name those signed out in this one."""

    era: str = ""
    until: dict[str, int] = {}


class Access:
    """`token` is None where none is asked for, which is so on loopback only; another ends all cookies.

    Who has signed out stands in the `state` folder: a cookie ends with it, and stays so over a restart.
    """

    def __init__(self, token: str | None, state: Path) -> None:
        self.token = token
        self.state = state
        self.ended = _load(state / NAME)

    def admits(self, headers: Mapping[str, str]) -> bool:
        """Whether a request with these headers (names in lower case) shows the token or its cookie."""
        if self.token is None:
            return True
        said = headers.get("authorization", "")
        if said.lower().startswith(_BEARER):
            return self.matches(said[len(_BEARER) :].strip())
        return self._is_ours(_cookie(headers.get("cookie", ""), self.cookie_name))

    def matches(self, said: str) -> bool:
        return self.token is not None and _same(said, self.token)

    def answers_to(self, host: str) -> bool:
        """Whether a request's Host may be answered.

        Without a token only names of loopback: a stranger's page can make its own name point here
        (DNS rebinding), and would then read along. With one any name will do: that page does not have it.
        """
        if self.token is not None:
            return bool(host)
        try:
            name = urlsplit(f"//{host}").hostname
        except ValueError:
            return False
        return name is not None and is_loopback(name)

    @property
    def cookie_name(self) -> str:
        """Cookies know no ports: two daemons on a machine must not overwrite each other's."""
        return f"dropsight-{self._mac('name')[:8]}"

    def cookie(self) -> str:
        """A proof of the token that is good for a month and does not tell it."""
        said = f"{int(time.time()) + COOKIE_SECONDS}.{secrets.token_hex(8)}"
        return f"{said}.{self._mac(f'{self.ended.era} {said}')}"

    def end(self, headers: Mapping[str, str]) -> None:
        """Make the cookie in these headers good for nothing, wherever there is a copy of it."""
        cookie = _cookie(headers.get("cookie", ""), self.cookie_name)
        if not self._is_ours(cookie):
            return
        until, name, _ = cookie.split(".")
        now = time.time()
        kept = {each: end for each, end in self.ended.until.items() if end > now}
        if len(kept) < MOST_ENDED:
            self.ended = EndedSessions(self.ended.era, {**kept, name: int(until)})
        else:
            self.ended = EndedSessions(secrets.token_hex(8))
        try:
            write_whole(self.state / NAME, msgspec.json.encode(self.ended))
        except OSError as error:
            fault = "a cookie that was signed out is valid again after a restart"
            log.warning("%s: %s cannot be written: %s", fault, self.state / NAME, error.strerror)

    def _is_ours(self, cookie: str) -> bool:
        said, _, mac = cookie.rpartition(".")
        until, _, name = said.partition(".")
        if not _same(mac, self._mac(f"{self.ended.era} {said}")):
            return False
        return until.isdecimal() and int(until) > time.time() and name not in self.ended.until

    def _mac(self, text: str) -> str:
        return hmac.new((self.token or "").encode(), f"dropsight web {text}".encode(), "sha256").hexdigest()


def is_own_doing(headers: Mapping[str, str]) -> bool:
    """Whether a program or a page of ours asks to change something: no other page can send this header.

    A browser would ask us first whether that page may (CORS), and we say no.
    """
    return OWN_HEADER in headers and is_same_site(headers)


def is_same_site(headers: Mapping[str, str]) -> bool:
    """Whether a form came from a page of ours: no other page may have the browser log in."""
    if site := headers.get("sec-fetch-site"):
        return site in {"same-origin", "none"}
    origin = headers.get("origin")
    return origin is None or origin.partition("://")[2] == headers.get("host")


def _load(path: Path) -> EndedSessions:
    try:
        return msgspec.json.decode(read_bounded(path, STATE_BYTES), type=EndedSessions)
    except FileNotFoundError:
        return EndedSessions()
    except (OSError, ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors
        log.warning("%s is not readable, so everybody has to sign in again: %s", path, error)
        return EndedSessions(secrets.token_hex(8))


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(), other.encode())


def _cookie(header: str, name: str) -> str:
    pairs = (pair.strip().partition("=") for pair in header.split(";"))
    return next((value for found, _, value in pairs if found == name), "")
