"""A model with the files beside it that say what it is, as bytes: for machines that do not have it."""

from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path

import msgspec

from dropsight.errors import ModelError
from dropsight.models.label_files import BESIDE
from dropsight.models.sidecar import NamedOutput, read_sidecar, sidecar_path


class ModelFiles(msgspec.Struct, frozen=True):
    """`name` is the model's own, a file's or a folder's; `files` by their paths from where it lies."""

    name: str
    files: dict[str, bytes]

    @property
    def digest(self) -> str:
        found = blake2b(self.name.encode(), digest_size=16)
        for name, content in sorted(self.files.items()):
            found.update(b"%d %d " % (len(name), len(content)) + name.encode() + content)
        return found.hexdigest()

    def unpack(self, folder: Path) -> Path:
        """Write all of them; return the model's path."""
        for name, content in self.files.items():
            file = folder / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        return folder / self.name


def pack(model: Path) -> ModelFiles:
    """Read a model and what lies beside it; raises ModelError."""
    try:
        return ModelFiles(
            model.name,
            {
                str(file.relative_to(model.parent)): file.read_bytes()
                for file in _files(model)
                if file.is_file()
            },
        )
    except OSError as error:
        raise ModelError(f"{model}: cannot be read: {error.strerror}") from error


def _files(model: Path) -> Iterator[Path]:
    yield from model.rglob("*") if model.is_dir() else (model,)
    yield sidecar_path(model)
    yield from (model.parent / name.format(model=model.stem) for name in BESIDE)
    if sidecar := read_sidecar(model):
        heads = [head.labels for head in sidecar.heads.values() if isinstance(head, NamedOutput)]
        for name in filter(None, (sidecar.labels, *heads)):
            file = model.parent / name
            if ".." in Path(name).parts or Path(name).is_absolute():
                raise ModelError(f"{file}: labels have to lie beside the model for the workers to get them")
            yield file
