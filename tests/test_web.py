"""Dashboard, API, metrics, health: the real daemon, asked over HTTP."""

import contextlib
import csv
import io
import json
import os
import shutil
import signal
import socket
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from brokers import free_port, mosquitto, wait_until
from daemons import PHOTOS, ROOT, House, running
from dropsight import installing
from dropsight.status.ignored import MOST_KINDS
from test_reload import hang_up, rewrite
from torture import small_pictures
from webs import ANY_PORT, address, ask, idle_client, idle_stream, is_up, stream

COFFEE = next(path for path in PHOTOS if "coffee" in path.name)
PANDA = next(path for path in PHOTOS if "panda" in path.name)


def drop(house: House, name: str, photo: Path = COFFEE) -> None:
    """Drop a photo and wait until it is on record."""
    before = house.finished()
    target = house.inbox / name
    target.parent.mkdir(exist_ok=True)
    shutil.copy(photo, target)
    wait_until(lambda: house.finished() == before + 1)


def drop_many(house: House, count: int, batch: int = 0) -> None:
    pictures = list(small_pictures())
    for number in range(count):
        (house.inbox / f"{batch}-{number:04}.jpg").write_bytes(pictures[number % len(pictures)])


def results(url: str, query: str = "") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = ask(url, f"/api/results{query}").json()["results"]
    return found


def metrics(url: str) -> dict[str, float]:
    """Samples by name and labels, as Prometheus reads them."""
    answer = ask(url, "/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    return {
        ",".join([sample.name, *map("=".join, sorted(sample.labels.items()))]): sample.value
        for family in text_string_to_metric_families(answer.body.decode())
        for sample in family.samples
    }


@pytest.mark.slow
def test_results_are_those_of_the_log_newest_first_and_by_what_is_asked(tmp_path: Path) -> None:
    with running(tmp_path, web=ANY_PORT) as house:
        url = address(house)
        drop(house, "front/coffee.jpg")
        drop(house, "back/panda.jpg", PANDA)
        (house.inbox / "back" / "bad.jpg").write_bytes(b"")
        wait_until(lambda: house.finished() == 3)
        wait_until(lambda: len(results(url)) == 3)
        assert results(url) == house.records()[::-1]
        assert [each["label"] for each in results(url, "?status=ok&limit=1")] == ["giant panda"]
        assert [each["camera"] for each in results(url, "?camera=front")] == ["front"]
        assert [each["label"] for each in results(url, "?label=PANDA")] == ["giant panda"]
        assert [each["predicted_class"] for each in results(url, "?class=388")] == [388]
        assert len(results(url, "?min_confidence=0.9")) == 2
        assert [each["error"]["code"] for each in results(url, "?status=failed")] == ["empty"]
        page = ask(url, "/api/results?limit=2").json()
        assert results(url, f"?before={page['before']}") == house.records()[:1]
        record = house.records()[0]
        assert ask(url, f"/api/records/{record['id']}").json() == record


HUGE = "9" * 1_500  # more than fits SQLite; an address has its own bound
DIGITS = "%D9%A3"  # an Arabic three: a digit to Python
NO_NUMBERS = ("-1", "x", "1.5", "%00", "1%00", "%ED%A0%80", "NaN", "", "1_0", DIGITS, HUGE, str(2**63))


@pytest.mark.slow
def test_a_question_that_is_not_understood_is_answered_with_why(tmp_path: Path) -> None:
    questions = [f"{name}={said}" for name in ("limit", "before", "class") for said in NO_NUMBERS]
    questions += ["limit=0", "limit=501", "status=no", "status=%00", "colour=red"]
    questions += [f"min_confidence={said}" for said in ("2", "-inf", "1e999", ".", *NO_NUMBERS)]
    with running(tmp_path, web=ANY_PORT) as house:
        url = address(house)
        for path in ("/api/results", "/api/export"):
            for query in questions:
                answer = ask(url, f"{path}?{query}")
                assert answer.status == 400, (path, query)
                assert answer.json()["error"].startswith(query.partition("=")[0])
        for said in (*NO_NUMBERS[:-2], HUGE, "9" * 5_000):
            if said:
                assert ask(url, "/api/results/stream", headers={"Last-Event-ID": said}).status == 400, said
                assert ask(url, f"/api/results/stream?after={said[:1_500]}").status == 400, said
        for name in ("%00", "%FF", "x" * 1_500):
            assert results(url, f"?camera={name}&label={name[:300]}") == []
            for path in ("records/{}", "images/{}/thumbnail", "images/{}/original", "images/{}/explanation"):
                assert ask(url, f"/api/{path.format(name)}").status == 404, (path, name)
        assert "Traceback" not in house.daemon_log()


