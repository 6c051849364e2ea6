"""Encrypted brokers with certificates of their own: in with the right ones, one clear line with any other."""

import shutil
import subprocess
from pathlib import Path

import pytest

from brokers import Mosquitto, Subscriber, free_port, wait_until
from daemons import PHOTOS, House, dropsight, faults, running
from dropsight.config import Mqtt, Tls
from dropsight.errors import ConfigError
from dropsight.sinks.mqtt.broker import Broker

pytestmark = [
    pytest.mark.broker,
    pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl"),
]


# Made in no time, where two large primes take half a second.
CURVE = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1")


def openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


class Authority:
    """A certificate authority in a folder."""

    def __init__(self, folder: Path, name: str = "ca") -> None:
        folder.mkdir(exist_ok=True)
        self.folder, self.key, self.cert = folder, folder / f"{name}.key", folder / f"{name}.pem"
        subject = ["-subj", f"/CN=test {name}", "-days", "2", "-nodes"]
        openssl("req", "-x509", *CURVE, "-keyout", self.key, "-out", self.cert, *subject)

    def issue(self, name: str, *, host: str = "IP:127.0.0.1", days: int = 2) -> tuple[Path, Path]:
        """Return certificate and key; a negative number of days is an expired one."""
        key, request, cert = (self.folder / f"{name}.{end}" for end in ("key", "csr", "pem"))
        openssl("req", *CURVE, "-nodes", "-keyout", key, "-out", request, "-subj", f"/CN={name}")
        names = self.folder / f"{name}.ext"
        names.write_text(f"subjectAltName={host}\n")
        openssl(
            "x509", "-req", "-in", request, "-CA", self.cert, "-CAkey", self.key, "-CAcreateserial",
            "-extfile", names, "-out", cert, "-days", str(days),
        )  # fmt: skip
        return cert, key


def listening(
    folder: Path, authority: Authority, cert: Path, key: Path, *, clients: bool = False
) -> Mosquitto:
    """A broker with an encrypted listener beside a plain one for the test's own subscriber."""
    port = free_port()
    files = f"cafile {authority.cert}\ncertfile {cert}\nkeyfile {key}\n"
    extra = f"allow_anonymous true\nlistener {port} 127.0.0.1\n{files}"
    broker = Mosquitto(folder, extra=extra + (f"require_certificate {str(clients).lower()}\n"))
    broker.url = f"mqtts://127.0.0.1:{port}"
    return broker


def once(tmp_path: Path, url: str, **tls: str) -> str:
    """Run once with a photo; return what it says. The photo is logged whatever the broker does."""
    house = House(tmp_path, {"mqtt": {"url": url, "tls": tls}})
    shutil.copy(PHOTOS[0], house.inbox)
    done = dropsight("run", "-c", str(house.config), "--once")
    assert len(house.records()) == 1
    assert "Traceback" not in done.stderr
    return done.stderr


