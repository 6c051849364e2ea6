"""Webhooks: every record once at least and in order, whatever becomes of the receiver; and no secret told."""

import json
import logging
import math
import os
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import pytest

from brokers import Subscriber, free_port, mosquitto, wait_until
from daemons import PHOTOS, House, dropsight, running
from dropsight.config import Webhook, redacted_hook
from dropsight.crashpoints import VARIABLE
from dropsight.errors import SinkError
from dropsight.journal.outbox import Delivery
from dropsight.records import Status
from dropsight.sinks.feeder import ATTEMPTS, LONGEST_WAIT_SECONDS, Feeder, LaterError
from dropsight.sinks.posting import Poster
from dropsight.sinks.webhook import HttpReceiver
from dropsight.status.troubles import Troubles
from receivers import Receiver, ReceiverProcess, Request, Turn, secret_file
from test_tls import Authority
from webs import address, ask

Key = TypeVar("Key")
FIRST = ["1", "2", "3", "4", "5"]


class Records:
    """An outbox of these records, numbered from 1 on."""

    def __init__(self, ids: Sequence[str], *, failed: Sequence[str] = ()) -> None:
        self.place = 0
        self._all = [
            Delivery(number, "front", _status(each in failed), b'{"id":"%s"}\n' % each.encode())
            for number, each in enumerate(ids, start=1)
        ]

    def pending(self, after: int, limit: int) -> list[Delivery]:
        return self._all[after : after + limit]

    take = pending

    def let_go(self) -> None:
        """Nothing is dropped here."""

    def acknowledge(self, seq: int) -> None:
        self.place = seq

    def acknowledged(self) -> int:
        return self.place

    def done(self) -> bool:
        return self.place == len(self._all)


def _status(failed: bool) -> Status:  # noqa: FBT001 - one
    return "failed" if failed else "ok"


@contextmanager
def feeding(records: Records, hook: Webhook) -> Iterator[Feeder]:
    feeder = Feeder(
        "hook",
        lambda: HttpReceiver(hook),
        records,
        Troubles(logging.getLogger("dropsight.test")),
        to=hook.url,
        group=hook.batch,
        statuses=hook.on,
    )
    thread = threading.Thread(target=feeder.run)
    thread.start()
    try:
        yield feeder
    finally:
        feeder.stop(drain_seconds=0)
        thread.join()


def feed(records: Records, hook: Webhook) -> Feeder:
    """Hand all of them on."""
    with feeding(records, hook) as feeder:
        wait_until(records.done)
    return feeder


def fed(firsts: Mapping[Key, Turn]) -> list[tuple[Key, Receiver, Feeder]]:
    """Hand two records to each of these, all at once, which answer first like this and then well."""
    found = []
    with ExitStack() as stack:
        outboxes = []
        for key, first in firsts.items():
            receiver = stack.enter_context(Receiver([first, Turn()]))
            outboxes.append(Records(["1", "2"]))
            feeder = stack.enter_context(feeding(outboxes[-1], Webhook(receiver.url, timeout=1.0)))
            found.append((key, receiver, feeder))
        wait_until(lambda: all(records.done() for records in outboxes))
    return found


def test_each_record_is_a_post_of_its_own_with_its_id_for_a_key_and_the_headers_of_the_file(
    tmp_path: Path,
) -> None:
    headers = secret_file(tmp_path / "headers", "\ufeffAuthorization: Bearer abc \r\n\nX-Site: 7\n\n")
    with Receiver() as receiver:
        feeder = feed(Records(FIRST), Webhook(receiver.url + "?a=b", headers_file=headers))
    assert receiver.ids() == FIRST
    assert [request.headers["Idempotency-Key"] for request in receiver.asked] == FIRST
    first = receiver.asked[0]
    assert first.path == "/hook?a=b"
    assert (first.headers["Authorization"], first.headers["X-Site"]) == ("Bearer abc", "7")
    assert first.headers["Content-Type"] == "application/json"
    assert feeder.standing().delivered == len(FIRST)


def test_a_name_and_a_password_in_the_url_are_sent_as_its_owner_means_them() -> None:
    with Receiver() as receiver:
        feed(Records(["1"]), Webhook(receiver.url.replace("://", "://bob:se%2Fcret@")))
    assert receiver.asked[0].headers["Authorization"] == "Basic Ym9iOnNlL2NyZXQ="