@pytest.mark.slow
@pytest.mark.parametrize("after", ["move", "keep"])
def test_a_thumbnail_shows_the_image_wherever_it_was_filed(tmp_path: Path, after: str) -> None:
    with running(tmp_path, web=ANY_PORT, watch=[{"path": "inbox", "after": after}]) as house:
        url = address(house)
        drop(house, "front/coffee.jpg")
        (record,) = house.records()
        path = f"/api/images/{record['id']}/thumbnail"
        answer = ask(url, path)
        assert answer.headers["content-type"] == "image/jpeg"
        assert "immutable" in answer.headers["cache-control"]
        picture = cv2.imdecode(np.frombuffer(answer.body, np.uint8), cv2.IMREAD_COLOR)
        assert picture is not None
        assert max(picture.shape) == 320
        again = ask(url, path, headers={"If-None-Match": answer.headers["etag"]})
        assert (again.status, again.body) == (304, b"")
        large = cv2.imdecode(np.frombuffer(ask(url, f"{path}?size=large").body, np.uint8), cv2.IMREAD_COLOR)
        assert large is not None
        assert max(large.shape) == max(record["image"]["width"], record["image"]["height"])
        assert ask(url, f"{path}?size=9000").status == 400


@pytest.mark.slow
def test_an_image_that_is_gone_or_no_picture_has_no_thumbnail(tmp_path: Path) -> None:
    with running(tmp_path, web=ANY_PORT, watch=[{"path": "inbox", "after": "delete"}]) as house:
        url = address(house)
        drop(house, "coffee.jpg")
        (house.inbox / "bad.jpg").write_bytes(b"no picture")
        wait_until(lambda: len(house.records()) == 2)
        for record in house.records():
            assert ask(url, f"/api/images/{record['id']}/thumbnail").status == 404


@pytest.mark.slow
def test_an_explanation_is_shown_where_the_record_names_one(tmp_path: Path) -> None:
    with running(tmp_path, web=ANY_PORT, explain={"below_confidence": 1.0}) as house:
        url = address(house)
        drop(house, "coffee.jpg")
        (record,) = house.records()
        path = f"/api/images/{record['id']}/explanation"
        wait_until(lambda: ask(url, path).status == 200)
        assert ask(url, path).body == Path(record["explanation"]).read_bytes()


@pytest.mark.slow
def test_a_stream_tells_of_every_record_and_goes_on_where_it_ended(tmp_path: Path) -> None:
    with running(tmp_path, web=ANY_PORT) as house:
        url = address(house)
        with stream(url) as events:
            assert events.status == 200
            drop(house, "a.jpg")
            first = events.record()
            drop(house, "b.jpg")
            assert events.record()["image_path"] == "b.jpg"
        drop(house, "c.jpg")
        with stream(url, Last_Event_ID=str(first["seq"])) as events:
            drop(house, "d.jpg")
            assert [events.record()["image_path"] for _ in range(3)] == ["b.jpg", "c.jpg", "d.jpg"]
        with stream(url, "?after=999999") as events:  # another journal's
            assert events.record() == first


@pytest.mark.slow
def test_a_stream_under_load_has_every_record_once_and_in_order(tmp_path: Path) -> None:
    with running(tmp_path, web=ANY_PORT) as house:
        url = address(house)
        drop_many(house, 300)
        wait_until(lambda: house.finished() > 20)
        with stream(url, "?after=0") as events:
            seqs = [events.record()["seq"] for _ in range(300)]
    assert seqs == list(range(1, 301))


