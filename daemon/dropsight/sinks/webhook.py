"""Webhooks: each is a follower of the journal that delivers records to a receiver by HTTP POST."""

import base64
import hashlib
import ssl
from collections.abc import Sequence
from functools import partial
from http import HTTPStatus
from importlib.util import find_spec
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from dropsight import installing
from dropsight.config import Config, Webhook, hook_headers, hook_name, redacted_hook
from dropsight.config.last_read import LAST_READ
from dropsight.errors import ConfigError, DropsightError, SinkError
from dropsight.journal.marks import Mark
from dropsight.journal.outbox import Delivery
from dropsight.sinks.feeder import DeclinedError, Feeder, LaterError, TurnedAwayError, id_of
from dropsight.sinks.sink import FollowerContext, FollowerSpec
from dropsight.version import VERSION

if TYPE_CHECKING:
    from dropsight.sinks.posting import Poster, Reply

_AT_THE_DOOR = {HTTPStatus.UNAUTHORIZED, HTTPStatus.PROXY_AUTHENTICATION_REQUIRED}
_PASSING = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS}


def followers(config: Config) -> list[FollowerSpec]:
    """Of the registry: one for each receiver."""
    return [_wanted(hook) for hook in config.webhooks]


def _wanted(hook: Webhook) -> FollowerSpec:
    name, shown = f"webhook:{hook_name(hook)}", redacted_hook(hook.url)
    mark = Mark(name, hook.max_backlog, who=shown, bound="webhooks.max_backlog")

    def make(context: FollowerContext) -> Feeder:
        receiver = partial(HttpReceiver, hook)
        return Feeder(
            name, receiver, context.outbox, context.troubles, to=shown, group=hook.batch, statuses=hook.on
        )

    return FollowerSpec(mark, make, check=partial(_try, hook), read=partial(HttpReceiver, hook))


def _try(hook: Webhook) -> str:
    receiver = HttpReceiver(hook)
    if find_spec("urllib3") is None:
        raise DropsightError(f"{receiver.shown}: {_missing()}")
    return f"{receiver.shown}: {receiver.try_to_connect()}; nothing was sent"


def _missing() -> str:
    return f"webhooks need urllib3: {installing.with_extra('webhook')}"


class HttpReceiver:
    """Reads secrets and certificates on construction; raises ConfigError."""

    def __init__(self, hook: Webhook) -> None:
        self.shown = redacted_hook(hook.url)
        self._hook, self._url = hook, urlsplit(hook.url)
        self._headers = {"User-Agent": f"dropsight/{VERSION}", "Content-Type": "application/json"}
        if self._url.username is not None:
            pair = f"{unquote(self._url.username)}:{unquote(self._url.password or '')}"
            self._headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        headers, self._context = LAST_READ.read(hook, partial(_read, hook))
        self._headers |= headers
        self._poster: Poster | None = None

    def take(self, group: Sequence[Delivery]) -> None:
        """Hand these over in one request."""
        ids = [id_of(delivery) for delivery in group]
        key = ids[0] if len(ids) == 1 else hashlib.blake2b("".join(ids).encode(), digest_size=16).hexdigest()
        lines = [delivery.line.strip() for delivery in group]
        body = lines[0] if self._hook.batch == 1 else b"[" + b",".join(lines) + b"]"
        try:
            answer = self._open().post(body, {**self._headers, "Idempotency-Key": key})
        except SinkError as error:
            raise SinkError(f"{self.shown}: {error}") from error
        self._judge(answer)

    def try_to_connect(self) -> str:
        """Say how the connection is protected; raises SinkError."""
        try:
            return self._open().connect()
        except SinkError as error:
            raise SinkError(f"{self.shown}: {error}") from error
        finally:
            self.close()

    def close(self) -> None:
        if self._poster:
            self._poster.close()

    def _open(self) -> "Poster":
        if self._poster is None:
            try:
                # Only where there is a webhook, and perhaps not even then.
                from dropsight.sinks.posting import Poster
            except ModuleNotFoundError as error:
                raise SinkError(_missing()) from error
            self._poster = Poster(self._url, context=self._context, timeout_seconds=self._hook.timeout)
        return self._poster

    def _judge(self, answer: "Reply") -> None:
        said = f"{self.shown} answers {answer.status} {answer.reason}".rstrip()
        match answer.status:
            case status if 200 <= status < 300:
                return
            case status if 300 <= status < 400:
                raise LaterError(f"{said}: redirects are not followed; name the new address in webhooks.url")
            case status if status in _AT_THE_DOOR:
                raise TurnedAwayError(f"{said}; see webhooks.headers_file")
            case status if 400 <= status < 500 and status not in _PASSING:
                raise DeclinedError(said)
        raise LaterError(said, seconds=answer.wait_seconds)


def _read(hook: Webhook) -> tuple[dict[str, str], ssl.SSLContext | None]:
    return hook_headers(hook), _context(hook) if urlsplit(hook.url).scheme == "https" else None


def _context(hook: Webhook) -> ssl.SSLContext:
    """What is trusted: one authority, or those of the system; raises ConfigError."""
    try:
        return ssl.create_default_context(cafile=hook.ca_file)
    except (ssl.SSLError, OSError) as error:
        fault = f"webhooks.ca_file: {hook.ca_file} cannot be used ({error.strerror or error})"
        raise ConfigError([f"{fault}; name a PEM file"]) from error