def test_a_batch_is_an_array_of_so_many_records_at_most_even_of_one() -> None:
    with Receiver() as receiver:
        feed(Records(FIRST), Webhook(receiver.url, batch=2))
    assert [[each["id"] for each in body] for body in receiver.taken] == [["1", "2"], ["3", "4"], ["5"]]


def test_records_of_other_kinds_are_passed_by() -> None:
    with Receiver() as receiver:
        feed(Records(FIRST, failed=["2", "5"]), Webhook(receiver.url, on=("failed",)))
    assert receiver.ids() == ["2", "5"]


def test_a_receiver_that_takes_nothing_for_now_gets_it_later() -> None:
    found = {}
    for status, receiver, feeder in fed({status: Turn(status) for status in (408, 425, 429, 500, 503)}):
        found[status] = [request.body["id"] for request in receiver.asked]
        assert feeder.standing()[1:3] == (2, 0)
    assert list(found.values()) == [["1", "1", "2"]] * 5


@pytest.mark.parametrize(
    "turn", [Turn(504), Turn(0, instead=lambda handler: handler.connection.shutdown(socket.SHUT_RDWR))]
)
def test_a_receiver_that_cannot_answer_for_a_whole_batch_gets_smaller_ones(turn: Turn) -> None:
    """As one that needs a second for each, once it was away: until then a batch had few records."""
    ids = [str(number) for number in range(1, 21)]
    with Receiver() as receiver:
        receiver.judge = lambda request: turn if len(request.body) > 4 else Turn()
        feeder = feed(Records(ids), Webhook(receiver.url, batch=10))
    assert [each["id"] for body in receiver.taken for each in body] == ids
    assert feeder.standing()[1:3] == (len(ids), 0)


@pytest.mark.parametrize("batch", [1, 3])
def test_a_record_that_is_refused_is_set_aside_and_counted_and_stops_no_other(batch: int) -> None:
    """Of a batch, that record alone: it is found by handing them over one by one."""

    def judge(request: Request) -> Turn:
        bodies = request.body if batch > 1 else [request.body]
        return Turn(422 if any(body["id"] == "2" for body in bodies) else 200)

    with Receiver() as receiver:
        receiver.judge = judge
        feeder = feed(Records(FIRST), Webhook(receiver.url, batch=batch))
    taken = [each["id"] for body in receiver.taken for each in (body if batch > 1 else [body])]
    assert taken == ["1", "3", "4", "5"]
    assert feeder.standing()[1:3] == (4, 1)
    alone = [body for _, _, body in receiver.asked if body in ({"id": "2"}, [{"id": "2"}])]
    assert len(alone) == ATTEMPTS + 1  # once more after it has taken another


@pytest.mark.parametrize("status", [403, 404])
def test_a_receiver_that_refuses_all_for_a_while_gets_all_later_each_once(status: int) -> None:
    """As behind a proxy that says so while the receiver starts anew: no record is at fault."""
    records = Records(FIRST)
    with Receiver([Turn(status)]) as receiver, feeding(records, Webhook(receiver.url)) as feeder:
        wait_until(lambda: len(receiver.asked) > ATTEMPTS)
        assert (records.place, feeder.standing().set_aside) == (0, 0)
        assert str(status) in feeder.troubles.current()["hook"]
        receiver.judge = lambda _request: Turn()
        wait_until(records.done)
        wait_until(lambda: not feeder.troubles.any())
    assert sorted(receiver.ids()) == FIRST
    assert feeder.standing()[1:3] == (len(FIRST), 0)


def test_records_in_a_row_that_are_refused_stop_no_other() -> None:
    """Each is offered once more after another was taken, which comes before its turn, and once."""
    with Receiver() as receiver:
        receiver.judge = lambda request: Turn(404 if request.body["id"] in ("1", "2") else 200)
        feeder = feed(Records(FIRST), Webhook(receiver.url))
    assert receiver.ids() == ["3", "4", "5"]
    assert feeder.standing()[1:3] == (3, 2)


def test_a_last_record_that_is_refused_waits_for_another_and_holds_up_no_end() -> None:
    records = Records(["1"])
    with Receiver([Turn(404)]) as receiver, feeding(records, Webhook(receiver.url)) as feeder:
        feeder.stop(drain_seconds=3600)
        wait_until(lambda: len(receiver.asked) >= ATTEMPTS)
    assert (records.place, feeder.standing().set_aside) == (0, 0)


