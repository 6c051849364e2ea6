"""The formats of `dropsight archive`: each is read by its readers' own validator, whatever the rows are."""

import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any

import msgspec
import pytest

from daemons import PHOTOS
from dropsight import cli
from dropsight.archive.deployments import read_deployments
from dropsight.archive.job_file import JobFile, ModelCard
from dropsight.archive.megadetector import write_megadetector
from dropsight.archive.naming import naming_of
from dropsight.archive.origins import names_of_folder
from dropsight.archive.output_formats import FORMATS, FormatFacts, remove_formats, write_format
from dropsight.archive.rows import ArchiveRow, ClipColumns
from dropsight.archive.shard_parts import write_part
from dropsight.archive.storage import Storage
from dropsight.archive.tasks import ArchiveJob, Shard
from dropsight.commands.archive import archive
from dropsight.errors import ConfigError, StoreError
from format_checks import check_camtrap_dp, check_megadetector, check_speciesnet

SOURCE = "/srv/cards"
LYNX = "0b1c;mammalia;carnivora;felidae;lynx;lynx;eurasian lynx"
LABELS = ("Capreolus capreolus", "blank", "person", LYNX, "a;b", "")
MODEL = ModelCard("woods", f"sha256:{'7' * 64}", "tflite", "int8", LABELS)
NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
TABLE = "deploymentID,latitude,longitude,cameraTilt,baitUse\ncam1,46.5,8.25,-15,false\ncam2,-0.5,179,,\n"


def row(path: str, best: int = 0, **facts: Any) -> ArchiveRow:
    likely = {"top_classes": [best, (best + 1) % 6], "top_confidences": [0.75, 0.125]}
    answer = {"predicted_class": best, "label": LABELS[best], "confidence": 0.75, **likely}
    ok = {"path": path, "status": "ok", "captured": NOON, "width": 640, "height": 480}
    return ArchiveRow(**{**ok, **answer, "model_digest": MODEL.digest, **facts})


def failure(path: str, **facts: Any) -> ArchiveRow:
    told = {
        "error_code": "truncated",
        "error": "it ends\nwithin",
        "captured": NOON,
        "model_digest": MODEL.digest,
    }
    return ArchiveRow(**{"path": path, "status": "failed", **told, **facts})


ROWS = [
    row(f"{SOURCE}/cam1/DCIM/a..jpg"),
    row(f'{SOURCE}/cam1/DCIM/b, "ü".JPG', 1, captured=NOON.replace(hour=3)),
    row(f"{SOURCE}/cam1/c.mp4", 3, clip=ClipColumns(2.5, 29.97, "h264", 75, 5, 0.5)),
    row(f"{SOURCE}/cam2/d.jpg", 2),
    row(f"{SOURCE}/cam2/e.mov", 4),
    row(f"{SOURCE}/cam2/g.jpg", 5),
    failure(f"{SOURCE}/cam2/h.jpg"),
    failure(f"{SOURCE}/cam2/i.mp4", captured=NOON.replace(hour=20)),
]


def results(out: Path, rows: list[ArchiveRow] = ROWS) -> Storage:
    """A job that is done, as far as the formats look at it."""
    storage = Storage(str(out))
    storage.make()
    job = ArchiveJob(out=storage.place, manifest="m", model=MODEL.digest, shard_rows=5)
    for number, start in enumerate(range(0, len(rows), 5)):
        write_part(job, Shard(number, start, start + 5), rows[start : start + 5])
    return storage


def job(**changes: Any) -> JobFile:
    counts = {"state": "done", "total": 8, "images": 8, "ok": 6, "errors": {}, "images_per_second": 1.0}
    how = {"seconds": 8.0, "engine": "local", "workers": 1, "shard_rows": 5, "tta": False, "manifest": "m"}
    when = {"begun": "2026-11-01T20:00:00+00:00", "updated": "2026-11-02T04:00:00+00:00", "versions": {}}
    return JobFile(**{"sources": (SOURCE,), "model": MODEL, **counts, **how, **when, **changes})


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("formats")
    (out / "cameras.csv").write_text(TABLE)
    storage, facts = results(out), FormatFacts(job(), read_deployments(out / "cameras.csv"))
    for name in FORMATS:
        assert Path(write_format(name, storage, facts)).is_file()
    return out


