"""Fixtures that several files use, and the order in which several processes share the files."""

import gc
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings

from brokers import MOSQUITTO
from processes import none_left
from supervisors import Supervisor

if TYPE_CHECKING:
    from playwright.sync_api import Browser

# Files that share a process, which imports TensorFlow once, in five seconds, and keeps the maps of pictures.
SHARING = {
    "gradients": {"test_explain", "test_explain_report", "test_gradients", "test_hostile_models"},
    "conversions": {"test_build_models", "test_digits", "test_full_models", "test_kernels"},
    "layouts": {"test_export", "test_layouts", "test_model_shapes"},
    "scaling": {"test_answers", "test_model_table", "test_scaling", "test_teachable_machine"},
}
# Those that take longest come first: about a minute or more.
LONGEST = (
    *("test_machines", "test_explain_report", "test_build_models", "test_in_home_assistant", "test_crashes"),
    *("test_fuzz", "test_explain", "test_model_shapes", "test_model_table", "test_upgrading", "test_probing"),
    *("test_explaining", "test_benches", "test_broker_words", "test_dashboard", "test_keras_backends"),
    *("test_clips_in_hand", "test_disk", "test_uploaders", "test_mishaps", "test_web"),
    *("test_web_security", "test_planted", "test_retire", "test_load", "test_webhooks", "test_reload"),
)

# No test is to find the config of a service that is installed on this machine.
os.environ["CONFIGURATION_DIRECTORY"] = "/nonexistent"
# A machine that is busy is no fault of the example that it was busy with.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where several processes share the work, what takes long comes first: none is left alone with it."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        slow = {item.path for item in items if item.get_closest_marker("slow")}
        items.sort(key=lambda item: (_place(item.path.stem), item.path not in slow))
    if MOSQUITTO is None:
        for item in items:
            if item.get_closest_marker("broker"):
                item.add_marker(pytest.mark.skip(reason="needs mosquitto (apt-get install mosquitto)"))


def pytest_collection_finish() -> None:
    """What was imported stays: looking through it for garbage takes a tenth of the time of some files."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    from xdist.scheduler import LoadFileScheduling

    class Sharing(LoadFileScheduling):  # type: ignore[misc] # xdist ships no types
        def _split_scope(self, nodeid: str) -> str:
            file: str = super()._split_scope(nodeid)
            name = Path(file).stem
            return next((group for group, names in SHARING.items() if name in names), file)

    return Sharing(config, log)


def _place(name: str) -> int:
    return LONGEST.index(name) if name in LONGEST else len(LONGEST)


@pytest.fixture(autouse=True)
def _no_process_is_left() -> Iterator[None]:
    with none_left():
        yield


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    """Chromium without a window; with a session's scope no other test could run an event loop."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("needs Chromium (apt-get install chromium)")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        flags = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        found = playwright.chromium.launch(executable_path=chromium, args=flags)
        yield found
        found.close()


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    found = Supervisor(tmp_path / "notify")
    yield found
    found.close()
