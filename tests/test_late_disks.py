"""A disk that is not there yet, or no longer: waited for and told of, while all other folders go on."""

import ctypes
import errno
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from brokers import wait_until
from daemons import HASTILY, House, bounded_by, command, dropsight
from dropsight.commands.mute_places import unmounted
from dropsight.config import Config, Log, Store, Watch
from dropsight.files import filesystems
from dropsight.intake import inboxes, mute_inboxes
from dropsight.intake.mute_inboxes import MuteInboxes
from receivers import secret_file
from test_closed_folders import OTHERS, UNPRIVILEGED
from test_reload import MODEL
from test_tls import Authority
from test_watch import SOON, drop, is_taken, mount, trouble, unmount
from webs import ANY_PORT, address, ask

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    """Two inboxes, one of them on a disk that is not mounted yet; the daemon may not write to its place."""
    (usb := tmp_path / "usb").mkdir(0o555)
    house = House(tmp_path, {"web": ANY_PORT, "watch": [{"path": "usb/inbox"}, {"path": "inbox"}]})
    house.under = UNPRIVILEGED
    yield house
    house.kill()
    while os.path.ismount(usb):
        subprocess.run(["umount", "--lazy", usb], check=True)


@pytest.mark.slow
def test_an_inbox_on_a_disk_that_is_not_mounted_yet_is_waited_for_and_then_made_there(house: House) -> None:
    usb = house.root / "usb"
    house.start()
    wait_until(lambda: "usb/inbox cannot be written: Permission denied" in trouble(house, "inbox"))
    assert ask(address(house), "/readyz").status == 503
    is_taken(drop(house.inbox))
    mount(usb)
    wait_until((usb / "inbox").is_dir, seconds=SOON)
    is_taken(drop(usb / "inbox"))
    wait_until(lambda: not trouble(house, "inbox"))
    wait_until(lambda: ask(address(house), "/readyz").status == 200)


@pytest.mark.slow
def test_check_says_what_run_waits_for_and_finds_no_fault_in_it(house: House) -> None:
    check = [*UNPRIVILEGED, *command("check", "-c", str(house.config))]
    done = subprocess.run(check, capture_output=True, text=True, check=False)
    fault = f"watch.0.path: {house.root}/usb/inbox cannot be written: Permission denied"
    said = f"{fault}; run waits for its disk to be mounted, or for permission"
    lines = [line for line in done.stdout.splitlines() if line.split()[1] == "folders"]
    assert f"warn  folders  {said}" in lines, done.stdout + done.stderr
    assert lines[0].startswith(f"ok    folders  {house.inbox}; run creates ")
    assert done.returncode == 0
    (house.root / "usb" / "something").touch()
    done = subprocess.run(check, capture_output=True, text=True, check=False)
    assert f"FAIL  folders  {fault}" in done.stdout.splitlines()
    assert done.returncode == 2


def test_a_single_run_does_not_wait_for_a_disk(house: House) -> None:
    house.spawn("--once")
    assert house.ended() == 1
    assert "usb/inbox cannot be written: Permission denied" in house.daemon_log()


def test_an_inbox_that_cannot_be_used_on_a_disk_that_is_there_ends_the_start(house: House) -> None:
    (house.root / "usb" / "something").touch()
    house.spawn()
    assert house.ended() == 2


@pytest.mark.slow
@pytest.mark.parametrize("way", ["closed", "moved away", "exchanged for a file"])
def test_an_uploader_whose_inbox_it_is_keeps_the_daemon_from_no_start(house: House, way: str) -> None:
    """It ended with exit code 2, never to be started again: no other inbox was read after a reboot."""
    home, inbox = house.root / "usb", house.root / "usb" / "inbox"
    home.chmod(0o755)
    inbox.mkdir(0o770)
    for path in (home, inbox):
        os.chown(path, OTHERS, OTHERS if way != "closed" else 0)
    if way == "closed":
        inbox.chmod(0o700)
    else:
        inbox.rename(home / "mine")
    if way == "exchanged for a file":
        inbox.touch()
        os.chown(inbox, OTHERS, OTHERS)
    house.start()
    is_taken(drop(house.inbox))
    assert "usb/inbox" in trouble(house, "inbox")
    assert ask(address(house), "/readyz").status == 503
    if inbox.is_file():
        inbox.unlink()
    if not inbox.exists():
        (home / "mine").rename(inbox)
    os.chown(inbox, 0, 0)
    inbox.chmod(0o770)
    is_taken(drop(inbox))
    wait_until(lambda: not trouble(house, "inbox"))


