"""Clips on the dashboard, in a real browser: their card, their timeline, and that they play."""

import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from clip_houses import gray_clip, noisy_clip, showing
from daemons import House
from dropsight.web.screening import PART_BYTES
from webs import address
from windows import Window

pytestmark = pytest.mark.browser
PEAK = "2.5 s: giant panda, 97 %"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """One that browsers play, one that needs several answers, one that they do not play, one that is gone."""
    folder = tmp_path_factory.mktemp("clips")
    garden, yard = gray_clip(folder / "garden.mp4"), gray_clip(folder / "yard.avi", codec="mpeg4")
    long, gone = noisy_clip(folder / "long.mp4"), folder / "gone.mp4"
    assert long.stat().st_size > 1.5 * PART_BYTES
    shutil.copy(garden, gone)
    with showing(tmp_path_factory.mktemp("house"), [garden, yard, long, gone]) as found:
        (found.processed / "gone" / "gone.mp4").unlink()
        yield found


@pytest.fixture
def window(browser: Browser, house: House) -> Iterator[Window]:
    context = browser.new_context(locale="en-GB", reduced_motion="reduce", has_touch=True)
    found = Window(context.new_page())
    found.page.goto(address(house))
    expect(found.page.locator(".card")).to_have_count(4)
    yield found
    context.close()


def card(page: Page, camera: str) -> Locator:
    return page.locator(".card", has=page.get_by_text(camera, exact=True))


def opened(page: Page, camera: str) -> Locator:
    """Open its details; return the timeline that is to be scrubbed."""
    card(page, camera).click()
    slider = page.get_by_role("slider", name="Timeline of the clip")
    expect(slider).to_have_attribute("aria-valuetext", PEAK)
    return slider


def expect_video_at(page: Page, seconds: float) -> None:
    page.wait_for_function(f"() => Math.abs(document.querySelector('video').currentTime - {seconds}) < 0.06")


def test_the_card_of_a_clip_has_its_length_its_surest_frame_and_what_it_showed_when(window: Window) -> None:
    found = card(window.page, "garden")
    expect(found).to_contain_text("giant panda")
    expect(found).to_contain_text("clip of 4.0 s")
    expect(found.locator("img.there")).to_have_count(1)
    expect(found.locator(".course path")).to_have_count(3)


def test_a_clip_plays_and_the_timeline_follows(window: Window) -> None:
    page = window.page
    slider = opened(page, "garden")
    page.wait_for_function("() => document.querySelector('video').readyState >= 2")
    assert page.evaluate("document.querySelector('video').duration") == pytest.approx(4.0, abs=0.1)
    slider.press("End")
    slider.press("Home")
    expect(slider).to_have_attribute("aria-valuetext", "0.0 s: espresso, 90 %")
    slider.press(" ")
    page.wait_for_function("() => document.querySelector('video').currentTime > 0.5")
    page.wait_for_function(
        "() => Number(document.querySelector('.slider').getAttribute('aria-valuenow')) > 0.5"
    )
    # But for the thumbnail of the one that is gone.
    assert [each for each in window.complaints if "404" not in each] == []


def test_a_clip_that_comes_in_parts_plays_to_its_end(window: Window) -> None:
    page = window.page
    opened(page, "long")
    page.wait_for_function("() => document.querySelector('video').readyState >= 1")
    page.get_by_role("slider", name="Timeline of the clip").press(" ")
    page.wait_for_function("() => document.querySelector('video').ended")
    assert page.evaluate("document.querySelector('video').error") is None


def test_the_timeline_is_scrubbed_by_keys_and_no_other_record_comes_up(window: Window) -> None:
    page = window.page
    slider = opened(page, "garden")
    page.wait_for_function("() => document.querySelector('video').readyState >= 1")
    slider.focus()
    for key, text, at in (
        ("ArrowLeft", "2.0 s: giant panda, 90 %", 2.0),
        ("PageDown", "3.0 s: palace, 50 %", 3.0),
        ("ArrowRight", "3.5 s: palace, 50 %", 3.5),
        ("PageUp", "3.0 s: palace, 50 %", 3.0),
        ("Home", "0.0 s: espresso, 90 %", 0.0),
    ):
        slider.press(key)
        expect(slider).to_have_attribute("aria-valuetext", text)
        expect_video_at(page, at)
    expect(page.locator("#details-title")).to_have_text("giant panda")
    expect(page.locator("dialog .facts")).to_contain_text("garden/garden.mp4")


def test_the_timeline_is_scrubbed_by_mouse_and_finger(window: Window) -> None:
    page = window.page
    slider = opened(page, "garden")
    page.wait_for_function("() => document.querySelector('video').readyState >= 1")
    box = slider.bounding_box()
    assert box
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] * 0.1, middle)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.9, middle, steps=4)
    page.mouse.up()
    expect(slider).to_have_attribute("aria-valuetext", "3.6 s: palace, 50 %")
    expect_video_at(page, 3.6)
    page.touchscreen.tap(box["x"] + box["width"] * 0.25, middle)
    expect(slider).to_have_attribute("aria-valuetext", "1.0 s: espresso, 90 %")
    expect_video_at(page, 1.0)
    page.locator(".segments button", has_text="palace").click()
    expect_video_at(page, 3.0)


def test_of_a_clip_that_no_browser_plays_the_film_is_shown_and_it_is_said(window: Window) -> None:
    page = window.page
    slider = opened(page, "yard")
    expect(page.locator(".look .note")).to_contain_text("This browser cannot play H264 in a .avi")
    expect(page.locator(".film.there")).to_have_count(1)
    slider.press("Home")
    expect(page.get_by_role("img", name="The clip at 0.0 s")).to_be_visible()


def test_of_a_clip_that_is_gone_the_timeline_is_left(window: Window) -> None:
    page = window.page
    slider = opened(page, "gone")
    expect(page.locator(".look .note")).to_contain_text("The clip is no longer there")
    expect(page.locator(".film")).to_have_count(0)
    expect(page.locator(".segments li")).to_have_count(3)
    slider.press("End")
    expect(slider).to_have_attribute("aria-valuetext", "4.0 s: palace, 50 %")
    expect(page.locator(".still")).to_be_hidden()


@pytest.mark.parametrize("width", [320, 1280])
def test_a_clip_looked_at_closely_is_no_wider_than_the_screen(window: Window, width: int) -> None:
    page = window.page
    page.set_viewport_size({"width": width, "height": 700})
    opened(page, "long")
    expect(page.locator(".film.there")).to_have_count(1)
    for what in ("document.documentElement", "document.querySelector('dialog .body')"):
        assert page.evaluate(f"{what}.scrollWidth - {what}.clientWidth") <= 0, what


def test_why_a_clip_was_answered_so_is_shown_of_its_surest_frame(window: Window) -> None:
    page = window.page
    opened(page, "garden")
    page.get_by_role("button", name="Explain").click()
    overlay = page.get_by_role("img", name="What the answer came from")
    expect(overlay).to_have_class("there", timeout=60_000)
    page.get_by_role("button", name="Clip", exact=True).click()
    expect(page.locator("video")).to_be_visible()
