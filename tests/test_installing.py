"""Commands that dropsight tells people to type, typed."""

import os
import pty
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemons import ROOT

pytest.importorskip("hatchling", reason="packages are built without the network")


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with a pip of its own that finds the packages of this one, but no dropsight."""
    place = tmp_path_factory.mktemp("home") / "a venv"
    subprocess.run([sys.executable, "-m", "venv", place], check=True)
    (own,) = place.glob("lib/python3*/site-packages")
    known = [path for path in sys.path if path.endswith("-packages")]
    (own / "known.pth").write_text("\n".join([*known, sysconfig.get_path("purelib")]))
    return place


@pytest.fixture(scope="module")
def installed(environment: Path) -> Iterator[Path]:
    """The environment with dropsight as a package."""
    pip = environment / "bin" / "pip"
    offline = ("--no-index", "--no-deps", "--no-build-isolation", "--ignore-installed")
    subprocess.run([pip, "install", "--quiet", *offline, ROOT], check=True)
    yield environment
    subprocess.run([pip, "uninstall", "--quiet", "--yes", "dropsight"], check=True)


def said(environment: Path, expression: str, **more: str) -> str:
    code = f"from dropsight import installing; print(installing.{expression})"
    return subprocess.run(
        [environment / "bin" / "python", "-c", code],
        env={**os.environ, **more},
        cwd="/",
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()


def typed(command: str, cwd: Path | str = "/") -> str:
    # Without the network: what is asked for is there, and so is what builds it.
    offline = {**os.environ, "PIP_NO_INDEX": "1", "PIP_NO_BUILD_ISOLATION": "0"}
    shell = ["/bin/sh", "-c", command]
    done = subprocess.run(shell, cwd=cwd, env=offline, capture_output=True, text=True, check=False)
    assert done.returncode == 0, command + done.stderr
    return done.stdout


def test_in_a_clone_the_command_installs_that_clone_with_the_extra(environment: Path) -> None:
    command = said(environment, "with_extra('explain')", PYTHONPATH=str(ROOT / "daemon"))
    assert command == f'"{environment}/bin/pip" install -e "{ROOT}[explain]"'
    assert "Would install dropsight" in typed(f"{command} --dry-run --no-deps --ignore-installed")


def test_an_installed_package_names_what_the_extra_consists_of(installed: Path) -> None:
    command = said(installed, "with_extra('web')")
    assert "uvicorn" in command
    assert "dropsight[" not in command
    assert "already satisfied" in typed(command)


def test_tensorflow_and_keras_are_named_by_themselves_to_an_installed_service(installed: Path) -> None:
    assert said(installed, "with_extra('full')").endswith('install "keras>=3.11.3" "tensorflow>=2.18"')


def test_an_environment_of_root_s_is_told_of_with_sudo(installed: Path) -> None:
    """As the service reads it: what it runs from is not its own to change."""
    code = (
        "import os; os.access = lambda *_: False\n"
        "from dropsight import installing; print(installing.packages('a'))"
    )
    done = subprocess.run(
        [installed / "bin" / "python", "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout == f'sudo "{installed}/bin/pip" install a\n'


def test_at_a_terminal_the_command_is_as_short_as_it_works_from_there(installed: Path) -> None:
    screen, terminal = pty.openpty()
    try:
        code = (
            "from dropsight.installing import packages, program\n"
            "print(packages('numpy>=1'), program(), sep='|')"
        )
        done = subprocess.run(
            [installed / "bin" / "python", "-c", code],
            cwd=installed.parent,
            stdout=subprocess.PIPE,
            stderr=terminal,
            text=True,
            check=True,
        )
    finally:
        os.close(screen)
        os.close(terminal)
    pip, program = done.stdout.strip().split("|")
    assert pip == '"a venv/bin/pip" install "numpy>=1"'
    assert "already satisfied" in typed(pip, installed.parent)
    assert typed(f"{program} --version", installed.parent).startswith("dropsight ")


def test_on_the_path_the_program_is_called_by_its_name(installed: Path) -> None:
    path = os.pathsep.join([str(installed / "bin"), os.environ["PATH"]])
    assert said(installed, "program()", PATH=path) == "dropsight"


def test_no_page_and_no_message_names_a_package_that_is_on_no_index() -> None:
    texts = [
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/*.md"),
        *ROOT.glob("scripts/*"),
        *ROOT.glob("daemon/**/*.py"),
    ]
    history = {"decisions.md", "CHANGELOG.md"}
    for text in (each for each in texts if each.is_file() and each.name not in history):
        assert "dropsight[" not in text.read_text(), text
