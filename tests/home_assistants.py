"""The real Home Assistant, as a process of its own, spoken to as its own pages and other programs do."""

import base64
import hmac
import json
import os
import re
import shutil
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

from brokers import free_port, wait_while_it_gets_on
from daemons import ROOT
from processes import begin, end

OWN = ROOT / ".venv-test-ha"
GIVEN = os.environ.get("DROPSIGHT_TEST_HA_PYTHON")
PYTHON = Path(GIVEN or OWN / "bin" / "python")
IS_THERE = bool(GIVEN) or (OWN / ".installed").exists()
MISSING = f"no Home Assistant in {OWN.name}: scripts/test makes it where Python 3.13 is"
KEY, SESSION, OWNER = "0" * 128, "1" * 32, "2" * 32
AS_OF = "2026-01-01T00:00:00+00:00"


class HomeAssistant:
    """One with nothing but MQTT; `start` and `stop` as often as a test likes: it remembers."""

    def __init__(
        self, folder: Path, *, broker: int, prefix: str = "homeassistant", automations: str = ""
    ) -> None:
        self.port, self._folder = free_port(), folder
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: ClientConnection | None = None
        self._asked = 0
        self._token = _token()
        (folder / ".storage").mkdir(parents=True)
        (folder / "configuration.yaml").write_text(
            f"http:\n  server_host: 127.0.0.1\n  server_port: {self.port}\n"
            f"api:\nconfig:\nlogger:\n  default: warning\n{automations}"
        )
        shutil.copytree(ROOT / "docs" / "blueprints", folder / "blueprints" / "automation" / "dropsight")
        self._store("auth", _owner())
        self._store("onboarding", {"done": ["user", "core_config", "analytics", "integration"]}, version=4)
        data = {"broker": "127.0.0.1", "port": broker, "discovery_prefix": prefix}
        self._store("core.config_entries", {"entries": [_mqtt(data)]})

    def start(self) -> None:
        with (self._folder / "output.log").open("ab") as log:
            self._process = begin(
                [PYTHON, "-m", "homeassistant", "-c", self._folder, "--skip-pip"], stdout=log, stderr=log
            )
        output = self._folder / "output.log"
        wait_while_it_gets_on(self._runs, lambda: output.stat().st_size, what=output.read_text)

    def stop(self) -> None:
        """Have it write down what it knows, and end."""
        self._hang_up()
        if self._process:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(60)
            self._process = None

    def kill(self) -> None:
        self._hang_up()
        if self._process:
            end(self._process)

    def states(self) -> dict[str, dict[str, Any]]:
        """By entity id."""
        return {each["entity_id"]: each for each in self._get("states")}

    def entities(self) -> dict[str, dict[str, Any]]:
        """What its registry knows, by unique id."""
        return {each["unique_id"]: each for each in self.ask("config/entity_registry/list")}

    def devices(self) -> dict[str, dict[str, Any]]:
        """By our identifier."""
        found = self.ask("config/device_registry/list")
        return {each["identifiers"][0][1]: each for each in found if each["identifiers"][0][0] == "mqtt"}

    def state(self, unique_id: str) -> dict[str, Any]:
        """None of it where there is no such entity, or no state yet."""
        entity = self.entities().get(unique_id)
        return self.states().get(entity["entity_id"], {}) if entity else {}

    def shows(self, unique_id: str, state: str) -> bool:
        return self.state(unique_id).get("state") == state

    def call(self, domain: str, service: str, unique_id: str) -> None:
        entity = self.entities()[unique_id]["entity_id"]
        self.ask("call_service", domain=domain, service=service, target={"entity_id": entity})

    def ask(self, kind: str, **more: Any) -> Any:
        """Send one order of its websocket API, and return the result."""
        if self._socket is None:
            self._socket = connect(f"ws://127.0.0.1:{self.port}/api/websocket", max_size=None)
            self._socket.recv(60)
            self._socket.send(json.dumps({"type": "auth", "access_token": self._token}))
            assert json.loads(self._socket.recv(60))["type"] == "auth_ok"
            self._asked = 0
        self._asked += 1
        self._socket.send(json.dumps({"id": self._asked, "type": kind, **more}))
        answer = json.loads(self._socket.recv(60))
        assert answer["success"], answer
        return answer["result"]

    def complaints(self) -> list[str]:
        """What it has to say of our messages, each with its traceback; not that it was slow itself."""
        log = (self._folder / "output.log").read_text()
        entries = re.split(r"^(?=\d{4}-\d\d-\d\d \d\d:)", log, flags=re.MULTILINE)
        ours = [entry for entry in entries if "mqtt" in entry and "dropsight" in entry]
        return [entry for entry in ours if not re.search(r"Updating state for .* took [\d.]+ seconds", entry)]

    def _hang_up(self) -> None:
        if self._socket:
            self._socket.close()
            self._socket = None

    def _runs(self) -> bool:
        assert self._process
        assert self._process.poll() is None, (self._folder / "output.log").read_text()
        try:
            found = self._get("config")
        except (urllib.error.URLError, ConnectionError):
            return False
        return bool(found["state"] == "RUNNING" and "mqtt" in found["components"])

    def _get(self, path: str) -> Any:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/api/{path}", headers={"Authorization": f"Bearer {self._token}"}
        )
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310 - the same
            return json.load(answer)

    def _store(self, key: str, data: object, *, version: int = 1) -> None:
        stored = {"version": version, "minor_version": 1, "key": key, "data": data}
        (self._folder / ".storage" / key).write_text(json.dumps(stored))


