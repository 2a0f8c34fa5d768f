"""The workload `neighbour`: two instances, one of which misbehaves within bounds, and what the other's p99 is by it."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tare_bench import config, processes, suites
from tare_bench.config import Options
from tare_bench.crowd import Crowd
from tare_bench.driver import Accounts
from tare_bench.drivers.fake import Behaviour, FakeDriver, FakeInstance, Reply
from tare_bench.errors import InstanceError
from tare_bench.headroom import LIGHT, Headroom
from tare_bench.model import Spec
from tare_bench.workloads import Measured, Skipped
from tare_bench.workloads.neighbour import END, FORKERS, NEIGHBOUR, Neighbour, begin, script

GIB = 1 << 30
MIB = 1 << 20
SPEC = Spec(vcpus=1, memory=GIB)
KINDS = ("cpu", "memory", "forks", "disk")


@dataclass
class Pair(Behaviour):
    """Instances that are slow while one of them misbehaves. Their work folder has room."""

    spread: float = 0.0
    alone: float = 0.004
    slower: float = 3.0
    later: float = 1.0
    """How much slower the host has become once the first phase is over."""
    status: int = 0
    misbehaving: bool = False
    order: list[str] = field(default_factory=list)

    def reply(self, command: str) -> Reply | None:
        if command == "df -Pk .":
            return Reply(b"head\n/dev/x 1 2 9000000 5% /\n")
        if command == END:
            self.misbehaving = False
            self.order.append("end")
            return Reply(status=self.status, stderr=b"dd: memory exhausted\n" if self.status else b"")
        if "setsid" in command:
            self.misbehaving = True
            self.order.append("begin")
            return Reply()
        if command == "true" or command.startswith("dd if=/dev/zero of=tare-probe"):
            word = command.split()[0]
            if not self.order or self.order[-1] != word:
                self.order.append(word)
            drift = self.later if "begin" in self.order else 1.0
            return Reply(seconds=self.alone * drift * (self.slower if self.misbehaving else 1.0))
        return super().reply(command)


def crowd(driver: FakeDriver, room: Headroom | None = None) -> Crowd:
    memory = room or Headroom(100 * GIB, 90 * GIB)
    return Crowd(driver, SPEC, "simulated", driver.clock, seconds=60.0, prefix="b1p0w0", memory=lambda: memory)


def measured(behaviour: Behaviour, kind: str = "cpu", room: Headroom | None = None) -> Measured:
    driver = FakeDriver(behaviour)
    try:
        return Neighbour().measure_crowd(crowd(driver, room), {NEIGHBOUR: kind})
    finally:
        assert driver.alive == {}


@pytest.fixture(autouse=True)
def folders(monkeypatch: pytest.MonkeyPatch) -> None:
    """Simulated instances say nothing of their files, and what has none is not measured on a disk."""
    monkeypatch.setattr(FakeInstance, "accounts", lambda self: Accounts())


def of(found: Measured) -> dict[str, float]:
    return {each.metric.removeprefix("neighbour."): each.value for each in found.samples}


@pytest.mark.parametrize("kind", KINDS)
def test_the_ratio_is_of_the_same_pair_beside_and_alone(kind: str) -> None:
    found = measured(Pair(), kind)
    assert of(found) == pytest.approx({"slowdown": 3.0, "alone": 0.004})
    assert found.facts["probes"] == "300"
    assert found.facts["neighbour's processes at most"] == "unlimited"


def test_the_order_is_alone_beside_beside_alone() -> None:
    pair = Pair()
    measured(pair)
    boots = pair.order[: pair.order.index("begin")]
    assert set(boots) == {"true"}
    assert pair.order[len(boots) :] == ["begin", "true", "end", "begin", "true", "end", "true"]


def test_the_disks_neighbour_is_seen_by_a_write_that_must_reach_the_disk() -> None:
    pair = Pair()
    measured(pair, "disk")
    assert pair.order[pair.order.index("begin") + 1] == "dd"


def test_there_are_as_many_probes_beside_as_alone_however_slow_they_are() -> None:
    """Of more values the greatest is greater: unequal numbers would be a difference by themselves."""
    found = measured(Pair(alone=0.1, slower=10.0))
    # 4 s alone hold 40 of 0.1 s, 8 s beside hold 8 of 1 s
    assert found.facts["probes"] == "16"


def test_a_neighbour_that_gave_up_fails_the_trial_with_its_own_words() -> None:
    with pytest.raises(InstanceError, match="did not misbehave to the end") as error:
        measured(Pair(status=3))
    assert "dd: memory exhausted" in error.value.details


def test_where_the_host_has_no_room_for_both_nothing_is_started() -> None:
    floor = 15 * GIB
    needed = SPEC.memory + LIGHT
    measured(Pair(), room=Headroom(100 * GIB, floor + needed))
    with pytest.raises(Skipped, match="The two may take 1056 MiB"):
        measured(Pair(), room=Headroom(100 * GIB, floor + needed - 1))


def test_each_kind_is_bounded_by_itself() -> None:
    assert f"bs={768 * MIB} " in script("memory", GIB, "unlimited")
    assert f"-lt {FORKERS} " in script("forks", GIB, "unlimited")
    assert f"-lt {FORKERS} " in script("forks", GIB, "100000")
    assert "-lt 22 " in script("forks", GIB, "60")
    assert "-lt 1 " in script("forks", GIB, "10")


def test_it_is_in_the_full_suite_and_in_no_other() -> None:
    holding = {name for name, workloads in suites.SUITES.items() if "neighbour" in workloads}
    assert holding == {suites.FULL}
    planned = [each for each in config.configure(Options(workloads=["neighbour"])).plan.workloads if each.crowd]
    assert [each.params[NEIGHBOUR] for each in planned] == list(KINDS)
    assert {each.blocks for each in planned} == {3}


@contextlib.contextmanager
def here(folder: Path, misbehaving: str) -> Iterator[tuple[str, str]]:
    """The words that begin and end it, in a folder of the test's; what stays of it is ended."""

    def local(command: str) -> str:
        return command.replace("/run/tare", str(folder)).replace("/work", str(folder))

    try:
        yield local(begin(local(misbehaving))), local(END)
    finally:
        with contextlib.suppress(OSError, ValueError):
            os.killpg(int((folder / "neighbour" / "pid").read_text()), 9)


