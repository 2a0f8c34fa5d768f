"""What the tools print, as it was stored from real instances, and what is made of it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from pathlib import Path

import pytest
from tare_bench import registry
from tare_bench.model import Scalar
from tare_bench.network import Outside, Reach
from tare_bench.workloads.network import NetworkWorkload
from tare_bench.workloads.sized import SizedWorkload

STORED = Path(__file__).parents[1] / "data/tools"
SMALL, LARGE = {"block_size": 4096, "depth": 1}, {"block_size": 1 << 20, "depth": 1}
INWARDS, OUTWARDS = {"direction": "in", "streams": 1}, {"direction": "out", "streams": 1}

REAL: dict[str, tuple[str, dict[str, Scalar], int, dict[str, float]]] = {
    "sysbench-cpu": ("sysbench-cpu", {"threads": 1}, 2600, {"sysbench-cpu.events": 2600 / 0.4944}),
    "sysbench-memory": ("sysbench-memory", {}, 16000, {"sysbench-memory.rate": 16000 * 2**20 / 0.494}),
    "fio-randread": ("fio-randread", SMALL, 12000, {"fio-randread.iops": 12000 / 0.557}),
    "fio-randwrite": ("fio-randwrite", SMALL, 12000, {"fio-randwrite.iops": 12000 / 0.475}),
    "fio-read": ("fio-read", LARGE, 580, {"fio-read.rate": 580 * 2**20 / 0.463}),
    "fio-write": ("fio-write", LARGE, 1600, {"fio-write.rate": 1600 * 2**20 / 0.36}),
    "redis-get-10": ("redis", {"operation": "get", "connections": 10}, 35000, {"redis.get.rate": 69169.96}),
    "net-stream-in": ("net-stream", INWARDS, 640, {"net-stream.rate": 671088640 / 0.498281}),
    "net-stream-out": ("net-stream", OUTWARDS, 540, {"net-stream.rate": 566231040 / 0.485436}),
    "net-request": (
        "net-request",
        {"connections": 1},
        4000,
        {"net-request.rate": 10899.18, "net-request.p99": 0.001439},
    ),
    "redis-set-10": ("redis", {"operation": "set", "connections": 10}, 34000, {"redis.set.rate": 68686.87}),
}
"""Stored file to workload, parameters, amount of work, and the values that it holds."""


def sized(name: str) -> SizedWorkload:
    workload = registry.workload(name)
    assert isinstance(workload, SizedWorkload)
    return workload


@pytest.mark.parametrize("stored", REAL)
def test_the_values_are_those_of_the_tools_own_words(stored: str) -> None:
    name, params, work, values = REAL[stored]
    parsed = sized(name).parse((STORED / f"{stored}.txt").read_text(), params, work)
    assert parsed.values == pytest.approx(values)
    rate = next(iter(values.values()))
    assert parsed.seconds == pytest.approx(work / rate if "rate" not in next(iter(values)) else parsed.seconds)
    assert 0.3 < parsed.seconds < 0.7


def test_every_stored_output_has_its_test() -> None:
    assert {path.stem for path in STORED.iterdir()} == set(REAL)


@pytest.mark.parametrize("stored", REAL)
@pytest.mark.parametrize("words", ["", "FATAL: out of memory", "{", '"test"\n'])
def test_other_words_are_an_error_and_no_zero(stored: str, words: str) -> None:
    name, params, work, _ = REAL[stored]
    with pytest.raises((ValueError, KeyError)):
        sized(name).parse(words, params, work)


@pytest.mark.parametrize("stored", [name for name in REAL if not name.startswith(("redis", "net-request"))])
def test_less_work_than_was_asked_for_is_an_error(stored: str) -> None:
    name, params, work, _ = REAL[stored]
    with pytest.raises(ValueError, match=f"instead of {work + 1}"):
        sized(name).parse((STORED / f"{stored}.txt").read_text(), params, work + 1)


def test_an_error_that_fio_reports_is_one() -> None:
    document = json.loads((STORED / "fio-read.txt").read_text())
    document["jobs"][0]["error"] = 5
    with pytest.raises(ValueError, match="error 5"):
        sized("fio-read").parse(json.dumps(document), LARGE, 580)


def test_a_rate_for_another_operation_is_an_error() -> None:
    with pytest.raises(ValueError, match="not one row for set"):
        sized("redis").parse((STORED / "redis-get-10.txt").read_text(), {"operation": "set"}, 35000)


@pytest.mark.parametrize(
    ("name", "params", "words"),
    [
        ("sysbench-cpu", {"threads": 1}, "sysbench cpu --threads=1 --events=70 --time=0 run"),
        ("sysbench-cpu", {"threads": "all"}, "--threads=$(nproc) --events=70"),
        ("sysbench-memory", {}, "--memory-total-size=70M"),
        ("fio-randread", SMALL, "--rw=randread --bs=4096 --iodepth=1 --io_size=286720"),
        ("fio-write", LARGE, "--rw=write --bs=1048576 --iodepth=1 --io_size=73400320"),
        ("redis", {"operation": "set", "connections": 50}, "-t set -c 50 -n 70 --csv"),
    ],
)
def test_the_amount_of_work_is_in_the_command(name: str, params: Mapping[str, Scalar], words: str) -> None:
    assert words in sized(name).command(params, 70)


REACH = Reach("198.18.0.9", 15201, 15201, Outside(Path(), Path()))


@pytest.mark.parametrize(
    ("name", "params", "words"),
    [
        ("net-stream", INWARDS, "--client 198.18.0.9 --port 15201 --json --bytes 73400320 --parallel 1"),
        ("net-stream", {"direction": "out", "streams": 4}, "--bytes 73400320 --parallel 4 --reverse"),
        ("net-request", {"connections": 50}, "-t ping_mbulk -c 50 -n 70 --precision 3 --csv"),
    ],
)
def test_load_over_the_network_runs_outside_with_that_amount_of_work(
    name: str, params: Mapping[str, Scalar], words: str
) -> None:
    workload = sized(name)
    assert isinstance(workload, NetworkWorkload)
    assert words in shlex.join(workload.load(REACH, params, 70))
    assert ("--reverse" in workload.load(REACH, params, 70)) == (params.get("direction") == "out")


def test_servers_listen_where_they_are_told_and_nowhere_else() -> None:
    for name in ("net-stream", "net-request"):
        workload = sized(name)
        assert isinstance(workload, NetworkWorkload)
        assert "--bind 127.0.0.1 --port 15203 " in workload.serve("127.0.0.1", 15203)
        assert "0.0.0.0" not in workload.serve("127.0.0.1", 15203)


def test_an_error_that_iperf3_reports_is_one() -> None:
    with pytest.raises(ValueError, match="unable to connect"):
        sized("net-stream").parse('{"error": "unable to connect", "end": {}}', INWARDS, 1)


def test_storage_is_measured_past_the_page_caches_and_synced_after_writing() -> None:
    for name in ("fio-randread", "fio-randwrite", "fio-read", "fio-write"):
        workload = sized(name)
        assert workload.direct
        assert "--direct=1" in workload.command(workload.variants[0], 1)
        assert workload.writes == ("write" in name)
