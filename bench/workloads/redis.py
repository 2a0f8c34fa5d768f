"""`redis`: a server and its load, both inside the instance, over its loopback: nothing of it crosses the boundary."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping

from ..metrics import Metric
from ..model import Scalar
from .sized import NOT_FOUND, Parsed, SizedWorkload, host_cpu

STEP = 1e-3
"""Seconds: redis-benchmark counts whole milliseconds."""
PORT = 16379
"""The first port that is tried; a native process shares the host's loopback, where somebody may have it."""
TRIES = 20
_PORT_FILE = "/run/tare/redis.port"

# Nobody is talked to who may be somebody else: that the port is ours is known from our own server's log.
_START = f"""\
secret=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \\n')
cd /run/tare && port={PORT}
while [ $port -lt {PORT + TRIES} ]; do
  : >redis.log
  redis-server --bind 127.0.0.1 --port $port --requirepass $secret --save '' --appendonly no --hz 1 --dir /run/tare \\
    --logfile /run/tare/redis.log >redis.out 2>&1 </dev/null &
  tries=0
  while [ $tries -lt 2000 ]; do
    tries=$((tries + 1))
    grep -q 'not found' redis.out && exit {NOT_FOUND}
    grep -q 'Ready to accept' redis.log && echo "$port $secret" >{_PORT_FILE} && break 2
    grep -q 'Failed listening' redis.log && break
  done
  port=$((port + 1))
done
read -r port secret <{_PORT_FILE} || {{ cat redis.log redis.out; exit 1; }}
[ "$(REDISCLI_AUTH=$secret redis-cli -h 127.0.0.1 -p $port set key:__rand_int__ xxx)" = OK ]
"""


def _metric(operation: str) -> Metric:
    return Metric(
        name=f"redis.{operation}.rate",
        unit="1/s",
        better="higher",
        title=f"Redis {operation.upper()} (inside, loopback)",
        definition=f"{operation.upper()} requests of 3 bytes for each second of redis-benchmark's own clock, over "
        "`connections` connections: a fixed number of them. Inside, loopback: server and load run in the instance.",
    )


GET, SET = _metric("get"), _metric("set")


class Redis(SizedWorkload):
    """System calls, scheduling and the loopback of the instance's kernel."""

    name = "redis"
    title = "Redis GET at 1, 10 and 50 connections, server and load inside the instance (loopback); SET in `full`"
    program = "redis-server"
    cost = host_cpu("redis", "request")
    metrics = (GET, SET, cost)
    primary = GET.name
    spread = 0.03
    variants = tuple({"operation": "get", "connections": number} for number in (1, 10, 50))
    full_variants = tuple({"operation": "set", "connections": number} for number in (1, 10, 50))
    first, step = 200, STEP
    seconds = 0.45

    def leads(self, params: Mapping[str, Scalar]) -> bool:
        return params.get("operation", "get") == "get"

    def prepare(self, params: Mapping[str, Scalar]) -> str:
        return _START

    def command(self, params: Mapping[str, Scalar], work: int) -> str:
        what = f"-t {params['operation']} -c {params['connections']} -n {work}"
        return f"read -r port secret <{_PORT_FILE}; redis-benchmark -h 127.0.0.1 -p $port -a $secret {what} --csv"

    def parse(self, stdout: str, params: Mapping[str, Scalar], work: int) -> Parsed:
        rows = list(csv.DictReader(io.StringIO(stdout[stdout.index('"test"') :])))
        if len(rows) != 1 or rows[0]["test"].lower() != params["operation"]:
            raise ValueError(f"not one row for {params['operation']}")
        rate = float(rows[0]["rps"])
        if rate <= 0:
            raise ValueError("a rate of nothing")
        return Parsed(work / rate, {f"redis.{params['operation']}.rate": rate})
