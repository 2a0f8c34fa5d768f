"""What a page says of a run against an earlier one."""

from __future__ import annotations

from nights import night, seen
from tare_bench.across import across
from tare_bench.reports.html import render_html
from tare_bench.reports.view import view
from tare_bench.reports.view_across import across_view, across_words


def _slower(arm: str, metric: str, block: int) -> float:
    return 0.8 if (arm, metric) == ("native", "fio-randread.iops") else 1.0


EARLIER = "20261102-030000-aa01"
OTHER = {"cpu model name": "Another CPU"}
ONE = {"cpu model name": "A CPU"}


def test_the_sentence_names_what_got_worse_and_how_much_and_comes_first() -> None:
    new = seen(night(2, _slower))
    found = across(seen(night(1)), new)
    first, second, *_ = across_words(new, found)
    assert first.startswith("Worse than in run 20261102-030000-aa01: Random reads, 4 KiB, depth 1 (fio), native: 0.8")
    assert second.startswith("Primary cells as they were: ")
    page = view(new, found)
    assert page.answer[0] == first
    assert page.title.startswith("EMULATED · ◆ 1 slower/larger")
    assert (page.mark, page.count) == ("worse", "1")


def test_a_gain_is_told_too() -> None:
    new = seen(night(2))
    assert across_words(new, across(seen(night(1, _slower)), new))[0].startswith("Better than in run ")


def test_where_nothing_changed_that_is_what_it_says() -> None:
    new = seen(night(2))
    words = across_words(new, across(seen(night(1)), new))
    assert words[0] == "No primary cell is known to have changed since run 20261102-030000-aa01."


def test_unlike_machines_are_told_before_anything_else() -> None:
    new = seen(night(2, host=OTHER))
    words = across_words(new, across(seen(night(1, host=ONE)), new))
    assert words == ["Run 20261102-030000-aa01 was made on another machine (cpu model name): the two are not compared."]
    asked = across_words(new, across(seen(night(1, host=ONE)), new, across_hosts=True))
    assert asked[-1] == "The machines are unlike: such percentages say little."


def test_rows_hold_both_runs_ratios_and_the_change_primary_and_changed_ones_first() -> None:
    new = seen(night(2, _slower))
    found = across_view(new, across(seen(night(1)), new))
    first = found.rows[0]
    assert ("fio-randread" in first.row_id, first.arm, first.exploratory) == (True, "native", False)
    assert first.verdict is not None
    assert first.verdict.word == "slower"
    assert first.before.startswith("1.1")
    assert first.after.startswith("0.9")
    assert first.change.startswith("0.8")
    assert first.mark is not None
    assert not any(row.arm == "kvm" and row.change for row in found.rows if "memory.pss" in row.row_id)


def test_the_page_says_facts_before_cells_and_that_nothing_is_paired() -> None:
    new = seen(night(2, _slower, {"kernel": "6.9"}))
    page = render_html(new, across(seen(night(1)), new))
    assert page.index('id="across-facts"') < page.index('id="across-cells"') < page.index('id="seed"')
    assert "nothing is paired" in page
    assert "6.9" in page


def test_a_page_without_an_earlier_run_has_no_such_section() -> None:
    assert 'id="across"' not in render_html(seen(night(1)))
