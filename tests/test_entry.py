"""The command line's grammar: one for all, and `run` imports no more for it than argparse."""

import inspect
import shlex
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import TypeAlias

import pytest

import dropsight as dropsight_package
from daemons import PHOTOS, House, command, dropsight, faults
from dropsight.cli import COMMANDS, Invocation, read
from dropsight.errors import ConfigError

Given: TypeAlias = dict[str, object]
RUN: Given = dict.fromkeys(("file", "model", "log", "mqtt")) | {"watch": [], "once": False, "verbose": False}
SPELT: dict[str, Given] = {
    "run": {},
    "run -v --once -c a.yaml": {"verbose": True, "once": True, "file": Path("a.yaml")},
    "run --config=a.yaml --watch in --watch other": {"file": Path("a.yaml"), "watch": ["in", "other"]},
    "run -ca.yaml -c b.yaml": {"file": Path("b.yaml")},
    "run --model=m.tflite --log r.jsonl --mqtt mqtt://hub:1884": {
        "model": "m.tflite",
        "log": "r.jsonl",
        "mqtt": "mqtt://hub:1884",
    },
}
ANY_ORDER: dict[str, Given] = {
    "classify a.jpg --top 3 b.jpg": {"images": [Path("a.jpg"), Path("b.jpg")], "top": 3},
    "classify --top 3 -- -a.jpg b.jpg": {"images": [Path("-a.jpg"), Path("b.jpg")], "top": 3},
    "inspect --json m.tflite": {"model": "m.tflite", "as_json": True},
    "inspect": {"model": None},
    "init --force porch.yaml": {"file": Path("porch.yaml"), "force": True},
    "init": {"file": Path("dropsight.yaml"), "force": False},
    "logs -fn 3": {"follow": True, "last": 3},
    "explain cat.jpg -o out.png --class 7": {"output": Path("out.png"), "class_index": 7, "top": 1},
    "bench --seconds 0.5": {"seconds": 0.5},
    "pause -c a.yaml": {"file": Path("a.yaml"), "command": "pause"},
}
MOST_MODULES = 272
WRONG = {
    "runn": "no such command: runn; did you mean run?",
    "--debug": "no command given; see dropsight -h",
    "--verson": "no such option: --verson; did you mean --version?",
    "--debug classify": "classify: the following arguments are required: IMAGE; see dropsight classify -h",
    "run --watc in": "run: no such option: --watc; did you mean --watch?",
    "run --mod m.tflite": "run: no such option: --mod",
    "run in": "run: unexpected argument: in; see dropsight run -h",
    "run --watch": "run: --watch: expected one argument",
    "run --watch --once": "run: --watch: expected one argument",
    "batch photos": "batch: the following arguments are required: -o/--output",
    "classify a --top 1001": "classify: --top: must be a whole number, 1 to 1000, not '1001'",
    "classify a --top few": "classify: --top: must be a whole number, 1 to 1000, not 'few'",
    "demo --seconds nan": "demo: --seconds: must be a number, 1 or more, not 'nan'",
    "logs -n -1": "logs: -n/--lines: must be a whole number, 0 or more, not '-1'",
}


@pytest.mark.parametrize("line", SPELT)
def test_run_is_read_however_it_is_spelt(line: str) -> None:
    order = read(line.split())
    assert (order.command, order.given, order.debug) == ("run", RUN | SPELT[line], False)


@pytest.mark.parametrize("line", ANY_ORDER)
def test_options_and_files_stand_in_any_order(line: str) -> None:
    given = read(["--debug", *line.split()]).given
    assert {name: given[name] for name in ANY_ORDER[line]} == ANY_ORDER[line]


@pytest.mark.parametrize("name", COMMANDS)
def test_what_a_command_takes_is_what_carries_it_out(name: str) -> None:
    """Nothing else compares the two: the grammar names a function that is imported when it is called."""
    command = COMMANDS[name]
    given = [
        takes.how.get("dest", takes.names[-1].lstrip("-").replace("-", "_")) for takes in command.arguments
    ]
    carried_out = Invocation(name, {}, debug=False).load()
    assert isinstance(carried_out, partial)
    inspect.signature(carried_out.func).bind(**dict.fromkeys([*given, *command.always]))


@pytest.mark.parametrize("line", WRONG)
def test_wrong_usage_is_a_line_that_names_it_and_a_hint(line: str) -> None:
    with pytest.raises(ConfigError) as raised:
        read(line.split())
    (fault,) = raised.value.faults
    assert fault.startswith(WRONG[line])


def test_wrong_usage_is_2_and_on_stderr_and_no_command_at_all_shows_all_that_there_are() -> None:
    wrong = dropsight("run", "--watc", "in")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert faults(wrong) == ["dropsight: run: no such option: --watc; did you mean --watch?"]
    bare = dropsight()
    assert (bare.returncode, bare.stdout) == (2, "")
    assert bare.stderr == dropsight("--help").stdout
    assert all(f"  {name} " in bare.stderr for name in COMMANDS)


