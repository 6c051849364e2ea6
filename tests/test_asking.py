"""Asking the daemon: which one is meant where none is named, and who may ask."""

import json
import logging
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemons import dropsight, running
from dropsight.errors import DropsightError
from dropsight.status.control import NAME, ControlServer, ControlSocket, NotRunningError, ask
from dropsight.status.supervision import Supervision
from dropsight.status.troubles import Troubles

USER, GROUP = 64_301, 64_302
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")


@pytest.fixture
def folder() -> Iterator[Path]:
    """Make one that others may enter, unlike pytest's own."""
    with tempfile.TemporaryDirectory() as made:
        Path(made).chmod(0o755)
        yield Path(made)


def install(folder: Path, text: str) -> dict[str, str]:
    """Put a config where that of the installed service is looked for; return the environment for it."""
    (folder / "etc").mkdir()
    (folder / "etc" / "dropsight.yaml").write_text(text)
    return {"CONFIGURATION_DIRECTORY": str(folder / "etc")}


def as_user(code: str, *arguments: str, groups: tuple[int, ...] = ()) -> subprocess.CompletedProcess[str]:
    """Run Python code as somebody else, who may not be able to read what it imports first."""
    drop = f"import os; os.setgroups({list(groups)}); os.setgid({USER}); os.setuid({USER})\n"
    imports, _, rest = code.partition("\n")
    return subprocess.run(
        [sys.executable, "-c", f"{imports}\n{drop}{rest}", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


def ask_as(folder: Path, *groups: int, command: str = "status") -> str:
    """Ask as a user of these groups; return the answer, or what went wrong."""
    code = (
        "import sys, pathlib; from dropsight.status.control import ask\n"
        "try: print(ask(pathlib.Path(sys.argv[1]), sys.argv[2]).decode())\n"
        "except Exception as error: print(f'{type(error).__name__}: {error}')"
    )
    done = as_user(code, str(folder), command, groups=groups)
    assert not done.stderr
    return done.stdout.strip()


@pytest.mark.slow
def test_without_a_config_named_status_asks_the_installed_service_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "service").mkdir()
    with running(tmp_path / "service") as house:
        environ = install(tmp_path, f"store: {{path: {house.root}/state/journal.db}}\n")
        shown = dropsight("status", "--json", cwd=tmp_path, environ=environ)
    assert json.loads(shown.stdout)["device"] == "test"
    assert shown.stderr == (
        f"dropsight: no config given (-c FILE): using {tmp_path}/etc/dropsight.yaml, "
        "the installed service's\n"
    )


def test_a_daemon_without_a_config_is_asked_in_the_folder_where_it_was_started(tmp_path: Path) -> None:
    """There it is the one that is meant, not the installed service."""
    environ = install(tmp_path, "store: {path: /nonexistent/journal.db}\n")
    with running(tmp_path) as house:
        shown = dropsight("status", cwd=house.root, environ=environ)
    assert shown.returncode == 0
    assert "has its socket here (state/dropsight.sock)" in shown.stderr


@pytest.mark.parametrize("command", [("check",), ("inspect",), ("bench", "--seconds", "0.1")])
def test_every_command_about_the_daemon_finds_the_installed_services_config(
    tmp_path: Path, command: tuple[str, ...]
) -> None:
    environ = install(tmp_path, "model: {path: gone.tflite}\n")
    done = dropsight(*command, cwd=tmp_path, environ=environ)
    assert f"using {tmp_path}/etc/dropsight.yaml" in done.stderr
    assert f"{tmp_path}/etc/gone.tflite: no such model" in done.stdout + done.stderr


@pytest.mark.slow
def test_run_and_config_without_a_config_named_have_none(tmp_path: Path) -> None:
    environ = install(tmp_path, "device: elsewhere\nmqtt: null\n")
    shown = dropsight("config", cwd=tmp_path, environ=environ)
    assert "elsewhere" not in shown.stdout
    assert not shown.stderr
    done = dropsight("run", "--once", "--mqtt", "none", cwd=tmp_path, environ=environ)
    assert done.returncode == 0
    assert (tmp_path / "inbox").is_dir()


@needs_root
def test_a_config_of_the_service_that_may_not_be_read_is_no_config_that_is_missing(folder: Path) -> None:
    environ = install(folder, "device: x\n")
    (folder / "etc").chmod(0o700)
    code = (
        "import os, sys; from dropsight.commands import faults, settings\n"
        "os.environ['CONFIGURATION_DIRECTORY'] = sys.argv[1]\n"
        "with faults.told_plainly(debug=False): settings.settings(settings.find_config(None))"
    )
    done = as_user(code, environ["CONFIGURATION_DIRECTORY"])
    assert done.returncode == 2
    assert f"{folder}/etc/dropsight.yaml: cannot be read (Permission denied)" in done.stderr


@pytest.fixture
def server(folder: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A state folder with a server in it, of a group, made under the umask that the test names."""
    state = folder / "state"
    before = os.umask(getattr(request, "param", 0o027))
    try:
        state.mkdir()
        control = ControlSocket()
        answers = {"status": lambda: b'{"ok":true}'}
        server = ControlServer(control.open(state), answers, otherwise=lambda _: b"obeyed")
    finally:
        os.umask(before)
    os.chown(state, -1, GROUP)
    os.chown(state / NAME, -1, GROUP)
    server.start(Supervision(Troubles(logging.getLogger(__name__))))
    yield state
    server.close()
    control.close()


@needs_root
def test_a_member_of_the_group_may_ask_and_command(server: Path) -> None:
    """As the unit makes it: UMask=0027."""
    assert ask_as(server, GROUP) == '{"ok":true}'
    assert ask_as(server, GROUP, command="pause") == "obeyed"


@needs_root
@pytest.mark.parametrize("server", [0o027, 0o000], indirect=True)
def test_who_is_not_in_the_group_is_told_how_to_join_it(server: Path) -> None:
    """Also where the umask would have let everybody in."""
    told = ask_as(server)
    assert told.startswith(
        f"DropsightError: {server}/dropsight.sock: permission denied: only its user and the group {GROUP}"
    )
    assert f"sudo usermod -aG {GROUP} $USER" in told
    assert "log in again" in told


@needs_root
@pytest.mark.parametrize("server", [0o077], indirect=True)
def test_a_umask_that_shuts_the_group_out_shuts_it_out_of_the_socket_too(server: Path) -> None:
    server.chmod(0o750)
    assert "permission denied: only its user" in ask_as(server, GROUP)


def test_a_daemon_that_does_not_answer_is_not_taken_for_none(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(tmp_path / NAME))
        silent.listen()
        with pytest.raises(DropsightError, match=r"has not answered for 0\.1 s") as told:
            ask(tmp_path, "status", patience=0.1)
    assert not isinstance(told.value, NotRunningError)
