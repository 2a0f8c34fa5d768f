"""Plan file and options: what is taken, and what is said about what is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tare_bench import config
from tare_bench.config import Options
from tare_bench.errors import UsageError

CPUS = 4
WHOLE = """
[run]
max_rounds = 7
seed = 3
max_time = 9.5
workloads = ["memory"]
accelerator = "tcg"
baseline = "b"

[instance]
memory = "256 MiB"

[[arm]]
name = "a"
driver = "native"

[[arm]]
name = "b"
driver = "native"
vcpus = 3
memory = 134217728
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(CPUS)))
    return tmp_path


def file(text: str, name: str = "plan.toml") -> Path:
    Path(name).write_text(text, encoding="utf-8")
    return Path(name)


def refused(text: str) -> UsageError:
    with pytest.raises(UsageError) as caught:
        config.configure(Options(plan=file(text)))
    return caught.value


def test_the_defaults() -> None:
    found = config.configure(Options())
    plan = found.plan
    assert [arm.name for arm in plan.arms] == ["native", "docker", "kvm"]
    assert plan.baseline == "docker"
    assert plan.rounds == plan.throughput_rounds == config.DEFAULT_ROUNDS
    assert (plan.accelerator, plan.max_time) == ("auto", config.DEFAULT_MAX_TIME)
    assert {(arm.spec.vcpus, arm.spec.memory, arm.spec.network) for arm in plan.arms} == {(2, 512 << 20, "none")}
    assert list(dict.fromkeys(each.name for each in plan.workloads)) == list(config.SUITES["default"])
    together = {each.name for each in plan.workloads if each.together}
    assert together == {"sysbench-cpu", "sysbench-memory", "fio-randread", "fio-randwrite", "redis"}
    assert [each.params["connections"] for each in plan.workloads if each.name == "redis"] == [1, 10, 50]
    assert (found.asked, found.source) == (frozenset(), "")


def test_the_full_suite_has_every_workload_with_all_of_its_parameters() -> None:
    plan = config.configure(Options(suite="full")).plan
    keys = {each.key for each in plan.workloads}
    assert {"fio-read", "fio-write"} <= {each.name for each in plan.workloads}
    assert 'sysbench-cpu {"threads":"all"}' in keys
    assert 'redis {"connections":50,"operation":"set"}' in keys
    assert len(keys) == len(plan.workloads)


@pytest.mark.parametrize("asked", [{"rounds": 3}, {"quick": True}])
def test_a_number_of_blocks_is_not_cut_short_by_the_usual_time(asked: dict[str, Any]) -> None:
    assert config.configure(Options(**asked)).plan.max_time is None
    assert config.configure(Options(max_time=7, **asked)).plan.max_time == 7


def test_quick_is_ten_blocks_of_which_six_do_more() -> None:
    plan = config.configure(Options(quick=True)).plan
    assert plan.rounds == 10
    often = {each.name: each.blocks for each in plan.workloads}
    assert often == {"boot": None, "memory": 6, "sysbench-cpu": 6, "isolation": 1, "disk": 1}
    short = config.configure(Options(quick=True, rounds=2)).plan
    assert {each.name: each.blocks for each in short.workloads}["memory"] == 2


@pytest.mark.parametrize(("cpus", "vcpus"), [(1, 1), (2, 1), (3, 2), (64, 2)])
def test_one_cpu_is_left_for_engines_where_there_are_two(
    monkeypatch: pytest.MonkeyPatch, cpus: int, vcpus: int
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(cpus)))
    assert config.default_vcpus() == vcpus


def test_options_beat_the_file_and_the_file_beats_the_defaults() -> None:
    path = file(WHOLE)
    plan = config.configure(Options(plan=path)).plan
    assert (plan.rounds, plan.seed, plan.max_time, plan.accelerator, plan.baseline) == (7, 3, 9.5, "tcg", "b")
    assert [each.name for each in plan.workloads] == ["boot", "memory"]
    assert [(arm.name, arm.spec.vcpus, arm.spec.memory >> 20) for arm in plan.arms] == [("a", 2, 256), ("b", 3, 128)]
    over = config.configure(
        Options(
            plan=path, drivers=["docker"], workloads=["disk"], rounds=2, seed=4, accelerator="kvm", baseline="docker"
        )
    )
    assert (over.plan.rounds, over.plan.seed, over.plan.accelerator) == (2, 4, "kvm")
    assert [arm.name for arm in over.plan.arms] == ["docker"]
    assert over.plan.arms[0].spec.memory == 256 << 20
    assert [each.name for each in over.plan.workloads] == ["boot", "disk"]
    assert over.asked == {"docker"}