def mute_share(place: Path) -> int:
    """Mount what answers nobody, until the descriptor that this returns is closed: then it is dead."""
    server = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={server},rootmode=40000,user_id=0,group_id=0".encode()
    if ctypes.CDLL(None).mount(b"test", os.fsencode(place), b"fuse", 0, options):
        os.close(server)
        pytest.skip("no FUSE here")
    return server


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[House]:
    """Two inboxes, one of them on a share that is to be mounted, with all that belongs to it."""
    (tmp_path / "share").mkdir()
    ours = {"path": "share/inbox", "processed": "share/processed", "failed": "share/failed"}
    house = House(tmp_path, {"web": ANY_PORT, "watch": [ours, {"path": "inbox"}]})
    house.under = HASTILY
    yield house
    house.kill()
    subprocess.run(["umount", "--lazy", tmp_path / "share"], check=False, capture_output=True)


@pytest.mark.slow
def test_a_start_goes_on_without_an_inbox_on_a_share_that_does_not_answer_until_it_does(
    shared: House,
) -> None:
    """It waited, and all other inboxes with it, for as long as the share's server was gone."""
    server = mute_share(shared.root / "share")
    shared.start()
    is_taken(drop(shared.inbox))
    assert f"{shared.root}/share/inbox did not answer" in trouble(shared, "share")
    assert ask(address(shared), "/readyz").status == 503
    assert "is in use" in shared.ask("reload")["result"]
    is_taken(drop(shared.inbox, 1))
    os.close(server)
    subprocess.run(["umount", "--lazy", shared.root / "share"], check=True)
    wait_until((shared.root / "share" / "inbox").is_dir, seconds=SOON)
    is_taken(drop(shared.root / "share" / "inbox"))
    wait_until(lambda: not trouble(shared, "share"))
    wait_until(lambda: ask(address(shared), "/readyz").status == 200)
    is_taken(drop(shared.inbox, 2))
    wait_until(lambda: len(shared.records()) == 4)
    assert {each["status"] for each in shared.records()} == {"ok"}


class SlowShare:
    """One of two inboxes: of each mount of it, the first look is answered after so long."""

    def __init__(self, root: Path) -> None:
        self._place, inbox = root / "share", root / "inbox"
        self._config = Config(watch=tuple(Watch(path=each, after="keep") for each in (self._place, inbox)))
        self._place.mkdir()
        inbox.mkdir()
        self.mute = MuteInboxes()

    def is_there(self, *, after_seconds: float) -> bool:
        """Look as a start does, and tell whether that goes on with both inboxes."""
        server = mute_share(self._place)
        answer = threading.Timer(after_seconds, self._answer, (server,))
        answer.start()
        try:
            return self.mute.answering(self._config) == self._config
        finally:
            answer.join()

    def _answer(self, server: int) -> None:
        os.close(server)
        subprocess.run(["umount", "--lazy", self._place], check=True)


@pytest.fixture
def slow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SlowShare:
    monkeypatch.setattr(mute_inboxes, "PATIENCE_SECONDS", 0.3)
    return SlowShare(tmp_path)


def test_an_inbox_that_is_slow_is_waited_for_at_the_start_after_the_one_that_it_missed(
    slow: SlowShare,
) -> None:
    """One start followed another for ever, with 10 s in each that all inboxes waited; it was never read."""
    assert not slow.is_there(after_seconds=1.0)
    wait_until(lambda: slow.mute.answers)
    assert slow.is_there(after_seconds=1.0)


def test_a_share_that_answers_too_late_each_time_has_the_daemon_begin_again_less_and_less_often(
    slow: SlowShare,
) -> None:
    pauses = []
    for seconds in (0.4, 1.2, 3.0):
        began = time.monotonic()
        assert not slow.is_there(after_seconds=seconds)
        wait_until(lambda: slow.mute.answers)
        pauses.append(time.monotonic() - began - seconds)
    assert pauses[0] < pauses[1] < pauses[2]
    assert pauses[2] > 0.5


@pytest.mark.slow
def test_where_the_only_inbox_does_not_answer_that_is_said_and_waited_for_until_it_does_or_a_stop(
    shared: House,
) -> None:
    shared.configure({"watch": [{"path": "share/inbox"}]})
    server = mute_share(shared.root / "share")
    shared.spawn()
    wait_until(lambda: "share/inbox did not answer" in shared.daemon_log())
    assert shared.stop() == 0
    shared.spawn()
    wait_until(lambda: shared.daemon_log().count("share/inbox did not answer") > 1)
    os.close(server)
    subprocess.run(["umount", "--lazy", shared.root / "share"], check=True)
    wait_until((shared.root / "share" / "inbox").is_dir, seconds=SOON)
    is_taken(drop(shared.root / "share" / "inbox"))


@pytest.mark.slow
def test_a_single_run_says_that_it_left_out_what_does_not_answer(shared: House) -> None:
    server = mute_share(shared.root / "share")
    try:
        image = drop(shared.inbox)
        shared.spawn("--once")
        assert shared.ended() == 1
        assert "share/inbox did not answer" in shared.daemon_log()
        assert not image.exists()
    finally:
        os.close(server)


