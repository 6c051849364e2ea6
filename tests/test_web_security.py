"""The web side as an attacker finds it. docs/security.md names these tests."""

import contextlib
import http.client
import os
import re
import shutil
import socket
import subprocess
import threading
from http.cookies import SimpleCookie
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from brokers import free_port, wait_until
from daemons import PHOTOS, SAMPLES, House, dropsight, faults, running
from dropsight.web.access import MOST_ENDED, Access
from dropsight.web.connections import MOST_CONNECTIONS, share
from floods import flood
from private_network import OUTER_NETWORK
from test_reload import hang_up, rewrite
from webs import ANY_PORT, Answer, address, ask, idle_client, is_up, stream

TOKEN = "correct-horse-battery-staple"  # noqa: S105 - the test's own
BEARER = {"Authorization": f"Bearer {TOKEN}"}
HTML = {"Accept": "text/html"}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@pytest.fixture
def token_file(tmp_path: Path) -> str:
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    (tmp_path / "token").chmod(0o600)
    return str(tmp_path / "token")


def sign_in(url: str, token: str, **headers: str) -> Answer:
    sent = {**FORM, **{name.replace("_", "-"): value for name, value in headers.items()}}
    return ask(url, "/login", method="POST", headers=sent, body=f"token={token}".encode())


def cookie_of(answer: Answer) -> str:
    return answer.headers["set-cookie"].partition(";")[0]


@pytest.mark.parametrize("listen", ["0.0.0.0:8080", "[::]:8080", "192.168.1.5:8080", "raspberrypi:80"])
def test_to_listen_beyond_this_machine_takes_a_token(tmp_path: Path, listen: str) -> None:
    house = House(tmp_path, {"web": {"listen": listen}})
    done = dropsight("run", "-c", str(house.config))
    assert done.returncode == 2
    (line,) = faults(done)
    assert "web.listen" in line
    assert "give web.token_file" in line


@pytest.mark.slow
def test_a_token_that_is_missing_or_short_is_one_line_and_exit_2(tmp_path: Path) -> None:
    house = House(tmp_path, {"web": {"token_file": "token"}})
    done = dropsight("run", "-c", str(house.config))
    assert (done.returncode, len(faults(done))) == (2, 1)
    assert "cannot be read" in done.stderr
    (tmp_path / "token").write_text("short\n")
    (tmp_path / "token").chmod(0o600)
    done = dropsight("run", "-c", str(house.config))
    assert (done.returncode, len(faults(done))) == (2, 1)
    assert "openssl rand" in done.stderr
    assert "short" not in done.stderr


@pytest.mark.slow
def test_nothing_is_told_without_the_token(tmp_path: Path, token_file: str) -> None:
    with running(tmp_path, web={**ANY_PORT, "token_file": token_file}) as house:
        url = address(house)
        shutil.copy(PHOTOS[0], house.inbox)
        wait_until(lambda: len(house.records()) == 1)
        image = f"/api/images/{house.records()[0]['id']}/thumbnail"
        for path in (
            "/",
            "/events",
            "/metrics",
            "/readyz",
            "/api/stats",
            "/api/results",
            "/api/results/stream",
            image,
        ):
            assert ask(url, path).status == 401, path
            assert ask(url, path, headers={"Authorization": "Bearer wrong"}).status == 401, path
            if not path.endswith("stream"):
                assert ask(url, path, headers=BEARER).status == 200, path
        assert ask(url, "/healthz").json() == {"alive": True}
        for page in ("/", "/events"):
            assert ask(url, page, headers=HTML).headers["location"] == "/login"
        assert TOKEN not in ask(url, "/api/stats", headers=BEARER).body.decode()
        assert TOKEN not in house.daemon_log()


