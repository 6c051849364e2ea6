"""Rules as people write them: what is refused, what they mean in words, what they would have told."""

import gzip
import json
import logging
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from textwrap import dedent
from zoneinfo import ZoneInfo

import pytest

from daemons import ROOT, dropsight
from dropsight.classify.engine import open_engine
from dropsight.commands.check import check
from dropsight.commands.replaying import print_replay
from dropsight.config import EventRule, Location, load
from dropsight.config.active_times import days_in, spans_in
from dropsight.errors import ConfigError, DropsightError
from dropsight.events.compiling import compile_rules, doubts, in_words, polar, strangers
from dropsight.events.hours import Hours
from dropsight.events.sun import rise_and_set
from dropsight.records import ImageFacts, Latency, Prediction, Result, encode, timestamp
from records import MODEL, failure
from sightings import EPOCH

BERLIN = Location(52.52, 13.405, "Europe/Berlin")
FOX = 'labels: ["red fox"]'
RULES = """
notify: {phone: {targets_file: phone}}
location: {latitude: 52.52, longitude: 13.405, time_zone: Europe/Berlin}
events:
  - name: fox
    labels: ["red fox", "grey fox", group:fox]
    confidence: {"*": 0.6, "red fox": 0.8}
    active: "sunset-30m..sunrise+30m"
    unless: person
    renotify_above: [0.9]
    notify: [phone]
  - {name: person, labels: [person], confidence: 0.7, confirm: 1 of 1, cameras: [front]}
"""


OFF = "mqtt: null\nweb: null"


def written(folder: Path, text: str) -> Path:
    path = folder / "dropsight.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("rule", "fault"),
    [
        ("labels: [a]", "events.0.name: is missing"),
        ("name: a b, labels: [a]", "events.0.name: cannot be"),
        ("name: a", "events.0.labels: is missing"),
        ("name: a, labels: ['']", "events.0.labels.0: is empty"),
        (f"name: fox, {FOX}, confirm: 3 of 2", "events.0.confirm: asks for 3 of 2, which is impossible"),
        (f"name: fox, {FOX}, confirm: twice", "events.0.confirm: is 'twice'; give how many of how many"),
        (
            f"name: fox, {FOX}, active: '25:00-06:00'",
            "events.0.active: has 25:00, which is not a time of day",
        ),
        (f"name: fox, {FOX}, active: '6:00-06:00'", "events.0.active: begins and ends at 06:00"),
        (f"name: fox, {FOX}, active: dusk", "events.0.active: has 'dusk', which is not a span of time"),
        (f"name: fox, {FOX}, active: sunset..6:00", "events.0.active: depends on sunrise or sunset"),
        (f"name: fox, {FOX}, days: mon..sub", "events.0.days: has 'sub', which is not a day"),
        (f"name: fox, {FOX}, keep: 0.7, confidence: 0.6", "events.0.keep: is 0.7, above the confidence"),
        (f"name: fox, {FOX}, keep: 0.7", "events.0.keep: is 0.7, above the confidence"),
        (f"name: fox, {FOX}, confirm: 2", "events.0.confirm: cannot be 2; give how many of how many"),
        (
            f"name: fox, {FOX}, confidence: {{red fix: 1}}",
            "confidence.red fix: is not one of the labels of this",
        ),
        (f"name: fox, {FOX}, unless: fix", "events.0.unless.event: names no event; did you mean fox?"),
        (f"name: fox, {FOX}, unless: fox", "events.0.unless.event: is circular (fox, fox)"),
        (f"name: fox, {FOX}, regions: [door]", "events.0.regions.0: door is not a region of any camera"),
        (f"name: fox, {FOX}, cooldown: 3", "events.0.cooldown: unknown key; did you mean"),
    ],
)
def test_a_wrong_rule_is_one_line_with_file_key_and_fault(tmp_path: Path, rule: str, fault: str) -> None:
    path = written(tmp_path, f"events: [{{{rule}}}]")
    with pytest.raises(ConfigError) as caught:
        load(path)
    (line,) = caught.value.faults
    assert line.startswith(f"{path}: ")
    assert fault in line


def test_what_is_wrong_between_rules_is_told_too(tmp_path: Path) -> None:
    rules = "{name: a, labels: [x], unless: b}, {name: b, labels: [x], unless: a}, {name: a, labels: [x]}"
    path = written(tmp_path, f"location: {{latitude: 1, longitude: 1, time_zone: Mars}}\nevents: [{rules}]")
    with pytest.raises(ConfigError) as caught:
        load(path)
    lines = [line.removeprefix(f"{path}: ") for line in caught.value.faults]
    assert lines[0] == "events.2.name: is that of events.0.name; give each its own"
    assert lines[1].startswith("events.0.unless.event: is circular (a, b, a)")
    assert "location.time_zone: 'Mars' is not a time zone that this machine knows" in lines[-1]


