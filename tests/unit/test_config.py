"""Plan file and options: what is taken, and what is said about what is wrong."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tare_bench import as_toml, config, planfile, registry, suites
from tare_bench.config import Options
from tare_bench.drivers.fake import FakeDriver
from tare_bench.errors import UsageError
from tare_bench.model import Arm, OwnWorkload, Plan, Spec, WorkloadPlan
from tare_bench.planfile import Lines

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
    assert list(dict.fromkeys(each.name for each in plan.workloads)) == list(suites.SUITES["default"])
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
    often_once = {"isolation": 1, "audit": 1, "disk": 1}
    assert often == {"boot": None, "memory": 6, "sysbench-cpu": 6, **often_once}
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


KVM = "[[arm]]\ndriver = 'kvm'\n"
OWN = "[[workload]]\nname = 'x'\ncommand = 'true'\n"
REDIS = "[[workload]]\nname = 'redis'\n"


@pytest.mark.parametrize(
    ("text", "brief", "hint"),
    [
        ("[run]\nseeed = 1\n", "line 2: [run] has no `seeed`.", "Did you mean `seed`?"),
        ("[instances]\n", "line 1: a plan has no `instances`.", "Did you mean `instance`?"),
        ("[gate]\n", "line 1: a plan has no `gate`.", "There are: run, instance, arm, workload."),
        (f"{KVM}memry = 1\n", "line 3: [[arm]] has no `memry`.", "Did you mean `memory`?"),
        (f"{OWN}patern = 1\n", "line 4: [[workload]] has no `patern`.", "Did you mean `pattern`?"),
        ("[run]\nmax_rounds = 'x'\n", "line 2: max_rounds must be a whole number, got text.", ""),
        ("[run]\nmax_rounds = 1.5\n", "line 2: max_rounds must be a whole number, got a number.", ""),
        ("[run]\nmax_rounds = true\n", "line 2: max_rounds must be a whole number, got true or false.", ""),
        ("[run]\nseed = 2026-01-01\n", "line 2: seed must be a whole number, got a date.", ""),
        ("[run]\nmax_time = 'x'\n", "line 2: max_time must be a number, got text.", ""),
        ("[run]\nworkloads = 'x'\n", "line 2: workloads must be a list, got text.", ""),
        ("[run]\nworkloads = ['boot', 1]\n", "line 2: workloads must hold text, got a whole number.", ""),
        ("[instance]\nmemory = true\n", "line 2: memory must be a size, in bytes or as text", ""),
        ("run = 1\n", "line 1: run must be a table, got a whole number.", "Write it as [run]."),
        ("arm = 1\n", "line 1: arm must be a list, got a whole number.", "Write it as [[arm]]."),
        ("arm = [1]\n", "line 1: arm must be a table, got a whole number.", "Write it as [[arm]]."),
        ("[arm]\n", "line 1: arm must be a list, got a table.", "Write it as [[arm]]."),
        (f"{KVM}[[arm]]\nname = 'x'\n", "line 3: [[arm]] needs `driver`.", ""),
        ("[run]\naccelerator = 'kmv'\n", "line 2: accelerator cannot be `kmv`.", "Did you mean `kvm`?"),
        ("[instance]\ncache = 'write'\n", "line 2: cache cannot be `write`.", "Did you mean `writeback`?"),
        (f"{KVM}cache = 'direct'\n", "line 3: cache cannot be `direct`.", "There are: auto, writeback, none."),
        ("[instance]\nnetwork = 'bridges'\n", "line 2: network cannot be `bridges`.", "Did you mean `bridge`?"),
        ("[instance]\npage_cache = 'cool'\n", "line 2: page_cache cannot be `cool`.", "Did you mean `cold`?"),
        (f"{KVM}page_cache = true\n", "line 3: page_cache must be text, got true or false.", ""),
        (f"{KVM}page_cach = 'cold'\n", "line 3: [[arm]] has no `page_cach`.", "Did you mean `page_cache`?"),
        ("[[arm]]\ndriver = 'dcoker'\n", "line 2: There is no driver named `dcoker`.", "Did you mean `docker`?"),
        (KVM * 2, "line 3: Two arms are named `kvm`.", "name of its own"),
        (f"{KVM}name = 'a'\n{KVM}name = 'a'\n", "line 6: Two arms are named `a`.", "name of its own"),
        (f"{KVM}name = ''\n", "line 3: `` is no name for an arm.", "1 to 40"),
        (f"{KVM}name = ' x'\n", "line 3: ` x` is no name", ""),
        (f"{KVM}name = 'a/../b'\n", "line 3: `a/../b` is no name for an arm.", "no slash"),
        (f'{KVM}name = "a\\u001b[31m"\n', "line 3: `a\N{REPLACEMENT CHARACTER}[31m` is no name for an arm.", ""),
        (f"{KVM}name = '{'x' * 10_000}'\n", f"line 3: `{'x' * 59}…` is no name for an arm.", ""),
        (f"{KVM}name = 'docker'\n", "line 3: An arm of the driver kvm cannot be named after another driver", ""),
        (f"{KVM}options = {{ nosuch = 'x' }}\n", "line 3: The driver `kvm` has no option `nosuch`.", ""),
        (f"{KVM}options.nosuch = 'x'\n", "line 3: The driver `kvm` has no option `nosuch`.", ""),
        (f"{KVM}[arm.options]\nnosuch = 'x'\n", "line 4: The driver `kvm` has no option `nosuch`.", ""),
        (f"{KVM}[[arm]]\ndriver = 'fake'\n", "The fake driver lives on a clock of its own", ""),
        ("[instance]\nvcpus = 0\n", "line 2: 0 vCPUs are not possible: this host has 4 CPUs.", "from 1 to 4"),
        (f"{KVM}vcpus = 5\n", "line 3: 5 vCPUs are not possible", ""),
        ("[instance]\nmemory = 1024\n", "line 2: 1024 bytes of memory are too little to boot in.", "64 MiB"),
        ("[instance]\nmemory = -5\n", "line 2: -5 bytes of memory are too little to boot in.", ""),
        (f"{KVM}memory = '900000 GiB'\n", "line 3: An instance of 921600000 MiB does not fit into this host's", ""),
        ("[instance]\nmemory = 'lots'\n", "line 2: memory = 'lots' is not a size.", "512 MiB"),
        (f"[instance]\nmemory = '{'9' * 400} GiB'\n", "is not a size.", ""),
        ("[instance]\ndisk = -1\n", "line 2: A disk with -1 bytes of room is not possible.", "16 MiB"),
        ("[instance]\ndisk = '2000000 GiB'\n", "line 2: A disk with", ""),
        ("[run]\nworkloads = ['mmory']\n", "line 2: There is no workload named `mmory`.", "Did you mean `memory`?"),
        ("[run]\nsuite = 'fulll'\n", "line 2: There is no suite named `fulll`.", "Did you mean `full`?"),
        ("[run]\nbaseline = 'x'\n", "line 2: The baseline `x` is no arm of this plan.", "There are"),
        ("[run]\nmax_rounds = 0\n", "line 2: 0 rounds are not possible.", "From 1 to 10000"),
        ("[run]\nmin_rounds = -3\n", "line 2: -3 rounds are not possible.", ""),
        ("[run]\nmax_rounds = 10001\n", "line 2: 10001 rounds are not possible.", ""),
        (f"[run]\nmax_rounds = {10**30}\n", "line 2: more than 10^20 rounds are not possible.", ""),
        ("[run]\nmin_rounds = 9\nmax_rounds = 8\n", "line 2: min_rounds is more than max_rounds: 9 and 8.", ""),
        ("[run]\nmax_time = 0\n", "line 2: A time limit of 0 s is not possible.", "--max-time"),
        ("[run]\nmax_time = nan\n", "line 2: A time limit of nan s is not possible.", ""),
        ("[run]\nmax_time = inf\n", "line 2: A time limit of inf s is not possible.", ""),
        ("[run]\nmax_time = -1.5\n", "line 2: A time limit of -1.5 s is not possible.", ""),
        ("[run]\nseed = -1\n", "line 2: The seed -1 is not possible.", "From 0"),
        (f"[run]\nseed = {10**30}\n", "line 2: The seed more than 10^20 is not possible.", ""),
        ("[[workload]]\nname = 'x'\n", "line 2: There is no workload named `x`.", "needs a `command`"),
        (OWN * 2, "line 5: Two workloads are named `x`.", "name of its own"),
        ("[[workload]]\nname = 'a b'\ncommand = 'x'\n", "line 2: `a b` is no name for a workload.", ""),
        ("[[workload]]\nname = '../x'\ncommand = 'x'\n", "line 2: `../x` is no name for a workload.", ""),
        ("[[workload]]\nname = ''\ncommand = 'x'\n", "line 2: `` is no name for a workload.", ""),
        ("[[workload]]\nname = 'stop'\ncommand = 'x'\n", "line 2: Tare has a `stop` already.", ""),
        ("[[workload]]\nname = 'redis'\ncommand = 'x'\n", "line 2: Tare has a `redis` already.", ""),
        ("[[workload]]\nname = 'x'\ncommand = ' '\n", "line 3: `command` is empty.", ""),
        ('[[workload]]\nname = "x"\ncommand = "a\\u0000"\n', "line 3: command is too long, or holds a NUL", ""),
        (f"{OWN}setup = '{'é' * 30_000}'\n", "line 4: setup is too long, or holds a NUL", ""),
        (f"{OWN}packages = ['gcc', '--x,y']\n", "line 4: `--x,y` is no name of a package.", ""),
        (f"{OWN}deadline = 0\n", "line 4: A deadline of 0 s is not possible.", ""),
        (f"{OWN}deadline = nan\n", "line 4: A deadline of nan s is not possible.", ""),
        (f"{OWN}unit = 'B'\n", "line 4: `unit` needs a `pattern`", ""),
        (f"{OWN}pattern = '('\n", "line 4: `pattern` is no regular expression", ""),
        (f"{OWN}pattern = 'a{{99999999999999}}'\n", "line 4: `pattern` is no regular expression", ""),
        (f"{OWN}pattern = 'x'\n", "line 4: `pattern` has no group", ""),
        (f"{OWN}pattern = '(x)'\n", "line 4: A value needs its `unit`, and which is `better`.", ""),
        (f"{OWN}pattern = '(x)'\nbetter = 'lower'\nunit = ''\n", "line 6: `` is no unit.", ""),
        (f"{OWN}better = 'more'\n", "line 4: better cannot be `more`.", ""),
        (f"{OWN}params = {{ a = 1 }}\n", "line 4: A workload of your own has no `params`.", "command"),
        (f"{OWN}blocks = 0\n", "line 4: 0 blocks are not possible", ""),
        (f"{REDIS}pattern = 'x'\n", "line 3: `pattern` is for a workload of your own", ""),
        (f"{REDIS}params = {{ conections = 1 }}\n", "has no parameter `conections`.", "Did you mean `connections`?"),
        (f"{REDIS}params = {{ connections = 'x' }}\n", "line 3: connections must be a whole number from 1, or a", ""),
        (f"{REDIS}params = {{ connections = [1, 0] }}\n", "line 3: connections must be a whole number from 1", ""),
        (f"{REDIS}params = {{ connections = true }}\n", "line 3: connections must be a whole number from 1", ""),
        (f"{REDIS}params = {{ connections = [] }}\n", "line 3: connections must be", ""),
        (f"{REDIS}params = {{ connections = {10**30} }}\n", "line 3: connections must be", ""),
        (f"{REDIS}params = {{ operation = 'gett' }}\n", "line 3: operation cannot be `gett`.", "Did you mean `get`?"),
        (f"{REDIS}params.operation = 1\n", 'line 3: operation must be "get" or "set"', ""),
        (f"{REDIS}params.connections = [1, 1]\n", "The workload `redis", ""),
        (f"{REDIS}params.connections = {list(range(1, 102))}\n", "line 3: These are too many cells", ""),
        ("[[workload]]\nname = 'boot'\nblocks = 1\n", "line 1: `boot` is in every block", ""),
        ("[[workload]]\nname = 'memory'\ntogether = true\n", "line 3: `memory` is read on an instance that", ""),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_with_its_line_and_the_nearest_word(text: str, brief: str, hint: str) -> None:
    error = refused(text)
    assert brief in error.brief
    assert error.brief.startswith("plan.toml, line ") or "fake" in brief
    assert hint in error.hint
    assert error.exit_status == 2
    assert len(str(error)) < 500


@pytest.mark.parametrize(
    "text", ["[run\n", "x = ", "[" * 50, "a = " + "[" * 5000, "a = " + "9" * 5000, "\0", "a = 1\na = 2"]
)
def test_what_is_no_toml_is_said_with_what_prints_some(text: str) -> None:
    error = refused(text)
    assert error.brief == "plan.toml is not TOML."
    assert error.details
    assert "tare plan --toml" in error.hint


def test_a_value_from_the_command_line_is_not_said_to_stand_in_the_file() -> None:
    path = file(WHOLE)
    for wrong in (
        {"rounds": 0},
        {"max_time": -1},
        {"seed": -1},
        {"baseline": "x"},
        {"suite": "x"},
        {"workloads": ["x"]},
    ):
        with pytest.raises(UsageError) as caught:
            config.configure(Options(plan=path, **wrong))  # type: ignore[arg-type]
        assert "plan.toml" not in caught.value.brief


def test_what_is_no_plan_file_at_all() -> None:
    os.mkfifo("pipe")
    Path("loop").symlink_to("nowhere")
    Path("bytes").write_bytes(b"a = 1\n\xff\xfe\x00")
    Path("latin").write_bytes("# Überlänge\n".encode("latin-1"))
    with Path("large").open("wb") as large:
        large.truncate(100 << 20)
    for path, words in (
        ("none.toml", "cannot be read"),
        ("x" * 10_000, "cannot be read"),
        (".", "is a folder"),
        ("pipe", "is no regular file"),
        ("/dev/zero", "is no regular file"),
        ("loop", "cannot be read"),
        ("bytes", "line 2: this is not text in UTF-8"),
        ("latin", "line 1: this is not text in UTF-8"),
        ("large", "is too large"),
    ):
        with pytest.raises(UsageError, match=words) as caught:
            config.configure(Options(plan=Path(path)))
        assert caught.value.hint


def test_an_empty_plan_is_the_default_one() -> None:
    assert config.configure(Options(plan=file(""), seed=1)).plan == config.configure(Options(seed=1)).plan
    Path("bom.toml").write_bytes(b"\xef\xbb\xbf[run]\r\nseed = 4\r\n")
    assert config.configure(Options(plan=Path("bom.toml"))).plan.seed == 4


def test_a_plan_in_the_folder_that_cannot_be_read_is_not_passed_over() -> None:
    Path(config.PLAN_FILE).symlink_to("nowhere")
    with pytest.raises(UsageError, match="cannot be read"):
        config.configure(Options())


def test_an_unknown_suite() -> None:
    with pytest.raises(UsageError) as caught:
        config.configure(Options(suite="bot"))
    assert caught.value.hint == "Did you mean `boot`?"


@pytest.mark.parametrize(
    ("text", "size"), [("1024", 1024), ("1k", 1024), ("1.5 MiB", 3 << 19), ("2G", 2 << 30), (" 3 KiB ", 3072)]
)
def test_sizes(text: str, size: int) -> None:
    assert config._bytes("memory", text, Lines(), ()) == size


@pytest.mark.parametrize(
    "options",
    [
        Options(drivers=["native", "docker"], workloads=["memory"], rounds=9, seed=5, max_time=60, accelerator="tcg"),
        Options(quick=True),
        Options(quick=True, rounds=3),
        Options(suite="full"),
        Options(suite="network"),
        Options(suite="throughput", max_time=0.1 + 0.2),
        Options(drivers=["fake"], workloads=["boot"]),
    ],
)
def test_a_plan_as_text_is_the_same_plan(options: Options) -> None:
    plan = config.configure(options).plan
    assert config.configure(Options(plan=file(as_toml.text(plan)))).plan == plan


def test_a_cold_arm_is_named_so_unless_it_has_a_name() -> None:
    cold = "[[arm]]\ndriver = 'docker'\npage_cache = 'cold'\n"
    arms = config.configure(Options(plan=file(f"[[arm]]\ndriver = 'docker'\n{cold}{cold}name = 'x'\n"))).plan.arms
    assert [(arm.name, arm.spec.page_cache) for arm in arms] == [
        ("docker", "warm"), ("docker cold", "cold"), ("x", "cold"),
    ]  # fmt: skip
    text = f"[instance]\npage_cache = 'cold'\n{KVM}page_cache = 'warm'\n[[arm]]\ndriver = 'docker'\n"
    arms = config.configure(Options(plan=file(text))).plan.arms
    assert [(arm.name, arm.spec.page_cache) for arm in arms] == [("kvm", "warm"), ("docker cold", "cold")]


@pytest.mark.parametrize("options", [Options(suite="network"), Options(workloads=["net-request"])])
def test_what_needs_a_network_has_the_same_path_in_every_arm(options: Options) -> None:
    plan = config.configure(options).plan
    assert {arm.spec.network for arm in plan.arms} == {"bridge"}
    assert plan.packages == (["iperf3"] if options.suite else [])


def test_nothing_else_has_a_network() -> None:
    for options in (Options(), Options(suite="full"), Options(quick=True)):
        plan = config.configure(options).plan
        assert {arm.spec.network for arm in plan.arms} == {"none"}
        assert not {each.name for each in plan.workloads} & {"net-stream", "net-request"}
        assert plan.packages == []


def test_a_network_that_is_named_stays() -> None:
    text = f"[run]\nsuite = 'network'\n{KVM}network = 'user'\n[[arm]]\ndriver = 'docker'\n"
    arms = config.configure(Options(plan=file(text))).plan.arms
    assert [(arm.name, arm.spec.network) for arm in arms] == [("kvm user", "user"), ("docker", "bridge")]
    text = (
        f"[run]\nsuite = 'network'\n[instance]\nnetwork = 'none'\n{KVM}network = 'bridge'\n[[arm]]\ndriver = 'docker'\n"
    )
    arms = config.configure(Options(plan=file(text))).plan.arms
    assert [(arm.name, arm.spec.network) for arm in arms] == [("kvm", "bridge"), ("docker", "none")]


def test_what_the_usual_names_say_is_not_spelt_out() -> None:
    for options in (Options(), Options(suite="full"), Options(suite="quick")):
        assert "[[workload]]" not in as_toml.text(config.configure(options).plan)


NAMES = st.text(
    st.characters(exclude_categories=["C", "Z"], exclude_characters="/"), min_size=1, max_size=planfile.MAX_NAME
).filter(lambda name: name.isprintable() and name not in registry.names(registry.DRIVERS))
SPECS = st.builds(
    Spec,
    vcpus=st.integers(1, CPUS),
    memory=st.integers(64 << 20, 128 << 20),
    disk=st.just(1 << 28),
    cache=st.sampled_from(["auto", "writeback", "none"]),
    page_cache=st.sampled_from(["warm", "cold"]),
    network=st.sampled_from(["none", "bridge", "host", "user", "nat"]),
)
ARMS = st.lists(
    st.builds(
        Arm,
        name=NAMES,
        driver=st.just("tests-only"),
        options=st.dictionaries(
            st.sampled_from(["a", "b c", 'q"', "é"]), st.text(min_size=1).filter(str.isprintable), max_size=3
        ),
        spec=SPECS,
    ),
    min_size=1,
    max_size=3,
    unique_by=lambda arm: arm.name,
)
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"))
COMMANDS = TEXT.filter(lambda text: bool(text.strip()))
TIMED = st.builds(
    OwnWorkload,
    command=COMMANDS,
    setup=TEXT,
    deadline=st.floats(0.001, planfile.MAX_SECONDS),
    packages=st.lists(st.from_regex(r"[a-z0-9][a-z0-9+.-]{1,9}", fullmatch=True), max_size=3),
)
VALUED = st.builds(
    OwnWorkload,
    command=COMMANDS,
    pattern=TEXT.map(lambda text: f"({re.escape(text)})"),
    unit=st.text(min_size=1, max_size=9).filter(lambda text: text.isprintable() and bool(text.strip())),
    better=st.sampled_from(["lower", "higher"]),
)
OWNS = st.lists(
    st.builds(
        WorkloadPlan,
        name=st.from_regex(r"own-[A-Za-z0-9_-]{1,9}", fullmatch=True),
        blocks=st.none() | st.integers(1, 99),
        together=st.booleans(),
        own=TIMED | VALUED,
    ),
    max_size=2,
    unique_by=lambda each: each.name,
)
REDISES = st.lists(
    st.builds(
        WorkloadPlan,
        name=st.just("redis"),
        params=st.fixed_dictionaries(
            {"operation": st.sampled_from(["get", "set"]), "connections": st.integers(1, suites.MAX_PARAMETER)}
        ),
        blocks=st.none() | st.integers(1, 99),
        together=st.booleans(),
        sized=st.just(True),
    ),
    max_size=3,
    unique_by=lambda each: each.key,
)


class WithOptions(FakeDriver):
    """A driver with names of options that need quoting."""

    OPTIONS: ClassVar[Mapping[str, str]] = {"a": "", "b c": "", 'q"': "", "é": ""}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    arms=ARMS,
    workloads=st.tuples(REDISES, OWNS).map(lambda found: [*found[0], *found[1]]),
    rounds=st.integers(1, planfile.MAX_ROUNDS),
    seed=st.integers(0, config.MAX_SEED),
    max_time=st.none() | st.floats(0.001, planfile.MAX_SECONDS),
    accelerator=st.sampled_from(["auto", "kvm", "tcg"]),
    tune=st.booleans(),
)
def test_any_plan_as_text_is_the_same_plan(
    monkeypatch: pytest.MonkeyPatch, arms: list[Arm], workloads: list[WorkloadPlan], rounds: int, **run: Any
) -> None:
    known = registry.names
    with monkeypatch.context() as patch:
        patch.setattr(registry, "driver", lambda name, options=None: WithOptions())
        patch.setattr(registry, "names", lambda group: [*known(group), "tests-only"])
        plan = Plan(
            arms=arms,
            workloads=[WorkloadPlan(name="boot"), *workloads],
            baseline=arms[-1].name,
            rounds=rounds,
            throughput_rounds=rounds if any(each.together for each in workloads) else 0,
            **run,
        )
        assert config.configure(Options(plan=file(as_toml.text(plan)))).plan == plan


def test_a_workload_of_ones_own() -> None:
    text = """