@pytest.mark.slow
def test_who_asks_for_the_figures_gets_them_in_the_stream(tmp_path: Path) -> None:
    with running(tmp_path, web=ANY_PORT) as house, stream(address(house), "?stats=1") as events:
        event = events.next()
        assert event["event"] == "stats"
        assert json.loads(event["data"])["status"]["device"] == "test"


@pytest.mark.slow
def drop_many_that_are_none(house: House, count: int, batch: int) -> None:
    """Whose records are made in no time, and are large by their names."""
    for number in range(count):
        (house.inbox / f"{batch:03}-{number:03}-{'x' * 230}.jpg").write_bytes(b"no picture")


@pytest.mark.slow
def test_a_client_that_does_not_read_is_hung_up_on_and_counted(tmp_path: Path) -> None:
    with running(tmp_path, web=ANY_PORT) as house:
        url = address(house)
        with idle_stream(url) as client:
            wait_until(lambda: metrics(url)["dropsight_web_streams"] == 1)
            batches = iter(range(1_000))

            def dropped() -> bool:
                if house.counters()["waiting"] < 50:
                    drop_many_that_are_none(house, 200, next(batches))
                return metrics(url)["dropsight_web_streams_dropped_total"] == 1

            wait_until(dropped)
            wait_until(lambda: metrics(url)["dropsight_web_streams"] == 0)
            client.settimeout(60)
            with contextlib.suppress(ConnectionResetError):
                while client.recv(65_536):  # what the kernel still had
                    pass


@pytest.mark.slow
@pytest.mark.broker
def test_the_metrics_are_read_by_prometheus_and_say_what_the_status_says(tmp_path: Path) -> None:
    with mosquitto(tmp_path) as broker, running(tmp_path, web=ANY_PORT, mqtt={"url": broker.url}) as house:
        url = address(house)
        drop(house, "front/coffee.jpg")
        (house.inbox / "front" / "bad.jpg").write_bytes(b"")
        wait_until(lambda: house.finished() == 2)
        wait_until(lambda: metrics(url)["dropsight_mqtt_published_total"] == 2)
        found = metrics(url)
        newest = (house.processed / "front" / "coffee.jpg").stat().st_mtime
    assert found["dropsight_images_total,status=ok"] == 1
    assert found["dropsight_images_total,status=failed"] == 1
    assert found["dropsight_failures_total,code=empty"] == 1
    assert found["dropsight_class_images_total,label=espresso"] == 1
    assert found["dropsight_class_images_total,label=tench"] == 0
    assert found["dropsight_failures_total,code=truncated"] == 0
    assert found["dropsight_camera_images_total,camera=front"] == 2
    assert found["dropsight_stage_latency_seconds_count,stage=total"] == 1  # of answers
    assert found["dropsight_stage_latency_seconds_bucket,le=+Inf,stage=inference"] == 1
    assert 0 < found["dropsight_stage_latency_seconds_sum,stage=inference"] < 60
    assert found["dropsight_mqtt_connected"] == 1
    assert found["dropsight_outbox_records"] == 0
    assert found["dropsight_queue_depth,queue=paths"] == 0
    assert found["dropsight_camera_last_image_timestamp_seconds,camera=front"] >= newest - 60
    assert found["process_resident_memory_bytes"] > 2**20
    assert any(name.startswith("dropsight_model_info") and "quantization=int8" in name for name in found)


def test_before_the_first_image_every_series_whose_labels_are_known_stands_at_0(tmp_path: Path) -> None:
    """Prometheus counts nothing of the value that a series is born with."""
    watch = [{"path": "inbox", "cameras": ["front"]}]
    with running(tmp_path, web=ANY_PORT, watch=watch) as house:
        found = metrics(address(house))
    for status in ("ok", "failed", "expired"):
        assert found[f"dropsight_images_total,status={status}"] == 0
    for stage in ("wait", "decode", "preprocess", "inference", "postprocess", "total"):
        assert found[f"dropsight_stage_latency_seconds_count,stage={stage}"] == 0
        assert found[f"dropsight_stage_latency_seconds_bucket,le=+Inf,stage={stage}"] == 0
    assert found["dropsight_camera_images_total,camera=front"] == 0
    assert found["dropsight_class_images_total,label=tench"] == 0
    assert found["dropsight_failures_total,code=truncated"] == 0


