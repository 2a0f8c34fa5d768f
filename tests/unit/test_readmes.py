"""The README in either language says the same: headings, commands, names, links, tables and numbers are in step."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from pathlib import Path

import pytest
from documents import FENCE, ROOT, blocks, prose
from tare_bench.analysis import Analysis
from tare_bench.cli.report import analysed

ENGLISH, KOREAN = ROOT / "README.md", ROOT / "README.ko.md"

WORDS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
VALUES = {word: str(number) for number, word in enumerate(WORDS, 1)} | {"zero": "0", "twenty": "20"}
"""Numbers that English writes as words, and Korean as digits."""

_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_HEADING = re.compile(r"^(#+) (.+)$", re.MULTILINE)


@dataclass(frozen=True)
class Section:
    """One heading and what is below it."""

    title: str
    level: int
    text: str

    @property
    def spans(self) -> set[str]:
        return set(re.findall(r"`([^`\n]+)`", self.text))

    @property
    def links(self) -> list[str]:
        found = re.findall(r"\]\(([^)\s]+)\)", self.text)
        return sorted("#" if link.startswith("#") else link.replace("README.ko.md", "README.md") for link in found)

    @property
    def shape(self) -> list[str]:
        """What each line is: a row of a table with so many cells, an item of a list, or text."""
        lines = [line for line in self.text.splitlines() if line]
        return [f"{line.count('|')} cells" if line[0] == "|" else "item" if line[:2] == "- " else "" for line in lines]

    @property
    def numbers(self) -> set[str]:
        return set(_NUMBER.findall(re.sub(r"`[^`\n]+`", "", self.text)))

    @property
    def written(self) -> set[str]:
        return {VALUES[word] for word in re.findall(r"[a-z]+", self.text.lower()) if word in VALUES}


def sections(document: Path) -> list[Section]:
    text = prose(document.read_text(encoding="utf-8"))
    heads = list(_HEADING.finditer(text))
    ends = [head.start() for head in heads[1:]] + [len(text)]
    return [Section(head[2], len(head[1]), text[head.end() : end]) for head, end in zip(heads, ends, strict=True)]


def without_comments(block: str) -> list[str]:
    return [re.sub(r"\s+# .*$", "", line) for line in block.splitlines()]


PAIRS = list(itertools.zip_longest(sections(ENGLISH), sections(KOREAN)))


def test_both_have_the_same_headings_in_depth_and_number() -> None:
    assert [english.level for english in sections(ENGLISH)] == [korean.level for korean in sections(KOREAN)]
    assert len(PAIRS) > 7


def test_both_have_the_same_code_but_for_its_comments() -> None:
    english, korean = (FENCE.findall(path.read_text(encoding="utf-8")) for path in (ENGLISH, KOREAN))
    assert [language for language, _ in english] == [language for language, _ in korean]
    assert [without_comments(body) for _, body in english] == [without_comments(body) for _, body in korean]
    words = [line.partition("# ")[2] for body in blocks(KOREAN, "sh") for line in body.splitlines() if "# " in line]
    assert not [comment for comment in words if not re.search(r"[가-힣]", comment)], "a comment is left in English"


@pytest.mark.parametrize(("english", "korean"), PAIRS, ids=[english.title for english, _ in PAIRS if english])
def test_a_section_says_the_same_in_both(english: Section, korean: Section) -> None:
    assert korean.spans == english.spans
    assert korean.links == english.links
    assert korean.shape == english.shape
    assert english.numbers <= korean.numbers
    assert korean.numbers <= english.numbers | english.written


def test_each_leads_to_the_other_before_anything_else() -> None:
    for here, there in ((ENGLISH, "README.ko.md"), (KOREAN, "README.md")):
        assert f"]({there})" in here.read_text(encoding="utf-8").partition("<!-- numbers -->")[0]


def test_no_paragraph_of_the_korean_one_is_left_in_english() -> None:
    for line in prose(KOREAN.read_text(encoding="utf-8")).splitlines():
        said = re.sub(r"`[^`]*`|\(\S*\)|[-|#>*\s]|<!--.*?-->", "", line)
        assert len(re.findall(r"[A-Za-z]", said)) < 40 or re.search(r"[가-힣]", said), line


SCALES = {"": 1.0, "ms": 1e-3, "MiB": float(1 << 20)}
SHOWN = (
    ("boot.ready", "{}"),
    ("memory.pss", "{}"),
    ("sysbench-cpu.events", '{"threads":1}'),
    ("fio-randread.iops", '{"block_size":4096,"depth":1}'),
    ("redis.get.rate", '{"connections":50,"operation":"get"}'),
)
"""What the rows of the first table show, by metric and parameters."""


@pytest.fixture(scope="module")
def shipped() -> Analysis:
    return analysed(ROOT / "bench/demo")


@pytest.mark.parametrize("document", [ENGLISH, KOREAN], ids=lambda path: path.name)
def test_the_first_numbers_are_those_of_the_run_that_ships(document: Path, shipped: Analysis) -> None:
    table = document.read_text(encoding="utf-8").partition("<!-- numbers -->")[2].partition("<!-- /numbers -->")[0]
    rows = [[cell.strip() for cell in line.strip("|\n").split("|")] for line in table.splitlines() if line][2:]
    cells = {(each.row.metric, each.row.params, each.arm): each for each in shipped.cells}
    for (metric, params), (_, *shown) in zip(SHOWN, rows, strict=False):
        for arm, text in zip(("docker", "native", "kvm"), shown, strict=True):
            found = re.match(r"([\d.,]+) ?(\w*) \(([\d.,]+) (?:to|~) ([\d.,]+)\)", text)
            assert found is not None, text
            median = cells[metric, params, arm].median
            assert median is not None
            wanted = [f"{value / SCALES[found[2]]:.3g}" for value in (median.value, median.low, median.high)]
            assert [float(each.replace(",", "")) for each in found.group(1, 3, 4)] == [float(each) for each in wanted]
