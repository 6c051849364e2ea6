"""Answers of SFTP servers that never come: sshfs waits for each without a bound, and so would a job."""

import asyncio
from importlib.util import find_spec
from typing import Any

PATIENCE_SECONDS = 60.0


def bound_waiting(protocol: str) -> None:
    """Have what fsspec opens by this protocol wait for each answer so long; raises TimeoutError beyond."""
    if find_spec("sshfs") is None:
        return
    import fsspec

    fsspec.config.conf.setdefault(protocol, {}).setdefault("pool_type", _bounded())


def _bounded() -> type:
    from sshfs.pools import SFTPSoftChannelPool

    class BoundedPool(SFTPSoftChannelPool):  # type: ignore[misc]  # of a package without types
        async def _maybe_new_channel(self) -> object:
            channel = await asyncio.wait_for(super()._maybe_new_channel(), PATIENCE_SECONDS)
            _bound(channel)
            return channel

    return BoundedPool


def _bound(channel: Any) -> None:  # noqa: ANN401 - asyncssh's
    """Bound the one way by which all that is asked of a server goes, which asyncssh offers no bound for."""
    handler = getattr(channel, "_handler", None)
    ask = getattr(handler, "_make_request", None)
    if ask is None:
        return

    async def answered(*of: object) -> object:
        return await asyncio.wait_for(ask(*of), PATIENCE_SECONDS)

    setattr(handler, "_make_request", answered)  # noqa: B010 - of an object without types
