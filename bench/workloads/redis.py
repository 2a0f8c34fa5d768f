"""`redis`: a server and its load, both inside the instance, over its loopback: nothing of it crosses the boundary."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping

from ..metrics import Metric
from ..model import Scalar
from .sized import Parsed, SizedWorkload, host_cpu

STEP = 1e-3
"""Seconds: redis-benchmark counts whole milliseconds."""
PORT = 16379
"""The first port that is tried; a native process shares the host's loopback, where somebody may have it."""
TRIES = 20
_PORT_FILE = "/run/tare/redis.port"

# A server of our own answers to our secret only: what listens on a taken port is never talked to.
_START = f"""\
secret=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \\n')
port={PORT}
while [ $port -lt {PORT + TRIES} ]; do
  redis-server --bind 127.0.0.1 --port $port --requirepass $secret --save '' --appendonly no --hz 1 \\
    --pidfile /run/tare/redis.pid --dir /run/tare --daemonize yes >/run/tare/redis.log 2>&1
  case $? in 0) ;; 127) exit 127 ;; *) port=$((port + 1)); continue ;; esac
  tries=0
  while [ $tries -lt 200 ]; do
    answer=$(REDISCLI_AUTH=$secret redis-cli -h 127.0.0.1 -p $port set key:__rand_int__ xxx 2>&1)
    [ "$answer" = OK ] && echo "$port $secret" >{_PORT_FILE} && exit 0
    case $answer in *refused*) tries=$((tries + 1)) ;; *) break ;; esac
  done
  port=$((port + 1))
done
cat /run/tare/redis.log; exit 1
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
    variants = tuple({"operation": "get", "connections": number} for number in (1, 10, 50))
    full_variants = tuple({"operation": "set", "connections": number} for number in (1, 10, 50))
    first, step = 200, STEP
    seconds = 0.8

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