def test_a_label_that_the_model_does_not_know_is_told_with_the_nearest(tmp_path: Path) -> None:
    wanted = "redfox, '*hound', 'group:cats', zebu, Cat, raccoon, eagle"
    rules = load(written(tmp_path, f"events: [{{name: a, labels: [{wanted}]}}]"))
    labels = ["Red Fox", "basset hound", "accordion", "bald eagle"]
    found = list(strangers(rules.events, labels, groups=["cat", "dog"]))
    way_out = "`dropsight inspect` lists its groups, with --json its labels, too"
    assert found == [
        "events.0.labels.0: the model has no label redfox; did you mean Red Fox?",
        "events.0.labels.2: the model has no group cats; did you mean group:cat?",
        f"events.0.labels.3: the model has no label zebu; {way_out}",
        "events.0.labels.4: the model has no label Cat; did you mean group:cat?",
        f"events.0.labels.5: the model has no label raccoon; {way_out}",
        "events.0.labels.6: the model has no label eagle; did you mean bald eagle?",
    ]
    rules = load(written(tmp_path, "events: [{name: a, labels: ['group:cat']}]"))
    (line,) = strangers(rules.events, ["cat"], groups=[])
    assert "no group:cat: the config turns groups off, or the model has none" in line


def test_each_rule_is_said_in_words(tmp_path: Path) -> None:
    fox, person = map(in_words, compile_rules(load(written(tmp_path, RULES))))
    assert fox == (
        "two of three answers within a minute that say red fox (0.8 or surer on average), or grey fox or "
        "group:fox (0.6 or surer on average), none less than half of that, each camera by itself; goes on "
        "with three quarters of that, ends 2 minutes after the last; begins only from 30 min before sunset "
        "to 30 min after sunrise; does not begin within a minute of person; tells phone, not again within "
        "5 minutes, but once more above 0.9"
    )
    assert person == (
        "one answer that says person (0.7 or surer), camera front; goes on with three quarters of that, "
        "ends 2 minutes after the last; nobody is told"
    )


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        (
            "confirm: 2 of 3",
            "(0.6 or surer), of which all but one need only three quarters of that, each camera by itself",
        ),
        (
            "confirm: 2 of 3 on  average, keep: 0.4",
            "(0.6 or surer on average), none less than 0.4, each camera by itself; goes on with as much",
        ),
    ],
)
def test_how_answers_confirm_is_said_in_words(tmp_path: Path, keys: str, words: str) -> None:
    rule = f"{{name: fox, labels: [fox], {keys}}}"
    (said,) = map(in_words, compile_rules(load(written(tmp_path, f"events: [{rule}]"))))
    assert said.startswith(f"two of three answers within a minute that say fox {words}")


def test_a_rule_that_asks_all_answers_for_as_much_says_no_more_of_them(tmp_path: Path) -> None:
    rule = "{name: fox, labels: [fox], confirm: 2 of 3, keep: 0.6}"
    (said,) = map(in_words, compile_rules(load(written(tmp_path, f"events: [{rule}]"))))
    assert said.startswith(
        "two of three answers within a minute that say fox (0.6 or surer), each camera by itself; goes on"
    )


def test_the_rules_of_the_page_are_rules(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "events.md").read_text()
    blocks = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    (block,) = (dedent(each) for each in blocks if "cooldown_seconds" in each)
    config = load(written(tmp_path, block))
    said = {rule.name: in_words(rule) for rule in compile_rules(config)}
    assert f"ok    events   cat: {said['cat']}" in page
    keys = set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE))
    assert set(EventRule.__struct_fields__) <= keys