@contextmanager
def home_assistant(
    folder: Path, *, broker: int, prefix: str = "homeassistant", automations: str = ""
) -> Iterator[HomeAssistant]:
    found = HomeAssistant(folder / "home-assistant", broker=broker, prefix=prefix, automations=automations)
    try:
        found.start()
        yield found
    finally:
        found.kill()


def _mqtt(data: dict[str, Any]) -> dict[str, Any]:
    return {
        "entry_id": "3" * 32,
        "version": 1,
        "minor_version": 1,
        "domain": "mqtt",
        "title": "broker",
        "data": data,
        "options": {},
        "pref_disable_new_entities": False,
        "pref_disable_polling": False,
        "source": "user",
        "unique_id": None,
        "disabled_by": None,
        "created_at": AS_OF,
        "modified_at": AS_OF,
        "discovery_keys": {},
    }


def _owner() -> dict[str, Any]:
    """Store what stands for the owner, who has made a token for a program."""
    user = {"id": OWNER, "name": "owner", "group_ids": ["system-admin"], "local_only": False}
    token = {
        "id": SESSION,
        "user_id": OWNER,
        "client_id": None,
        "client_name": "tests",
        "client_icon": None,
        "token_type": "long_lived_access_token",
        "created_at": AS_OF,
        "access_token_expiration": 1e9,
        "token": "4" * 128,
        "jwt_key": KEY,
        "last_used_at": None,
        "last_used_ip": None,
        "expire_at": None,
        "credential_id": None,
        "version": None,
    }
    return {
        "users": [{**user, "is_owner": True, "is_active": True, "system_generated": False}],
        "groups": [{"id": "system-admin"}, {"id": "system-users"}, {"id": "system-read-only"}],
        "credentials": [],
        "refresh_tokens": [token],
    }


def _token() -> str:
    """Sign a JSON web token (RFC 7519, HS256)."""
    now = int(time.time())
    parts = ({"alg": "HS256", "typ": "JWT"}, {"iss": SESSION, "iat": now - 60, "exp": now + 86_400})
    signed = b".".join(_encoded(json.dumps(part).encode()) for part in parts)
    return b".".join((signed, _encoded(hmac.digest(KEY.encode(), signed, "sha256")))).decode()


def _encoded(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")
