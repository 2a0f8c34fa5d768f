"""The host's settings for a run: written down before they are changed, given back on every way out."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner
from tare_bench import tuning
from tare_bench.cli import cli
from tare_bench.errors import TareError

GOVERNORS = [f"sys/devices/system/cpu/cpufreq/policy{number}/scaling_governor" for number in (0, 1)]
TURBO = "sys/devices/system/cpu/intel_pstate/no_turbo"
BOOST = "sys/devices/system/cpu/cpufreq/boost"
KSM = "sys/kernel/mm/ksm/run"
CACHES = "proc/sys/vm/drop_caches"

USUAL = {GOVERNORS[0]: "powersave", GOVERNORS[1]: "schedutil", TURBO: "0", KSM: "1", CACHES: ""}
TUNED = {GOVERNORS[0]: "performance", GOVERNORS[1]: "performance", TURBO: "1", KSM: "0", CACHES: "3"}

KILLED = """
import os, signal, sys
from pathlib import Path
from tare_bench import tuning

with tuning.tuned("a-run", print, root=Path(sys.argv[1])):
    if sys.argv[2] == "raise":
        raise KeyboardInterrupt
    os.kill(os.getpid(), int(sys.argv[2]))
"""


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TARE_STATE", str(tmp_path / "state"))
    return tmp_path / "state/tuned"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return host(tmp_path / "root", USUAL)


def host(root: Path, settings: dict[str, str]) -> Path:
    """A folder that looks like a host with these settings."""
    for name, value in settings.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"{value}\n")
    return root


def seen(root: Path) -> dict[str, str]:
    return {str(p.relative_to(root)): p.read_text().strip() for p in root.rglob("*") if p.is_file()}


def given_back(root: Path) -> bool:
    return {**seen(root), CACHES: ""} == USUAL


def killed(root: Path, how: str) -> int:
    """A process that has tuned that host, and then ended in that way."""
    done = subprocess.run([sys.executable, "-c", KILLED, root, how], capture_output=True, text=True, check=False)
    return done.returncode


def test_what_is_there_is_tuned_and_given_back(root: Path, state: Path) -> None:
    said: list[str] = []
    with tuning.tuned("a-run", said.append, root) as found:
        assert seen(root) == TUNED
        assert found.facts()["tuned"] == (
            "governor powersave → performance, governor schedutil → performance, turbo 0 → 1, KSM 1 → 0, caches dropped"
        )
        assert "not tuned" not in found.facts()
        assert [notice.code for notice in found.notices()] == ["tuned"]
    assert given_back(root)
    assert said == []
    assert list(state.glob("*.json*")) == []


def test_it_is_written_down_before_it_is_made(root: Path, state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[tuning.Journal] = []

    def look(changes: list[tuning.Change], found: tuning.Tuned) -> None:
        assert seen(root) == USUAL
        written.append(msgspec.json.decode((state / f"{os.getpid()}.json").read_bytes(), type=tuning.Journal))

    monkeypatch.setattr(tuning, "_make", look)
    with tuning.tuned("a-run", print, root):
        pass
    former = {Path(change.path).relative_to(root): change.former for change in written[0].changes}
    assert {str(path): value for path, value in former.items()} | {CACHES: ""} == USUAL
    assert written[0].pid == os.getpid()


def test_a_lax_umask_makes_no_journal_that_is_not_believed(root: Path) -> None:
    before = os.umask(0)
    try:
        killed(root, str(int(signal.SIGKILL)))
    finally:
        os.umask(before)
    tuning.restore(print)
    assert given_back(root)


def test_where_nothing_can_be_written_down_nothing_is_tuned(root: Path, state: Path) -> None:
    state.parent.parent.joinpath("state").write_text("a file in the folder's place")
    with pytest.raises(TareError, match="nothing was tuned"), tuning.tuned("a-run", print, root):
        pass
    assert seen(root) == USUAL


@pytest.mark.parametrize("how", ["raise", "2", "15"])
def test_an_error_or_a_signal_gives_it_back(root: Path, state: Path, how: str) -> None:
    assert killed(root, how) != 0
    if how == "15":  # without the command line's handler a SIGTERM ends the process at once
        tuning.restore(print)
    assert given_back(root)
    assert list(state.glob("*.json")) == []


@pytest.mark.parametrize("command", [["list", "drivers"], ["plan", "-d", "fake"], ["sweep"], ["run", "--help"]])
def test_after_a_sigkill_the_next_command_gives_it_back(root: Path, state: Path, command: list[str]) -> None:
    assert killed(root, str(int(signal.SIGKILL))) == -signal.SIGKILL
    assert seen(root) == TUNED
    done = CliRunner().invoke(cli, command)
    assert given_back(root)
    assert "powersave" in done.output
    assert list(state.glob("*.json")) == []
    assert "powersave" not in CliRunner().invoke(cli, command).output


def test_a_dry_sweep_lists_it_and_changes_nothing(root: Path) -> None:
    killed(root, str(int(signal.SIGKILL)))
    done = CliRunner().invoke(cli, ["sweep", "--dry-run"])
    assert "would remove tuning" in done.output
    assert "(run a-run)" in done.output
    assert seen(root) == TUNED


def test_what_a_living_run_tunes_stays(root: Path) -> None:
    with tuning.tuned("a-run", print, root):
        tuning.restore(print)
        assert tuning.left() == []
        assert seen(root) == TUNED


def test_what_somebody_else_has_changed_is_theirs(root: Path) -> None:
    said: list[str] = []
    with tuning.tuned("a-run", said.append, root):
        (root / GOVERNORS[1]).write_text("ondemand\n")
    assert seen(root) == {**USUAL, GOVERNORS[1]: "ondemand", CACHES: "3"}
    assert len(said) == 1
    assert "is now ondemand" in said[0]
    assert "it was schedutil" in said[0]


def test_another_boot_has_settings_of_its_own(root: Path, state: Path) -> None:
    killed(root, str(int(signal.SIGKILL)))
    (path,) = state.glob("*.json")
    journal = msgspec.json.decode(path.read_bytes(), type=tuning.Journal)
    path.write_bytes(msgspec.json.encode(msgspec.structs.replace(journal, boot="an earlier one")))
    tuning.restore(print)
    assert seen(root) == TUNED
    assert not path.exists()


def test_what_cannot_be_given_back_stays_in_the_journal(
    root: Path, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed(root, str(int(signal.SIGKILL)))
    (path,) = state.glob("*.json")
    usual, said = Path.write_text, list[str]()

    def refuses(self: Path, data: str) -> int:
        if self == root / KSM:
            raise PermissionError(13, "Permission denied", str(self))
        return usual(self, data)

    monkeypatch.setattr(Path, "write_text", refuses)
    tuning.restore(said.append)
    assert "still tuned" in said[-1]
    assert "tare sweep" in said[-1]
    assert seen(root) == {**USUAL, KSM: "0", CACHES: "3"}
    monkeypatch.undo()
    monkeypatch.setenv("TARE_STATE", str(state.parent))
    tuning.restore(said.append)
    assert given_back(root)
    assert not path.exists()


def test_a_journal_that_another_could_have_made_is_not_believed(root: Path, state: Path) -> None:
    killed(root, str(int(signal.SIGKILL)))
    (path,) = state.glob("*.json")
    path.chmod(0o666)
    assert tuning.left() == []
    path.chmod(0o600)
    assert len(tuning.left()) == 1


def test_what_is_not_there_or_closed_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = host(tmp_path / "root", {GOVERNORS[0]: "performance", BOOST: "1"})
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with tuning.tuned("a-run", print, root) as found:
        assert seen(root) == {GOVERNORS[0]: "performance", BOOST: "1"}
        assert found.facts() == {
            "tuned": "governor as it was",
            "not tuned": f"turbo: {root / BOOST} cannot be written; KSM: this host has no such setting; "
            "caches: this host has no such setting",
        }
        assert [notice.code for notice in found.notices()] == ["tuned", "not-tuned"]


def test_boost_is_turned_off_where_there_is_no_turbo(tmp_path: Path) -> None:
    root = host(tmp_path / "root", {BOOST: "1"})
    with tuning.tuned("a-run", print, root):
        assert seen(root) == {BOOST: "0"}
    assert seen(root) == {BOOST: "1"}


def test_a_value_that_the_kernel_refuses_is_said_and_the_rest_made(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usual = Path.write_text

    def refuses(self: Path, data: str) -> int:
        if data == "performance":
            raise OSError(22, "Invalid argument", str(self))
        return usual(self, data)

    monkeypatch.setattr(Path, "write_text", refuses)
    with tuning.tuned("a-run", print, root) as found:
        assert seen(root) == {**TUNED, GOVERNORS[0]: "powersave", GOVERNORS[1]: "schedutil"}
        assert "Invalid argument" in found.facts()["not tuned"]
    assert given_back(root)