def test_a_wrong_password_sets_no_record_aside() -> None:
    """It is we who are turned away, and the records wait until somebody mends that."""
    records = Records(FIRST)
    with Receiver([Turn(401)]) as receiver, feeding(records, Webhook(receiver.url)) as feeder:
        wait_until(lambda: len(receiver.asked) > 1)
        assert "401" in feeder.troubles.current()["hook"]
        assert "webhooks.headers_file" in feeder.troubles.current()["hook"]
        assert (records.place, feeder.standing().set_aside, feeder.refused) == (0, 0, True)


def test_a_redirect_is_said_and_not_followed() -> None:
    turn = Turn(307, {"Location": "/elsewhere"})
    records = Records(["1"])
    with Receiver([turn]) as receiver, feeding(records, Webhook(receiver.url)) as feeder:
        wait_until(lambda: bool(receiver.asked and feeder.troubles.any()))
        assert "redirects are not followed" in feeder.troubles.current()["hook"]
    assert {request.path for request in receiver.asked} == {"/hook"}
    assert records.place == 0


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("120", 120.0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
        ("soon", 0.0),
        ("9" * 400, LONGEST_WAIT_SECONDS),
    ],
)
def test_what_a_receiver_says_of_when_to_come_again_is_heeded_within_bounds(
    said: str, seconds: float
) -> None:
    with Receiver([Turn(429, {"Retry-After": said})]) as receiver:
        poster = Poster(urlsplit(receiver.url), context=None, timeout_seconds=30)
        answer = poster.post(b"{}", {})
        poster.close()
    assert LaterError("busy", seconds=answer.wait_seconds).seconds == seconds


def garbage(handler: BaseHTTPRequestHandler) -> None:
    handler.wfile.write(os.urandom(64).replace(b"H", b"h") + b"\r\n\r\n" * 4)


def hang(handler: BaseHTTPRequestHandler) -> None:
    handler.connection.recv(1)


def trickle(handler: BaseHTTPRequestHandler) -> None:
    """A byte at a time, each well within what a socket waits for."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    try:
        while True:
            handler.wfile.write(b"x")
            time.sleep(0.02)
    except OSError:
        pass


def reset(handler: BaseHTTPRequestHandler) -> None:
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.close()


def many_headers(handler: BaseHTTPRequestHandler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 100_000)


def test_a_receiver_that_misbehaves_is_hung_up_on_and_asked_again() -> None:
    ways = (garbage, hang, trickle, reset, many_headers)
    found = {}
    for way, receiver, feeder in fed({way.__name__: Turn(0, instead=way) for way in ways}):
        found[way] = receiver.ids()
        assert feeder.standing()[1:3] == (2, 0)
    assert list(found.values()) == [["1", "2"]] * len(ways)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
def test_a_handshake_that_outlasts_the_time_of_a_request_does_not_give_it_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host whose name takes long to find has its time for it afterwards, from the socket."""
    authority, resolve = Authority(tmp_path / "ca"), socket.getaddrinfo
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.issue("server"))

    def slowly(*name: Any, **how: Any) -> Any:
        time.sleep(0.8)
        return resolve(*name, **how)

    def answer(listener: socket.socket) -> None:
        peer, _ = listener.accept()
        time.sleep(0.6)
        with suppress(OSError), context.wrap_socket(peer, server_side=True) as protected:
            protected.sendall(b"HTTP/1.1 200 OK\r\nX-Slow: ")
            for _ in range(50):
                protected.sendall(b"x")
                time.sleep(0.1)
            patient.set()

    patient = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        answering = threading.Thread(target=answer, args=(listener,), daemon=True)
        answering.start()
        url = urlsplit(f"https://127.0.0.1:{listener.getsockname()[1]}/")
        trusted = ssl.create_default_context(cafile=authority.cert)
        poster = Poster(url, context=trusted, timeout_seconds=1.0)
        monkeypatch.setattr(socket, "getaddrinfo", slowly)
        with pytest.raises(SinkError, match="no answer within 1 s"):
            poster.post(b"{}", {})
        poster.close()
        answering.join(30)
    assert not patient.is_set()


