"""`fio-randread`, `fio-randwrite`, `fio-read`, `fio-write`: storage, past every page cache."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import ClassVar

from ..metrics import Metric
from ..model import Scalar
from .sized import Parsed, SizedWorkload, host_cpu

STEP = 1e-3
"""Seconds: fio counts its run time in milliseconds."""
FILE_MIB = 64

_FILE = f"--filename=tare-fio.dat --size={FILE_MIB}m"
# A thread and not a process of its own, and a clock that needs no calibrating: less to wait for before the work begins.
_HOW = "--direct=1 --ioengine=libaio --thread --clocksource=clock_gettime --output-format=json"
_DIRECT = (
    f"O_DIRECT in the instance and, for a guest, no page cache of the host's either; on a file of {FILE_MIB} MiB that "
    "the instance laid out before. What the disk itself caches is part of it."
)


class Fio(SizedWorkload):
    """One fio job of a fixed number of requests."""

    program = "fio"
    mode: ClassVar[str]
    """As fio's `rw` has it."""
    direction: ClassVar[str]
    """Where its JSON keeps the numbers: `read` or `write`."""
    step = STEP
    direct = True
    seconds = 0.8

    def prepare(self, params: Mapping[str, Scalar]) -> str:
        # Written for real: a file with holes would be read without a disk.
        return f"fio --name=layout {_FILE} --rw=write --bs=1m {_HOW} && sync"

    def command(self, params: Mapping[str, Scalar], work: int) -> str:
        size, depth = int(params["block_size"]), int(params["depth"])
        what = f"--rw={self.mode} --bs={size} --iodepth={depth} --io_size={work * size}"
        return f"fio --name=tare {_FILE} {what} {_HOW}"

    def parse(self, stdout: str, params: Mapping[str, Scalar], work: int) -> Parsed:
        job = json.loads(stdout[stdout.index("{") :])["jobs"][0]
        side = job[self.direction]
        if job["error"] or side["total_ios"] != work:
            raise ValueError(f"error {job['error']}, {side['total_ios']} requests instead of {work}")
        seconds = max(side["runtime"] / 1000, STEP)
        metric = self.metrics[0]
        return Parsed(seconds, {metric.name: (work if metric.unit == "1/s" else side["io_bytes"]) / seconds})


def _iops(name: str, title: str, what: str) -> Metric:
    definition = f"Requests of {what} for each second of fio's own clock inside the instance: a fixed number of them. "
    return Metric(name=f"{name}.iops", unit="1/s", better="higher", title=title, definition=definition + _DIRECT)


def _rate(name: str, title: str, what: str) -> Metric:
    definition = (
        f"Bytes {what} in order for each second of fio's own clock inside the instance: a fixed number of them. "
    )
    return Metric(name=f"{name}.rate", unit="B/s", better="higher", title=title, definition=definition + _DIRECT)


class FioRandRead(Fio):
    """Small reads all over a file."""

    name, mode, direction = "fio-randread", "randread", "read"
    title = "random reads of 4 KiB by fio, one at a time, past the page caches"
    cost = host_cpu("fio-randread", "request")
    metrics = (_iops("fio-randread", "Random reads (fio)", "4 KiB (`block_size`), `depth` at a time, at random"), cost)
    primary = "fio-randread.iops"
    spread = 0.07
    variants = ({"block_size": 4096, "depth": 1},)
    first = 200


class FioRandWrite(Fio):
    """Small writes all over a file."""

    name, mode, direction = "fio-randwrite", "randwrite", "write"
    title = "random writes of 4 KiB by fio, one at a time, past the page caches"
    cost = host_cpu("fio-randwrite", "request")
    metrics = (
        _iops("fio-randwrite", "Random writes (fio)", "4 KiB (`block_size`), `depth` at a time, at random"),
        cost,
    )
    primary = "fio-randwrite.iops"
    spread = 0.22
    variants = ({"block_size": 4096, "depth": 1},)
    writes = True
    first = 200


class FioRead(Fio):
    """Reading a file from front to back."""

    name, mode, direction = "fio-read", "read", "read"
    title = "reading in order, blocks of 1 MiB, by fio, past the page caches"
    cost = host_cpu("fio-read", "request of 1 MiB")
    metrics = (_rate("fio-read", "Sequential reads (fio)", "read"), cost)
    primary = "fio-read.rate"
    spread = 0.39
    variants = ({"block_size": 1 << 20, "depth": 1},)
    first = 8


class FioWrite(Fio):
    """Writing a file from front to back."""

    name, mode, direction = "fio-write", "write", "write"
    title = "writing in order, blocks of 1 MiB, by fio, past the page caches"
    cost = host_cpu("fio-write", "request of 1 MiB")
    metrics = (_rate("fio-write", "Sequential writes (fio)", "written"), cost)
    primary = "fio-write.rate"
    spread = 0.39
    variants = ({"block_size": 1 << 20, "depth": 1},)
    writes = True
    first = 8