def test_a_key_with_a_passphrase_is_a_fault_of_the_config_and_nobody_is_asked(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")
    cert, key = authority.issue("client")
    locked = tmp_path / "locked.key"
    openssl("pkey", "-in", key, "-aes256", "-passout", "pass:any", "-out", locked)
    tls = Tls(ca=authority.cert, cert=cert, key=locked)
    with pytest.raises(ConfigError, match="has a passphrase, which nobody is asked for"):
        Broker.of(Mqtt(url="mqtts://127.0.0.1", tls=tls))


@pytest.mark.slow
def test_records_reach_an_encrypted_broker_by_a_client_certificate(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")
    broker = listening(tmp_path, authority, *authority.issue("server"), clients=True)
    cert, key = authority.issue("client")
    broker.start()
    try:
        tls = {"ca": str(authority.cert), "cert": str(cert), "key": str(key)}
        with (
            Subscriber(broker.port) as subscriber,
            running(tmp_path, mqtt={"url": broker.url, "tls": tls}) as house,
        ):
            shutil.copy(PHOTOS[0], house.inbox)
            wait_until(lambda: len(subscriber.topics("/result/")) == 1)
    finally:
        broker.kill()


@pytest.mark.slow
def test_renewed_certificates_are_used_at_the_next_connection_without_a_reload(tmp_path: Path) -> None:
    """Whoever renews them by a timer tells nobody: the daemon stayed away from its broker."""
    former, renewed = Authority(tmp_path / "former"), Authority(tmp_path / "renewed")
    names = ("ca", "cert", "key")
    files = {name: tmp_path / f"{name}.pem" for name in names}

    def hand_out(authority: Authority) -> tuple[Path, Path]:
        for name, made in zip(names, (authority.cert, *authority.issue("client")), strict=True):
            shutil.copy(made, files[name])
        return authority.issue("server")

    broker = listening(tmp_path, former, *hand_out(former), clients=True)
    broker.start()
    try:
        tls = {name: str(path) for name, path in files.items()}
        with running(tmp_path, mqtt={"url": broker.url, "tls": tls}) as house:
            wait_until(lambda: house.status()["mqtt"]["connected"], what="it is connected")
            broker.kill()
            files["key"].write_text("half written")
            wait_until(lambda: not house.status()["mqtt"]["connected"], what="it has lost its broker")
            hand_out(renewed)
            broker.configure(broker.configured().replace(str(former.folder), str(renewed.folder)))
            broker.start()
            wait_until(lambda: house.status()["mqtt"]["connected"], what="it is connected once more")
    finally:
        broker.kill()


TLS_FAULTS = {
    "wrong authority": "certificate chain; name the authority that signed it in mqtt.tls.ca",
    "no authority": "name the authority that signed it in mqtt.tls.ca",
    "expired": "certificate has expired; renew it, or set the clock of this machine",
    "wrong host": "'127.0.0.1'.; name the broker in mqtt.url as its certificate does",
    "no client certificate": "it requires a client certificate; give mqtt.tls.cert and mqtt.tls.key",
    "expired client certificate": "it reports that our certificate has expired; renew mqtt.tls.cert",
    "foreign client certificate": "it does not trust the authority of our certificate; see mqtt.tls.cert",
    "plain port": "it closed the connection at once; see the scheme and the port of mqtt.url",
}


@pytest.mark.slow
@pytest.mark.parametrize("fault", TLS_FAULTS)
def test_each_fault_of_certificates_is_one_line_that_names_the_way_out(tmp_path: Path, fault: str) -> None:
    authority, other = Authority(tmp_path / "ca"), Authority(tmp_path / "other", "other")
    server = authority.issue(
        "server",
        host="DNS:elsewhere" if fault == "wrong host" else "IP:127.0.0.1",
        days=-1 if fault == "expired" else 2,
    )
    tls = {} if fault == "no authority" else {"ca": str(authority.cert)}
    if fault == "wrong authority":
        tls = {"ca": str(other.cert)}
    if fault in {"expired client certificate", "foreign client certificate"}:
        signer, days = (authority, -1) if fault.startswith("expired") else (other, 2)
        cert, key = signer.issue("client", days=days)
        tls |= {"cert": str(cert), "key": str(key)}
    broker = listening(tmp_path, authority, *server, clients="client" in fault)
    broker.start()
    try:
        url = f"mqtts://127.0.0.1:{broker.port}" if fault == "plain port" else broker.url
        said = once(tmp_path, url, **tls)
    finally:
        broker.kill()
    told = [line for line in said.splitlines() if "cannot be reached" in line]
    assert len(told) == 1, said
    assert told[0].endswith(TLS_FAULTS[fault]), told[0]
    assert "does not support MQTT" not in said


@pytest.mark.slow
@pytest.mark.parametrize("part", ["ca", "cert", "key"])
def test_a_certificate_file_that_is_not_there_or_no_certificate_is_a_fault_of_the_config(
    tmp_path: Path, part: str
) -> None:
    authority = Authority(tmp_path / "ca")
    cert, key = authority.issue("client")
    files = {"ca": str(authority.cert), "cert": str(cert), "key": str(key)}
    for path, words in ((tmp_path / "gone.pem", f"mqtt.tls.{part}: "), (Path(__file__), "mqtt.tls: ")):
        house = House(tmp_path, {"mqtt": {"url": "mqtts://127.0.0.1:1", "tls": {**files, part: str(path)}}})
        done = dropsight("run", "-c", str(house.config), "--once")
        assert done.returncode == 2
        assert words in faults(done)[-1]  # after a word on a key that everybody may read