[[workload]]
name = "compress"
command = "xz -k /tmp/x"
setup = "head -c 1000 /dev/urandom >/tmp/x"
packages = ["xz-utils", "tar"]
deadline = 30

[[workload]]
name = "score"
command = "bench"
pattern = 'score: ([0-9.]+)'
unit = "1/s"
better = "higher"
packages = ["bench", "tar"]
blocks = 4
together = false
"""
    plan = config.configure(Options(plan=file(text))).plan
    boot, timed, score = plan.workloads
    assert (boot.name, timed.name, score.name) == ("boot", "compress", "score")
    assert timed.own == OwnWorkload(
        command="xz -k /tmp/x",
        setup="head -c 1000 /dev/urandom >/tmp/x",
        packages=["xz-utils", "tar"],
        deadline=30,
    )
    assert (timed.together, timed.blocks, score.together, score.blocks) == (True, None, False, 4)
    assert plan.packages == ["bench", "tar", "xz-utils"]
    assert plan.throughput_rounds == plan.rounds
    chosen = config.configure(Options(plan=Path("plan.toml"), workloads=["score"])).plan
    assert ([each.name for each in chosen.workloads], chosen.packages) == (["boot", "score"], ["bench", "tar"])
    assert chosen.throughput_rounds == 0
    quick = config.configure(Options(plan=Path("plan.toml"), quick=True)).plan
    assert [(each.blocks, each.together) for each in quick.workloads[1:]] == [(6, False), (4, False)]


def test_a_list_of_values_is_a_sweep() -> None:
    text = "[run]\nworkloads = ['disk', 'redis']\n[[workload]]\nname = 'redis'\nblocks = 3\n"
    text += "params = { connections = [1, 100], operation = ['get', 'set'] }\n"
    plan = config.configure(Options(plan=file(text))).plan
    assert [each.name for each in plan.workloads] == ["boot", "disk", *["redis"] * 4]
    found = [(each.params["connections"], each.params["operation"], each.blocks) for each in plan.workloads[2:]]
    assert found == [(1, "get", 3), (1, "set", 3), (100, "get", 3), (100, "set", 3)]
    one = config.configure(Options(plan=file("[[workload]]\nname = 'redis'\nparams.connections = 7\n"))).plan
    assert [each.params for each in one.workloads[1:]] == [{"operation": "get", "connections": 7}]


def test_a_suite_of_the_file_and_its_own_workloads_are_one_plan() -> None:
    text = f"[run]\nsuite = 'footprint'\n{OWN}"
    names = dict.fromkeys(each.name for each in config.configure(Options(plan=file(text))).plan.workloads)
    assert list(names) == ["boot", "memory", "disk", "disk-written", "disk-changed", "x"]
    chosen = config.configure(Options(plan=Path("plan.toml"), suite="boot")).plan
    assert [each.name for each in chosen.workloads] == ["boot"]


def test_options_of_an_arm_are_those_of_its_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    def made(name: str) -> FakeDriver:
        return WithAccelerator()

    text = "[[arm]]\ndriver = 'fake'\n[[arm]]\ndriver = 'fake'\nname = 'b'\noptions = { %s }\n"
    monkeypatch.setattr(registry, "driver", made)
    plan = config.configure(Options(plan=file(text % "accelerator = 'tcg', uri = 'x'"))).plan
    assert [arm.options for arm in plan.arms] == [{}, {"accelerator": "tcg", "uri": "x"}]
    for wrong, words in (
        ("urii = 'x'", "has no option `urii`"),
        ("uri = 1", "must be text"),
        ("uri = ''", "must be text"),
        ("uri = 'a\tb'", "must be text"),
        ("accelerator = 'tgc'", "accelerator cannot be `tgc`"),
    ):
        error = refused(text % wrong)
        assert words in error.brief
        assert error.brief.startswith("plan.toml, line 6: ")
    assert refused(text % "urii = 'x'").hint == "Did you mean `uri`?"


class WithAccelerator(FakeDriver):
    """A driver with options as the one for guests has them."""

    OPTIONS: ClassVar[Mapping[str, str]] = {"accelerator": "", "uri": ""}


def test_without_options_no_driver_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(name: str) -> None:
        raise AssertionError(name)

    monkeypatch.setattr(registry, "driver", never)
    config.configure(Options(plan=file(WHOLE)))


def test_the_address_of_a_libvirt_is_for_the_arms_that_name_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "driver", lambda name: WithAccelerator())
    text = f"{KVM}{KVM}name = 'own'\noptions = {{ uri = 'a' }}\n[[arm]]\ndriver = 'docker'\n"
    plan = config.configure(Options(plan=file(text), libvirt_uri="qemu:///system")).plan
    assert [arm.options for arm in plan.arms] == [{"uri": "qemu:///system"}, {"uri": "a"}, {}]
    with pytest.raises(UsageError, match="no arm of this plan has it"):
        config.configure(Options(drivers=["docker"], libvirt_uri="qemu:///system"))


def test_guests_that_the_host_cannot_hold_at_once_are_refused_where_all_are_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "_host_memory", lambda: 1 << 30)
    plan = file('[instance]\nmemory = "600 MiB"\n' + "".join(f'[[arm]]\nname = "{n}"\ndriver = "kvm"\n' for n in "ab"))
    with pytest.raises(UsageError, match="The guests' 1200 MiB together do not fit into this host's 1024 MiB"):
        config.configure(Options(plan=plan))
    assert len(config.configure(Options(plan=plan, suite="footprint")).plan.arms) == 2
    # a container's memory is a limit
    containers = file(
        '[instance]\nmemory = "600 MiB"\n' + "".join(f'[[arm]]\nname = "{n}"\ndriver = "docker"\n' for n in "ab")
    )
    assert len(config.configure(Options(plan=containers)).plan.arms) == 2


def test_the_host_is_tuned_only_when_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert not config.configure(Options()).plan.tune
    assert config.configure(Options(tune=True)).plan.tune
    path = tmp_path / "plan.toml"
    path.write_text("[run]\ntune = true\n")
    plan = config.configure(Options(plan=path)).plan
    assert plan.tune
    path.write_text(as_toml.text(plan))
    assert config.configure(Options(plan=path)).plan == plan
    assert not config.configure(Options(plan=path, tune=False)).plan.tune
