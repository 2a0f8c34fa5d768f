"""The page in a real browser: silent, self-contained, whole without scripts, and never wider than a phone."""

from __future__ import annotations

import io
import unicodedata

import pytest
from conftest import Look
from pages import EVERY, opened, page, without_scripts

pytestmark = pytest.mark.needs("chromium", "page-tools")


def test_the_instruments_see_what_they_must(look: Look) -> None:
    seen = look("<script>console.log('here'); nothing.there</script><img src='http://127.0.0.1:9/x.png'>")
    assert "here" in seen.messages
    assert any("nothing is not defined" in message for message in seen.messages)
    assert "http://127.0.0.1:9/x.png" in seen.requests


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("name", EVERY)
def test_the_page_is_silent_and_asks_for_nothing(look: Look, name: str, dark: bool) -> None:
    seen = look(page(name), dark=dark)
    seen.page.locator("#answer").wait_for()
    assert seen.messages == []
    assert seen.requests == []


def test_it_is_not_the_policy_that_keeps_it_from_asking(look: Look) -> None:
    text = page("usual").replace("default-src 'none'", "default-src *")
    assert text != page("usual")
    assert look(text).requests == []


WORDS = """(() => {
  document.querySelectorAll("#tools, .sort, .copy").forEach(each => each.remove());  // what only scripts can do
  return document.querySelector("main").innerText;
})()"""


@pytest.mark.parametrize("name", ["usual", "hostile"])
def test_scripts_make_no_difference_to_what_is_said(look: Look, name: str) -> None:
    on, off = look(page(name)).sees(WORDS), look(page(name), scripts=False).sees(WORDS)
    assert len(off) > 3000
    assert on == off
    assert look(without_scripts(page(name))).sees(WORDS) == off


def test_scripts_that_make_a_difference_are_seen(look: Look) -> None:
    scripted = "<main>off</main><script>document.querySelector('main').append('on')</script>"
    assert look(scripted).sees(WORDS) != look(scripted, scripts=False).sees(WORDS)


FOLDED = """[...document.querySelectorAll("details")].flatMap(each => {
  const walker = document.createTreeWalker(each, NodeFilter.SHOW_TEXT), found = [];
  while (walker.nextNode())
    if (!walker.currentNode.parentElement.closest("svg, summary"))
      found.push(walker.currentNode.data.trim());
  return found.filter(one => one.length > 3);
})"""


def _printed(look: Look, text: str) -> str:
    """What stands on a page's sheets of paper, without any space: a line is broken at other places there."""
    from pypdf import PdfReader

    paper = PdfReader(io.BytesIO(look(text).page.pdf()))
    return _bare("".join(sheet.extract_text() for sheet in paper.pages))


def _bare(text: str) -> str:
    """It without spaces and ligatures."""
    return "".join(unicodedata.normalize("NFKC", text).split())


@pytest.mark.parametrize("name", ["usual", "demo"])
def test_print_opens_what_is_folded(look: Look, name: str) -> None:
    printed = _printed(look, page(name))
    folded = look(page(name)).sees(FOLDED)
    assert len(folded) > 30
    assert [words for words in folded if _bare(words) not in printed] == []


def test_what_is_folded_would_not_be_printed_by_itself(look: Look) -> None:
    assert "hidden" not in _printed(look, "<!DOCTYPE html><details><summary>more</summary>hidden</details>")


OVER = """(() => {
  const root = document.documentElement;
  const over = [...document.querySelectorAll("body *")].filter(each =>
    !each.closest(".scroll, .watermark, .skip, svg") && each.getBoundingClientRect().right > root.clientWidth + 1);
  return [root.scrollWidth - root.clientWidth, over.map(each => each.tagName + "." + each.className).slice(0, 5)];
})()"""


@pytest.mark.parametrize("name", EVERY)
def test_a_phone_never_scrolls_sideways(look: Look, name: str) -> None:
    assert look(page(name), width=360).sees(OVER) == [0, []]
    assert look(opened(page(name)), width=360).sees(OVER) == [0, []]


def test_a_page_that_is_too_wide_is_seen(look: Look) -> None:
    assert look("<!DOCTYPE html><p style='width: 500px'>wide</p>", width=360).sees(OVER)[0] > 0
