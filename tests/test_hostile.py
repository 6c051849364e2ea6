"""Bad input stops nothing: each file gets its outcome, memory its bound, the next image its answer."""

import os
import re
import shutil
import threading
from pathlib import Path

import pytest

import hostile
from brokers import wait_until
from daemons import PHOTOS, SAMPLES, House, dropsight, running
from disks import small_disk
from dropsight import ImageInferenceRuntime
from dropsight.crashpoints import VARIABLE
from dropsight.errors import ImageError
from dropsight.images.tiff import moment
from dropsight.inference.results import ImageFailure

MEMORY_BOUND_KIB = 260 * 1024


def outcome(record: dict[str, object]) -> str:
    error = record.get("error")
    return str(error["code"]) if isinstance(error, dict) else str(record["status"])


def peak_kib(house: House) -> int:
    pid = house.status()["pid"]
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


@pytest.mark.slow
def test_every_hostile_file_gets_the_right_outcome_and_the_next_good_image_is_unaffected(
    tmp_path: Path,
) -> None:
    expected: dict[str, hostile.Outcomes] = {}
    with running(tmp_path, watch=[{"path": "inbox", "settle_seconds": 0.2}]) as house:
        for name, content, right in hostile.contents():
            (house.inbox / name).write_bytes(content)
            expected[name] = right
        expected |= dict(hostile.things(house.inbox))
        noise = os.urandom(2**20)
        with (house.inbox / "noise.jpg").open("wb") as file:
            for _ in range(100):
                file.write(noise)
        expected["noise.jpg"] = frozenset({"too_large"})
        wait_until(lambda: house.finished() == len(expected))
        shutil.copyfile(PHOTOS[0], house.inbox / "good.jpg")
        wait_until(lambda: house.finished() == len(expected) + 1)
        assert peak_kib(house) < MEMORY_BOUND_KIB
        assert [path.name for path in house.inbox.iterdir()] == ["folder.jpg"]
        assert house.stop() == 0
    found = {record["image_path"]: outcome(record) for record in house.records()}
    assert found.pop("good.jpg") == "ok"
    wrong = {name: found.get(name) for name, right in expected.items() if found.get(name) not in right}
    assert wrong == {}
    assert set(found) == set(expected)


def test_a_file_of_any_name_is_classified_logged_and_moved_under_its_name(tmp_path: Path) -> None:
    house = House(tmp_path, {})
    for name in hostile.names():
        shutil.copy(PHOTOS[0], house.inbox / os.fsdecode(name))
    done = dropsight("run", "-c", str(house.config), "--once")
    assert done.returncode == 0
    assert {record["status"] for record in house.records()} == {"ok"}
    assert sorted(os.fsencode(path.name) for path in house.processed.iterdir()) == sorted(hostile.names())
    assert len(house.records()) == len(hostile.names())


# Before 1677 and after 2262 SQLite's nanoseconds end, before 1 and after 9999 the calendar does.
ODD_SECONDS = (-(2**40), -(10**10), -1, 10**10, 2**38, 2**55)


@pytest.mark.slow
def test_a_file_of_any_time_is_recorded_filed_and_found_again_after_a_kill(tmp_path: Path) -> None:
    house = House(tmp_path, {"watch": [{"path": "inbox"}, {"path": "kept", "after": "keep"}]})
    (tmp_path / "kept").mkdir()
    with small_disk(house.inbox), small_disk(tmp_path / "kept"):  # which stores all times, unlike ext4
        for prefix, folder in (("", house.inbox), ("kept", tmp_path / "kept")):
            for second in ODD_SECONDS:
                path = folder / f"{prefix}{second}.jpg"
                shutil.copy(PHOTOS[0], path)
                os.utime(path, ns=(0, second * 10**9))
                if path.stat().st_mtime_ns != second * 10**9:
                    pytest.skip("no file system at hand stores such times")
        try:
            house.spawn(**{VARIABLE: "after_commit"})
            assert house.ended() == -9
            for _ in range(2):
                house.start()
                house.until(lambda: not house.waiting() and len(house.records()) == 2 * len(ODD_SECONDS))
                assert house.stop() == 0
        finally:
            house.kill()
        assert len(list(house.processed.iterdir())) == len(ODD_SECONDS)
    found = {record["image_path"]: record["image"]["captured"] for record in house.records()}
    assert len(house.records()) == 2 * len(ODD_SECONDS)
    assert found[f"{-(2**40)}.jpg"] == "0001-01-01T00:00:00.000000Z"
    assert found[f"{2**55}.jpg"].startswith("9999-12-31T23:59:5")


