"""Encrypted brokers with certificates of their own: in with the right ones, one clear line with any other."""

import shutil
import subprocess
from pathlib import Path

import pytest

from brokers import Mosquitto, Subscriber, free_port, wait_until
from daemons import PHOTOS, House, dropsight, running

pytestmark = [
    pytest.mark.broker,
    pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl"),
]


def openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


class Authority:
    """A certificate authority in a folder."""

    def __init__(self, folder: Path, name: str = "ca") -> None:
        folder.mkdir(exist_ok=True)
        self.folder, self.key, self.cert = folder, folder / f"{name}.key", folder / f"{name}.pem"
        subject = ["-subj", f"/CN=test {name}", "-days", "2", "-nodes"]
        openssl("req", "-x509", "-newkey", "rsa:2048", "-keyout", self.key, "-out", self.cert, *subject)

    def issue(self, name: str, *, host: str = "IP:127.0.0.1", days: int = 2) -> tuple[Path, Path]:
        """Return certificate and key; a negative number of days is an expired one."""
        key, request, cert = (self.folder / f"{name}.{end}" for end in ("key", "csr", "pem"))
        openssl(
            "req", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", request, "-subj", f"/CN={name}"
        )
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


@pytest.mark.parametrize(
    ("fault", "line"),
    [
        ("wrong authority", "its certificate is not trusted: self-signed certificate in certificate chain"),
        ("expired", "its certificate is not trusted: certificate has expired"),
        ("wrong host", "IP address mismatch"),
    ],
)
def test_a_certificate_that_cannot_be_trusted_is_one_clear_line(
    tmp_path: Path, fault: str, line: str
) -> None:
    authority = Authority(tmp_path / "ca")
    host, days = (
        ("DNS:elsewhere" if fault == "wrong host" else "IP:127.0.0.1"),
        (-1 if fault == "expired" else 2),
    )
    broker = listening(tmp_path, authority, *authority.issue("server", host=host, days=days))
    trusted = Authority(tmp_path / "other", "other").cert if fault == "wrong authority" else authority.cert
    broker.start()
    try:
        said = once(tmp_path, broker.url, ca=str(trusted))
    finally:
        broker.kill()
    assert sum("mqtt.tls.ca" in each for each in said.splitlines()) == 1
    if fault != "wrong authority":
        assert line in said