def shell(command: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["/bin/sh", "-c", command], capture_output=True, stdin=subprocess.DEVNULL, timeout=60)


def members(group: int) -> list[int]:
    """The processes of a group that are no zombies."""
    found = []
    for pid in processes.all_pids():
        with contextlib.suppress(OSError, LookupError):
            state, _, its_group = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:3]
            if int(its_group) == group and state != "Z":
                found.append(pid)
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_it_goes_on_until_it_is_ended_and_then_nothing_of_it_is_left(kind: str, tmp_path: Path) -> None:
    misbehaving = script(kind, 4 * MIB, "36")
    with here(tmp_path, misbehaving) as (begins, ends):
        assert shell(begins).returncode == 0
        group = int((tmp_path / "neighbour" / "pid").read_text())
        wanted = {"cpu": 9, "forks": 11}.get(kind, 1)
        until = time.monotonic() + 30
        while len(members(group)) < wanted:
            assert time.monotonic() < until, members(group)
        assert len(members(group)) <= 2 * 10 + 2
        done = shell(ends)
        assert (done.returncode, done.stderr) == (0, b"")
        assert members(group) == []
        assert list(tmp_path.iterdir()) == []


def test_one_that_ended_by_itself_is_told_with_its_words(tmp_path: Path) -> None:
    with here(tmp_path, "echo memory exhausted >&2; exit 1") as (begins, ends):
        assert shell(begins).returncode == 0
        over = tmp_path / "neighbour" / "over"
        until = time.monotonic() + 30
        while not (over.exists() and over.read_text()):
            assert time.monotonic() < until
        done = shell(ends)
        assert done.returncode == 3
        assert b"memory exhausted" in done.stderr