@pytest.mark.slow
def test_a_person_signs_in_once_and_the_cookie_does_not_tell_the_token(
    tmp_path: Path, token_file: str
) -> None:
    with running(tmp_path, web={**ANY_PORT, "token_file": token_file}) as house:
        url = address(house)
        assert b'name="token"' in ask(url, "/login").body
        answer = sign_in(url, TOKEN)
        assert (answer.status, answer.headers["location"]) == (303, "/")
        (cookie,) = SimpleCookie(answer.headers["set-cookie"]).values()
        assert cookie["httponly"]
        assert cookie["samesite"].lower() == "strict"
        assert TOKEN not in answer.headers["set-cookie"]
        signed_in = {"Cookie": f"other=1; {cookie_of(answer)}"}
        assert ask(url, "/api/stats", headers=signed_in).status == 200
        name, _, value = cookie_of(answer).partition("=")
        until, _, mac = value.partition(".")
        for forged in (f"{int(until) + 1}.{mac}", f"1.{mac}", f"{until}.", "", f"é.{mac}"):
            sent = {"Cookie": f"{name}={forged}".encode().decode("latin-1")}
            assert ask(url, "/api/stats", headers=sent).status == 401
        assert (
            "Max-Age=0"
            in ask(url, "/logout", method="POST", headers=signed_in, body=b"").headers["set-cookie"]
        )


def test_a_wrong_token_is_refused_and_another_site_cannot_sign_in(tmp_path: Path, token_file: str) -> None:
    with running(tmp_path, web={**ANY_PORT, "token_file": token_file}) as house:
        url = address(house)
        answer = sign_in(url, "wrong")
        assert answer.status == 401
        assert b"Wrong token" in answer.body
        assert "set-cookie" not in answer.headers
        stranger = sign_in(url, TOKEN, Origin="http://evil.example")
        assert (stranger.status, b"Host" in stranger.body) == (403, True)  # it may be a proxy's doing
        assert sign_in(url, TOKEN, Sec_Fetch_Site="cross-site").status == 403
        assert sign_in(url, TOKEN, Origin=url.rstrip("/")).status == 303


@pytest.mark.slow
@pytest.mark.parametrize("host", ["evil.example", "evil.example:8080", "127.0.0.1.evil.example", "", "[::"])
def test_a_name_that_was_pointed_here_is_not_answered(tmp_path: Path, host: str) -> None:
    """DNS rebinding: a stranger's page asks its own name, which now is 127.0.0.1."""
    with running(tmp_path, web=ANY_PORT) as house:
        url = address(house)
        assert ask(url, "/api/stats", headers={"Host": host}).status in {400, 421}
        for name in ("localhost", "127.0.0.1:9", "[::1]:8080"):
            assert ask(url, "/api/stats", headers={"Host": name}).status == 200


@pytest.mark.slow
def test_a_program_that_names_no_host_is_answered(tmp_path: Path) -> None:
    """HAProxy looks so whether we are well, by HTTP/1.0, and let nobody in over our refusal."""
    with running(tmp_path, web=ANY_PORT) as house:
        parts = urlsplit(address(house))
        with socket.create_connection((parts.hostname, parts.port), timeout=60) as client:
            client.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
            assert client.makefile("rb").readline().startswith(b"HTTP/1.1 200 ")


TRAVERSALS = [
    "/api/images/../../../../etc/passwd/thumbnail",
    "/api/images/..%2f..%2f..%2fetc%2fpasswd/thumbnail",
    "/api/images/%2e%2e/thumbnail",
    "/api/images//etc/passwd/thumbnail",
    "/api/images/%00/thumbnail",
    "/api/records/..%2f..%2fstate%2fjournal.db",
    "/api/records/' OR 1=1 --",
    "/static/../application.py",
    "/static/..%2fapplication.py",
    "/static/%2e%2e/%2e%2e/config/tree.py",
    "/static//etc/passwd",
    "/../dropsight.yaml",
]


@pytest.mark.slow
def test_no_path_of_a_request_reaches_the_file_system(tmp_path: Path) -> None:
    with running(tmp_path, web=ANY_PORT) as house:
        url = address(house)
        for path in TRAVERSALS:
            assert ask(url, path.replace(" ", "%20")).status == 404, path