@pytest.mark.slow
def test_the_metrics_count_what_is_ignored_by_suffix_and_name_no_more_than_a_few(tmp_path: Path) -> None:
    for number in range(30):
        (tmp_path / "inbox" / f"{number % 3}").mkdir(parents=True, exist_ok=True)
        (tmp_path / "inbox" / f"{number % 3}" / f"a.x{number}").touch()
    names = ("a.xmp", "b.XMP", "c.xmp", "notes", "note")
    for name in names:
        (tmp_path / "inbox" / name).touch()
    with running(tmp_path, web=ANY_PORT) as house:
        url = address(house)
        wait_until(lambda: metrics(url)["dropsight_ignored_files,suffix=no suffix"] == 2)
        found = {name: value for name, value in metrics(url).items() if "ignored_files" in name}
        assert found["dropsight_ignored_files,suffix=.xmp"] == 3
        assert found["dropsight_ignored_files,suffix=hidden"] == 0
        assert sum(found.values()) == 30 + len(names)
        assert len(found) <= MOST_KINDS + 2  # others, hidden
        for name in names[:3]:
            (house.inbox / name).unlink()
        house.ask("rescan")
        wait_until(lambda: "dropsight_ignored_files,suffix=.xmp" not in metrics(url))


@pytest.mark.slow
def test_ready_needs_the_folder_and_a_disk_and_says_what_is_missing(tmp_path: Path) -> None:
    away = f"mqtt://127.0.0.1:{free_port()}"
    with running(tmp_path, web=ANY_PORT, mqtt={"url": away}) as house:
        url = address(house)
        answer = ask(url, "/readyz")
        assert (answer.status, answer.json()) == (200, {"ready": True, "reasons": [], "broker": "away"})
        house.inbox.rename(tmp_path / "elsewhere")
        wait_until(lambda: ask(url, "/readyz").status == 503)
        assert ask(url, "/readyz").json()["reasons"] == [f"{house.inbox} cannot be watched"]
        assert ask(url, "/healthz").status == 200


