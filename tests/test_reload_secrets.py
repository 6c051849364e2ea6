"""Reloads and restarts while files of secrets and certificates cannot be used: nobody is blind for that."""

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from brokers import free_port, wait_until
from daemons import PHOTOS, House, bounded_by, dropsight
from receivers import secret_file
from test_tls import Authority
from webs import ANY_PORT, address, ask

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")

TOKEN, ANOTHER = "a-token-of-many-letters", "another-token-of-many-letters"
NAMES = ("ca.pem", "client.pem", "client.key", "password", "headers", "targets", "token")


class Secrets:
    """All kinds of such files, and a config that names them."""

    def __init__(self, folder: Path) -> None:
        authority = Authority(folder)
        authority.issue("client")
        self.folder, self.other = folder, authority.issue("other")[0].read_bytes()
        for name, text in (
            ("password", "secret"),
            ("headers", "X-Key: secret"),
            ("targets", "json://127.0.0.1:9/secret"),
            ("token", TOKEN),
        ):
            secret_file(folder / name, text)
        self._whole = {name: (folder / name).read_bytes() for name in NAMES}

    def settings(self, **more: Any) -> dict[str, Any]:
        ca, cert, key, password, headers, targets, token = (str(self.folder / name) for name in NAMES)
        return {
            "mqtt": {
                "url": f"mqtts://127.0.0.1:{free_port()}",
                "username": "porch",
                "password_file": password,
                "tls": {"ca": ca, "cert": cert, "key": key},
            },
            "webhooks": [{"url": f"http://127.0.0.1:{free_port()}/", "headers_file": headers}],
            "notify": {"phone": {"targets_file": targets}},
            "web": {**ANY_PORT, "token_file": token},
            **more,
        }

    def restore(self) -> None:
        for name, content in self._whole.items():
            secret_file(self.folder / name, content.decode())


SPOILS: dict[str, Callable[[Secrets], object]] = {
    "mqtt.tls: ": lambda all_: (all_.folder / "ca.pem").write_bytes(b""),
    "mqtt.tls: the certificates": lambda all_: (all_.folder / "client.pem").write_bytes(all_.other),
    "mqtt.tls.ca: ": lambda all_: (all_.folder / "ca.pem").unlink(),
    "mqtt.password_file: ": lambda all_: (all_.folder / "password").unlink(),
    "webhooks.headers_file: ": lambda all_: (all_.folder / "headers").unlink(),
    "notify.phone.targets_file: ": lambda all_: (all_.folder / "targets").unlink(),
    "web.token_file: ": lambda all_: (all_.folder / "token").unlink(),
}
REMOVED = (
    "import pathlib, runpy, sys\n"
    "from dropsight.service.lifecycle import Lifecycle\n"
    "begin_again = Lifecycle.begin_again\n"
    "def with_nothing(self):\n"
    "    for name in {names!r}:\n"
    "        (pathlib.Path({folder!r}) / name).unlink(missing_ok=True)\n"
    "    return begin_again(self)\n"
    "Lifecycle.begin_again = with_nothing\n"
    "sys.argv = sys.argv[3:]\n"
    "runpy.run_module('dropsight', run_name='__main__', alter_sys=True)\n"
)
"""Has all of these files gone once a daemon has ended, before the next begins."""


@pytest.fixture
def secrets(tmp_path: Path) -> Secrets:
    return Secrets(tmp_path / "secrets")


@pytest.fixture
def house(tmp_path: Path, secrets: Secrets) -> Iterator[House]:
    house = House(tmp_path, secrets.settings())
    try:
        yield house
    finally:
        house.kill()


def classifies(house: House) -> bool:
    before = len(house.records())
    shutil.copy(PHOTOS[0], house.inbox / f"{before}.jpg")
    wait_until(lambda: len(house.records()) > before, what="its record")
    return True


def trouble(house: House) -> str:
    said: str = house.status()["troubles"].get("secrets", "")
    return said


def is_told(house: House, fault: str) -> bool:
    return fault in trouble(house)


def admitted(house: House, token: str | None) -> bool:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return ask(address(house), "/api/stats", headers=headers).status == 200


def test_a_reload_is_refused_where_any_file_of_secrets_or_certificates_cannot_be_used(
    house: House, secrets: Secrets
) -> None:
    """Each was answered as reloaded, and then the daemon ended for good."""
    house.start()
    for number, (fault, spoil) in enumerate(SPOILS.items(), 1):
        house.configure(secrets.settings(stats={"interval_seconds": 100 + number}))
        spoil(secrets)
        answer = house.ask("reload")
        assert not answer["ok"], fault
        assert fault in answer["error"]
        assert fault in house.status()["troubles"]["config"]
        secrets.restore()
    done = dropsight("reload", "-c", str(house.config))
    assert done.returncode == 0, done.stderr
    wait_until(lambda: house.daemon_log().count("ready: model") == 2)
    assert "config" not in house.status()["troubles"]


