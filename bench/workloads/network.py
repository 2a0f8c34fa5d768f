"""Over the network: a server in the instance, and its load outside of it, from the same rootfs, on our CPUs.

What an instance is reached by (its spec's `network`) is what is measured: the same bridge for all, or what users have
by default. Nothing of the load runs in the instance.
"""

from __future__ import annotations

import csv
import io
import json
import os
import secrets
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar

from ..granted import cpu_list
from ..lifecycle import Live
from ..metrics import Metric
from ..model import Scalar
from ..network import LOOPBACK, PORTS, Reach
from . import Measured, Skipped
from .sized import NOT_FOUND, Parsed, SizedWorkload, host_cpu

SECRET = secrets.token_hex(16)
"""Our servers' password: on the host's own network somebody else's may listen, or somebody else may ask."""
MIB = 1 << 20
STEP = 1e-3
"""Seconds: what redis-benchmark's own clock can tell apart."""


class NetworkWorkload(SizedWorkload):
    """A server that is started once in an instance, and a client that is run outside of it for each trial."""

    port: ClassVar[int]
    needs_network = True

    @abstractmethod
    def serve(self, address: str, port: int) -> str:
        """The shell command that has the server listen there, and returns once it does."""

    @abstractmethod
    def load(self, reach: Reach, params: Mapping[str, Scalar], work: int) -> Sequence[str]:
        """The client's argv."""

    def command(self, params: Mapping[str, Scalar], work: int) -> str:
        raise AssertionError("nothing of the load runs in the instance")

    def reach(self, live: Live) -> Reach:
        """How its server is reached. Raises Skipped where the instance has no network."""
        assert live.instance is not None
        found = live.instance.reach(self.port)
        if found is None:
            raise Skipped('The instance has no network: it takes network = "bridge".')
        return found

    def prepared(self, live: Live, params: Mapping[str, Scalar]) -> str:
        reach = self.reach(live)
        assert live.instance is not None
        return self.serve(live.instance.address or LOOPBACK, reach.listen)

    def done(self, live: Live, params: Mapping[str, Scalar], work: int) -> bytes:
        reach = self.reach(live)
        return reach.run(self.load(reach, params, work), seconds=self.deadline)

    def _run(self, live: Live, params: Mapping[str, Scalar], work: int) -> tuple[Measured, float]:
        measured, seconds = super()._run(live, params, work)
        measured.facts["load on CPUs"] = cpu_list(os.sched_getaffinity(0))
        return measured, seconds


_WAIT = """\
tries=0
until grep -q '{ready}' /run/tare/{log}; do
  grep -q 'not found' /run/tare/{log} && exit {missing}
  tries=$((tries + 1))
  [ $tries -lt 3000 ] || {{ cat /run/tare/{log}; exit 1; }}
done
"""


def _wait(log: str, ready: str) -> str:
    """A server is waited for by what it writes, as soon as it does; a few seconds at most."""
    return _WAIT.format(log=log, ready=ready, missing=NOT_FOUND)


RATE = Metric(
    name="net-stream.rate",
    unit="B/s",
    better="higher",
    title="TCP stream",
    definition="Bytes a second that the receiving end of iperf3 has got, by its own clock, of a fixed number of them "
    "over `streams` connections: `in`, to the instance; `out`, from it. The other end is outside of the instance. "
    "Packets between a veth or virtio device and a bridge are not cut to the MTU: the kernel hands on up to 64 KiB.",
)


