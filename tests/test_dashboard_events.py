"""The page of events in a real browser: what happened on a day, and at once what happens now."""

import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from brokers import wait_until
from daemons import SAMPLES, House, running
from webs import ANY_PORT, address, ask
from windows import Window

BRIEF = {"confidence": 0.3, "confirm": "1 of 1", "end_after_seconds": 1}
RULES = [
    {**BRIEF, "name": "coffee", "labels": ["espresso"]},
    {**BRIEF, "name": "panda", "labels": ["giant panda"], "confirm": "2 of 2", "end_after_seconds": 30},
    {**BRIEF, "name": "koala", "labels": ["koala"], "end_after_seconds": 3600},
]
DAY = 86_400
STRANGE = "<img src=x onerror=alert(1)>"

pytestmark = pytest.mark.browser


def drop(house: House, name: str, sample: str, *, at: float) -> None:
    """Have a camera leave a photo that it took then; wait until it is on record."""
    before = house.finished()
    (house.inbox / name).parent.mkdir(exist_ok=True)
    part = house.inbox / name.replace(".jpg", ".part")
    shutil.copyfile(SAMPLES / sample, part)
    os.utime(part, (at, at))
    part.rename(house.inbox / name)
    house.until(lambda: house.finished() > before)


def events(house: House) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(ask(address(house), "/api/events").body)["events"]
    return found


def test_a_day_has_its_lanes_and_a_card_for_each_event_and_what_happens_now_appears(
    tmp_path: Path, browser: Browser
) -> None:
    noon = time.time() // DAY * DAY + DAY / 2 - 2 * DAY
    with running(tmp_path, web=ANY_PORT, events=RULES, device="house <b>") as house:
        drop(house, "front/a.jpg", "coffee.jpg", at=noon)
        drop(house, "back/b.jpg", "panda.jpg", at=noon + 60)
        drop(house, "back/c.jpg", "panda.jpg", at=noon + 70)
        drop(house, "front/d.jpg", "panda.jpg", at=noon + 80)
        drop(house, "back/e.jpg", "coffee.jpg", at=noon + 3600)  # the panda has gone
        wait_until(lambda: all(each["ended"] for each in events(house)), what="what went on then has ended")
        context = browser.new_context(locale="en-US", timezone_id="UTC", reduced_motion="reduce")
        window = Window(context.new_page())
        page = window.page
        page.goto(address(house))
        page.locator("#to-events").click()
        expect(page.locator("#state")).to_have_text("Live")
        expect(page.locator("#empty")).to_contain_text("No events this day")
        page.locator("[name=day]").fill(time.strftime("%Y-%m-%d", time.gmtime(noon)))
        cards, bars = page.locator(".card"), page.locator(".lane .hours button")
        expect(cards).to_have_count(3)  # one panda at the front is none
        expect(cards.nth(1)).to_contain_text("panda")
        expect(cards.nth(1)).to_contain_text("2 pictures")
        expect(cards.nth(1).locator("img.there")).to_have_count(1)
        expect(page.locator(".lane .who")).to_have_text(["back", "front"])
        expect(bars).to_have_count(3)
        page.set_viewport_size({"width": 390, "height": 844})
        is_cut = "[...document.querySelectorAll('.card span')].some((it) => it.scrollWidth > it.clientWidth)"
        assert not page.evaluate(is_cut)
        page.reload()  # the day is in the address
        expect(bars).to_have_count(3)
        page.locator("[name=name]").select_option("coffee")
        expect(cards).to_have_count(2)
        bars.first.click()
        expect(page.locator("#details-title")).to_have_text("cup")
        page.keyboard.press("Escape")
        page.locator("[name=name]").select_option("")
        page.locator("[data-days='1']").click()
        page.locator("[data-days='1']").click()
        expect(cards).to_have_count(0)
        expect(page.locator("#empty")).not_to_contain_text("Rules make them")  # there are some
        drop(house, f"{STRANGE}/f.jpg", "koala.jpg", at=time.time())
        expect(cards).to_have_count(1)
        expect(cards).to_contain_text(STRANGE)
        expect(page.locator(".lane .who")).to_have_text(STRANGE)
        expect(page.locator("[name=camera]")).to_contain_text(STRANGE)
        expect(cards).to_contain_text("going on")
        assert window.complaints == []
        context.close()