def test_a_plan_in_the_folder_is_read_and_named() -> None:
    file("[run]\nseed = 11\n", config.PLAN_FILE)
    found = config.configure(Options())
    assert (found.plan.seed, found.source) == (11, config.PLAN_FILE)
    assert config.configure(Options(plan=file("", "other.toml"))).source == "other.toml"


def test_without_a_seed_it_is_a_new_one() -> None:
    assert len({config.configure(Options()).plan.seed for _ in range(5)}) == 5


@pytest.mark.parametrize(
    ("drivers", "baseline"),
    [(["kvm", "native", "docker"], "docker"), (["kvm", "native"], "native"), (["kvm"], "kvm"), (["fake"], "fake")],
)
def test_the_baseline_is_a_container_or_the_floor(drivers: list[str], baseline: str) -> None:
    assert config.configure(Options(drivers=drivers)).plan.baseline == baseline


@pytest.mark.parametrize(
    ("text", "brief", "hint"),
    [
        ("[run]\nseeed = 1\n", "plan.toml, line 2: [run] has no `seeed`.", "Did you mean `seed`?"),
        ("[instances]\n", "plan.toml, line 1: a plan has no `instances`.", "Did you mean `instance`?"),
        ('[[arm]]\ndriver = "kvm"\nmemry = 1\n', "plan.toml, line 3: [arm] has no `memry`.", "Did you mean `memory`?"),
        ("[run\n", "plan.toml is not TOML.", "tare plan --toml"),
        ('[run]\nseed = "x"\n', "plan.toml is not a plan.", ""),
        ("[[arm]]\nname = 'x'\n", "plan.toml is not a plan.", ""),
        ('[run]\naccelerator = "xen"\n', "plan.toml is not a plan.", ""),
        ('[[arm]]\ndriver = "dcoker"\n', "There is no driver named `dcoker`.", "Did you mean `docker`?"),
        ('[[arm]]\ndriver = "kvm"\n[[arm]]\ndriver = "kvm"\n', "Two arms are named `kvm`.", "name of its own"),
        ('[[arm]]\ndriver = "kvm"\n[[arm]]\ndriver = "fake"\n', "The fake driver lives on a clock of its own", ""),
        ("[instance]\nvcpus = 0\n", "0 vCPUs are not possible: this host has 4 CPUs.", "vcpus"),
        ("[instance]\nvcpus = 5\n", "5 vCPUs are not possible", ""),
        ("[instance]\nmemory = 1024\n", "1024 bytes are too little to boot in: at least 64 MiB.", ""),
        ('[instance]\nmemory = "900000 GiB"\n', "does not fit into this host's", ""),
        ('[instance]\nmemory = "much"\n', "memory = 'much' is not a size.", "512 MiB"),
        ('[run]\nworkloads = ["mmory"]\n', "There is no workload named `mmory`.", "Did you mean `memory`?"),
        ('[run]\nbaseline = "x"\n', "The baseline `x` is no arm of this plan.", ""),
        ("[run]\nmax_rounds = 0\n", "0 rounds are not possible: from 1 to 10000.", ""),
        ("[run]\nmax_rounds = 10001\n", "10001 rounds are not possible", ""),
        ("[run]\nmax_time = 0\n", "A time limit of 0 s leaves no time to measure.", "--max-time"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_with_the_nearest_word(text: str, brief: str, hint: str) -> None:
    error = refused(text)
    assert brief in error.brief
    assert hint in error.hint
    assert error.exit_status == 2


def test_what_is_no_plan_file_at_all() -> None:
    for path, words in ((Path("none.toml"), "cannot be read"), (Path(), "is a folder")):
        with pytest.raises(UsageError, match=words):
            config.configure(Options(plan=path))
    Path("bytes").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="is not text"):
        config.configure(Options(plan=Path("bytes")))
    Path("large").write_text("#" * (config.MAX_PLAN_BYTES + 1))
    with pytest.raises(UsageError, match="too large"):
        config.configure(Options(plan=Path("large")))


def test_an_unknown_suite() -> None:
    with pytest.raises(UsageError) as caught:
        config.configure(Options(suite="bot"))
    assert caught.value.hint == "Did you mean `boot`?"


@pytest.mark.parametrize(
    ("text", "size"), [("1024", 1024), ("1k", 1024), ("1.5 MiB", 3 << 19), ("2G", 2 << 30), (" 3 KiB ", 3072)]
)
def test_sizes(text: str, size: int) -> None:
    assert config._bytes("memory", text) == size


def test_a_plan_as_text_is_the_same_plan() -> None:
    options = Options(
        drivers=["native", "docker"], workloads=["memory"], rounds=9, seed=5, max_time=60, accelerator="tcg"
    )
    plan = config.configure(options).plan
    assert config.configure(Options(plan=file(config.as_toml(plan)))).plan == plan