def test_a_link_that_a_camera_planted_leads_nowhere(tmp_path: Path) -> None:
    """Who may write to the inbox may make links; the files that they point to are not the camera's."""
    secret = tmp_path / "private"
    secret.mkdir()
    with running(tmp_path, web=ANY_PORT, watch=[{"path": "inbox", "after": "keep"}]) as house:
        url = address(house)
        for name in ("front", "back"):
            (house.inbox / name).mkdir()
            shutil.copy(SAMPLES / "coffee.jpg", house.inbox / name / "x.jpg")
        wait_until(lambda: len(house.records()) == 2)
        paths = {each["camera"]: f"/api/images/{each['id']}/thumbnail" for each in house.records()}
        # The very same file, size and time: only the way to it is another.
        (house.inbox / "front").rename(secret / "front")
        (house.inbox / "front").symlink_to(secret / "front")
        (house.inbox / "back" / "x.jpg").rename(secret / "x.jpg")
        (house.inbox / "back" / "x.jpg").symlink_to(secret / "x.jpg")
        assert [ask(url, paths[name]).status for name in ("front", "back")] == [404, 404]


def test_another_file_of_the_same_name_is_not_the_record_s_image(tmp_path: Path) -> None:
    with running(tmp_path, web=ANY_PORT) as house:
        url = address(house)
        shutil.copyfile(PHOTOS[0], house.inbox / "x.jpg")
        wait_until((house.processed / "x.jpg").exists)
        wait_until(lambda: len(house.records()) == 1)
        shutil.copy(PHOTOS[1], house.processed / "x.jpg")
        assert ask(url, f"/api/images/{house.records()[0]['id']}/thumbnail").status == 404


def test_no_more_is_taken_than_is_needed(tmp_path: Path) -> None:
    with running(tmp_path, web=ANY_PORT) as house:
        url = address(house)
        assert ask(url, "/login", method="POST", headers=FORM, body=b"x" * 5_000).status == 413
        assert ask(url, "/api/stats", headers={"Content-Length": "10"}).status == 413
        assert ask(url, "/login", method="POST", headers={"Transfer-Encoding": "chunked"}).status == 413
        assert ask(url, "/api/stats?" + "x" * 40_000).status == 414
        for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
            for path in ("/", "/api/results", "/api/stats", "/metrics"):
                assert ask(url, path, method=method).status == 405


@pytest.mark.slow
def test_a_request_that_trickles_in_does_not_hold_its_place(tmp_path: Path) -> None:
    with running(tmp_path, web=ANY_PORT) as house:
        parts = urlsplit(address(house))
        with socket.create_connection((parts.hostname, parts.port), timeout=30) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
            assert client.recv(1) == b""


def test_every_answer_tells_browsers_what_they_may_do_and_nothing_of_the_server(tmp_path: Path) -> None:
    with running(tmp_path, web=ANY_PORT) as house:
        url = address(house)
        for path in ("/", "/nothing", "/api/stats", "/static/main.js", "/login"):
            headers = ask(url, path).headers
            policy = headers["content-security-policy"]
            assert policy.startswith("default-src 'none'")
            assert "frame-ancestors 'none'" in policy
            assert "unsafe" not in policy
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["referrer-policy"] == "no-referrer"
            assert "server" not in headers
            assert "access-control-allow-origin" not in headers


def test_the_pages_ask_nothing_of_other_hosts_and_have_nothing_inline() -> None:
    folder = SAMPLES.parent / "web" / "static"
    for file in sorted(folder.iterdir()):
        text = file.read_text().replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?://|url\(|@import", text), file.name
        if file.suffix == ".html":
            assert not re.search(r"<script(?![^>]*src=)|<style|style=|\son\w+=", text), file.name
        if file.suffix == ".js":
            assert not re.search(r"innerHTML|insertAdjacentHTML|document\.write|\beval\(", text), file.name


def test_thumbnails_step_aside_for_what_is_to_be_classified(tmp_path: Path) -> None:
    """Thumbnails are made by one thread of the lowest priority, whoever asks for how many."""
    with running(tmp_path, web=ANY_PORT) as house:
        url = address(house)
        shutil.copy(PHOTOS[0], house.inbox)
        wait_until(lambda: len(house.records()) == 1)
        ask(url, f"/api/images/{house.records()[0]['id']}/thumbnail")
        assert house.process
        tasks = Path(f"/proc/{house.process.pid}/task")
        names = {(task / "comm").read_text().strip(): int(task.name) for task in tasks.iterdir()}
        niceness = [os.getpriority(os.PRIO_PROCESS, number) for number in names.values()]
        assert 19 in niceness