def test_megadetectors_own_validator_accepts_pictures_clips_and_failures(written: Path) -> None:
    found = check_megadetector(written / "megadetector.json")
    assert found["info"]["format_version"] == "1.6"
    assert found["detection_categories"] == {"1": "animal", "2": "person"}
    assert found["classification_categories"]["0"] == "Capreolus capreolus"
    assert found["classification_categories"]["5"] == "class 5"
    by_file = {each["file"]: each for each in found["images"]}
    assert list(by_file) == [each.path.removeprefix(f"{SOURCE}/") for each in ROWS]
    assert by_file["cam1/DCIM/a..jpg"]["detections"] == [
        {"category": "1", "conf": 0.75, "bbox": [0, 0, 1, 1], "classifications": [["0", 0.75], ["1", 0.125]]}
    ]
    assert by_file['cam1/DCIM/b, "ü".JPG']["detections"] == []
    assert by_file["cam2/d.jpg"]["detections"][0]["category"] == "2"
    assert by_file["cam2/h.jpg"] == {
        "file": "cam2/h.jpg",
        "failure": "truncated: it ends\nwithin",
        "detections": None,
    }
    clip = by_file["cam1/c.mp4"]
    assert (clip["frame_rate"], clip["frames_processed"], clip["detections"][0]["frame_number"]) == (
        29.97,
        [15],
        15,
    )


def test_several_sources_leave_paths_whole_and_a_model_of_animals_has_that_category_alone(
    tmp_path: Path,
) -> None:
    model = msgspec.structs.replace(MODEL, labels=("lynx", "roe deer"))
    facts = FormatFacts(job(sources=(SOURCE, "/srv/more"), model=model))
    write_megadetector(iter([row(f"{SOURCE}/cam1/a.jpg")]), facts, tmp_path / "found.json")
    found = check_megadetector(tmp_path / "found.json")
    assert found["images"][0]["file"] == f"{SOURCE}/cam1/a.jpg"
    assert found["detection_categories"] == {"1": "animal"}


def test_a_job_without_images_is_valid_too(tmp_path: Path) -> None:
    write_megadetector(iter([]), FormatFacts(job()), tmp_path / "found.json")
    assert check_megadetector(tmp_path / "found.json")["images"] == []


def test_speciesnets_predictions_are_of_whole_pictures_with_labels_of_seven_parts(
    written: Path, caplog: pytest.LogCaptureFixture
) -> None:
    found = check_speciesnet(written / "predictions.json")
    by_path = {each["filepath"]: each for each in found["predictions"]}
    assert list(by_path) == [each.path for each in ROWS if not each.clip]
    (whole,) = by_path[f"{SOURCE}/cam1/DCIM/a..jpg"]["detections"]
    assert whole["raw_classifications"] == {
        "classes": [";;;;;;Capreolus capreolus", ";;;;;;blank"],
        "scores": [0.75, 0.125],
    }
    (other,) = by_path[f"{SOURCE}/cam2/d.jpg"]["detections"]
    assert other["raw_classifications"]["classes"] == [";;;;;;person", LYNX]
    (odd,) = by_path[f"{SOURCE}/cam2/e.mov"]["detections"]
    assert odd["raw_classifications"]["classes"][0] == ";;;;;;a,b"
    with caplog.at_level(logging.WARNING):
        write_format("speciesnet", Storage(str(written)), FormatFacts(job()))
    assert "1 clip is left out" in caplog.text