def at(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


@pytest.mark.parametrize(
    ("text", "days", "inside", "outside"),
    [
        (
            "22:00-06:00",
            None,
            ["2026-07-01T22:00+02:00", "2026-07-02T05:59+02:00"],
            ["2026-07-01T06:00+02:00"],
        ),
        (
            "22:00-06:00",
            "fri",
            ["2026-07-04T05:00+02:00"],
            ["2026-07-03T05:00+02:00", "2026-07-04T22:00+02:00"],
        ),
        (
            "6:00-8:00, 17:00..24:00",
            "fri..mon",
            ["2026-07-05T07:00+02:00", "2026-07-06T23:59+02:00"],
            ["2026-07-07T07:00+02:00", "2026-07-06T12:00+02:00"],
        ),
        (None, "sat, sun", ["2026-07-04T00:00+02:00"], ["2026-07-06T00:00+02:00"]),
        (
            "sunset-30m..sunrise+1h",
            None,
            ["2026-06-21T21:05+02:00", "2026-06-22T05:42+02:00"],
            ["2026-06-21T20:58+02:00", "2026-06-22T05:48+02:00"],
        ),
        ("sunrise..sunset", None, ["2026-12-21T12:00+01:00"], ["2026-12-21T16:00+01:00"]),
    ],
)
def test_a_rule_is_active_by_the_times_of_its_place(
    text: str | None, days: str | None, inside: list[str], outside: list[str]
) -> None:
    """What begins on Friday evening is Friday's, also on Saturday morning."""
    hours = Hours(spans_in(text) if text else (), days_in(days) if days else None, BERLIN)
    assert [hours(at(each)) for each in inside] == [True] * len(inside)
    assert [hours(at(each)) for each in outside] == [False] * len(outside)


def test_a_day_on_which_clocks_are_set_has_its_times_by_the_clock() -> None:
    """From 3 to 4 there is no hour between 2 and 3 on that night, and in autumn there are two."""
    hours = Hours(spans_in("02:00-04:00"), None, BERLIN)
    assert hours(at("2026-03-29T03:30+02:00"))
    assert not hours(at("2026-03-29T01:30+01:00"))
    assert hours(at("2026-10-25T02:30+02:00"))
    assert hours(at("2026-10-25T02:30+01:00"))


@pytest.mark.parametrize(
    ("latitude", "longitude", "noon", "rise", "fall"),
    [
        (52.52, 13.405, "2026-06-21T13:00+02:00", 1782009809, 1782070375),
        (52.52, 13.405, "2026-12-21T12:00+01:00", 1797837317, 1797864815),
        (-33.87, 151.21, "2026-11-03T12:00+11:00", 1793645600, 1793694266),
        (64.15, -21.94, "2026-12-21T13:00+00:00", 1797852195, 1797866909),
        (-13.83, -171.77, "2026-06-21T12:00+13:00", 1781977800, 1782018474),
    ],
)
def test_the_sun_rises_and_sets_when_another_program_says_so(
    latitude: float, longitude: float, noon: str, rise: int, fall: int
) -> None:
    """Within two minutes of the library astral, from one side of the date line to the other."""
    found = rise_and_set(latitude, longitude, at(noon))
    assert found[0] == pytest.approx(rise, abs=130)
    assert found[1] == pytest.approx(fall, abs=130)


def test_where_the_sun_does_not_set_night_never_comes_and_where_it_does_not_rise_it_never_ends() -> None:
    tromso = Location(69.65, 18.96, "Europe/Oslo")
    night = Hours(spans_in("sunset..sunrise"), None, tromso)
    assert not any(night(at("2026-06-21T00:00+02:00") + 1800 * step) for step in range(48))
    assert all(night(at("2026-12-21T00:00+01:00") + 1800 * step) for step in range(48))
    for nowhere in (-1e18, -6.3e10, 1e18):
        assert not night(nowhere)


@pytest.mark.parametrize(
    ("active", "night", "day"),
    [
        ("sunset-30m..sunrise+30m", 144, 6),
        ("sunset+30m..sunrise-30m", 138, 0),
        ("sunrise-30m..sunset+30m", 6, 144),
        ("sunrise+30m..sunset-30m", 0, 138),
    ],
)
def test_a_polar_night_is_night_and_a_polar_day_is_day_also_with_margins(
    active: str, night: int, day: int
) -> None:
    """Sunset and sunrise are then both at noon, or both at midnight: only margins are left."""
    hours = Hours(spans_in(active), None, Location(69.65, 18.96, "Europe/Oslo"))
    of_winter, of_summer = (
        sum(hours(at(noon) + 600 * step) for step in range(3 * 144)) / 3
        for noon in ("2026-12-19T12:00+01:00", "2026-06-19T12:00+02:00")
    )
    assert [of_winter, of_summer] == pytest.approx([night, day], abs=1)


@pytest.mark.parametrize(
    ("active", "minutes"),
    [
        ("02:30-03:00", [30, 0, 30]),
        ("22:00-06:00", [480, 420, 480]),
        ("02:00-03:00", [60, 0, 60]),
        ("03:00-02:30", [1410, 1380, 1410]),
    ],
)
def test_where_the_clock_skips_an_hour_a_stretch_is_no_longer_for_it(active: str, minutes: list[int]) -> None:
    """Of nights from Friday to Monday, over 28 March 2027 in Berlin, from noon to noon."""
    hours = Hours(spans_in(active), None, Location(52.5, 13.4, "Europe/Berlin"))
    noons = ["2027-03-26T12:00+01:00", "2027-03-27T12:00+01:00", "2027-03-28T12:00+02:00"]
    ends = [*noons[1:], "2027-03-29T12:00+02:00"]
    found = [
        sum(hours(float(second)) for second in range(int(at(begin)), int(at(end)), 60))
        for begin, end in zip(noons, ends, strict=True)
    ]
    assert found == minutes


def test_a_week_of_nights_over_both_changes_of_the_clock_is_active_as_the_wall_clock_says() -> None:
    for first in ("2027-03-25T12:00+01:00", "2026-10-22T12:00+02:00"):
        hours = Hours(spans_in("22:00-06:00"), days_in("mon..fri"), Location(52.5, 13.4, "Europe/Berlin"))
        for step in range(7 * 24 * 4):
            second = at(first) + 900 * step
            here = datetime.fromtimestamp(second, ZoneInfo("Europe/Berlin"))
            night = here if here.hour >= 22 else here - timedelta(days=1)
            is_night = here.hour >= 22 or here.hour < 6
            assert hours(second) == (is_night and night.weekday() < 5), here


def test_polar_days_are_told_of_where_a_rule_goes_by_the_sun(tmp_path: Path) -> None:
    config = load(written(tmp_path, RULES))
    assert polar(config.location, config.events) is None
    assert "does not rise or not set" in str(polar(Location(-70, 0), config.events))
    assert polar(Location(-70, 0), config.events[1:]) is None


def answered(second: float, label: str, confidence: float, camera: str = "front") -> Result:
    captured = timestamp(EPOCH + second)
    return Result(
        id=f"{camera}-{second:g}",
        time=captured,
        device="d",
        camera=camera,
        image_path="x.jpg",
        predicted_class=1,
        label=label,
        confidence=confidence,
        top_5_predictions={"1": confidence},
        predictions=[Prediction(1, label, confidence)],
        image=ImageFacts(1, 1, 1, "jpeg", captured),
        model=MODEL,
        tta=1,
        temperature=1.0,
        latency_ms=Latency(),
    )


def test_a_replay_of_rotated_logs_says_what_would_have_been_told(tmp_path: Path) -> None:
    """Each log stands for what was rotated away from it, too, the oldest first, compressed or not."""
    visits = [answered(begin + at, "red fox", 0.85) for begin in (0, 5000, 20000) for at in (0, 20, 40)]
    wrong = [answered(9000, "red fox", 0.99), answered(21000, "red fox", 0.99, "back")]
    records = sorted([*visits, *wrong], key=lambda each: each.time)
    lines = [encode(each) for each in records] + [encode(failure("bad.jpg", tmp_path.stat()))]
    log = tmp_path / "results.jsonl"
    for name, part in ((".2.gz", lines[:4]), (".1", lines[4:7]), ("", lines[7:])):
        text = b"".join(line + b"\n" for line in part)
        log.with_name(log.name + name).write_bytes(gzip.compress(text) if name.endswith("gz") else text)
    rules = RULES.replace('"sunset-30m..sunrise+30m"', "null").replace(
        "renotify", "cooldown_seconds: 7200\n    renotify"
    )
    done = dropsight(
        "check", "-c", str(written(tmp_path, rules)), "--replay", *map(str, tmp_path.glob("results*"))
    )
    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()
    assert said[1].startswith("ok    events   fox: two of three answers within a minute")
    table = [line.split() for line in said[3:]]
    assert table[0] == ["event", "camera", "start", "duration", "answers", "best", "told"]
    begins = [datetime.fromtimestamp(EPOCH + second, UTC).astimezone() for second in (0, 5000, 20000)]
    assert [row[2:4] for row in table[1:4]] == [f"{each:%Y-%m-%d %H:%M:%S}".split() for each in begins]
    assert [row[4:] for row in table[1:4]] == [
        ["40", "seconds", "3", "red", "fox", "85%", "phone"],
        ["40", "seconds", "3", "red", "fox", "85%"],
        ["40", "seconds", "3", "red", "fox", "85%", "phone"],
    ]
    assert said[-3:] == [
        "fox: 11 answers sure enough, 3 events, told 2 times",
        "person: 0 answers sure enough, 0 events, told 0 times",
        "12 records (1 of them failed, expired or of bursts): 3 events, told 2 times",
    ]
    done = dropsight("check", "-c", str(tmp_path / "dropsight.yaml"), "--replay", str(log), "--json")
    found = json.loads(done.stdout)
    assert (found["records"], found["without_answers"], found["told"], found["warnings"]) == (12, 1, 2, [])
    assert [each["name"] for each in found["rules"]] == ["fox", "person"]
    assert [found["rules"][0][key] for key in ("sure_answers", "events", "told")] == [11, 3, 2]
    first = found["events"][0]
    assert first["best"] == {"id": "front-0", "confidence": 0.85, "label": "red fox"}
    assert [first[key] for key in ("name", "camera", "started", "ended", "duration_seconds", "count")] == [
        *("fox", "front", timestamp(EPOCH), timestamp(EPOCH + 40), 40.0, 3)
    ]
    assert [each["told"] for each in found["events"]] == [{"phone": 1}, {}, {"phone": 1}]


def test_a_replay_names_the_cameras_where_a_rule_is_of_none_of_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A camera that is misspelt is no fault of the config: it may come yet."""
    log = tmp_path / "results.jsonl"
    log.write_bytes(b"".join(encode(answered(0, "cat", 0.9, camera)) + b"\n" for camera in ("front", "back")))
    rules = "{name: a, labels: [cat], cameras: [frnt, gate]}, {name: b, labels: [cat], cameras: ['f*']}"
    print_replay(load(written(tmp_path, f"events: [{rules}]")), [log])
    said = capsys.readouterr().out.splitlines()
    warned = [line for line in said if line.startswith("warn")]
    text = "events.0.cameras: no answer is of frnt or gate; the cameras of these logs: back, front"
    assert warned == [f"warn  events   {text}"]


def test_a_replay_of_no_log_or_without_rules_is_one_line(tmp_path: Path) -> None:
    config = written(tmp_path, "device: x")
    with pytest.raises(ConfigError, match="there are none to replay"):
        print_replay(load(config), [])
    with pytest.raises(DropsightError, match=r"none.jsonl: there is no such log"):
        print_replay(load(written(tmp_path, RULES)), [tmp_path / "none.jsonl"])
    with pytest.raises(ConfigError, match="--json needs --replay LOG"):
        check(config, picture=None, replay=None, as_json=True)
    with pytest.raises(DropsightError, match=r"dropsight.yaml: holds no records"):
        print_replay(load(config), [config])


def test_check_refuses_a_label_that_the_model_does_not_have_and_run_warns_of_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """A daemon on its fallback model is better than none."""
    path = written(
        tmp_path, "events: [{name: fox, labels: ['red foks']}]\nproblem_events: {of: [disk]}\n" + OFF
    )
    open_engine(load(path, overrides={"inference.workers": 1}))
    line = "events.0.labels.0: the model has no label red foks; did you mean red fox?"
    assert line in caplog.messages
    try:
        assert check(path, picture=None, replay=None) == 2
    finally:
        logging.disable(logging.NOTSET)
    said = capsys.readouterr().out
    assert f"FAIL  events   {path}: {line}" in said
    assert "ok    events   problems of disk: nobody is told\n" in said


def test_what_a_rule_waits_for_in_vain_is_told_as_far_as_the_config_tells(tmp_path: Path) -> None:
    """Sidecars may bring any tag; a name brings those that its pattern names."""
    rule = "{name: fox, labels: [fox], cameras: [front], tags: {staton: north}, regions: [gate, door]}"
    cameras = "cameras: {front: {crops: {door: [0, 0, 1, 1]}}, back: {crops: {gate: [0, 0, 1, 1]}}}"
    watch = 'watch: [{name_pattern: "(?P<station>[a-z]+)"}]'
    said = list(doubts(load(written(tmp_path, f"events: [{rule}]\n{cameras}\n{watch}"))))
    assert [line.split(": ")[0] for line in said] == ["events.0.tags.staton", "events.0.regions.0"]
    assert said[0].endswith("so this event never begins; did you mean station?")
    assert "no camera that this event looks at has a region gate; check its cameras" in said[1]
    sidecars = watch.replace("[{", "[{sidecar_wait_seconds: 5, ")
    rule = rule.replace("gate, ", "")
    config = load(written(tmp_path, f"events: [{rule}]\n{cameras}\n{sidecars}"))
    assert list(doubts(config)) == []
