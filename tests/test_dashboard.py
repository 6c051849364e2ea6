"""The dashboard in a real browser: Chromium, driven by Playwright."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from brokers import mosquitto, wait_until
from daemons import SAMPLES, House, dropsight, running
from float_models import float_model
from tiny_tflite import Tensor, tiny
from webs import ANY_PORT, address, ask
from windows import Window, contrast

TOKEN = "correct-horse-battery-staple"  # noqa: S105 - the test's own

pytestmark = pytest.mark.browser


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with running(tmp_path, web=ANY_PORT, explain={"below_confidence": 0.5}) as found:
        yield found


@pytest.fixture
def window(browser: Browser, house: House) -> Iterator[Window]:
    """The dashboard, live, before any image came."""
    context = browser.new_context(locale="en-GB", reduced_motion="reduce")
    found = Window(context.new_page())
    found.page.goto(address(house))
    expect(found.page.locator("#state")).to_have_text("Live")
    yield found
    context.close()


def drop(house: House, name: str, sample: str) -> None:
    target = house.inbox / name
    target.parent.mkdir(exist_ok=True)
    shutil.copy(SAMPLES / sample, target)


def drop_three(house: House, page: Page) -> None:
    """An espresso at the front, a panda and something unsure at the back; the newest is the last."""
    for name, sample in (
        ("front/a.jpg", "coffee.jpg"),
        ("back/b.jpg", "panda.jpg"),
        ("back/c.jpg", "china.jpg"),
    ):
        before = page.locator(".card").count()
        drop(house, name, sample)
        expect(page.locator(".card")).to_have_count(before + 1)


def active(page: Page, what: str) -> object:
    return page.evaluate(f"document.activeElement.{what}")


def test_a_dropped_file_makes_a_card_appear_with_its_picture(house: House, window: Window) -> None:
    page = window.page
    expect(page.locator("#empty")).to_contain_text(str(house.inbox))
    drop(house, "front/x.jpg", "coffee.jpg")
    card = page.locator(".card")
    expect(card).to_have_count(1)
    expect(card).to_contain_text("cup")
    expect(card).to_contain_text("front")
    expect(card.locator("img.there")).to_have_count(1)
    expect(page.locator("#empty")).to_be_hidden()
    expect(page.locator("#vitals")).to_contain_text("1 images")
    expect(page.locator("#classes")).to_contain_text("cup")
    expect(page.locator("#cameras")).to_contain_text("front")
    expect(page.locator("#news")).to_contain_text("cup")
    assert window.complaints == []
    assert window.hosts == {address(house).split("/")[2]}


def test_a_file_that_cannot_be_read_shows_with_its_reason(house: House, window: Window) -> None:
    (house.inbox / "bad.jpg").write_bytes(b"")
    expect(window.page.locator(".card.failed")).to_contain_text("the file is empty")
    expect(window.page.locator("#failures")).to_contain_text("bad.jpg")
    window.page.locator("#failures button").click()
    expect(window.page.locator("#details .error")).to_contain_text("empty")
    assert window.complaints == []


def test_files_that_are_ignored_are_named_among_the_facts(house: House, window: Window) -> None:
    (house.inbox / "a.xmp").touch()
    (house.inbox / "b.part").touch()
    (house.inbox / "linked").symlink_to(SAMPLES)
    house.ask("rescan")
    facts = window.page.locator("#system dl")
    expect(facts).to_contain_text(".xmp 1", timeout=60_000)
    expect(facts).to_contain_text("linked (a link to a folder)")


def test_filters_take_away_and_bring_back_and_new_images_obey_them(house: House, window: Window) -> None:
    page = window.page
    drop_three(house, page)
    page.locator("[name=camera]").select_option("back")
    expect(page.locator(".card")).to_have_count(2)
    page.locator("[name=label]").fill("PANDA")
    expect(page.locator(".card .label")).to_have_text(["bear"])
    drop(house, "back/d.jpg", "coffee.jpg")
    drop(house, "back/e.jpg", "panda.jpg")
    expect(page.locator(".card .label")).to_have_text(["bear", "bear"])
    page.reload()  # the view is in the address
    expect(page.locator(".card .label")).to_have_text(["bear", "bear"])
    page.get_by_role("button", name="Clear").click()
    expect(page.locator(".card")).to_have_count(5)
    page.locator("[name=min_confidence]").fill("0.9")
    expect(page.locator(".card")).to_have_count(4)
    page.get_by_role("button", name="Clear").click()
    page.locator("#classes button", has_text="building").click()
    expect(page.locator(".card .label")).to_have_text(["building"])
    page.locator("[name=status]").select_option("failed")
    expect(page.locator("#empty")).to_contain_text("No matches")
    assert window.complaints == []


def test_details_show_the_answers_the_record_and_why(house: House, window: Window) -> None:
    page = window.page
    drop_three(house, page)
    record = house.records()[-1]
    wait_until(Path(record["explanation"]).exists)
    page.locator(".card").first.click()
    dialog = page.get_by_role("dialog", name="building")
    expect(dialog.locator(".look img.there")).to_have_count(1)
    expect(dialog.locator(".top5 .name")).to_have_text([each["label"] for each in record["predictions"]])
    dialog.get_by_text("Record", exact=True).click()
    expect(dialog.locator("pre")).to_contain_text(record["id"])
    assert json.loads(dialog.locator("pre").inner_text()) == record
    dialog.get_by_role("button", name="Explain").click()
    expect(dialog.locator(".look img.there")).to_have_attribute(
        "src", f"/api/images/{record['id']}/explanation"
    )
    dialog.get_by_role("button", name="Older image").click()
    expect(page.get_by_role("dialog", name="bear")).to_be_visible()
    assert window.complaints == []


def test_details_tell_of_an_image_that_lacks_its_end_marker(house: House, window: Window) -> None:
    whole = (SAMPLES / "panda.jpg").read_bytes()
    (house.inbox / "unended.jpg").write_bytes(whole[: whole.rindex(b"\xff\xd9")])
    window.page.locator(".card").first.click()
    expect(window.page.locator("#details .facts")).to_contain_text("no end-of-image marker")


def test_details_show_what_each_head_of_a_model_says(browser: Browser, tmp_path: Path) -> None:
    model = tmp_path / "birds.tflite"
    answers: list[Tensor] = [("float32", (1, 3)), ("float32", (1, 2))]
    model.write_bytes(tiny([("float32", (1, 32, 32, 3))], answers))
    settings = {"path": str(model), "heads": {"kind": 0, "sex": 1}}
    with running(tmp_path, web=ANY_PORT, model=settings) as house:
        page = browser.new_page()
        page.goto(address(house))
        drop(house, "front/a.jpg", "coffee.jpg")
        page.locator(".card").first.click()
        answers_shown = page.locator("#details .told section:has(.top5)")
        expect(answers_shown.locator("h3")).to_have_text(["kind", "sex"])
        expect(answers_shown.nth(1).locator(".name")).to_have_text(["class 0", "class 1"])
        record = ask(address(house), "/api/results").json()["results"][0]
        assert record["heads"]["sex"]["confidence"] == 0.5
        page.close()


def test_of_classes_that_may_be_there_at_once_those_present_are_shown(
    browser: Browser, tmp_path: Path
) -> None:
    model = tmp_path / "tags.tflite"
    model.write_bytes(tiny([("float32", (1, 32, 32, 3))], [("float32", (1, 3))]))
    settings = {"path": str(model), "thresholds": {"1": 0.6}}
    with running(tmp_path, web=ANY_PORT, model=settings) as house:
        page = browser.new_page()
        page.goto(address(house))
        drop(house, "front/a.jpg", "coffee.jpg")
        expect(page.locator(".card .label")).to_have_text("class 0, class 2")
        expect(page.locator("#classes .name")).to_have_text(["class 0", "class 2"])
        page.locator("[name=label]").fill("class 1")
        expect(page.locator(".card")).to_have_count(0)
        page.locator("[name=label]").fill("class 2")
        page.locator(".card").click()
        expect(page.locator("#details-title")).to_have_text("class 0, class 2")
        figures = page.locator("#details .top5 .figure")
        expect(figures).to_have_text(["present, 50 %", "50 %", "present, 50 %"])
        page.close()


def test_everything_is_reached_by_the_keyboard_alone(house: House, window: Window) -> None:
    page = window.page
    drop_three(house, page)
    page.keyboard.press("Tab")
    assert active(page, "className") == "skip"
    page.keyboard.press("Enter")
    for _ in range(12):
        page.keyboard.press("Tab")
        if "card" in str(active(page, "className")):
            break
    assert "building" in str(active(page, "textContent"))
    page.keyboard.press("ArrowRight")
    assert "bear" in str(active(page, "textContent"))
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog", name="bear")).to_be_visible()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("dialog", name="cup")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#details")).to_be_hidden()
    wait_until(lambda: "cup" in str(active(page, "textContent")))
    drop(house, "front/new.jpg", "koala.jpg")
    expect(page.locator(".card")).to_have_count(4)
    assert "cup" in str(active(page, "textContent"))
    page.keyboard.press("Home")
    assert "koala" in str(active(page, "textContent"))


def test_held_images_come_when_it_goes_on(house: House, window: Window) -> None:
    page = window.page
    page.get_by_role("button", name="Freeze view").click()
    drop(house, "a.jpg", "coffee.jpg")
    expect(page.locator("#hold")).to_have_text("Unfreeze · 1 new")
    expect(page.locator(".card")).to_have_count(0)
    page.locator("#hold").click()
    expect(page.locator(".card")).to_have_count(1)


def test_a_dead_daemon_shows_as_such_and_a_living_one_is_found_again(house: House, window: Window) -> None:
    page = window.page
    drop(house, "a.jpg", "coffee.jpg")
    expect(page.locator(".card")).to_have_count(1)
    port = address(house).rstrip("/").rpartition(":")[2]
    house.kill()
    expect(page.get_by_role("alert")).to_contain_text("The daemon does not answer")
    expect(page.locator("#state")).to_have_text("Not connected")
    expect(page.locator(".card")).to_have_count(1)
    assert page.title().startswith("Not connected")
    house.config.write_text(house.config.read_text().replace("127.0.0.1:0", f"127.0.0.1:{port}"))
    house.start()
    drop(house, "b.jpg", "panda.jpg")
    expect(page.locator("#state")).to_have_text("Live", timeout=60_000)
    expect(page.locator(".card .label")).to_have_text(["bear", "cup"])
    expect(page.get_by_role("alert")).to_be_empty()


def test_a_silent_line_is_a_lost_one(browser: Browser, house: House) -> None:
    """A router that swallows packets closes no connection."""
    context = browser.new_context()
    page = context.new_page()
    held: list[Route] = []
    page.route("**/api/results/stream**", lambda route: held.append(route))  # noqa: PLW0108
    page.goto(address(house))
    expect(page.get_by_role("alert")).to_contain_text("does not answer", timeout=60_000)
    context.close()


def test_before_its_figures_come_a_page_shows_none(browser: Browser, house: House) -> None:
    """The charts said "NaN min"."""
    context = browser.new_context()
    page = context.new_page()
    unanswered: list[Route] = []
    page.route("**/api/**", lambda route: unanswered.append(route))  # noqa: PLW0108
    page.goto(address(house))
    expect(page.get_by_text("Images a second")).to_be_visible()
    page.set_viewport_size({"width": 900, "height": 700})  # has the charts drawn
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    assert "NaN" not in page.locator("body").inner_text()
    context.close()


def test_many_images_a_second_leave_the_page_small_and_quick(house: House, window: Window) -> None:
    page = window.page
    page.evaluate(
        """() => {
          window.longest = 0;
          const look = (entries) =>
            entries.getEntries().forEach(({ duration }) => {
              window.longest = Math.max(window.longest, duration);
            });
          new PerformanceObserver(look).observe({ type: "longtask" });
        }"""
    )
    for number in range(300):
        drop(house, f"cam{number % 7}/{number:03}.jpg", "koala.jpg")
    house.until(lambda: house.finished() == 300)
    expect(page.locator("#vitals")).to_contain_text("300 images", timeout=60_000)
    assert 0 < page.locator(".card").count() <= 48
    assert page.evaluate("window.longest") < 1_000
    assert window.complaints == []


@pytest.mark.parametrize("width", [320, 768, 1024, 1920])
def test_nothing_is_wider_than_the_screen(house: House, window: Window, width: int) -> None:
    page = window.page
    drop(house, f"{'a-camera-with-a-long-name' * 3}/x.jpg", "coffee.jpg")
    expect(page.locator(".card")).to_have_count(1)
    page.set_viewport_size({"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_a_name_that_a_camera_gives_is_text_and_nothing_else(house: House, window: Window) -> None:
    name = "<img src=x onerror=alert(1)>"
    drop(house, f"{name}/x.jpg", "coffee.jpg")
    expect(window.page.locator("#cameras")).to_contain_text(name)
    expect(window.page.locator(".card")).to_contain_text(name)
    assert window.complaints == []


def test_a_person_enters_the_token_once(browser: Browser, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(TOKEN)
    with running(tmp_path, web={**ANY_PORT, "token_file": "token"}) as house:
        context = browser.new_context()
        found = Window(context.new_page())
        page = found.page
        page.goto(address(house))
        page.get_by_label("Token").fill("wrong")
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("alert")).to_contain_text("Wrong token")
        found.complaints.clear()  # the browser's word on the 401
        page.get_by_label("Token").fill(TOKEN)
        page.keyboard.press("Enter")
        expect(page.locator("#state")).to_have_text("Live")
        drop(house, "a.jpg", "coffee.jpg")
        expect(page.locator(".card img.there")).to_have_count(1)
        assert found.complaints == []
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_label("Token")).to_be_visible()
        context.close()


def test_contrast_is_enough_in_dark_and_light(browser: Browser, house: House) -> None:
    """WCAG AA: 4.5 to 1 for text, of every colour that text has on every ground that it stands on."""
    for scheme in ("dark", "light"):
        context = browser.new_context(color_scheme="dark" if scheme == "dark" else "light")
        page = context.new_page()
        page.goto(address(house))
        for text in ("text", "soft", "faint", "accent", "warn", "bad"):
            for ground in ("ground", "raised"):
                assert contrast(page, text, ground) >= 4.5, (scheme, text, ground)
        context.close()


def test_what_was_not_explained_is_explained_when_asked_for(browser: Browser, tmp_path: Path) -> None:
    with running(tmp_path, web=ANY_PORT) as house:
        context = browser.new_context(reduced_motion="reduce")
        found = Window(context.new_page())
        page = found.page
        page.goto(address(house))
        drop(house, "a.jpg", "coffee.jpg")
        page.locator(".card").click()
        page.get_by_role("button", name="Explain").click()
        overlay = page.get_by_role("img", name="What the answer came from")
        expect(overlay).to_have_class("there", timeout=60_000)
        with page.expect_download() as download:
            page.get_by_role("link", name="Download").click()
        assert Path(download.value.path()).read_bytes() == (SAMPLES / "coffee.jpg").read_bytes()
        assert found.complaints == []
        page.get_by_role("button", name="Close").click()
        drop(house, "b.jpg", "panda.jpg")
        expect(page.locator(".card")).to_have_count(2)
        (house.processed / "b.jpg").unlink()
        page.locator(".card").first.click()
        page.get_by_role("button", name="Explain").click()
        expect(page.locator("#details .none")).to_contain_text("Not explained: b.jpg no longer exists")
        context.close()


def test_the_daemon_is_paused_resumed_and_sent_through_its_folders_from_the_page(
    house: House, window: Window
) -> None:
    page = window.page
    page.get_by_role("button", name="Pause daemon").click()
    expect(page.locator("#state")).to_have_text("Paused")
    expect(page.get_by_role("alert")).to_contain_text("images wait in their folders")
    drop(house, "a.jpg", "coffee.jpg")
    page.get_by_role("button", name="Rescan folders").click()
    expect(page.locator("#ordered")).to_contain_text("Scanning the folders")
    expect(page.locator(".card")).to_have_count(0)
    page.get_by_role("button", name="Resume daemon").click()
    expect(page.locator("#state")).to_have_text("Live")
    expect(page.locator(".card")).to_have_count(1)
    assert window.complaints == []


def test_what_is_shown_is_exported(house: House, window: Window) -> None:
    page = window.page
    drop_three(house, page)
    page.locator("[name=camera]").select_option("back")
    expect(page.locator(".card")).to_have_count(2)
    with page.expect_download() as download:
        page.get_by_role("link", name="JSON").click()
    lines = Path(download.value.path()).read_text().splitlines()
    assert [json.loads(line) for line in lines] == house.records()[:0:-1]


@pytest.mark.broker
@pytest.mark.parametrize("width", [360, 390])
def test_the_figures_at_a_glance_are_not_cut_off_on_a_phone(
    browser: Browser, tmp_path: Path, width: int
) -> None:
    with mosquitto(tmp_path) as broker, running(tmp_path, web=ANY_PORT, mqtt={"url": broker.url}) as house:
        context = browser.new_context(viewport={"width": width, "height": 844})
        page = context.new_page()
        page.goto(address(house))
        expect(page.locator("#vitals")).to_contain_text("Connected", timeout=60_000)
        expect(page.locator("#vitals")).to_contain_text("p95, last 5 min")
        cut = "all => all.filter((each) => each.scrollWidth > each.clientWidth).map((each) => each.outerHTML)"
        assert page.locator(".vital dd:visible, .vital dt").evaluate_all(cut) == []
        context.close()


def test_the_dashboard_says_what_is_a_guess_of_the_model(browser: Browser, tmp_path: Path) -> None:
    model = float_model(tmp_path, "m", (0.0,), (255.0,))
    with running(tmp_path, web=ANY_PORT, model={"path": str(model)}) as house:
        context = browser.new_context()
        page = context.new_page()
        page.goto(address(house))
        expect(page.locator("#system")).to_contain_text("normalization is a guess")
        context.close()


def test_a_burst_is_a_card_with_the_photo_that_shows_it_best(browser: Browser, tmp_path: Path) -> None:
    watch = {"path": "inbox", "burst_seconds": 300}
    house = House(tmp_path, {"watch": [watch], "web": ANY_PORT})
    for number, sample in enumerate(("coffee.jpg", "panda.jpg", "coffee.jpg")):
        drop(house, f"front/{number}.jpg", sample)
    assert dropsight("run", "-c", str(house.config), "--once").returncode == 0
    with running(tmp_path, watch=[watch], web=ANY_PORT) as again:
        context = browser.new_context(locale="en-GB", reduced_motion="reduce")
        found = Window(context.new_page())
        page = found.page
        page.goto(address(again))
        expect(page.locator(".card")).to_have_count(4)
        card = page.locator(".card.burst")
        expect(card).to_contain_text("Burst of 3 photos")
        expect(card.locator("img.there")).to_have_count(1)
        page.locator("#filters select[name=status]").select_option("ok")
        expect(page.locator(".card")).to_have_count(3)
        page.locator("#filters select[name=status]").select_option("burst")
        expect(page.locator(".card")).to_have_count(1)
        card.click()
        (record,) = (each for each in again.records() if each["kind"] == "burst")
        expect(page.locator("#details .facts")).to_contain_text(record["burst"]["peak"]["image_path"])
        expect(page.locator("#details .look img.there")).to_have_count(1)
        with page.expect_download() as download:
            page.get_by_role("link", name="Download").click()
        assert Path(download.value.path()).read_bytes() == (SAMPLES / "coffee.jpg").read_bytes()
        assert found.complaints == []
        context.close()