def endless(handler: BaseHTTPRequestHandler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n")
    try:
        while True:
            handler.wfile.write(b"x" * 65536)
    except OSError:
        pass


def test_an_answer_without_an_end_is_an_answer() -> None:
    """What it says is in its first line: the rest is not looked at, and so much of it not waited for."""
    with Receiver([Turn(200, instead=endless), Turn()]) as receiver:
        feed(Records(["1", "2"]), Webhook(receiver.url))
    assert receiver.ids() == ["1", "2"]


def going_on(handler: BaseHTTPRequestHandler) -> None:
    try:
        while True:
            handler.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n" * 1_000)
    except OSError:
        pass


def test_a_receiver_that_only_says_to_go_on_is_hung_up_on_at_once() -> None:
    """Each is read where it comes from without a bound: a core for as long as an answer may take."""
    with Receiver([Turn(0, instead=going_on)]) as receiver:
        poster = Poster(urlsplit(receiver.url), context=None, timeout_seconds=600)
        with pytest.raises(SinkError, match="its answer is not HTTP"):
            poster.post(b"{}", {})
        poster.close()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
def test_only_a_receiver_with_a_certificate_of_the_trusted_authority_gets_anything(tmp_path: Path) -> None:
    authority, other = Authority(tmp_path / "ca"), Authority(tmp_path / "other", "other")
    elsewhere = authority.issue("elsewhere", host="DNS:elsewhere.example")
    turns = [Turn(0, instead=hang), Turn()]
    with Receiver(turns, tls=authority.issue("server")) as receiver, Receiver(tls=elsewhere) as impostor:
        feed(Records(FIRST), Webhook(receiver.url, ca_file=authority.cert, timeout=1.0))
        assert receiver.ids() == FIRST
        known = len(receiver.asked)
        for hook in (
            Webhook(receiver.url, ca_file=other.cert),
            Webhook(receiver.url),
            Webhook(impostor.url, ca_file=authority.cert),
        ):
            with feeding(Records(FIRST), hook) as feeder:
                wait_until(feeder.troubles.any)
                assert "certificate is not trusted" in feeder.troubles.current()["hook"]
        assert (len(receiver.asked), impostor.asked) == (known, [])


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
def test_a_certificate_that_is_out_of_date_is_told_with_the_way_out(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")
    with Receiver(tls=authority.issue("server", days=-1)) as receiver:
        with feeding(Records(FIRST), Webhook(receiver.url, ca_file=authority.cert)) as feeder:
            wait_until(feeder.troubles.any)
        told = feeder.troubles.current()["hook"]
        assert told.endswith("expired; renew it there, or set the clock of this machine")


SAID = {
    "30": 30,
    "9" * 4_200: math.inf,
    "-5": 0,
    "soon": 0,
    "Sat, 29 Feb 2020 12:00:40 GMT": 40,
    "Sat, 29 Feb 2020 11:00:00 GMT": 0,
    "Sat, 29 Feb 2020 12:00:40 -0000": 0,
    f"Sat, 29 Feb {10**20} 12:00:40 GMT": 0,
    f"Sat, 29 Feb 2020 12:00:40 +{10**20}": 0,
}


@pytest.mark.parametrize("said", SAID)
def test_a_date_to_come_again_at_is_taken_by_the_receiver_s_clock(said: str) -> None:
    """Ours may be of 1970 until the network gives the time: 40 s were an hour then."""

    def busy(handler: BaseHTTPRequestHandler) -> None:
        head = f"HTTP/1.1 503 Busy\r\nDate: Sat, 29 Feb 2020 12:00:00 GMT\r\nRetry-After: {said}\r\n"
        handler.wfile.write(f"{head}Content-Length: 0\r\n\r\n".encode())

    with Receiver([Turn(0, instead=busy)]) as receiver:
        poster = Poster(urlsplit(receiver.url), context=None, timeout_seconds=60)
        assert poster.post(b"{}", {}).wait_seconds == SAID[said]
        poster.close()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
def test_a_renewed_authority_and_token_are_used_at_the_next_attempt_without_a_reload(tmp_path: Path) -> None:
    former, renewed = Authority(tmp_path / "former"), Authority(tmp_path / "renewed")
    trusted, headers = tmp_path / "trusted.pem", tmp_path / "headers"
    shutil.copy(former.cert, trusted)
    headers.write_text("Authorization: Bearer former\n")
    with Receiver(tls=renewed.issue("server")) as receiver:
        receiver.judge = lambda request: Turn(
            200 if request.headers["Authorization"] == "Bearer renewed" else 401
        )
        records = Records(FIRST)
        with feeding(records, Webhook(receiver.url, ca_file=trusted, headers_file=headers)) as feeder:
            wait_until(feeder.troubles.any)
            trusted.write_text("half written")
            assert "certificate is not trusted" in feeder.troubles.current()["hook"]
            shutil.copy(renewed.cert, trusted)
            wait_until(lambda: feeder.refused)
            headers.write_text("Authorization: Bearer renewed\n")
            wait_until(records.done)
        assert receiver.ids() == FIRST


def in_order_of_first(ids: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(ids))


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_receiver_gets_every_record_in_order_over_kills_of_either_side(tmp_path: Path) -> None:
    """What it gets twice is what was in flight when one of them died."""
    receiver = ReceiverProcess(tmp_path, free_port())
    house = House(tmp_path, {"webhooks": [{"url": receiver.url, "name": "hub"}]})
    photos = iter(PHOTOS * 4)
    try:
        receiver.start()
        for point in ("before_delivery:2", "after_delivery:3", "before_puback_commit:1"):
            for _ in range(5):
                drop(house, next(photos))
            house.spawn(**{VARIABLE: point})
            assert house.ended() == -signal.SIGKILL, house.daemon_log()
        house.start()
        for _ in range(3):
            drop(house, next(photos))
            receiver.kill()
            drop(house, next(photos))
            receiver.start()
        wait_until(lambda: len(set(receiver.ids())) == 21)
        assert house.stop() == 0
    finally:
        house.kill()
        receiver.kill()
    assert in_order_of_first(receiver.ids()) == [record["id"] for record in house.records()]
    assert len(receiver.ids()) - 21 <= 12


def drop(house: House, photo: Path) -> None:
    (house.inbox / f"{time.monotonic_ns()}.jpg").write_bytes(photo.read_bytes())


def waiting(house: House, name: str) -> int:
    count: int = house.status()["stats"]["followers"][name]["waiting"]
    return count


@pytest.mark.slow
@pytest.mark.broker
def test_a_receiver_that_hangs_holds_up_neither_classification_nor_the_broker(tmp_path: Path) -> None:
    hook, more = {"name": "hub", "timeout": 300}, {"web": {"listen": f"127.0.0.1:{free_port()}"}}
    with (
        Receiver([Turn(0, instead=hang)]) as receiver,
        mosquitto(tmp_path) as broker,
        Subscriber(broker.port) as subscriber,
        running(
            tmp_path, mqtt={"url": broker.url}, webhooks=[{**hook, "url": receiver.url}], **more
        ) as house,
    ):
        for photo in PHOTOS * 2:
            drop(house, photo)
        count = 2 * len(PHOTOS)
        wait_until(lambda: len(subscriber.topics("/result/")) == count)
        wait_until(lambda: waiting(house, "mqtt") == 0)
        wait_until(lambda: len(receiver.asked) == 1)
        assert waiting(house, "webhook:hub") == count
        assert house.status()["mqtt"]["published"] == count
        figures = ask(address(house), "/metrics").body.decode()
        assert f'dropsight_follower_waiting{{follower="webhook:hub"}} {count}.0' in figures
        shown, url = dropsight("status", "-c", str(house.config)).stdout, redacted_hook(receiver.url)
        assert f"follower   webhook:hub, {url}, 0 delivered, {count} waiting" in shown
        assert house.stop() == 0
        assert f"{count} records are queued in the outbox for {url}" in house.daemon_log()


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_receiver_that_was_away_gets_all_but_what_is_beyond_the_bound_and_secrets_are_told_nobody(
    tmp_path: Path,
) -> None:
    """What is lost is counted for each. A reload brings a new token, with which both try at once."""
    headers = secret_file(tmp_path / "headers", "Authorization: Bearer wrong-5ecret\n")

    def judge(request: Request) -> Turn:
        return Turn(200 if request.headers["Authorization"] == "Bearer right-5ecret" else 401)

    with Receiver() as receiver, Receiver() as single:
        receiver.judge = single.judge = judge
        hooks = [
            {
                "url": f"http://bob:pass-5ecret@127.0.0.1:{receiver.port}/path-5ecret",
                "name": "batches",
                "batch": 50,
                "max_backlog": 64,
            },
            {"url": single.url, "name": "single", "max_backlog": 64},
        ]
        for hook in hooks:
            hook["headers_file"] = str(headers)
        with running(tmp_path, webhooks=hooks) as house:
            for number in range(150):
                (house.inbox / f"{number}.jpg").write_bytes(b"no picture %d" % number)
            wait_until(lambda: house.finished() == 150 and waiting(house, "webhook:batches") < 150)
            wait_until(lambda: "webhook:single" in house.status()["troubles"])
            told = json.dumps(house.status())
            secret_file(headers, "Authorization: Bearer right-5ecret\n")
            assert house.process
            house.process.send_signal(signal.SIGHUP)
            wait_until(lambda: waiting(house, "webhook:batches") == waiting(house, "webhook:single") == 0)
            followers = house.status()["stats"]["followers"]
            told += json.dumps(house.status()) + house.daemon_log()
            told += dropsight("config", "-c", str(house.config)).stdout
            assert house.stop() == 0
    log = [record["id"] for record in house.records()]
    for name, ids in (
        ("webhook:batches", [each["id"] for body in receiver.taken for each in body]),
        ("webhook:single", single.ids()),
    ):
        # What was on its way as the others were dropped arrives before those that the bound keeps.
        assert ids == [each for each in log if each in set(ids)]
        assert ids[-64:] == log[-64:]
        assert followers[name]["dropped"] == 150 - len(ids) > 0
    assert "5ecret" not in told


def test_once_hands_on_what_there_is_and_waits_for_nobody_who_is_away(tmp_path: Path) -> None:
    with Receiver() as receiver:
        away = {"url": f"http://127.0.0.1:{free_port()}", "name": "away"}
        house = House(tmp_path, {"webhooks": [{"url": receiver.url, "name": "here"}, away]})
        for photo in PHOTOS[:3]:
            shutil.copy(photo, house.inbox)
        done = dropsight("run", "-c", str(house.config), "--once")
    assert done.returncode == 0
    assert receiver.ids() == [record["id"] for record in house.records()]
    assert f"3 records are queued in the outbox for {away['url']}" in done.stderr


@pytest.mark.slow
def test_check_tries_to_connect_and_sends_nothing(tmp_path: Path) -> None:
    with Receiver() as receiver:
        away = f"http://127.0.0.1:{free_port()}/path-5ecret"
        hooks = [{"url": receiver.url, "name": "here"}, {"url": away, "name": "away"}]
        headers = secret_file(tmp_path / "headers", "X: y")
        headers.chmod(0o644)
        house = House(tmp_path, {"webhooks": [{**hook, "headers_file": str(headers)} for hook in hooks]})
        done = dropsight("check", "-c", str(house.config))
    lines = done.stdout.splitlines()
    assert any(line.startswith("ok    webhook:here") and "nothing was sent" in line for line in lines)
    assert any(line.startswith("FAIL  webhook:away") and "refused" in line for line in lines)
    assert any(line.startswith("warn  secrets") and "headers_file" in line for line in lines)
    assert (done.returncode, receiver.asked) == (1, [])
    assert "5ecret" not in done.stdout + done.stderr


@pytest.mark.slow
def test_without_the_extra_the_daemon_works_and_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['urllib3'] = None\n")
    house = House(tmp_path, {"webhooks": [{"url": "http://127.0.0.1:9/x", "name": "hub"}]})
    done = dropsight("check", "-c", str(house.config), environ={"PYTHONPATH": str(tmp_path)})
    assert "webhooks need urllib3" in done.stdout
    assert "[webhook]" in done.stdout
    try:
        house.spawn(PYTHONPATH=str(tmp_path))
        wait_until(house.answers)
        drop(house, PHOTOS[0])
        wait_until(lambda: waiting(house, "webhook:hub") == 1)
        wait_until(lambda: "webhooks need urllib3" in house.status()["troubles"].get("webhook:hub", ""))
        assert house.stop() == 0
    finally:
        house.kill()


def test_nothing_of_it_is_imported_where_there_is_no_webhook(tmp_path: Path) -> None:
    """A device that needs none is to start as quickly as before."""
    house = House(tmp_path, {})
    code = (
        "import sys\nfrom dropsight.entry import main\n"
        f"sys.argv = ['dropsight', 'run', '--once', '-c', {str(house.config)!r}]\n"
        "try:\n    main()\nfinally:\n"
        "    print([name for name in sys.modules if 'urllib3' in name or 'webhook' in name])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1] == "[]", done.stderr
