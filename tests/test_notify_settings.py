"""Targets of notifications in a config, `notify --test` and `check`: what is refused, and no secret told."""

import re
from pathlib import Path

import pytest

from brokers import free_port
from daemons import ROOT, dropsight
from dropsight.config import Notify, dump, has_other_urls, load, notify_urls
from dropsight.config.credentials import CREDENTIALS, NOTIFY_CREDENTIAL
from dropsight.errors import ConfigError
from receivers import Receiver, Turn, secret_file


@pytest.mark.parametrize(
    ("said", "fault"),
    [
        (
            "{phone: {quiet: '9-17'}}",
            'notify.phone.quiet: cannot be "9-17"; give hours such as "22:00-07:00"',
        ),
        ("{phone: {quiet: '07:00-07:00'}}", "notify.phone.quiet: begins when it ends"),
        ("{'my phone': {}}", "notify.my phone: is not a name"),
        ("{phone: {targets: x}}", "did you mean notify.phone.targets_file?"),
    ],
)
def test_what_is_wrong_with_a_target_is_said(tmp_path: Path, said: str, fault: str) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(f"notify: {said}")
    with pytest.raises(ConfigError) as caught:
        load(file)
    assert fault in str(caught.value)


def test_urls_are_the_lines_of_a_file_or_of_the_credential_of_that_name(tmp_path: Path) -> None:
    text = "# the phone\n\nntfys://ntfy.sh/t0pic \nmailto://bob:5ecret@example.org\n"
    file = secret_file(tmp_path / "phone", text)
    urls = ["ntfys://ntfy.sh/t0pic", "mailto://bob:5ecret@example.org"]
    assert notify_urls("phone", Notify(file)) == urls
    secret_file(tmp_path / f"{NOTIFY_CREDENTIAL}phone", text)
    assert notify_urls("phone", Notify(), environ={CREDENTIALS: str(tmp_path)}) == urls
    assert notify_urls("phone", Notify(), credential="ntfy://hub/x", environ={}) == ["ntfy://hub/x"]


def test_a_credential_that_was_changed_since_the_service_started_is_told_from_one_that_is_in_force(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is stored is tried, and the service would go on with the former one until it is restarted."""
    monkeypatch.setattr("dropsight.config.credentials.RUNNING", str(tmp_path))
    assert not has_other_urls("phone", "ntfy://hub/new")
    secret_file(tmp_path / f"{NOTIFY_CREDENTIAL}phone", "ntfy://hub/old\n")
    assert has_other_urls("phone", "ntfy://hub/new")
    assert not has_other_urls("phone", "ntfy://hub/old")
    assert not has_other_urls("phone", None)


def test_who_may_not_look_for_a_credential_is_told_who_may(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dropsight.config.credentials.STORES", (str(tmp_path),))
    monkeypatch.setattr("dropsight.config.credentials.os.access", lambda *_: False)
    with pytest.raises(
        ConfigError, match=r"dropsight\.notify-phone \(where it is stored, only root .*: sudo"
    ):
        notify_urls("phone", Notify(), environ={})


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (None, "cannot be read (No such file or directory)"),
        ("# none\n", "contains no URL; write one a line"),
        ("ntfy://hub/x\n5ecret\n", "line 2 of"),
    ],
)
def test_a_file_without_targets_is_named_and_nothing_of_it_quoted(
    tmp_path: Path, text: str | None, fault: str
) -> None:
    file = tmp_path / "phone"
    if text:
        file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        notify_urls("phone", Notify(file))
    assert "notify.phone.targets_file" in str(caught.value)
    assert fault in str(caught.value)
    assert "5ecret" not in str(caught.value)
    with pytest.raises(ConfigError, match=r"or store the credential dropsight\.notify-phone"):
        notify_urls("phone", Notify(), environ={})


def test_the_page_shows_a_config_that_is_one_and_names_every_key(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "notifications.md").read_text()
    sample = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)[0]
    file = tmp_path / "c.yaml"
    file.write_text(sample)
    config = load(file)
    assert list(config.notify) == ["phone"]
    assert re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE) == list(Notify.__struct_fields__)
    assert load(secret_file(tmp_path / "d.yaml", dump(config))) == config


@pytest.mark.slow
def test_test_says_of_each_target_whether_it_was_reached_and_why_not(tmp_path: Path) -> None:
    """Neither there nor in check is anything of a URL shown but its scheme."""
    with Receiver() as web:
        web.judge = lambda asked: Turn(404 if asked.path == "/wr0ng-5ecret" else 200)
        lines = [f"json://127.0.0.1:{web.port}/{path}-5ecret" for path in ("right", "wr0ng")]
        lines.append(f"ntfy://127.0.0.1:{free_port()}/t0pic-5ecret")
        phone = secret_file(tmp_path / "phone", "\n".join(lines))
        mail = secret_file(tmp_path / "mail", f"json://127.0.0.1:{web.port}/mail-5ecret")
        odd = secret_file(tmp_path / "odd", "nonsense://5ecret")
        odd.chmod(0o644)
        config = tmp_path / "c.yaml"
        targets = ", ".join(f"{file.name}: {{targets_file: {file}}}" for file in (phone, mail, odd))
        config.write_text(f"mqtt: null\nweb: null\nnotify: {{{targets}}}")
        all_of_them = dropsight("notify", "--test", "-c", str(config))
        one = dropsight("notify", "--test", "mail", "-c", str(config))
        none = dropsight("notify", "--test", "fone", "-c", str(config))
        checked = dropsight("check", "-c", str(config))
    said = [re.split(r"\s{2,}", line) for line in all_of_them.stdout.splitlines()]
    assert said == [
        ["phone", "json://***", "reached"],
        ["phone/2", "json://***", "not reached: it answers 404 Not Found"],
        ["phone/3", "ntfy://***", "not reached: it cannot be reached (Connection refused)"],
        ["mail", "json://***", "reached"],
        ["odd", "nonsense://***", "not reached: not a URL that Apprise knows"],
    ]
    assert (all_of_them.returncode, one.returncode, none.returncode) == (1, 0, 2)
    assert one.stdout.split() == ["mail", "json://***", "reached"]
    assert "no target fone; there are: phone, mail, odd" in none.stderr
    (attached,) = web.taken[0]["attachments"]
    assert attached["mimetype"] == "image/jpeg"
    assert re.search(
        r"^ok +notify +phone: json://\*\*\*, json://\*\*\*, ntfy://\*\*\*;", checked.stdout, re.MULTILINE
    )
    assert f" notify --test phone -c {config}\n" in checked.stdout
    assert f"FAIL  notify   nonsense://*** ({odd}, URL 1): not a URL that Apprise knows" in checked.stdout
    assert f"notify.odd.targets_file: {odd} is readable by every user of this machine" in checked.stdout
    assert checked.returncode == 1
    for done in (all_of_them, one, none, checked):
        assert "5ecret" not in done.stdout + done.stderr


def test_a_rule_that_tells_somebody_unknown_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("events: [{name: fox, labels: ['red fox'], notify: [fone]}]\nnotify: {phone: {}}\n")
    with pytest.raises(ConfigError, match=r"events\.0\.notify: names fone, .* did you mean phone\?"):
        load(file)
