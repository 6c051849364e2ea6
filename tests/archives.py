"""Archives that tests make, and what is to be found in their results."""

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

import hostile
from clips import make_clip, of_photos
from daemons import PHOTOS
from dropsight.archive.running import ArchiveOrder, run_archive

MODEL = "builtin:efficientnet_lite0"
# What no two runs have in common.
CHANGING = ("latency_ms",)


def make_archive(folder: Path, *, photos: int = 14) -> Path:
    """Photos in sub-folders, files that no camera should drop, a clip, and what is to be passed by."""
    for number in range(photos):
        place = folder / f"card{number % 3}"
        place.mkdir(parents=True, exist_ok=True)
        shutil.copy(PHOTOS[number % len(PHOTOS)], place / f"{number:04}.jpg")
    for number, (name, content, _) in zip(range(8), hostile.contents(), strict=False):
        (folder / "card0" / f"bad{number}{Path(name).suffix or '.jpg'}").write_bytes(content)
    make_clip(folder / "card1" / "clip.mp4", of_photos(PHOTOS[:2]), gop=1)
    (folder / "card1" / "notes.pdf").write_bytes(b"%PDF")
    (folder / ".trash").mkdir()
    shutil.copy(PHOTOS[0], folder / ".trash")
    return folder


def files_in(folder: Path) -> list[str]:
    """What is to have a row, in the order of the rows."""
    wanted = (
        path for path in folder.rglob("*") if path.suffix in {".jpg", ".mp4", ".png", ".tif", ".bmp", ".webp"}
    )
    return sorted(str(path) for path in wanted if ".trash" not in path.parts)


def asked(source: Path | str, out: Path | str, **changes: Any) -> ArchiveOrder:
    how = {
        "sources": [str(source)],
        "out": str(out),
        "model": MODEL,
        "engine": "local",
        "address": None,
        "shard_rows": 6,
        "tta": False,
        "embeddings": False,
        "overwrite": False,
    }
    return ArchiveOrder(**{**how, **changes})


def run(source: Path | str, out: Path | str, **changes: Any) -> Any:
    return run_archive(asked(source, out, **changes), stopped=lambda: False)


def parts(out: Path) -> list[Path]:
    return sorted(out.glob("part-*.parquet"))


def table(out: Path) -> pa.Table:
    return pa.concat_tables([pq.read_table(part) for part in parts(out)])


def content(out: Path) -> list[dict[str, Any]]:
    """All rows without what differs from run to run."""
    if not parts(out):
        return []
    rows: list[dict[str, Any]] = table(out).drop_columns(list(CHANGING)).to_pylist()
    return rows


def paths(out: Path) -> list[str]:
    return [str(row["path"]) for row in content(out)]


def by_name(out: Path) -> Mapping[str, dict[str, Any]]:
    return {Path(row["path"]).name: row for row in table(out).to_pylist()}


def times(files: list[Path]) -> Iterator[tuple[str, int]]:
    """What changes when a file is written again."""
    for file in files:
        yield file.name, file.stat().st_ino