class NetStream(NetworkWorkload):
    """Bytes over the instance's network path."""

    name = "net-stream"
    title = "bytes a second by iperf3 to and from the instance, over its network; not in the default suite"
    program = "iperf3"
    packages = ("iperf3",)
    cost = host_cpu("net-stream", "MiB")
    metrics = (RATE, cost)
    primary = RATE.name
    variants = ({"direction": "in", "streams": 1}, {"direction": "out", "streams": 1})
    full_variants = ({"direction": "in", "streams": 4}, {"direction": "out", "streams": 4})
    port = PORTS[0]
    first, step = 8, 1e-3
    seconds = 1.0

    def serve(self, address: str, port: int) -> str:
        start = f"iperf3 --server --bind {address} --port {port} --forceflush"
        return f"{start} >/run/tare/iperf3.log 2>&1 </dev/null &\n{_wait('iperf3.log', 'Server listening')}"

    def load(self, reach: Reach, params: Mapping[str, Scalar], work: int) -> Sequence[str]:
        way = ["--reverse"] if params["direction"] == "out" else []
        where = ["--client", reach.address, "--port", str(reach.port)]
        return ["iperf3", *where, "--json", "--bytes", str(work * MIB), "--parallel", str(params["streams"]), *way]

    def parse(self, stdout: str, params: Mapping[str, Scalar], work: int) -> Parsed:
        said = json.loads(stdout)
        if not isinstance(said, dict):
            raise ValueError("not iperf3's report")
        if error := said.get("error"):
            raise ValueError(error)
        sent, got = (said["end"][f"sum_{way}"] for way in ("sent", "received"))
        if sent["bytes"] < work * MIB:
            raise ValueError(f"{sent['bytes'] / MIB:.1f} MiB were sent instead of {work}")
        if not got["bytes"] or not got["seconds"]:
            raise ValueError("nothing was received")
        return Parsed(got["seconds"], {RATE.name: got["bytes"] / got["seconds"]})


REQUESTS = Metric(
    name="net-request.rate",
    unit="1/s",
    better="higher",
    title="Requests over the network",
    definition="PING requests a second of redis-benchmark's own clock, over `connections` connections: a fixed number "
    "of them. The server is in the instance, redis-benchmark outside of it; each waits for its answer.",
)
P99 = Metric(
    name="net-request.p99",
    unit="s",
    better="lower",
    resolution=1e-6,
    title="Request over the network, p99",
    definition="The 99th percentile of the time from a PING to its answer within one trial, as redis-benchmark has it "
    "(in whole microseconds). A trial is one value, however many requests it has.",
)


class NetRequest(NetworkWorkload):
    """Small requests and their answers: how long a way there and back is."""

    name = "net-request"
    title = "requests to a Redis in the instance at 1 and 50 connections, rate and p99, over its network"
    program = "redis-server"
    cost = host_cpu("net-request", "request")
    metrics = (REQUESTS, P99, cost)
    primary = REQUESTS.name
    variants = ({"connections": 1}, {"connections": 50})
    port = PORTS[1]
    first, step = 200, STEP
    seconds = 1.0

    def serve(self, address: str, port: int) -> str:
        where = f"--bind {address} --port {port} --requirepass {SECRET}"
        start = f"redis-server {where} --save '' --appendonly no --hz 1 --dir /run/tare"
        return f"{start} >/run/tare/net.log 2>&1 </dev/null &\n{_wait('net.log', 'Ready to accept')}"

    def load(self, reach: Reach, params: Mapping[str, Scalar], work: int) -> Sequence[str]:
        where = ["-h", reach.address, "-p", str(reach.port), "-a", SECRET]
        what = ["-t", "ping_mbulk", "-c", str(params["connections"]), "-n", str(work), "--precision", "3", "--csv"]
        return ["redis-benchmark", *where, *what]

    def parse(self, stdout: str, params: Mapping[str, Scalar], work: int) -> Parsed:
        rows = list(csv.DictReader(io.StringIO(stdout[stdout.index('"test"') :])))
        if len(rows) != 1:
            raise ValueError("not one row")
        rate = float(rows[0]["rps"])
        if rate <= 0:
            raise ValueError("a rate of nothing")
        return Parsed(work / rate, {REQUESTS.name: rate, P99.name: float(rows[0]["p99_latency_ms"]) / 1e3})
