"""Whether the web extra is there."""

from importlib.util import find_spec

_EXTRA = ("starlette", "uvicorn", "prometheus_client")


def is_installed() -> bool:
    return all(find_spec(name) for name in _EXTRA)
