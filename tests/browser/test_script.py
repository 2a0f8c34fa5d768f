"""What the page's script can do: filter, sort, keep both in the address, unfold what a link leads to; from a file."""

from __future__ import annotations

import pytest
from conftest import Look
from pages import page

pytestmark = pytest.mark.needs("chromium", "page-tools")

SHOWN = "[...document.querySelectorAll('table.rows > tbody')].filter(each => each.checkVisibility()).length"
ORDER = "[...document.querySelectorAll('#boot table.rows > tbody')].map(each => each.querySelector('tr').id)"


def test_a_text_filters_the_rows_and_stands_in_the_address(look: Look) -> None:
    visit = look(page("usual"))
    everything = visit.sees(SHOWN)
    visit.page.locator("#find").fill("kernel")
    few = visit.sees(SHOWN)
    assert 0 < few < everything
    assert "find=kernel" in visit.page.url
    visit.page.locator("#reset").click()
    assert visit.sees(SHOWN) == everything
    assert "#" not in visit.page.url
    assert look(page("usual"), at="#?find=kernel").sees(SHOWN) == few
    assert visit.messages == []


def test_a_chip_shows_only_its_verdict(look: Look) -> None:
    visit = look(page("usual"))
    everything = visit.sees(SHOWN)
    chip = visit.page.locator("button[data-kind]").first
    chip.click()
    assert chip.get_attribute("aria-pressed") == "true"
    few = visit.sees(SHOWN)
    assert 0 < few < everything
    assert look(page("usual"), at=visit.page.url[visit.page.url.index("#") :]).sees(SHOWN) == few


def test_a_table_is_sorted_and_comes_back_as_it_was(look: Look) -> None:
    visit = look(page("usual"))
    before = visit.sees(ORDER)
    control = visit.page.locator("#boot button.sort").last
    orders = []
    for _ in range(3):
        control.click()
        orders.append(visit.sees(ORDER))
    assert sorted(orders[0]) == sorted(before)
    assert orders[0] != orders[1]
    assert orders[2] == before


def test_a_link_to_what_is_folded_unfolds_it(look: Look) -> None:
    name = look(page("usual")).sees("document.querySelector('details.fold').id")
    visit = look(page("usual"), at=f"#{name}")
    assert visit.sees(f"document.getElementById('{name}').open") is True
    assert look(page("usual")).sees(f"document.getElementById('{name}').open") is False


def test_the_theme_is_chosen_and_kept_in_the_address(look: Look) -> None:
    ground = "getComputedStyle(document.documentElement).backgroundColor"
    visit = look(page("usual"))
    light = visit.sees(ground)
    visit.page.locator("#theme").select_option("dark")
    dark = visit.sees(ground)
    assert dark != light
    assert look(page("usual"), at="#?theme=dark").sees(ground) == dark
    assert look(page("usual"), dark=True, at="#?theme=light").sees(ground) == light


def test_what_stands_in_a_box_is_copied(look: Look) -> None:
    visit = look(page("usual"), permissions=["clipboard-read", "clipboard-write"])
    text = visit.sees("[...document.querySelectorAll('pre')].find(each => each.checkVisibility()).textContent")
    visit.page.locator("button.copy:visible").first.click()
    visit.page.locator("#shown", has_text="Copied").wait_for(state="attached")
    visit.page.locator("#find").focus()
    visit.page.keyboard.press("Control+V")
    assert visit.page.locator("#find").input_value().split() == text.split()