def test_a_help_page_is_as_wide_as_the_terminal_and_plain_where_there_is_none() -> None:
    for columns in ("50", "90"):
        page = dropsight("explain", "-h", environ={"COLUMNS": columns}).stdout
        assert int(columns) - 20 < max(map(len, page.splitlines())) <= int(columns)
        assert "\033" not in page
        assert "[default: 1; 1 to 10]" in " ".join(page.split())


def test_the_daemon_imports_nothing_that_it_may_never_use() -> None:
    code = (
        "import sys; import dropsight.entry\n"
        "dropsight.entry.cli.read(['run', '--watch', 'in']).load(); print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    imported = set(done.stdout.split())
    seldom = {"typer", "click", "shtab", "tqdm", "asyncio", "dropsight.web.serving", "dropsight.explain"}
    seldom |= {"dropsight.events", "dropsight.journal.event_keeping", "dropsight.service.burst_watch"}
    assert not seldom & imported
    commands = {name for name in imported if name.startswith("dropsight.commands.")}
    assert commands == {f"dropsight.commands.{name}" for name in ("run", "settings", "logs", "faults")}


def test_a_daemon_imports_nothing_for_what_its_config_does_not_ask_for(tmp_path: Path) -> None:
    """Each module is read at every start, and stays in memory: what only some need is imported by these."""
    house = House(tmp_path, {})
    shutil.copy(PHOTOS[0], house.inbox)
    code = (
        "import sys\nfrom dropsight.entry import main\n"
        f"sys.argv = ['dropsight', 'run', '--once', '-c', {str(house.config)!r}]\n"
        "try:\n    main()\nfinally:\n    print(*sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    imported = done.stdout.splitlines()[-1].split()
    seldom = {"paho", "mqtt", "starlette", "urllib3", "asyncio", "notify", "burst_watch", "event_keeping"}
    assert not [name for name in imported if seldom & set(name.split("."))], done.stderr
    assert len([name for name in imported if name.startswith("dropsight.")]) <= MOST_MODULES
    assert len(house.records()) == 1


def test_no_class_that_a_daemon_imports_is_a_dataclass() -> None:
    """One takes 0.5 to 0.8 ms to make, thirty times as long as a Struct: eighty made a start 50 ms longer."""
    code = Path(dropsight_package.__file__).parent.rglob("*.py")
    assert not [path for path in code if "dataclass" in path.read_text()]


def test_what_is_logged_while_an_interpreter_is_made_is_not_lost_with_the_runtime_s_own_lines() -> None:
    code = (
        "import logging, os\n"
        "from dropsight.commands import logs\n"
        "from dropsight.models.tflite_runtimes import _native_chatter_off\n"
        "logs.set_up(debug=False)\n"
        "with _native_chatter_off():\n"
        "    logging.warning('a camera is silent')\n"
        "    os.write(2, b'INFO: Created delegate')\n"
        "os.write(2, b'a crash')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    line, rest = done.stderr.splitlines()
    assert line.endswith("a camera is silent")
    assert rest == "a crash"


@pytest.mark.parametrize(
    "streams", ["<&- >&- 2>&-", ">&-", "2>&-", "2>/dev/full", "-v >/dev/full 2>/dev/full", "2> >(true)"]
)
def test_it_runs_with_streams_that_are_closed_full_or_broken(tmp_path: Path, streams: str) -> None:
    """As under cron, an init script or a parent that went away; no file of ours takes a stream's number."""
    house = House(tmp_path, {})
    shutil.copy(PHOTOS[0], house.inbox)
    line = shlex.join(command("run", "-c", str(house.config), "--once"))
    done = subprocess.run(["bash", "-c", f"{line} {streams}"], check=False, timeout=120, capture_output=True)
    assert done.returncode == 0
    assert [record["status"] for record in house.records()] == ["ok"]


def test_folders_and_cameras_are_called_as_the_config_calls_them_whatever_the_locale(tmp_path: Path) -> None:
    house = House(tmp_path, {"watch": [{"path": "zwölf"}]})
    camera = tmp_path / "zwölf" / "tür"
    camera.mkdir(parents=True)
    shutil.copy(PHOTOS[0], camera)
    # As a locale that is not UTF-8's, of which not every machine has one.
    locale = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = dropsight("run", "--once", "-c", str(house.config), environ=locale)
    assert done.returncode == 0, done.stderr
    assert [record["camera"] for record in house.records()] == ["tür"]


def test_without_any_extra_each_command_is_there_or_names_the_extra_that_it_needs() -> None:
    extras = ["amqtt", "apprise", "av", "fsspec", "jax", "keras", "matplotlib", "onnxruntime", "pillow_heif"]
    extras += ["prometheus_client", "pyarrow", "ray", "starlette", "tensorflow", "urllib3", "uvicorn"]
    code = (
        "import sys\n"
        f"sys.modules |= dict.fromkeys({extras})\n"
        "from dropsight.cli import COMMANDS, Invocation\n"
        "from dropsight.errors import ConfigError\n"
        "for name in COMMANDS:\n"
        "    try:\n        Invocation(name, {}, False).load()\n"
        "    except ConfigError as error:\n        print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()
    assert [line.partition(": ")[0] for line in said] == [
        f"{name} needs pyarrow and fsspec" for name in ("archive", "compare")
    ]
    assert all("[archive]" in line for line in said), said
