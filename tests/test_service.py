"""The smaller parts of the daemon."""

import contextlib
import logging
import os
import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brokers import wait_until
from dropsight.config import Watch
from dropsight.errors import DropsightError
from dropsight.intake.candidate import Candidate
from dropsight.intake.clock import Clock
from dropsight.intake.folder import DropFolder
from dropsight.intake.readiness import seconds_to_wait, writer
from dropsight.status.control import AT_ONCE, NAME, ControlServer, ControlSocket, NotRunningError, ask
from dropsight.status.latency import SLOTS, LatencyHistogram
from dropsight.status.supervision import Supervision
from dropsight.status.systemd import notify
from dropsight.status.troubles import Troubles

DAY = 86_400


@given(st.lists(st.floats(0.02, 100_000), min_size=1, max_size=300))
def test_percentiles_are_right_to_two_and_a_half_percent_and_the_maximum_exactly(values: list[float]) -> None:
    histogram = LatencyHistogram(1.0)
    for value in values:
        histogram.add([value], now=0.0)
    found = histogram.since_start()
    assert found.count == len(values)
    assert found.max == pytest.approx(max(values), abs=0.001)
    for share, mine in ((50, found.p50), (95, found.p95), (99, found.p99)):
        nearest = float(np.percentile(values, share, method="inverted_cdf"))
        assert mine == pytest.approx(nearest, rel=0.026, abs=0.002)


def test_the_window_forgets_and_the_start_does_not() -> None:
    histogram = LatencyHistogram(1.0)
    histogram.add([5.0], now=0.0)
    assert histogram.window(now=SLOTS - 1.0).count == 1
    assert histogram.window(now=SLOTS + 1.0).count == 0
    assert histogram.since_start().count == 1


def folder_at(root: Path, **settings: bool | tuple[str, ...]) -> DropFolder:
    return DropFolder.open(
        msgspec.structs.replace(
            Watch(path=root, processed=root / "processed", failed=root / "failed"), **settings
        )
    )


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("a.jpg", True),
        ("A.JPG", True),
        ("cam/day/a.jpeg", True),
        (".a.jpg", False),
        ("a.jpg.part", False),
        ("a.txt", False),
        ("processed/a.jpg", False),
        ("failed/cam/a.jpg", False),
        ("line\nbreak.jpg", True),
    ],
)
def test_images_are_taken_by_name_and_place(path: str, wanted: bool) -> None:  # noqa: FBT001
    assert folder_at(Path("/in")).wants(f"/in/{path}") is wanted


def test_the_first_folder_below_the_inbox_is_the_camera() -> None:
    folder = folder_at(Path("/in"))
    cameras = [folder.camera(f"/in/{path}") for path in ("a.jpg", "front/a.jpg", "front/day/a.jpg")]
    assert cameras == ["default", "front", "front"]


def test_without_recursion_sub_folders_are_left_alone() -> None:
    assert not folder_at(Path("/in"), recursive=False).wants("/in/front/a.jpg")


def test_a_walk_follows_no_links_to_folders(tmp_path: Path) -> None:
    inbox = tmp_path / "in"
    (inbox / "cam").mkdir(parents=True)
    (inbox / "cam" / "a.jpg").touch()
    (inbox / "loop").symlink_to(inbox)
    assert list(folder_at(inbox).images()) == [str(inbox / "cam" / "a.jpg")]