@pytest.mark.slow
@pytest.mark.parametrize("mute", ["share", "inbox/cam", "state"])
def test_check_says_what_does_not_answer_and_ends(shared: House, mute: str) -> None:
    """It hung, without a word, in the very case in which somebody asks it what is the matter."""
    place = shared.root / mute
    place.mkdir(exist_ok=True)
    server = mute_share(place)
    try:
        done = dropsight("check", "-c", str(shared.config), seconds=60)
    finally:
        os.close(server)
        subprocess.run(["umount", "--lazy", place], check=True)
    told = {
        "share": f"FAIL  folders  {place}/inbox did not answer for 10 s: left out until it does",
        "inbox/cam": "FAIL  folders  a folder in an inbox does not answer: nothing came for 10 s",
        "state": f"dropsight: {place}: no answer for 10 s: run waits until there is one",
    }
    assert done.returncode == 1
    assert told[mute] in done.stdout + done.stderr
    assert mute == "state" or "ok    model" in done.stdout  # all else is tested, too


@pytest.mark.slow
def test_that_records_wait_for_a_share_which_does_not_answer_is_a_trouble(tmp_path: Path) -> None:
    """Nothing was said, while all of them waited to be filed there, or behind the one that was."""
    house = House(tmp_path, {})
    house.start()
    is_taken(drop(house.inbox))  # it has begun to look by now
    server = mute_share(house.processed)
    try:
        drop(house.inbox, 1)
        wait_until(lambda: "has been in progress for 15 s" in trouble(house, "slow"))
        os.close(server)
        subprocess.run(["umount", "--lazy", house.processed], check=True)
        wait_until(lambda: not trouble(house, "slow") and not list(house.inbox.iterdir()))
    finally:
        house.kill()
        subprocess.run(["umount", "--lazy", house.processed], check=False, capture_output=True)


def test_a_share_whose_server_has_died_is_waited_for(tmp_path: Path) -> None:
    house = House(tmp_path, {})
    os.close(mute_share(house.inbox))
    try:
        house.start()
        wait_until(lambda: os.strerror(errno.ENOTCONN) in trouble(house, "inbox"))
        subprocess.run(["umount", "--lazy", house.inbox], check=True)
        is_taken(drop(house.inbox))
        wait_until(lambda: not trouble(house, "inbox"))
    finally:
        house.kill()
        subprocess.run(["umount", "--lazy", house.inbox], check=False, capture_output=True)


@pytest.mark.slow
def test_a_journal_on_a_share_whose_server_is_gone_is_waited_for(tmp_path: Path) -> None:
    """It was a traceback every five seconds, and each a crash, of which images were suspected."""
    house = House(tmp_path, {})
    state = tmp_path / "state"
    os.close(mute_share(state))
    try:
        house.spawn()
        wait_until(lambda: f"{state}/journal.db cannot be looked at" in house.daemon_log())
        subprocess.run(["umount", "--lazy", state], check=True)
        wait_until(house.answers)
        is_taken(drop(house.inbox))
        assert house.stop() == 0
    finally:
        house.kill()
        subprocess.run(["umount", "--lazy", state], check=False, capture_output=True)
    assert "crashed" not in house.daemon_log()


@pytest.mark.slow
def test_a_state_folder_that_somebody_else_owns_is_waited_for_until_it_is_given_back(tmp_path: Path) -> None:
    """The service ended with exit code 2, after which systemd starts none, also once it was mended."""
    house = House(tmp_path, {})
    house.under = UNPRIVILEGED
    state = tmp_path / "state"
    state.chmod(0o700)
    os.chown(state, OTHERS, OTHERS)
    try:
        house.spawn()
        wait_until(lambda: "journal.db cannot be looked at: Permission denied" in house.daemon_log())
        os.chown(state, 0, 0)
        wait_until(house.answers)
        is_taken(drop(house.inbox))
        assert house.stop() == 0
    finally:
        house.kill()