def test_no_other_page_pauses_or_explains_by_a_browser_of_ours(tmp_path: Path) -> None:
    own = {"X-Dropsight": "1"}
    with running(tmp_path, web=ANY_PORT) as house:
        url = address(house)
        for path in ("/api/commands/pause", "/api/images/x/explanation"):
            for headers in (
                {},  # a form of another page
                {**own, "Origin": "http://evil.example"},
                {**own, "Origin": "http://["},
                {**own, "Origin": "null"},
                {**own, "Sec-Fetch-Site": "cross-site"},
                {**own, "Sec-Fetch-Site": "same-site"},
            ):
                assert ask(url, path, method="POST", headers=headers, body=b"").status == 403, headers
            rebound = {**own, "Host": "evil.example"}
            assert ask(url, path, method="POST", headers=rebound, body=b"").status == 421
            assert ask(url, path, method="OPTIONS", headers={"Origin": "http://evil.example"}).status == 405
        assert house.status()["paused"] is False


def test_a_command_and_a_download_take_the_token(tmp_path: Path, token_file: str) -> None:
    own = {"X-Dropsight": "1"}
    with running(tmp_path, web={**ANY_PORT, "token_file": token_file}) as house:
        url = address(house)
        for path in ("/api/export", "/api/images/x/original"):
            assert ask(url, path).status == 401
        pause = "/api/commands/pause"
        assert ask(url, pause, method="POST", headers=own, body=b"").status == 401
        assert house.status()["paused"] is False
        assert ask(url, pause, method="POST", headers={**own, **BEARER}, body=b"").status == 200
        assert house.status()["paused"] is True


@pytest.mark.slow
def test_a_sign_in_that_is_no_form_of_ours_is_refused_without_a_traceback(
    tmp_path: Path, token_file: str
) -> None:
    with running(tmp_path, web={**ANY_PORT, "token_file": token_file}) as house:
        url = address(house)
        for body in (
            b"a=1&b=2&c=3&d=4&token=5",
            b"&" * 4_000,
            b"a;" * 2_000,
            b"\0" * 4_000,
            b"%ED%A0%80=%00",
        ):
            assert ask(url, "/login", method="POST", headers=FORM, body=body).status in {400, 401}
        assert ask(url, "/login", method="POST", headers={"Origin": "http://["}, body=b"").status == 403
        assert "Traceback" not in house.daemon_log()


@pytest.mark.slow
@pytest.mark.parametrize("way", ["/login", "/api/stream"])
def test_a_request_that_goes_on_as_garbage_is_refused_without_a_traceback(tmp_path: Path, way: str) -> None:
    """The answer to its beginning could not be sent any more, which was 36 lines of the log each time."""
    head = f"POST {way} HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    with running(tmp_path, web=ANY_PORT) as house:
        url = urlsplit(address(house))
        for end in (b"-5\r\n", b"0\n\nGET / HTTP/1.1\r\n\r\n", b"5;" + b"a" * 100_000 + b"\r\n"):
            with socket.create_connection((url.hostname, url.port or 0), timeout=60) as client:
                client.sendall(head + end)
                with contextlib.suppress(ConnectionResetError):
                    answer = client.recv(4_096)  # 413 where the end comes so late that it is a long body
                    assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 413 "))
        assert house.stop() == 0
        assert "Traceback" not in house.daemon_log()


def test_metrics_asked_for_in_a_version_that_is_none_come_as_plain_text_without_a_traceback(
    tmp_path: Path,
) -> None:
    """It was a 500, and 46 lines of the log each time."""
    with running(tmp_path, web=ANY_PORT) as house:
        url = address(house)
        for version in ("new", "=", '1.0.0"', "\xb2.0.0", "1..0", "9" * 5_000):
            for form in ("text/plain", "application/openmetrics-text"):
                answer = ask(url, "/metrics", headers={"Accept": f"{form}; version={version}; escaping=;"})
                assert (answer.status, answer.headers["content-type"][:10]) == (200, "text/plain")
        assert "Traceback" not in house.daemon_log()


def test_there_are_as_many_streams_as_there_may_be_however_many_come_at_once(tmp_path: Path) -> None:
    with running(tmp_path, web=ANY_PORT) as house, contextlib.ExitStack() as opened:
        url = address(house)
        clients = [opened.enter_context(idle_client(url, "/api/results/stream")) for _ in range(230)]
        found = [client.recv(12) for client in clients]
        assert found.count(b"HTTP/1.1 200") <= 200
        assert found.count(b"HTTP/1.1 503") >= 30