def test_frictionless_accepts_the_camtrap_package_with_machine_observations_by_folder(written: Path) -> None:
    tables = check_camtrap_dp(written / "camtrap-dp")
    first, second = tables["deployments"]
    assert (first["deploymentID"], first["latitude"], first["cameraTilt"]) == ("cam1", "46.5", "-15")
    assert (first["deploymentStart"], first["deploymentEnd"]) == (
        "2026-05-01T03:00:00Z",
        "2026-05-01T12:00:00Z",
    )
    assert (second["deploymentID"], second["deploymentEnd"]) == ("cam2", "2026-05-01T20:00:00Z")
    assert [each["filePath"] for each in tables["media"][:2]] == [
        f"file://{SOURCE}/cam1/DCIM/a%2E%2Ejpg",
        f"file://{SOURCE}/cam1/DCIM/b%2C%20%22%C3%BC%22.JPG",
    ]
    assert [each["fileMediatype"] for each in tables["media"][1:3]] == ["image/jpeg", "video/mp4"]
    assert len({each["mediaID"] for each in tables["media"]}) == len(ROWS)
    seen = tables["observations"]
    assert [(each["observationType"], each["scientificName"]) for each in seen] == [
        ("animal", "Capreolus capreolus"),
        ("blank", ""),
        ("animal", "Lynx lynx"),
        ("human", ""),
        ("animal", "a;b"),
        ("animal", ""),
        ("unclassified", ""),
        ("unclassified", ""),
    ]
    assert seen[0]["classificationMethod"] == "machine"
    assert seen[0]["classifiedBy"] == f"woods {MODEL.digest}"
    assert float(seen[0]["classificationProbability"]) == 0.75
    assert (seen[2]["eventStart"], seen[2]["eventEnd"]) == ("2026-05-01T12:00:00Z", "2026-05-01T12:00:02Z")
    assert {each["classifiedBy"] for each in seen[6:]} == {""}
    described = json.loads((written / "camtrap-dp" / "datapackage.json").read_text())
    assert described["temporal"] == {"start": "2026-05-01", "end": "2026-05-01"}
    assert described["spatial"]["coordinates"] == [[8.25, 46.5], [179, -0.5]]
    assert [each["scientificName"] for each in described["taxonomic"]] == [
        "Capreolus capreolus",
        "Lynx lynx",
        "a;b",
    ]


def test_folders_without_coordinates_are_named_and_nothing_looks_like_a_package(tmp_path: Path) -> None:
    (tmp_path / "cameras.csv").write_text(TABLE.replace("cam2", "cam3"))
    storage, facts = results(tmp_path), FormatFacts(job(), read_deployments(tmp_path / "cameras.csv"))
    (tmp_path / "camtrap-dp").mkdir()
    (tmp_path / "camtrap-dp" / "datapackage.json").write_text("of an earlier call")
    with pytest.raises(ConfigError, match=r"cameras.csv: no line for the folder cam2: add it"):
        write_format("camtrap-dp", storage, facts)
    assert list((tmp_path / "camtrap-dp").iterdir()) == []


def test_what_has_no_time_is_left_out_of_the_camtrap_package_and_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "cameras.csv").write_text(TABLE)
    known = FormatFacts(job(), read_deployments(tmp_path / "cameras.csv"))
    timeless = row(f"{SOURCE}/cam2/z.jpg", captured=None)
    write_format("camtrap-dp", results(tmp_path, [*ROWS, timeless]), known)
    assert "1 file is left out" in caplog.text
    assert len(check_camtrap_dp(tmp_path / "camtrap-dp")["media"]) == len(ROWS)
    with pytest.raises(ConfigError, match="needs the time of capture"):
        write_format("camtrap-dp", results(tmp_path / "other", [timeless]), known)