@pytest.mark.parametrize("captured", ["0001:01:01 00:00:00", "9999:12:31 23:59:59", "0999:01:01 00:00:00"])
def test_a_camera_s_own_time_has_four_digits_of_a_year_or_is_none(captured: str) -> None:
    for offset in (None, "+14:00", "-14:00"):
        found = moment(captured, offset)
        assert found is None or re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", found)


BUILTIN = SAMPLES.parent / "models" / "builtin" / "efficientnet_lite0_int8.tflite"


def model_without_numbers(root: Path) -> Path:
    """As by a damaged model: with that of the config its temperature comes to 0, and 0 / 0 is no number."""
    shutil.copy(BUILTIN, root / "model.tflite")
    (root / "model.yaml").write_text("temperature: 1.0e-308\n")
    return root / "model.tflite"


@pytest.mark.slow
def test_an_answer_that_is_no_number_is_a_model_error_and_the_next_start_is_sound(tmp_path: Path) -> None:
    model = {"path": str(model_without_numbers(tmp_path))}
    house = House(tmp_path, {"model": model, "inference": {"temperature": 1e-308}})
    shutil.copy(PHOTOS[0], house.inbox)
    once = ("run", "-c", str(house.config), "--once")
    assert dropsight(*once).returncode == 0
    (record,) = house.records()
    assert (record["status"], record["error"]["code"]) == ("failed", "model_error")
    assert (house.failed / PHOTOS[0].name).exists()
    House(tmp_path, {})
    shutil.copy(PHOTOS[1], house.inbox)
    assert dropsight(*once).returncode == 0
    assert house.records()[1]["status"] == "ok"


def test_a_batch_with_an_answer_that_is_no_number_has_an_error_in_its_place(tmp_path: Path) -> None:
    model = str(model_without_numbers(tmp_path))
    runtime = ImageInferenceRuntime(model_path=model, temperature=1e-308)
    found = runtime.predict_batch([PHOTOS[0], PHOTOS[1]]).results
    assert [entry.error.code for entry in found if isinstance(entry, ImageFailure)] == ["model_error"] * 2
    with pytest.raises(ImageError, match="not a number"):
        runtime.predict(PHOTOS[0])


@pytest.mark.slow
def test_files_that_vanish_or_change_under_the_daemon_s_hands_stop_nothing(tmp_path: Path) -> None:
    ended = threading.Event()

    def meddle() -> None:
        """Write, cut, replace and delete, each file about as often as it is looked at."""
        number = 0
        while not ended.wait(0.004):
            path = house.inbox / f"{number % 20}.jpg"
            path.write_bytes(PHOTOS[number % len(PHOTOS)].read_bytes()[: 20_000 * (number % 3)])
            if number % 5 == 0:
                path.unlink(missing_ok=True)
            number += 1

    with running(tmp_path, watch=[{"path": "inbox", "settle_seconds": 0.1}]) as house:
        meddler = threading.Thread(target=meddle)
        meddler.start()
        try:
            wait_until(lambda: house.finished() > 200)
        finally:
            ended.set()
            meddler.join()
        shutil.copyfile(PHOTOS[0], house.inbox / "good.jpg")
        wait_until(lambda: "good.jpg" in {record["image_path"] for record in house.records()})
        house.until(lambda: not house.waiting())
        assert house.stop() == 0
    ids = [record["id"] for record in house.records()]
    assert len(ids) == len(set(ids))
    assert "Traceback" not in house.daemon_log()


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("setpriv"), reason="needs root and setpriv")
def test_an_upload_that_gets_its_permissions_last_is_waited_for_and_its_folder_is_named(
    tmp_path: Path,
) -> None:
    house = House(tmp_path, {"watch": [{"path": "inbox", "settle_seconds": 1.0}]})
    tight = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
    house.under = tight
    try:
        house.start()
        for name in ("late.jpg", "never.jpg"):
            staged = tmp_path / name
            shutil.copyfile(PHOTOS[0], staged)
            staged.chmod(0)
            staged.touch()
            staged.rename(house.inbox / name)
        told = f"{house.inbox} is not accessible to root: look at it first"
        wait_until(lambda: house.status()["troubles"].get("folders", "").startswith(told))
        (house.inbox / "late.jpg").chmod(0o644)
        wait_until(lambda: house.counters()["waiting"] == 1)
        assert [record["image_path"] for record in house.records()] == ["late.jpg"]
        (house.inbox / "never.jpg").unlink()
        wait_until(lambda: "folders" not in house.status()["troubles"])
    finally:
        house.kill()
    assert [outcome(record) for record in house.records()] == ["ok"]
