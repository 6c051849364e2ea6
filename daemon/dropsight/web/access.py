"""Who is let in: the token, the cookie that stands for it in a browser, and the names of this machine."""

import hmac
import time
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from dropsight.config import is_loopback

COOKIE_SECONDS = 30 * 86_400
OWN_HEADER = "x-dropsight"
_BEARER = "bearer "


@dataclass(frozen=True, slots=True)
class Access:
    """`token` is None where none is asked for, which is so on loopback only."""

    token: str | None

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
        until = str(int(time.time()) + COOKIE_SECONDS)
        return f"{until}.{self._mac(until)}"

    def _is_ours(self, cookie: str) -> bool:
        until, _, mac = cookie.partition(".")
        return _same(mac, self._mac(until)) and until.isdecimal() and int(until) > time.time()

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


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(), other.encode())


def _cookie(header: str, name: str) -> str:
    pairs = (pair.strip().partition("=") for pair in header.split(";"))
    return next((value for found, _, value in pairs if found == name), "")
