"""Image classification for drop folders: the public API, whose names stand in `__init__.pyi`.

Each is imported on first use: `dropsight --help` needs no OpenCV.
"""

from dropsight import version

__version__ = version.VERSION


def __getattr__(name: str) -> object:
    homes = _homes()
    if name == "__all__":
        return list(homes)
    if name not in homes:
        raise AttributeError(f"module 'dropsight' has no attribute {name!r}")
    from importlib import import_module

    module, there = homes[name]
    return globals().setdefault(name, getattr(import_module(module), there))


def __dir__() -> list[str]:
    return sorted({*globals(), *_homes()})


def _homes() -> dict[str, tuple[str, str]]:
    """Return module and name there of each public name."""
    import re
    from pkgutil import get_data

    listed = (get_data(__name__, "__init__.pyi") or b"").decode()
    return {
        public: (module, name)
        for module, name, public in re.findall(r"^from (\S+) import (\w+) as (\w+)$", listed, re.MULTILINE)
    }