def test_a_disk_that_is_mounted_while_a_start_looks_at_its_folders_does_not_end_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Made where it was mounted a moment later, a folder was not there: exit code 2, for good."""
    inbox, processed, failed = (tmp_path / "disk" / name for name in ("inbox", "processed", "failed"))
    watch = Watch(path=inbox, processed=processed, failed=failed)
    config = Config(
        watch=(watch,), log=Log(path=tmp_path / "log.jsonl"), store=Store(path=tmp_path / "journal.db")
    )
    at_once, tried = inboxes._make_and_try, set[Path]()  # noqa: SLF001 - between its steps

    def mounted_over(folder: inboxes._Needed) -> None:
        at_once(folder)
        if folder.path not in tried and folder.is_of_watch:
            tried.add(folder.path)
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(folder.path))

    monkeypatch.setattr(inboxes, "_make_and_try", mounted_over)
    folders, _ = inboxes.open_folders(config)
    assert [folder.root for folder in folders] == [str(watch.path)]
    assert tried == {inbox, processed, failed}


@pytest.mark.slow
def test_a_start_without_the_state_s_disk_waits_for_it_unless_there_is_a_journal(tmp_path: Path) -> None:
    """It knew nothing of what is on record: with `after: keep` all was recorded once more."""
    house = House(tmp_path, {"watch": [{"path": "inbox", "after": "keep"}]})
    (disk := tmp_path / "disk").mkdir()
    state, table = tmp_path / "state", tmp_path / "fstab"
    bind = ["mount", "--bind", str(disk), str(state)]
    table.write_text(f"# disks\n/dev/sdz2 none swap\n\n/ / none\n/dev/sdz3 {state} ext4 nofail 0 2\n")
    house.under = bounded_by("dropsight.files.filesystems", FSTAB=str(table))
    said = f"store.path: {state}, which {table} names, is not mounted"
    subprocess.run(bind, check=True)
    try:
        house.start()
        drop(house.inbox)
        wait_until(lambda: len(house.records()) == 1)
        house.stop()
        unmount(state)
        house.spawn()
        wait_until(lambda: f"{said}, and {state}/journal.db is not there" in house.daemon_log())
        subprocess.run(bind, check=True)
        wait_until(house.answers)
        drop(house.inbox, 1)
        wait_until(lambda: len(house.records()) == 2)
        subprocess.run(["umount", "--lazy", state], check=True)
        drop(house.inbox, 2)
        assert house.ended() == 1, "what it had open is saved"
        house.start()
        wait_until(lambda: len(house.records()) == 3)
        assert f"{said}: going on with what {state}/journal.db knows" in house.daemon_log()
    finally:
        house.kill()
        subprocess.run(["umount", "--lazy", state], check=False, capture_output=True)


@pytest.mark.slow
@pytest.mark.parametrize("key", ["model.path", "cameras.front.mask", "mqtt.password_file", "mqtt.tls.ca"])
def test_a_start_without_the_disk_of_its_model_a_mask_or_a_secret_waits_for_it(
    tmp_path: Path, key: str
) -> None:
    """It ended with exit code 2, after which systemd starts none, so a boot with a slow disk was the last."""
    disk, place, table = (tmp_path / name for name in ("disk", "place", "fstab"))
    disk.mkdir()
    place.mkdir()
    shutil.copy(MODEL, disk / "own.tflite")
    mask = np.zeros((8, 8), np.uint8)
    mask[:4] = 255
    cv2.imwrite(str(disk / "mask.png"), mask)
    secret_file(disk / "password", "secret")
    Authority(disk)
    broker = {"url": "mqtts://127.0.0.1:1", "username": "porch", "password_file": str(place / "password")}
    settings: dict[str, dict[str, Any]] = {
        "mqtt.password_file": {"mqtt": broker},
        "mqtt.tls.ca": {"mqtt": {"url": broker["url"], "tls": {"ca": str(place / "ca.pem")}}},
        "model.path": {"model": {"path": str(place / "own.tflite")}},
        "cameras.front.mask": {"cameras": {"front": {"mask": str(place / "mask.png")}}},
    }
    table.write_text(f"/dev/sdz3 {place} ext4 nofail 0 2\n")
    house = House(tmp_path, settings[key])
    house.under = bounded_by("dropsight.files.filesystems", FSTAB=str(table))
    said = f"{key}: {place}, which {table} names, is not mounted"
    try:
        house.spawn()
        wait_until(lambda: said in house.daemon_log())
        subprocess.run(["mount", "--bind", str(disk), str(place)], check=True)
        wait_until(house.answers)
        drop(house.inbox)
        wait_until(lambda: len(house.records()) == 1)
        assert house.stop() == 0
    finally:
        house.kill()
        subprocess.run(["umount", "--lazy", place], check=False, capture_output=True)


def test_what_a_config_has_on_disks_that_are_not_mounted_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = tmp_path / "fstab"
    table.write_text(
        "/dev/sdz1 /a\\040disk/ ext4 nofail\n/dev/sdz2 / ext4\nUUID=1 /proc proc\n#x /failed y\n"
        " \t#x /failed y\n"
    )
    monkeypatch.setattr(filesystems, "FSTAB", str(table))
    config = Config(
        store=Store(path=Path("/a disk/state/journal.db")),
        log=Log(path=Path("/a disk/log.jsonl")),
        watch=(Watch(path=Path("/a disk 2/inbox"), processed=Path("/proc/x"), failed=Path("/failed")),),
    )
    said = "/a disk/log.jsonl, /a disk/state/journal.db: /a disk, which /etc/fstab names, is not mounted"
    assert list(unmounted(config)) == [said]