def test_a_link_in_the_place_of_a_format_s_folder_leads_nowhere(tmp_path: Path) -> None:
    """Who may write to results had files of these names, and half-written ones, taken away anywhere."""
    (tmp_path / "cameras.csv").write_text(TABLE)
    facts = FormatFacts(job(), read_deployments(tmp_path / "cameras.csv"))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for name in ("datapackage.json", "media.csv", ".download.part"):
        (elsewhere / name).write_text("another's")
    storage = results(tmp_path / "out")
    (tmp_path / "out" / "camtrap-dp").symlink_to(elsewhere)
    with pytest.raises(StoreError, match="a link: nothing is written"):
        write_format("camtrap-dp", storage, facts)
    with pytest.raises(StoreError, match="a link: nothing is written"):
        remove_formats(storage)
    assert {each.name: each.read_text() for each in elsewhere.iterdir()} == dict.fromkeys(
        ("datapackage.json", "media.csv", ".download.part"), "another's"
    )


@pytest.mark.parametrize("captured", [NOON.replace(year=500), datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)])
def test_a_camera_of_another_millennium_costs_the_camtrap_package_nothing(
    tmp_path: Path, captured: datetime
) -> None:
    """One such time, of a picture or a clip among thousands, and there was no package, each time anew."""
    (tmp_path / "cameras.csv").write_text(TABLE)
    known = FormatFacts(job(), read_deployments(tmp_path / "cameras.csv"))
    clip = ClipColumns(2.5, 29.97, "h264", 75, 5, 0.5)
    odd = [
        row(f"{SOURCE}/cam2/y.jpg", captured=captured),
        row(f"{SOURCE}/cam2/z.mp4", captured=captured, clip=clip),
    ]
    write_format("camtrap-dp", results(tmp_path, [*ROWS, *odd]), known)
    found = check_camtrap_dp(tmp_path / "camtrap-dp")["media"]
    assert len(found) == len(ROWS) + 2
    assert f"{captured.year:04}-" in (tmp_path / "camtrap-dp" / "media.csv").read_text()


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ("deploymentID,latitude\ncam1,4\n", "no column longitude"),
        ("deploymentID,latitude,longitude,lens\ncam1,4,5,6\n", "column lens: neither folder nor"),
        (
            "deploymentID,latitude,longitude\ncam1,91,5\n",
            "line 2: latitude: 91 is not a number from -90 to 90",
        ),
        ("deploymentID,latitude,longitude\ncam1,4,NA\n", "line 2: longitude is missing"),
        ("deploymentID,latitude,longitude\ncam1,4,5\ncam1,4,5\n", "line 3: cam1 stands in a line above"),
        ("deploymentID,latitude,longitude\ncam1,4,5,6\n", "line 2: more cells"),
        (
            "deploymentID,latitude,longitude,deploymentStart\na,4,5,2026-05-01\n",
            "is not a time with its zone",
        ),
        (
            "deploymentID,latitude,longitude,deploymentStart\na,4,5,0001-01-01T00:00:00+0100\n",
            "is not a time with its zone",
        ),
        ("deploymentID,latitude,longitude,cameraDelay\na,4,5,1.5\n", "is not a whole number from 0 on"),
        ("deploymentID,latitude,longitude,featureType\na,4,5,lake\n", "lake is not one of burrow"),
        ("", "no column deploymentID, latitude, longitude"),
    ],
)
def test_deployments_that_are_not_as_the_standard_wants_them_are_refused(
    tmp_path: Path, table: str, says: str
) -> None:
    (tmp_path / "cameras.csv").write_text(table)
    with pytest.raises(ConfigError, match=says) as refused:
        read_deployments(tmp_path / "cameras.csv")
    assert refused.value.exit_code == 2


