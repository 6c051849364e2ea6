"""`dropsight init`."""

from importlib import resources
from pathlib import Path

from dropsight.commands.places import need_place
from dropsight.errors import ConfigError, DropsightError, reason


def init(file: Path, *, force: bool) -> None:
    """Write the annotated config; raises ConfigError where that would take the place of another."""
    need_place(file)
    text = (resources.files("dropsight.config") / "dropsight.yaml").read_text(encoding="utf-8")
    try:
        with file.open("w" if force else "x", encoding="utf-8") as target:
            target.write(text)
    except FileExistsError:
        raise ConfigError([f"{file}: already exists; --force overwrites it"]) from None
    except OSError as error:
        raise DropsightError(f"{file}: cannot be written: {reason(error)}") from error
    print(f"wrote {file}: every key with its default, all optional. Change it, then:")
    print(f"  dropsight check -c {file}    # tests all of it")
    print(f"  dropsight run -c {file}")