def test_a_file_is_not_complete_while_somebody_has_it_open_for_writing(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    candidate = Candidate(folder_at(tmp_path), str(path), closed=True, ready_at=0.0)
    with path.open("wb") as half:
        half.write(b"half")
        half.flush()
        reader = os.open(path, os.O_RDONLY)
        if writer(reader) == "unknown":
            os.close(reader)
            pytest.skip("this file system grants no leases")
        assert seconds_to_wait(candidate, reader, path.stat(), Clock().age_seconds) > 0
    assert seconds_to_wait(candidate, reader, path.stat(), Clock().age_seconds) == 0
    os.close(reader)


class _TakenAway(NamedTuple):
    """A file on which the kernel has ended the lease by the time that it is to be given back."""

    descriptors: list[int]

    def fileno(self) -> int:
        return self.descriptors.pop()


def test_a_writer_that_took_the_lease_from_who_stood_still_with_it_is_waited_for(tmp_path: Path) -> None:
    """It has lease-break-time for that, 45 s, as while a service is frozen; the image failed as by a bug."""
    path = tmp_path / "a.jpg"
    path.write_bytes(b"whole")
    with path.open("rb") as leased, path.open("rb") as without_a_lease:
        if writer(leased.fileno()) == "unknown":
            pytest.skip("this file system grants no leases")
        taken_away = _TakenAway([without_a_lease.fileno(), leased.fileno()])
        assert writer(taken_away) == "present"  # type: ignore[arg-type] # fcntl takes it


def test_a_file_written_whole_is_on_disk_before_it_has_its_name(tmp_path: Path) -> None:
    """As the kernel saw it: the data, then its sync, then the name, then the folder's sync."""
    script = (
        "import sys, pathlib, dropsight.files.disk as disk\n"
        "disk.write_whole(pathlib.Path(sys.argv[1]), b'x' * 10)"
    )
    trace = ["strace", "-f", "-e", "trace=write,fsync,rename", "-o", str(tmp_path / "trace")]
    if not shutil.which("strace"):
        pytest.skip("needs strace")
    subprocess.run([*trace, sys.executable, "-c", script, str(tmp_path / "a")], check=True)
    calls = [line.split("(")[0].split()[-1] for line in (tmp_path / "trace").read_text().splitlines()]
    assert calls[-5:-1] == ["write", "fsync", "rename", "fsync"]


def test_the_control_socket_answers_known_commands_and_refuses_others(tmp_path: Path) -> None:
    deep = tmp_path / ("x" * 120)  # beyond the kernel's limit for a socket's path
    deep.mkdir()
    control = ControlSocket()
    server = ControlServer(
        control.open(deep), {"status": lambda: b'{"fine":true}'}, otherwise=lambda _: b"what?"
    )
    server.start(Supervision(Troubles(logging.getLogger(__name__))))
    assert ask(deep, "status") == b'{"fine":true}'
    assert ask(deep, "dance") == b"what?"
    server.close()
    control.close()
    with pytest.raises(NotRunningError):
        ask(deep, "status")
    wait_until(lambda: not list(deep.iterdir()))


def test_who_asks_slowly_or_nonsense_keeps_nobody_else_waiting(tmp_path: Path) -> None:
    control = ControlSocket()
    server = ControlServer(control.open(tmp_path), {"status": lambda: b"{}"}, otherwise=lambda _: b"what?")
    server.start(Supervision(Troubles(logging.getLogger(__name__))))
    with contextlib.ExitStack() as stack:
        for sent in (b"", b'{"x":' + b"[" * 3000 + b"\n", b"\xff\n", b"{"):
            idle = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
            idle.connect(str(tmp_path / NAME))
            idle.sendall(sent)
        assert ask(tmp_path, "status") == b"{}"
    server.close()
    control.close()


def test_who_asks_while_one_server_follows_another_is_answered_by_the_next(tmp_path: Path) -> None:
    control, supervision = ControlSocket(), Supervision(Troubles(logging.getLogger(__name__)))
    former = ControlServer(control.open(tmp_path), {"status": lambda: b"former"}, otherwise=lambda _: b"")
    former.start(supervision)
    assert ask(tmp_path, "status") == b"former"
    former.close()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
        asking.settimeout(60)
        asking.connect(str(tmp_path / NAME))
        asking.sendall(b'{"command":"status"}\n')
        server = ControlServer(control.open(tmp_path), {"status": lambda: b"next"}, otherwise=lambda _: b"")
        server.start(supervision)
        assert asking.recv(100) == b"next\n"
    (tmp_path / NAME).unlink()  # by whoever clears the folder: a reload makes another
    server.close()
    server = ControlServer(control.open(tmp_path), {"status": lambda: b"third"}, otherwise=lambda _: b"")
    server.start(supervision)
    assert ask(tmp_path, "status") == b"third"
    server.close()
    control.close()


def test_who_asks_byte_by_byte_holds_no_place_for_longer_than_a_question_has(tmp_path: Path) -> None:
    control = ControlSocket()
    server = ControlServer(
        control.open(tmp_path), {"status": lambda: b"{}"}, otherwise=lambda _: b"what?", seconds=1.0
    )
    server.start(Supervision(Troubles(logging.getLogger(__name__))))
    over, asked = threading.Event(), threading.Barrier(AT_ONCE + 1)

    def trickle() -> None:
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as slow:
            slow.connect(str(tmp_path / NAME))
            asked.wait(20)
            while not over.wait(0.1):
                slow.sendall(b" ")

    slow_ones = [threading.Thread(target=trickle) for _ in range(AT_ONCE)]
    try:
        for each in slow_ones:
            each.start()
        asked.wait(20)
        assert ask(tmp_path, "status", patience=20) == b"{}"
    finally:
        over.set()
        for each in slow_ones:
            each.join()
        server.close()
        control.close()


def test_a_status_for_systemd_is_one_line_whatever_it_quotes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file's name in an error text must not become a field of its own."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as supervisor:
        supervisor.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        notify(STATUS="new\nMAINPID=1\udcff.jpg")
        assert supervisor.recv(1000) == b"STATUS=new; MAINPID=1\\udcff.jpg"


def test_a_daemon_that_too_many_ask_at_once_is_not_taken_for_none(tmp_path: Path) -> None:
    """Else a visit to the broker would be made under its client id, and end its session."""
    with socket.socket(socket.AF_UNIX) as busy, socket.socket(socket.AF_UNIX) as first:
        busy.bind(str(tmp_path / NAME))
        busy.listen(0)
        first.connect(str(tmp_path / NAME))
        with pytest.raises(DropsightError, match="too many ask it at once") as caught:
            ask(tmp_path, "status")
        assert not isinstance(caught.value, NotRunningError)