def test_a_picture_is_of_the_nearest_folder_above_it_that_has_a_line(tmp_path: Path) -> None:
    (tmp_path / "cameras.csv").write_bytes(
        b"\xef\xbb\xbfdeploymentID,folder,latitude,longitude\n"
        b"A,2026/cam1,1,2\nB,2026,1,2\nC,/srv/other,1,2\nD,s3://bucket/cam9/,1,2\n"
    )
    known = read_deployments(tmp_path / "cameras.csv")
    sources = [SOURCE, "s3://bucket", "/srv/lists/all.txt", "/srv/shelf/*/x"]

    def named(path: str) -> str | None:
        line = known.of(path, sources)
        return line["deploymentID"] if line else None

    assert named(f"{SOURCE}/2026/cam1/DCIM/100/a.jpg") == "A"
    assert named(f"{SOURCE}/2026/cam2/a.jpg") == "B"
    assert named("/srv/other/deep/a.jpg") == "C"
    assert named("s3://bucket/cam9/a.jpg") == "D"
    assert named(f"{SOURCE}/a.jpg") is None
    assert list(names_of_folder("/srv/shelf/one/x/a.jpg", sources))[:2] == ["one/x", "/srv/shelf/one/x"]
    assert list(names_of_folder(f"{SOURCE}/a.jpg", sources)) == ["cards", SOURCE, "."]


@pytest.mark.parametrize(
    ("label", "kind", "scientific"),
    [
        ("Vulpes vulpes", "animal", "Vulpes vulpes"),
        ("Empty", "blank", None),
        ("1f68;;;;;;animal", "animal", None),
        ("f185;;;;;;blank", "blank", None),
        ("990a;mammalia;primates;hominidae;homo;sapiens;human", "human", None),
        ("ab;aves;anseriformes;anatidae;;;duck", "animal", "Anatidae"),
    ],
)
def test_a_label_says_what_is_in_the_picture(label: str, kind: str, scientific: str | None) -> None:
    assert naming_of(label) == (kind, scientific)


@pytest.mark.parametrize("name", FORMATS)
def test_rows_are_written_as_they_come_never_gathered(tmp_path: Path, name: str) -> None:
    (tmp_path / "cameras.csv").write_text(TABLE)
    made = FORMATS[name]
    files = [tmp_path / each for each in made.names]
    module, _, function = made.by.partition(":")

    def many() -> Iterator[ArchiveRow]:
        for number in range(2_000):
            written = sum(file.stat().st_size for file in files if file.exists())
            assert written > 100 * (number - 500), "rows are held back"
            yield row(f"{SOURCE}/cam1/{number:07}.jpg")

    facts = FormatFacts(job(), read_deployments(tmp_path / "cameras.csv"))
    getattr(import_module(module), function)(many(), facts, *files)


def test_overwrite_takes_away_what_the_formats_wrote_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "camtrap-dp").mkdir()
    ours = [tmp_path / made.folder / name for made in FORMATS.values() for name in made.names]
    others = [tmp_path / "deployments.csv", tmp_path / "camtrap-dp" / "notes.txt"]
    for file in (*ours, *others):
        file.write_text("here")
    remove_formats(Storage(str(tmp_path)))
    assert not any(file.exists() for file in ours)
    assert all(file.exists() for file in others)
    others[1].unlink()
    remove_formats(Storage(str(tmp_path)))
    assert not (tmp_path / "camtrap-dp").exists()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--format", "camtrap-dp"], "--format camtrap-dp needs --deployments FILE"),
        (["--deployments", "cameras.csv"], "--deployments is for --format camtrap-dp"),
        (["--format", "camtrap-dp", "--deployments", "none.csv"], "none.csv: cannot be read"),
        (["--format", "csv,xls"], "--format xls: no such format; there are camtrap-dp, csv, jsonl,"),
    ],
)
def test_what_a_format_lacks_is_said_before_any_work(
    options: list[str], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    order = cli.read(["archive", str(PHOTOS[0]), "-o", "out", *options])
    with pytest.raises(ConfigError, match=says) as refused:
        archive(**order.given)  # type: ignore[arg-type] # as the command line gives them
    assert refused.value.exit_code == 2
    assert not (tmp_path / "out").exists()
