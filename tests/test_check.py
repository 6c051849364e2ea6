"""`dropsight check`: what `run` needs, as who runs it, and nothing made."""

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from brokers import Subscriber, free_port, mosquitto, wait_until
from daemons import PHOTOS, ROOT, command, dropsight, running
from processes import begin, end

USER, GROUP = 64_301, 64_302
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")


def lines(done: subprocess.CompletedProcess[str]) -> dict[str, str]:
    """Return what is said of each part, first word and all."""
    return {line.split()[1]: line for line in done.stdout.splitlines()}


def in_house(root: Path, **settings: object) -> Path:
    config = root / "dropsight.yaml"
    config.write_text(yaml.safe_dump({"mqtt": None, "web": None, **settings}))
    return config


def test_check_makes_nothing_and_says_what_run_would_make(tmp_path: Path) -> None:
    """A typo in a watched folder is seen before it becomes a folder."""
    config = in_house(tmp_path, watch=[{"path": "inobx"}])
    done = dropsight("check", "-c", str(config), cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert f"warn  folders  {tmp_path}/inobx does not exist: run creates it (watch.0.path)" in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["dropsight.yaml"]


@pytest.mark.slow
def test_run_says_once_which_folders_it_made(tmp_path: Path) -> None:
    config = in_house(tmp_path, watch=[{"path": "inobx"}])
    first = dropsight("run", "-c", str(config), "--once")
    assert f"created missing folders: {tmp_path}/inobx (watch.0.path), " in first.stderr
    assert "created missing folders" not in dropsight("run", "-c", str(config), "--once").stderr


def test_a_file_in_the_way_of_a_folder_is_found_without_making_anything(tmp_path: Path) -> None:
    config = in_house(tmp_path, watch=[{"processed": "dropsight.yaml/folder"}])
    done = dropsight("check", "-c", str(config))
    assert done.returncode == 2
    assert f"FAIL  folders  watch.0.processed: {tmp_path}/dropsight.yaml/folder cannot be" in done.stdout


@pytest.mark.slow
def test_check_goes_on_to_a_fallback_and_says_so(tmp_path: Path) -> None:
    config = in_house(tmp_path, model={"path": "gone.tflite", "fallback": ["builtin:efficientnet_lite0"]})
    done = dropsight("check", "-c", str(config))
    assert done.returncode == 0, done.stdout
    assert "ok    model    efficientnet_lite0" in done.stdout
    assert f"warn  model    a fallback, because {tmp_path}/gone.tflite: no such model" in done.stdout
    assert not done.stderr


@pytest.mark.slow
def test_check_proves_the_golden_images_as_run_does(tmp_path: Path) -> None:
    builtin = next((ROOT / "daemon/dropsight/models/builtin").glob("*int8.tflite"))
    shutil.copy(builtin, tmp_path / "mine.tflite")
    shutil.copy(PHOTOS[0].with_name("panda.jpg"), tmp_path / "g.jpg")
    labels = next(builtin.parent.glob("*labels.txt"))
    sidecar = tmp_path / "mine.yaml"
    config = in_house(tmp_path, model={"path": "mine.tflite", "labels": str(labels)})
    sidecar.write_text("golden: [{image: g.jpg, class: giant panda}]\n")
    done = dropsight("check", "-c", str(config))
    assert "1 golden images correct" in lines(done)["model"], done.stdout
    sidecar.write_text("golden: [{image: g.jpg, class: tabby}]\n")
    done = dropsight("check", "-c", str(config))
    assert done.returncode == 1
    assert "not as tabby" in lines(done)["model"]


@pytest.mark.slow
def test_a_taken_port_is_a_fault_unless_the_running_daemon_has_it(tmp_path: Path) -> None:
    port = free_port()
    with running(tmp_path, web={"listen": f"127.0.0.1:{port}"}) as house:
        wait_until(lambda: house.status()["dashboard"] is not None)
        done = dropsight("check", "-c", str(house.config))
        assert done.returncode == 0, done.stdout
        assert "where the running dropsight listens" in lines(done)["web"]
    with socket.create_server(("127.0.0.1", port)):
        done = dropsight("check", "-c", str(house.config))
    assert done.returncode == 1
    assert "another program listens there" in lines(done)["web"]


@pytest.mark.slow
@pytest.mark.broker
def test_a_check_that_is_killed_never_says_that_the_running_daemon_is_offline(tmp_path: Path) -> None:
    """A broker tells the last will of whoever goes without a word."""
    with mosquitto(tmp_path) as broker, running(tmp_path, mqtt={"url": broker.url}) as house:
        wait_until(lambda: house.status()["mqtt"]["connected"])
        with socket.create_server(("127.0.0.1", 0)) as between, Subscriber(broker.port) as heard:
            environ = {**os.environ, "DROPSIGHT_MQTT__URL": f"mqtt://127.0.0.1:{between.getsockname()[1]}"}
            checking = begin(command("check", "-c", str(house.config)), env=environ)
            try:
                client, _ = between.accept()
                with client, socket.create_connection(("127.0.0.1", broker.port)) as out:
                    out.sendall(client.recv(65_536))
                    assert out.recv(1) == b"\x20"  # CONNACK, of which the check never hears
                    checking.kill()
            finally:
                end(checking)
            wait_until(lambda: b"" in heard.topics("availability"), what="its will is told")
            assert b"offline" not in heard.topics("availability")
        with Subscriber(broker.port) as late:
            wait_until(lambda: bool(late.topics("availability")))
            assert late.topics("availability") == [b"online"]


@pytest.mark.slow
def test_paths_below_etc_are_refused_with_the_way_out(tmp_path: Path) -> None:
    """As relative ones are that stand in /etc/dropsight/dropsight.yaml; nothing may write there."""
    config = in_house(tmp_path, watch=[{"path": "/etc/dropsight/inbox"}])
    for name in ("check", "run"):
        done = dropsight(name, "-c", str(config))
        assert done.returncode == 2
        assert f"{config}: watch.0.path: is /etc/dropsight/inbox" in done.stderr
        assert "/var/lib/dropsight/inbox" in done.stderr


class Machine:
    """A mount namespace where dropsight is installed for a user of its own, this machine's /etc untouched."""

    def __init__(self, root: Path) -> None:
        self.root, self.etc, self.state = root, root / "etc", root / "lib"
        shutil.copytree("/etc", self.etc, symlinks=True, ignore_dangling_symlinks=True)
        for name, line in (
            ("passwd", f"drops:x:{USER}:{GROUP}::{self.state}:/bin/false\n"),
            ("group", f"drops:x:{GROUP}:\n"),
        ):
            with (self.etc / name).open("a") as file:
                file.write(line)
        (self.etc / "dropsight").mkdir(exist_ok=True)
        self.state.mkdir()
        os.chown(self.state, USER, GROUP)

    def configure(self, **settings: object) -> None:
        watch = {name: str(self.state / name) for name in ("path", "processed", "failed")}
        config = {
            "watch": [watch],
            "log": {"path": str(self.state / "logs/r.jsonl")},
            "web": None,
            "store": {"path": str(self.state / "state/journal.db")},
            "mqtt": None,
            **settings,
        }
        (self.etc / "dropsight/dropsight.yaml").write_text(yaml.safe_dump(config))

    def check(self, **more: str) -> subprocess.CompletedProcess[str]:
        # An interpreter below a closed home, as pyenv's, is opened to the user in this namespace alone.
        home, opened = "/root/.pyenv", self.root / "home/.pyenv"
        script = (
            f"mount --bind {self.etc} /etc && cd / && if [ -d {home} ]; then mkdir -p {opened} && "
            f"mount --bind {home} {opened} && mount --rbind {opened.parent} /root; fi && "
            f"exec {' '.join(command('check'))}"
        )
        environ = {key: value for key, value in os.environ.items() if key != "CONFIGURATION_DIRECTORY"} | more
        return subprocess.run(
            ["unshare", "--mount", "sh", "-c", script],
            env=environ,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )


@pytest.fixture
def machine() -> Iterator[Machine]:
    with tempfile.TemporaryDirectory() as made:
        Path(made).chmod(0o755)
        yield Machine(Path(made))


@pytest.mark.slow
@needs_root
@pytest.mark.broker
def test_root_checks_the_installed_service_as_its_user_with_its_credential(machine: Machine) -> None:
    passwords = machine.root / "passwords"
    subprocess.run(["mosquitto_passwd", "-b", "-c", passwords, "porch", "secret"], check=True)
    store = machine.etc / "credstore"
    store.mkdir(mode=0o700, exist_ok=True)
    (store / "dropsight.mqtt-password").write_text("secret\n")
    (store / "dropsight.mqtt-password").chmod(0o600)
    with mosquitto(machine.root, extra=f"allow_anonymous false\npassword_file {passwords}\n") as broker:
        machine.configure(mqtt={"url": broker.url, "username": "porch"})
        done = machine.check()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "using /etc/dropsight/dropsight.yaml, the installed service's" in done.stderr
    assert lines(done)["config"].endswith("checked as the user drops")
    assert "ok    broker   MQTT 5" in done.stdout
    assert not any(machine.state.iterdir())


@pytest.mark.slow
@needs_root
def test_what_the_services_user_may_not_write_is_told_to_root_too(machine: Machine) -> None:
    """As after a `sudo dropsight run`: folders and files are root's. An empty inbox may be a disk's place."""
    machine.configure()
    (machine.state / "path").mkdir()
    (machine.state / "state").mkdir()
    os.chown(machine.state / "state", USER, GROUP)
    done = machine.check()
    assert done.returncode == 0
    fault = f"watch.0.path: {machine.state}/path cannot be written: Permission denied"
    assert f"warn  folders  {fault}; run waits" in done.stdout
    (machine.state / "path" / "something").touch()
    done = machine.check()
    assert done.returncode == 2
    assert f"FAIL  folders  {fault}" in done.stdout
    os.chown(machine.state / "path", USER, GROUP)
    (machine.state / "state/journal.db").touch()
    done = machine.check()
    assert done.returncode == 2
    assert f"store.path: {machine.state}/state/journal.db cannot be written: Permission den" in done.stdout


@needs_root
def test_the_units_user_counts_where_systemd_knows_it_whoever_owns_the_state(machine: Machine) -> None:
    """The state is root's after a `sudo dropsight run`: the service cannot write there, root can."""
    machine.configure()
    os.chown(machine.state, 0, 0)
    systemctl = machine.root / "bin/systemctl"
    systemctl.parent.mkdir()
    said = "LoadState=loaded\nUser=drops\nGroup=drops\nSupplementaryGroups="
    systemctl.write_text(f"#!/bin/sh\ncat <<'END'\n{said}\nEND\n")
    systemctl.chmod(0o755)
    done = machine.check(PATH=f"{systemctl.parent}:{os.environ['PATH']}")
    assert done.returncode == 2, done.stdout + done.stderr
    assert lines(done)["config"].endswith("checked as the user drops")
    assert f"store.path: {machine.state}/state cannot be written: Permission denied" in done.stdout
