"""The page for everybody: axe-core finds nothing, the keyboard alone reaches everything, and focus is seen."""

from __future__ import annotations

from functools import cache
from typing import Any

import needs
import pytest
from conftest import Look, Visit
from pages import EVERY, WHOLE, opened, page, without_scripts

pytestmark = pytest.mark.needs("chromium", "page-tools")


@cache
def _axe() -> str:
    return (needs.NODE_MODULES / "axe-core" / "axe.min.js").read_text(encoding="utf-8")


def _violations(visit: Visit) -> list[str]:
    """What axe-core finds wrong, by rule, with the first three places of each."""
    visit.sees(f"{_axe()};0")
    # the watermark is there to be read through
    found: dict[str, Any] = visit.sees("axe.run({exclude: ['.watermark']}, {resultTypes: ['violations']})")
    assert len(found["passes"]) > 10
    return [f"{each['id']}: {[node['target'] for node in each['nodes'][:3]]}" for each in found["violations"]]


CORNERS = [(360, False), (1440, True), (360, True), (1440, False)]
"""Widths, and whether it is dark. Pages of the same kind need only the two that differ in both."""


@pytest.mark.parametrize(
    ("name", "width", "dark"),
    [(name, *corner) for name in EVERY for corner in (CORNERS if name in WHOLE else CORNERS[:2])],
)
def test_axe_finds_nothing(look: Look, name: str, width: int, dark: bool) -> None:
    text = opened(page(name))
    if width == 360:
        text = without_scripts(text)
    assert _violations(look(text, width=width, dark=dark)) == []


def test_axe_finds_what_is_wrong(look: Look) -> None:
    wrong = page("usual").replace("<h2", "<p style='color:#bbb'>pale</p><img src='data:,'><h2", 1)
    assert {"color-contrast", "image-alt"} <= {each.partition(":")[0] for each in _violations(look(wrong))}


INTERACTIVE = "a[href], button, input, select, textarea, summary, [tabindex='0']"
SHOWN = f"""(() => {{
  const all = [...document.querySelectorAll("{INTERACTIVE}")].filter(each => each.checkVisibility());
  all.forEach((each, place) => each.dataset.place = place);
  return all.length;
}})()"""
FOCUSED = """(() => {
  const at = document.activeElement, style = getComputedStyle(at), box = at.getBoundingClientRect();
  const seen = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2 && box.right > 0
    && box.bottom > 0 && box.top < innerHeight && box.left < innerWidth;
  return at === document.body ? null : [at.dataset.place ?? "?", seen, at.outerHTML.slice(0, 90)];
})()"""


def _walk(visit: Visit) -> tuple[set[str], list[str]]:
    """Tab through a page: which places were reached, and what had focus without showing it."""
    reached: set[str] = set()
    unseen: list[str] = []
    for _ in range(visit.sees(SHOWN) + 5):
        visit.page.keyboard.press("Tab")
        if (at := visit.sees(FOCUSED)) is None or at[0] in reached:
            break
        reached.add(at[0])
        unseen += [] if at[1] else [at[2]]
    return reached, unseen


@pytest.mark.parametrize(("name", "width"), [("usual", 1440), ("hostile", 360), ("nothing measured", 360)])
def test_the_keyboard_reaches_everything_and_shows_where_it_is(look: Look, name: str, width: int) -> None:
    visit = look(opened(page(name)), width=width)
    everything = visit.sees(SHOWN)
    reached, unseen = _walk(visit)
    assert unseen == []
    assert {str(place) for place in range(everything)} - reached == set()


def test_the_keyboard_unfolds(look: Look) -> None:
    visit = look(page("usual"))
    visit.page.locator("summary").first.focus()
    visit.page.keyboard.press("Enter")
    assert visit.sees("document.querySelector('summary').parentElement.open") is True


def test_the_first_tab_leads_past_the_head(look: Look) -> None:
    visit = look(page("usual"))
    visit.page.keyboard.press("Tab")
    assert visit.sees("document.activeElement.className") == "skip"
    visit.page.keyboard.press("Enter")
    visit.page.keyboard.press("Tab")
    assert visit.sees("document.activeElement.closest('main') !== null")


def test_focus_that_is_not_shown_is_seen(look: Look) -> None:
    text = "<!DOCTYPE html><style>:focus { outline: none }</style><a href='#a'>one</a><a href='#b' tabindex=-1>two</a>"
    reached, unseen = _walk(look(text))
    assert len(unseen) == 1
    assert reached == {"0"}