def test_a_reload_to_a_certificate_whose_name_is_misspelt_is_refused(house: House, secrets: Secrets) -> None:
    """As the old name is gone as well, neither config could be begun with."""
    house.start()
    pid = house.status()["pid"]
    (secrets.folder / "ca.pem").rename(secrets.folder / "broker.pem")
    house.config.write_text(house.config.read_text().replace("ca.pem", "borker.pem"))
    done = dropsight("reload", "-c", str(house.config))
    assert done.returncode != 0
    assert "borker.pem does not exist" in done.stderr
    assert classifies(house)
    assert house.status()["pid"] == pid
    assert house.daemon_log().count("ready: model") == 1


def test_files_that_become_unusable_while_it_restarts_are_a_trouble_until_they_are_in_order(
    house: House, secrets: Secrets
) -> None:
    """No daemon ends for that, no image waits, and no dashboard opens to others."""
    names = ["ca.pem", "password", "headers", "targets", "token"]
    house.under = [sys.executable, "-c", REMOVED.format(names=names, folder=str(secrets.folder))]
    house.start()
    house.configure(secrets.settings(device="yard"))
    assert house.ask("reload")["ok"]
    wait_until(lambda: house.status()["device"] == "yard", what="the new config is in force")
    assert classifies(house)
    said = trouble(house)
    for name in ("mqtt.tls.ca", "webhooks.headers_file", "notify.phone.targets_file", "web.token_file"):
        assert f"{name}: " in said or (name == "mqtt.tls.ca" and "mqtt.password_file: " in said)
        assert f"{name}: " in house.daemon_log() or name == "mqtt.tls.ca"
    assert admitted(house, TOKEN)
    assert not admitted(house, None)
    secrets.restore()
    secret_file(secrets.folder / "token", ANOTHER)
    wait_until(lambda: not trouble(house), what="the trouble has ended")
    assert admitted(house, ANOTHER)
    assert not admitted(house, TOKEN)


def test_a_file_that_becomes_unusable_under_the_running_daemon_is_a_trouble_until_it_is_in_order(
    house: House, secrets: Secrets
) -> None:
    """Nobody heard of it until the next start, which ends there, and after which systemd leaves it down."""
    often = ("dropsight.service.daemon", {"LOOK_SECONDS": 0.1})
    house.under = bounded_by("dropsight.service.reloading", often, SECRETS_SECONDS=0.0)
    house.start()
    for fault, spoil in SPOILS.items():
        spoil(secrets)
        wait_until(partial(is_told, house, fault), what=fault)
        assert "could not start anew" in trouble(house)
        assert classifies(house)
        secrets.restore()
        wait_until(lambda: not trouble(house), what="the trouble has ended")
    secret_file(secrets.folder / "token", ANOTHER)
    assert classifies(house)
    assert admitted(house, TOKEN), "another one takes a reload"


def test_a_file_of_secrets_that_answers_nobody_holds_up_no_stop(house: House, secrets: Secrets) -> None:
    """As on a share whose server is gone: the main thread waited for it, which hears of a stop."""
    often = ("dropsight.service.daemon", {"LOOK_SECONDS": 0.1})
    house.under = bounded_by("dropsight.service.reloading", often, SECRETS_SECONDS=0.0)
    house.start()
    pipe = secrets.folder / "targets"
    os.mkfifo(secrets.folder / "mute")
    writer = os.open(secrets.folder / "mute", os.O_RDWR)
    (secrets.folder / "mute").replace(pipe)
    try:
        wait_until(lambda: is_read(pipe, house), what="it is looked at")
        assert classifies(house)
        assert house.stop() == 0
    finally:
        os.close(writer)


def is_read(path: Path, house: House) -> bool:
    assert house.process
    descriptors = Path(f"/proc/{house.process.pid}/fd").iterdir()
    return any(os.path.realpath(descriptor) == str(path) for descriptor in descriptors)


def test_the_former_config_goes_on_without_its_files_where_the_new_one_cannot_be_begun_with(
    house: House, secrets: Secrets, tmp_path: Path
) -> None:
    """Certificates moved and an inbox misspelt in one edit: the daemon ended for good."""
    house.start()
    shutil.copytree(secrets.folder, tmp_path / "elsewhere")
    text = yaml.safe_dump(yaml.safe_load(house.config.read_text()) | {"watch": [{"path": "file/inbox"}]})
    house.config.write_text(text.replace(str(secrets.folder), str(tmp_path / "elsewhere")))
    (tmp_path / "file").write_text("in the way")
    shutil.rmtree(secrets.folder)
    assert house.ask("reload")["ok"]
    wait_until(lambda: house.daemon_log().count("ready: model") == 2, what="the former goes on")
    assert classifies(house)
    assert "web.token_file: " in trouble(house)
    assert not admitted(house, None)


def test_status_answers_where_images_come_over_mqtt_and_the_password_is_gone(
    house: House, secrets: Secrets
) -> None:
    house.configure(secrets.settings(watch=[{"path": "inbox", "mqtt": "yard/+/snapshot"}]))
    house.start()
    (secrets.folder / "password").unlink()
    (source,) = house.status()["sources"]
    assert source["place"].startswith("mqtts://127.0.0.1:")
