"""`tare report`: of one run, of one that goes on, against an earlier one, and of a folder of runs."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from nights import night
from runs import Setting
from tare_bench import leases, store
from tare_bench.cli.report import report
from tare_bench.errors import TareError
from tare_bench.model import Run

SHORT = Setting(rounds=7, workloads=("boot", "memory"))


def kept(results: Path, run: Run, *, ended: bool = True) -> Path:
    """Stored as a run leaves it, or as it is while it goes on."""
    writer = store.Writer(results, run.manifest)
    for trial in run.trials:
        writer.append(trial, {})
    if ended:
        writer.end(finished=True, notices=[])
    writer.close()
    return writer.folder


def asked(*words: object) -> Result:
    return CliRunner().invoke(report, [str(word) for word in words], standalone_mode=False)


@pytest.fixture(autouse=True)
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TARE_RUN", str(tmp_path / "runtime"))


def test_a_run_that_goes_on_is_told_from_one_that_was_ended(tmp_path: Path) -> None:
    folder = kept(tmp_path, night(1, setting=SHORT), ended=False)
    assert "did not come to its end" in asked(folder).output
    lease = leases.take(folder.name)
    try:
        result = asked(folder)
        assert "still going on" in result.output
        page = (folder / "report.html").read_text(encoding="utf-8")
        assert "partial: still going on" in page
        assert "ended from outside" not in page
    finally:
        lease.release()
    assert "did not come to its end" in asked(folder).output


def test_a_run_against_an_earlier_one_has_a_page_of_its_own(tmp_path: Path) -> None:
    base, new = (kept(tmp_path, night(number, setting=SHORT)) for number in (1, 2))
    result = asked(new, "--base", base)
    assert result.exit_code == 0, result.output
    assert result.output.startswith("No primary cell is known to have changed since run ")
    page = new / f"since-{base.name}.html"
    assert result.output.endswith(f"page: {page}\n")
    assert 'id="across"' in page.read_text(encoding="utf-8")
    assert not (new / "report.html").exists()


def test_unlike_machines_are_compared_only_when_that_is_asked_for(tmp_path: Path) -> None:
    hosts = [{"cpu model name": "one"}, {"cpu model name": "another"}]
    base, new = (kept(tmp_path, night(n, host=host, setting=SHORT)) for n, host in enumerate(hosts))
    assert "the two are not compared" in asked(new, "--base", base).output
    assert "such percentages say little" in asked(new, "--base", base, "--across-hosts").output


def test_a_folder_of_runs_is_the_latest_of_them_with_their_series(tmp_path: Path) -> None:
    for number in range(3):
        kept(tmp_path / "runs", night(number, setting=SHORT))
    result = asked(tmp_path / "runs")
    assert result.exit_code == 0, result.output
    page = (tmp_path / "runs/history.html").read_text(encoding="utf-8")
    assert 'id="history"' in page
    assert "20261103-030000-aa02</span>" in page
    assert "3 runs, the oldest first." in page


def test_a_run_that_cannot_be_read_costs_no_other(tmp_path: Path) -> None:
    for number in range(2):
        kept(tmp_path / "runs", night(number, setting=SHORT))
    damaged = kept(tmp_path / "runs", night(2, setting=SHORT))
    (damaged / store.TRIALS).write_text("what\n")
    result = asked(tmp_path / "runs")
    assert result.exit_code == 0, result.output
    assert "left out: Line 1 of" in result.output
    assert "2 runs, the oldest first." in (tmp_path / "runs/history.html").read_text(encoding="utf-8")


def test_other_formats_have_no_base(tmp_path: Path) -> None:
    folder = kept(tmp_path, night(1, setting=SHORT))
    assert isinstance(asked(folder, "--base", folder, "--format", "csv").exception, TareError)


def test_a_base_is_for_one_run_and_across_hosts_for_a_base(tmp_path: Path) -> None:
    folder = kept(tmp_path / "runs", night(1, setting=SHORT))
    assert isinstance(asked(tmp_path / "runs", "--base", folder).exception, TareError)
    assert isinstance(asked(folder, "--across-hosts").exception, TareError)