def test_behind_a_proxy_with_tls_the_cookie_is_for_tls_alone(tmp_path: Path, token_file: str) -> None:
    with running(tmp_path, web={**ANY_PORT, "token_file": token_file}) as house:
        url = address(house)
        assert "Secure" not in sign_in(url, TOKEN).headers["set-cookie"]
        assert "Secure" in sign_in(url, TOKEN, X_Forwarded_Proto="https").headers["set-cookie"]


@pytest.mark.slow
def test_many_idle_connections_cost_neither_an_image_nor_another_address_its_place(tmp_path: Path) -> None:
    with running(tmp_path, web=ANY_PORT) as house, contextlib.ExitStack() as opened:
        parts = urlsplit(address(house))
        place = (parts.hostname, parts.port)
        for _ in range(600):
            opened.enter_context(socket.create_connection(place))
        assert house.process
        descriptors = Path(f"/proc/{house.process.pid}/fd")
        wait_until(lambda: sum(1 for _ in descriptors.iterdir()) > 200)
        with socket.create_connection(place, timeout=30, source_address=("127.0.0.2", 0)) as other:
            other.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert other.recv(12) == b"HTTP/1.1 200"
        assert sum(1 for _ in descriptors.iterdir()) < 400
        shutil.copy(PHOTOS[0], house.inbox)
        wait_until(lambda: len(house.records()) == 1)
        assert house.records()[0]["status"] == "ok"


