"""Webhooks in a config: what is refused, and no secret told."""

import re
from pathlib import Path

import pytest

from daemons import ROOT
from dropsight.config import Webhook, dump, hook_headers, hook_name, load
from dropsight.errors import ConfigError
from receivers import secret_file


def test_two_webhooks_at_one_host_want_names_of_their_own(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("webhooks: [{url: 'https://hub/a'}, {url: 'https://hub/b'}]")
    assert faults(file) == [
        f"{file}: webhooks.1.name: is that of webhooks.0.name; give each a name of its own"
    ]
    file.write_text("webhooks: [{url: 'https://hub/a'}, {url: 'https://hub/b', name: second}]")
    assert len(load(file).webhooks) == 2


@pytest.mark.parametrize(
    ("hook", "fault"),
    [
        ("{}", "webhooks.0.url: is missing"),
        ("{url: 'ftp://hub/x5ecret'}", "webhooks.0.url: has an unknown scheme"),
        ("{url: 'https:///x5ecret'}", "webhooks.0.url: has an invalid host"),
        ("{url: 'https://hub:99999/x5ecret'}", "webhooks.0.url: has an invalid host"),
        ("{url: 'https://hub/x5ecret y'}", "webhooks.0.url: has an invalid host"),
        ("{url: 'https://hub', on: []}", "webhooks.0.on: cannot be an empty list"),
        ("{url: 'https://hub', batch: 0}", "webhooks.0.batch: cannot be 0"),
        ("{url: 'https://hub', timout: 3}", "did you mean webhooks.0.timeout?"),
        ("{url: 'http://hub', ca_file: x}", "webhooks.0.ca_file: has no effect without https://"),
    ],
)
def test_what_is_wrong_with_a_webhook_is_said_without_its_secret(
    tmp_path: Path, hook: str, fault: str
) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(f"webhooks: [{hook}]")
    (said,) = faults(file)
    assert fault in said
    assert "5ecret" not in said


def test_the_key_on_is_a_word_though_yaml_takes_it_for_a_truth(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("webhooks:\n  - url: https://hub\n    on: [ok]\n")
    config = load(file)
    assert config.webhooks[0].on == ("ok",)
    file.write_text(dump(config))
    assert load(file) == config


def test_a_webhook_may_stand_in_the_environment() -> None:
    environ = {"DROPSIGHT_WEBHOOKS__0__URL": "https://hub/x", "DROPSIGHT_WEBHOOKS__0__ON": "[failed]"}
    assert load(None, environ=environ).webhooks == (Webhook("https://hub/x", on=("failed",)),)


def test_the_page_on_webhooks_shows_a_config_that_is_one_and_names_every_key(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "webhooks.md").read_text()
    (sample,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    file = tmp_path / "c.yaml"
    file.write_text(sample)
    assert [hook_name(hook) for hook in load(file).webhooks] == ["hub.example", "failures"]
    assert re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE) == list(Webhook.__struct_fields__)


def test_of_a_webhook_the_config_shows_no_more_than_the_host(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("webhooks: [{url: 'https://bob:5ecret@hub:8443/5ecret?token=5ecret'}]")
    assert "https://hub:8443/***" in dump(load(file))
    assert "5ecret" not in dump(load(file))


@pytest.mark.parametrize(
    "line", ["no colon 5ecret", ": 5ecret", "X Y: 5ecret", "X: 5ecret\x7f", "Host: 5ecret"]
)
def test_a_line_that_is_no_header_of_ours_is_named_by_its_number(tmp_path: Path, line: str) -> None:
    path = secret_file(tmp_path / "headers", f"\nX-A: b\n{line}\n")
    with pytest.raises(ConfigError) as caught:
        hook_headers(Webhook("https://hub", headers_file=path))
    assert f"line 3 of {path}" in str(caught.value)
    assert "5ecret" not in str(caught.value)


def faults(file: Path) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(file)
    return list(caught.value.faults)
