"""How this very installation is called and added to: commands that work as they are typed."""

import os
import re
import shlex
import shutil
import sys
from pathlib import Path

from dropsight.errors import DropsightError


def with_extra(name: str) -> str:
    """Return the command that adds one of our extras: from the clone that runs, else by its packages."""
    clone = Path(__file__).parents[2]
    if (clone / "pyproject.toml").is_file():
        return f"{_pip()} -e {_quoted(_as_typed(clone) + f'[{name}]')}"
    return packages(*_requirements(name))


def packages(*requirements: str) -> str:
    """Return the command that installs these where this program finds them."""
    return " ".join((_pip(), *map(_quoted, requirements)))


def opening() -> str:
    """Return the command that opens to everybody what was installed here with a umask that closed it."""
    return f"{_root()}chmod -R a+rX {_quoted(_site())}"


def program(*words: str) -> str:
    """Return how `dropsight` is called here, with these words."""
    return " ".join((_program(), *map(_quoted, words)))


def _program() -> str:
    own = Path(sys.executable).with_name("dropsight")
    found = shutil.which("dropsight")
    if found is not None and own.exists() and Path(found).samefile(own):
        return "dropsight"
    return _quoted(_as_typed(own)) if own.exists() else f"{_quoted(_as_typed(sys.executable))} -m dropsight"


def _pip() -> str:
    """The pip of this environment: another one would install where we do not look."""
    pip = Path(sys.executable).with_name("pip")
    command = _quoted(_as_typed(pip)) if pip.exists() else f"{_quoted(_as_typed(sys.executable))} -m pip"
    return f"{_root()}{command} install"


def _root() -> str:
    return "" if os.access(_site(), os.W_OK) else "sudo "


def _site() -> str:
    """Where packages lie that are installed here."""
    import sysconfig  # no daemon needs it that has all that it needs

    return sysconfig.get_path("purelib")


def _requirements(name: str) -> list[str]:
    from importlib.metadata import requires  # takes longer than the daemon's command line

    wanted = re.compile(rf"\s*(?P<package>[^;]+?)\s*;\s*extra\s*==\s*['\"]{name}['\"]")
    found = [match["package"] for each in requires("dropsight") or [] if (match := wanted.fullmatch(each))]
    if not found:
        raise DropsightError(f"there is no extra {name}")
    return found


def _as_typed(path: str | Path) -> str:
    """Short for a person who stands where we do; whoever reads a log may stand anywhere."""
    if sys.stderr.isatty() and Path(path).is_relative_to(Path.cwd()):
        return os.path.relpath(path)
    return str(path)


def _quoted(text: str) -> str:
    """As a shell takes it, in the quotes that people use."""
    quoted = shlex.quote(text)
    return quoted if quoted == text or set(text) & set("\"$`\\!'") else f'"{text}"'