@pytest.mark.slow
@pytest.mark.skipif(
    os.geteuid() != 0 or OUTER_NETWORK not in os.environ or shutil.which("ip") is None,
    reason="only root, in a network of his own, can be another machine",
)
def test_other_machines_leave_an_eighth_of_the_connections_to_this_one(tmp_path: Path) -> None:
    others = [f"10.77.0.{number}" for number in range(1, 5)]
    for other in others:
        subprocess.run(["ip", "address", "replace", f"{other}/32", "dev", "lo"], check=True)
    with running(tmp_path, web=ANY_PORT) as house, contextlib.ExitStack() as opened:
        parts = urlsplit(address(house))
        place = (parts.hostname or "", parts.port or 0)
        assert house.process
        descriptors = Path(f"/proc/{house.process.pid}/fd")
        before = sum(1 for _ in descriptors.iterdir())
        for number in range(600):
            source = (others[number % len(others)], 0)
            opened.enter_context(socket.create_connection(place, timeout=30, source_address=source))
        wait_until(lambda: sum(1 for _ in descriptors.iterdir()) > before + MOST_CONNECTIONS // 2)
        assert ask(address(house), "/healthz").status == 200
        assert sum(1 for _ in descriptors.iterdir()) < before + MOST_CONNECTIONS * 7 // 8 + 16


def test_strangers_of_any_number_of_addresses_leave_a_place_to_who_has_the_token(
    tmp_path: Path, token_file: str
) -> None:
    """Sign-ins that trickle held all places: of IPv6, one machine has as many addresses as it likes."""
    trickle = b"POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 40\r\n\r\ntoken="
    watch = f"GET /api/results/stream HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"
    house = House(tmp_path, {"web": {**ANY_PORT, "token_file": token_file}})
    house.under = ["prlimit", "--nofile=256:256"]
    house.start()
    try:
        url = address(house)
        place = (urlsplit(url).hostname or "", urlsplit(url).port or 0)
        with contextlib.ExitStack() as opened:
            mine = opened.enter_context(socket.create_connection(place, timeout=120))
            mine.sendall(watch.encode())
            assert mine.recv(12) == b"HTTP/1.1 200"
            for number in range(share(256) + 20):
                source = (f"127.0.0.{2 + number % 8}", 0)
                stranger = socket.create_connection(place, timeout=30, source_address=source)
                with contextlib.suppress(ConnectionError):  # for whom there was no place any more
                    opened.enter_context(stranger).sendall(trickle)
            assert ask(url, "/api/stats", headers=BEARER).status == 200
            (house.inbox / "x.jpg").write_bytes(b"")
            told = b""
            while b"x.jpg" not in told:
                told += (more := mine.recv(65_536))
                assert more
    finally:
        house.kill()


@pytest.mark.slow
def test_signing_out_ends_the_cookie_wherever_there_is_a_copy_and_over_a_restart(
    tmp_path: Path, token_file: str
) -> None:
    house = House(tmp_path, {"web": {**ANY_PORT, "token_file": token_file}})
    house.start()
    try:
        url = address(house)
        mine, other = ({"Cookie": cookie_of(sign_in(url, TOKEN))} for _ in range(2))
        with stream(url, **mine) as events:
            assert events.status == 200
            wait_until(lambda: b"dropsight_web_streams 1.0" in ask(url, "/metrics", headers=mine).body)
            ask(url, "/logout", method="POST", headers=mine, body=b"")
            with contextlib.suppress(ConnectionError):
                assert events.ended()
        assert ask(url, "/api/stats", headers=mine).status == 401
        assert ask(url, "/api/stats", headers=other).status == 200
        assert house.stop() == 0
        house.start()
        url = address(house)
        assert ask(url, "/api/stats", headers=mine).status == 401
        assert ask(url, "/api/stats", headers=other).status == 200
    finally:
        house.kill()


@pytest.mark.slow
def test_however_many_sign_out_what_is_noted_of_them_has_a_bound(tmp_path: Path) -> None:
    access = Access(TOKEN, tmp_path)
    for _ in range(MOST_ENDED + 1):
        mine = {"cookie": f"{access.cookie_name}={access.cookie()}"}
        assert access.admits(mine)
        access.end(mine)
        assert not access.admits(mine)
    assert len(access.ended.until) <= MOST_ENDED
    access.end({"cookie": f"{access.cookie_name}=1.2.3"})
    assert Access(TOKEN, tmp_path).ended == access.ended


def test_a_new_token_is_in_force_after_a_reload_and_ends_the_old_one_its_cookies_and_streams(
    tmp_path: Path, token_file: str
) -> None:
    with running(tmp_path, web={**ANY_PORT, "token_file": token_file}) as house:
        url = address(house)
        cookie = {"Cookie": cookie_of(sign_in(url, TOKEN))}
        with stream(url, **BEARER) as events:
            assert events.status == 200
            wait_until(lambda: b"dropsight_web_streams 1.0" in ask(url, "/metrics", headers=BEARER).body)
            Path(token_file).write_text("another-token-of-many-letters\n")
            assert house.ask("reload")["ok"]
            with contextlib.suppress(ConnectionError):
                assert events.ended()
        assert ask(url, "/api/stats", headers=BEARER).status == 401
        assert ask(url, "/api/stats", headers=cookie).status == 401
        assert sign_in(url, "another-token-of-many-letters").status == 303
        Path(token_file).write_text("short\n")
        assert "contains no token" in house.ask("reload")["error"]
        assert sign_in(url, "another-token-of-many-letters").status == 303


def test_nobody_else_gets_the_port_and_with_it_the_tokens_while_the_daemon_reloads(tmp_path: Path) -> None:
    listen = f"127.0.0.1:{free_port()}"
    with running(tmp_path, web={"listen": listen}) as house, socket.socket() as other:
        wait_until(lambda: is_up(f"http://{listen}/"))
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        rewrite(house, web={"listen": listen}, stats={"interval_seconds": 30})
        hang_up(house)
        while house.daemon_log().count("dashboard at") < 2:
            with pytest.raises(OSError, match="Address already in use"):
                other.bind(("127.0.0.1", int(listen.rpartition(":")[2])))
        assert ask(f"http://{listen}/", "/healthz").status == 200
        rewrite(house, web=None)
        hang_up(house)
        wait_until(lambda: house.daemon_log().count("ready: model") == 3)
        other.bind(("127.0.0.1", int(listen.rpartition(":")[2])))


@pytest.mark.slow
def test_a_secret_that_everybody_may_read_is_told_of_until_it_is_closed(
    tmp_path: Path, token_file: str
) -> None:
    Path(token_file).chmod(0o644)
    with running(tmp_path, web={**ANY_PORT, "token_file": token_file}) as house:
        told = (
            f"web.token_file: {token_file} is readable by every user of this machine; chmod o= {token_file}"
        )
        assert house.status()["troubles"]["secrets"] == told
        assert told in house.daemon_log()
        assert told in dropsight("check", "-c", str(house.config)).stdout
        Path(token_file).chmod(0o600)
        assert house.ask("reload")["ok"]
        assert "secrets" not in house.status()["troubles"]


@pytest.mark.slow
def test_who_says_nothing_makes_room_so_that_health_is_answered_to_everybody(tmp_path: Path) -> None:
    """Slow heads from as many addresses as it takes to have all places."""
    with running(tmp_path, web=ANY_PORT) as house, contextlib.ExitStack() as opened:
        parts = urlsplit(address(house))
        place = (parts.hostname, parts.port)
        for number in range(700):
            source = (f"127.0.0.{2 + number % 7}", 0)
            client = opened.enter_context(socket.create_connection(place, source_address=source))
            with contextlib.suppress(ConnectionError):
                client.sendall(b"GET / HTTP/1.1\r\nX-Slow: ")
        for number in (1, 2, 99):
            source = (f"127.0.0.{number}", 0)
            with socket.create_connection(place, timeout=30, source_address=source) as other:
                other.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
                assert other.recv(12) == b"HTTP/1.1 200"
        assert house.process
        assert sum(1 for _ in Path(f"/proc/{house.process.pid}/fd").iterdir()) < MOST_CONNECTIONS + 100


@pytest.mark.parametrize(
    ("descriptors", "connections"), [(64, 8), (128, 32), (256, 128), (1_024, 512), (524_288, 512), (-1, 512)]
)
def test_connections_have_half_of_the_descriptors_at_most(descriptors: int, connections: int) -> None:
    assert share(descriptors) == connections


@pytest.mark.slow
def test_with_few_descriptors_a_flood_of_connections_costs_no_image(tmp_path: Path) -> None:
    house = House(tmp_path, {"web": ANY_PORT})
    house.under = ["prlimit", "--nofile=256:256"]
    house.start()
    try:
        parts = urlsplit(address(house))
        with contextlib.ExitStack() as opened:
            for number in range(400):
                source = (f"127.0.0.{1 + number % 5}", 0)
                opened.enter_context(
                    socket.create_connection((parts.hostname, parts.port), source_address=source)
                )
            for number, photo in enumerate(PHOTOS[:5]):
                shutil.copyfile(photo, house.inbox / f"{number}.jpg")
            wait_until(lambda: len(house.records()) == 5)
            assert {record["status"] for record in house.records()} == {"ok"}
            assert house.status()["troubles"] == {}
    finally:
        house.kill()


def is_healthy(url: str) -> bool:
    """As far as one gets through: where all knock at once the kernel itself turns some away."""
    with contextlib.suppress(OSError, http.client.HTTPException):
        return ask(url, "/healthz").status == 200
    return False


@pytest.mark.slow
def test_a_flood_of_all_kinds_at_once_ends_nothing_and_loses_no_image(tmp_path: Path) -> None:
    with running(tmp_path, web=ANY_PORT) as house:
        url = address(house)
        with flood(url):
            for number in range(60):
                shutil.copyfile(PHOTOS[number % len(PHOTOS)], house.inbox / f"{number}.jpg")
            wait_until(lambda: len(house.records()) == 60)
            wait_until(lambda: is_healthy(url), seconds=400)  # each try takes up to half a minute
        assert {record["status"] for record in house.records()} == {"ok"}
        wait_until(lambda: ask(url, "/api/results?limit=1").status == 200)
        assert "Traceback" not in house.daemon_log()
        assert house.stop() == 0


def test_a_guessed_bearer_token_is_answered_after_one_that_is_right(tmp_path: Path, token_file: str) -> None:
    """Each guess costs its while, and nobody else's."""
    with running(tmp_path, web={**ANY_PORT, "token_file": token_file}) as house:
        url, answers = address(house), list[int]()
        wrong = {"Authorization": "Bearer wrong-horse-battery-staple"}
        guess = threading.Thread(target=lambda: answers.append(ask(url, "/metrics", headers=wrong).status))
        guess.start()
        answers.append(ask(url, "/metrics", headers=BEARER).status)
        guess.join()
        assert answers == [200, 401]
