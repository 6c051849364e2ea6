"""Image classification for drop folders: the public API, with its names in `__init__.pyi`.

Each is imported on first use: `dropsight --help` needs no OpenCV.
"""

from dropsight import version

__version__ = version.VERSION

_homes: dict[str, str] = {}


def __getattr__(name: str) -> object:
    """Find a public name; Python asks for our modules first, too, when they are imported from here."""
    homes = _read_homes()
    if name == "__all__":
        return list(homes)
    if name not in homes:
        raise AttributeError(f"module 'dropsight' has no attribute {name!r}")
    from importlib import import_module

    return globals().setdefault(name, getattr(import_module(homes[name]), name))


def __dir__() -> list[str]:
    return sorted({*globals(), *_read_homes()})


def _read_homes() -> dict[str, str]:
    """Return the module of each public name."""
    if not _homes:
        from pathlib import Path

        listed = Path(__file__).with_name("__init__.pyi").read_text(encoding="utf-8")
        imports = (line.split() for line in listed.splitlines() if line.startswith("from "))
        _homes.update({name: module for _, module, _, name, *_ in imports})
    return _homes
