"""The tools in real instances: the same work in each, and what it costs the host."""

from __future__ import annotations

import pytest
from hosts import REAL_ONLY, Host
from tare_bench import registry
from tare_bench.workloads.sized import SizedWorkload

NAMES = ("sysbench-cpu", "sysbench-memory", "fio-randread", "fio-randwrite", "fio-read", "fio-write", "redis")


@REAL_ONLY
@pytest.mark.parametrize("name", NAMES)
def test_a_workload_is_sized_and_yields_its_rate_and_its_cost(host: Host, name: str) -> None:
    workload = registry.workload(name)
    assert isinstance(workload, SizedWorkload)
    live = host.shared()
    for params in (workload.variants[-1], *workload.full_variants[-1:]):
        sized, rate = workload.size(live, params)
        work = max(1, round(rate / 20))
        measured = workload.measure_work(live, params, work)
        assert measured.facts == {"work": str(work)}
        for found in (sized, measured):
            names = [sample.metric for sample in found.samples]
            assert names[-1] == f"{name}.host_cpu"
            assert len(names) == 2
            assert names[0] in {metric.name for metric in workload.metrics}
            assert all(sample.value > 0 for sample in found.samples)
        assert measured.artifacts[f"{name}.txt"]
    assert workload.primary in {metric.name for metric in workload.metrics}


@REAL_ONLY
def test_nothing_is_written_outside_the_work_folder(host: Host) -> None:
    live = host.shared()
    registry.workload("fio-randwrite").measure(live, {"block_size": 4096, "depth": 1})
    assert live.run("pwd; ls", seconds=10).checked().stdout.split() == [b"/work", b"tare-fio.dat"]


@REAL_ONLY
def test_redis_of_somebody_else_on_the_port_is_left_alone(host: Host) -> None:
    host.close()  # a native one's server would have the port on the host's own loopback
    with host.booted() as live:
        # somebody's server without our secret, on the first port that would be tried
        other = "redis-server --bind 127.0.0.1 --port 16379 --save '' --dir /tmp --daemonize yes >/dev/null"
        ask = "redis-cli -h 127.0.0.1 -p 16379"
        wait = f'for i in $(seq 1000); do [ "$({ask} ping 2>/dev/null)" = PONG ] && break; done'
        live.run(f"{other}; {wait}; {ask} set mine 1", seconds=30).checked()
        before = live.run(f"{ask} dbsize", seconds=30).checked().stdout
        workload = registry.workload("redis")
        assert workload.measure(live, {"operation": "set", "connections": 1}).samples
        assert live.run(f"{ask} dbsize", seconds=30).checked().stdout == before == b"1\n"
        assert not live.run("cat /run/tare/redis.port", seconds=10).checked().stdout.startswith(b"16379 ")