@pytest.mark.slow
def test_a_taken_port_is_a_trouble_and_had_once_it_is_free(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        listen = f"127.0.0.1:{other.getsockname()[1]}"
        house = House(tmp_path, {"web": {"listen": listen}})
        house.start()
        try:
            wait_until(lambda: "another program listens" in house.status()["troubles"].get("web", ""))
            drop(house, "a.jpg")
            other.close()
            assert address(house) == f"http://{listen}/"
            assert house.status()["troubles"] == {}
        finally:
            house.kill()


@pytest.mark.slow
def test_a_reload_moves_the_dashboard_though_streams_are_open(tmp_path: Path) -> None:
    with running(tmp_path, web=ANY_PORT) as house:
        before = address(house)
        with stream(before) as events:
            listen = f"127.0.0.1:{free_port()}"
            rewrite(house, web={"listen": listen})
            hang_up(house)
            with pytest.raises(EOFError):
                events.next()
        wait_until(lambda: is_up(f"http://{listen}/"))
        drop(house, "a.jpg")
        assert len(results(f"http://{listen}/")) == 1


def test_a_stop_waits_for_no_stream(tmp_path: Path) -> None:
    with running(tmp_path, web=ANY_PORT) as house:
        url = address(house)
        with stream(url) as events, idle_stream(url):
            assert house.process
            house.process.send_signal(signal.SIGTERM)
            with pytest.raises(EOFError):
                events.next()
            assert house.ended() == 0
        assert "Traceback" not in house.daemon_log()


@pytest.mark.slow
def test_a_stop_in_the_middle_of_pictures_is_no_traceback(tmp_path: Path) -> None:
    rough = np.random.default_rng(0).integers(0, 255, (48, 50, 3), np.uint8)
    with running(tmp_path, web=ANY_PORT) as house, contextlib.ExitStack() as connected:
        url = address(house)
        _, data = cv2.imencode(".png", cv2.resize(rough, (5_000, 4_800)))
        for name in "abc":
            (house.inbox / f"{name}.png").write_bytes(data.tobytes())
        wait_until(lambda: len(results(url)) == 3)
        clients = [
            connected.enter_context(idle_client(url, f"/api/images/{result['id']}/thumbnail?size={size}"))
            for size in ("small", "large")
            for result in results(url)
        ]
        assert clients[0].recv(1)
        assert house.stop() == 0
        assert "Traceback" not in house.daemon_log()


@pytest.mark.slow
def test_the_last_day_is_known_after_a_restart(tmp_path: Path) -> None:
    with running(tmp_path, web=ANY_PORT) as house:
        drop(house, "front/coffee.jpg")
        assert house.stop() == 0
        house.start()
        url = address(house)
        wait_until(lambda: ask(url, "/api/stats").json()["day"]["classes"] == {"cup": 1})
        assert list(ask(url, "/api/stats").json()["cameras"]) == ["front"]


def test_without_the_extra_the_daemon_runs_and_says_once_how_to_get_it(tmp_path: Path) -> None:
    """A folder of that name without anything in it is what an import finds first."""
    for name in ("starlette", "uvicorn", "prometheus_client"):
        (tmp_path / "none" / name).mkdir(parents=True)
        (tmp_path / "none" / name / "__init__.py").write_text("raise ImportError('not here')\n")
    house = House(tmp_path, {"web": ANY_PORT})
    house.spawn(PYTHONPATH=f"{tmp_path / 'none'}{os.pathsep}{ROOT / 'daemon'}")
    try:
        wait_until(lambda: installing.with_extra("web") in house.daemon_log())
        drop(house, "a.jpg")
        assert installing.with_extra("web") in house.status()["troubles"]["web"]
    finally:
        house.kill()


@pytest.mark.slow
def test_problems_and_troubles_are_exported_as_0_before_there_are_any(tmp_path: Path) -> None:
    """An alert on a series that is not there yet never fires, and one on a change misses the first."""
    with running(tmp_path, web=ANY_PORT) as house:
        url = address(house)
        drop(house, "front/coffee.jpg")
        found = metrics(url)
        for kind in ("silent", "black", "frozen", "blurred"):
            assert found[f"dropsight_camera_problem,camera=front,kind={kind}"] == 0
        for part in ("journal", "log", "filing", "mqtt", "model"):
            assert found[f"dropsight_trouble,part={part}"] == 0
        house.stop()
        house.start()
        assert metrics(address(house))["dropsight_camera_problem,camera=front,kind=black"] == 0


@pytest.mark.slow
def test_the_first_point_of_the_rate_is_no_spike_of_what_was_before(tmp_path: Path) -> None:
    house = House(tmp_path, {"web": ANY_PORT})
    drop_many(house, 40)
    house.start()
    try:
        url = address(house)
        house.until(lambda: house.finished() == 40)
        wait_until(lambda: bool(ask(url, "/api/stats").json()["course"]), what="the first point")
        first = ask(url, "/api/stats").json()["course"][0]
        assert first["images_per_second"] <= 40 / 4.9
    finally:
        house.kill()


OWN = {"X-Dropsight": "1"}


def test_pause_and_resume_and_rescan_are_commands_of_the_dashboard(tmp_path: Path) -> None:
    with running(tmp_path, web=ANY_PORT) as house:
        url = address(house)
        for name, paused in (("pause", True), ("rescan", True), ("resume", False)):
            answer = ask(url, f"/api/commands/{name}", method="POST", headers=OWN, body=b"")
            assert (answer.status, answer.json()) == (200, {"ok": True})
            assert house.status()["paused"] is paused
        for name in ("reload", "explain", "stats", "%00"):
            assert ask(url, f"/api/commands/{name}", method="POST", headers=OWN, body=b"").status == 404


@pytest.mark.slow
def test_an_explanation_is_made_when_asked_for_or_it_is_said_why_not(tmp_path: Path) -> None:
    with running(tmp_path, web=ANY_PORT) as house:
        url = address(house)
        drop(house, "coffee.jpg")
        (house.inbox / "bad.jpg").write_bytes(b"")
        wait_until(lambda: len(house.records()) == 2)
        good, bad = (f"/api/images/{record['id']}/explanation" for record in house.records())
        assert ask(url, good).status == 404
        assert ask(url, good, method="POST", headers=OWN, body=b"").json() == {"ok": True}
        assert cv2.imdecode(np.frombuffer(ask(url, good).body, np.uint8), cv2.IMREAD_COLOR) is not None
        refused = ask(url, bad, method="POST", headers=OWN, body=b"")
        assert refused.status == 409
        assert "no prediction to explain" in refused.json()["error"]
        unknown = ask(url, "/api/images/none/explanation", method="POST", headers=OWN, body=b"")
        assert "no record" in unknown.json()["error"]


def test_an_image_is_downloaded_as_it_was_dropped(tmp_path: Path) -> None:
    with running(tmp_path, web=ANY_PORT) as house:
        url = address(house)
        drop(house, 'front/my "coffee"\r\nX: ü.jpg')
        (record,) = house.records()
        answer = ask(url, f"/api/images/{record['id']}/original")
        assert answer.body == COFFEE.read_bytes()
        assert answer.headers["content-type"] == "application/octet-stream"
        told = answer.headers["content-disposition"]
        assert told == "attachment; filename*=UTF-8''my%20%22coffee%22%0D%0AX%3A%20%C3%BC.jpg"
        planted = house.processed / "front" / 'my "coffee"\r\nX: ü.jpg'
        planted.unlink()
        planted.symlink_to("/etc/passwd")
        assert ask(url, f"/api/images/{record['id']}/original").status == 404


@pytest.mark.slow
def test_what_fits_is_exported_as_lines_and_as_a_table_that_acts_on_nothing(tmp_path: Path) -> None:
    with running(tmp_path, web=ANY_PORT) as house:
        url = address(house)
        drop(house, "=1+1/coffee.jpg")
        drop(house, "back/panda.jpg", PANDA)
        (house.inbox / "back" / "bad.jpg").write_bytes(b"")
        wait_until(lambda: len(results(url)) == 3)
        lines = ask(url, "/api/export").body.splitlines()
        assert [json.loads(line) for line in lines] == house.records()[::-1]
        answer = ask(url, "/api/export?format=csv&status=ok")
        assert answer.headers["content-type"] == "text/csv; charset=utf-8"
        rows = list(csv.DictReader(io.StringIO(answer.body.decode())))
        assert [(row["camera"], row["label"]) for row in rows] == [
            ("back", "giant panda"),
            ("'=1+1", "espresso"),
        ]
        assert ask(url, "/api/export?format=xls").status == 400


@pytest.mark.slow
def test_a_file_that_is_cut_while_it_is_downloaded_ends_the_connection_and_is_no_bug(tmp_path: Path) -> None:
    """Whoever brought it may still write to it: a traceback in the log for each."""
    with running(tmp_path, web=ANY_PORT) as house:
        url = address(house)
        (house.inbox / "large.jpg").write_bytes(COFFEE.read_bytes() + bytes(20_000_000))
        wait_until(lambda: len(house.records()) == 1)
        path = f"/api/images/{house.records()[0]['id']}/original"
        with idle_client(url, path) as client:
            assert client.recv(12) == b"HTTP/1.1 200"
            os.truncate(house.processed / "large.jpg", 1_000)
            client.settimeout(60)
            with contextlib.suppress(ConnectionResetError):
                while client.recv(65_536):
                    pass
        wait_until(lambda: is_up(url))
        assert "Traceback" not in house.daemon_log()


@pytest.mark.slow
def test_downloads_that_nobody_reads_leave_room_again_once_they_are_hung_up(tmp_path: Path) -> None:
    with running(tmp_path, web=ANY_PORT) as house:
        url = address(house)
        (house.inbox / "large.jpg").write_bytes(COFFEE.read_bytes() + bytes(20_000_000))
        wait_until(lambda: len(house.records()) == 1)
        path = f"/api/images/{house.records()[0]['id']}/original"
        with contextlib.ExitStack() as readers:

            def full() -> bool:
                readers.enter_context(idle_client(url, path))
                return ask(url, "/api/export").status == 503

            wait_until(full)
        wait_until(lambda: ask(url, "/api/export").status == 200)
