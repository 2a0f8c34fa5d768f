"""What Tare itself costs: its boots and those of a bare script, in the same seeded, randomly ordered blocks.

The quantity is `boot.ready`, from the request to the first byte of READY, and the result is the ratio ours / bare: its
median over the pairs with a 95 % interval, by the statistics that Tare's own comparisons use.
"""

from __future__ import annotations

import contextlib
import gc
import json
import math
import os
import random
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import bare_docker
import bare_qemu
from tare_bench import config, hostfacts, leases, lifecycle, paths, stats, store
from tare_bench.cli.interrupts import guarded
from tare_bench.cli.ready import Ready, make_ready
from tare_bench.cli.run import EMULATED_DEADLINE
from tare_bench.drivers.docker_engine import DockerDriver
from tare_bench.drivers.libvirt_embed import qemu_owner
from tare_bench.drivers.libvirt_kvm import KvmDriver
from tare_bench.leases import Lease
from tare_bench.model import Spec
from tare_bench.runner import SETTLE_SECONDS, SETTLE_SHARE, SETTLE_WINDOW

LEVEL = 0.95
WARMUP = 2
SEED = 20260
BOOT_SECONDS = 60.0

Boot = Callable[[str], dict[str, float]]
"""Boots one instance of that name, removes it, and returns its milestones in seconds from the request."""
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Claim:
    """What is to be shown."""

    driver: str
    pairs: int
    bound: float
    """The interval of ours / bare lies wholly below it."""

    def words(self) -> str:
        """It in a sentence."""
        return f"The 95 % interval of the ratio of boot.ready, Tare's / bare, lies wholly below {self.bound:g}."


CLAIMS = {"docker": Claim("docker", 60, 1.05), "kvm": Claim("kvm", 30, 1.12)}


@dataclass(frozen=True, slots=True)
class Pair:
    """Both arms of one block."""

    block: int
    order: tuple[str, ...]
    """Each arm twice, mirrored: of successive boots on a host that is itself a guest every other one may be slower (its
    memory was just given back and must be had anew), and neither arm may always be the other one."""
    all_boots: dict[str, list[dict[str, float]]]
    """By arm (`ours`, `bare`), the milestones in seconds from the request, of both of its boots."""
    unsettled: dict[str, float]
    """By arm, the CPUs that the host was busy with just before, where it did not become quiet."""

    @property
    def boots(self) -> dict[str, dict[str, float]]:
        """By arm, the geometric mean of its two boots: one value for one block."""
        return {arm: _mean(*both) for arm, both in self.all_boots.items()}


@dataclass(slots=True)
class Bench:
    """A driver that is open, and both ways to boot with it."""

    ready: Ready
    lease: Lease
    driver: Any
    spec: Spec
    arms: dict[str, Boot] = field(default_factory=dict)

    @property
    def accelerator(self) -> str:
        """What accelerates its guests; `none` for containers."""
        return next(iter(self.ready.accelerators.values()))

    @property
    def seconds(self) -> float:
        """The deadline of a boot."""
        return EMULATED_DEADLINE if self.accelerator == "tcg" else BOOT_SECONDS


def measure(claim: Claim, pairs: int, say: Say, seed: int = SEED) -> dict[str, Any]:
    """Boot that many pairs after the warm-up's, and return the evidence: a document for JSON.

    Raises DriverUnavailable when the driver cannot run here. No instance is left on any way out but SIGKILL, after
    which `tare sweep` finds what there is.
    """
    with guarded(), opened(claim.driver, say) as bench:
        facts = {"host": hostfacts.collect(), "driver": dict(bench.driver.describe())}
        found = list(paired(bench, pairs, seed, say))
        spec = {"vcpus": bench.spec.vcpus, "memory": bench.spec.memory, "rootfs": bench.spec.rootfs}
        about = {"driver": claim.driver, "accelerator": bench.accelerator, "spec": spec, "seed": seed}
    return {"claim": claim.words(), "date": store.utc_now(), **about, **judged(claim, found), "facts": facts}


@contextlib.contextmanager
def opened(driver: str, say: Say) -> Iterator[Bench]:
    """The driver made ready as `tare run` does it: lock, lease, images; with ourselves off the instances' CPUs."""
    configured = config.configure(config.Options(drivers=(driver,)))
    with leases.measuring(lambda owner: say(f"waiting for another run (pid {owner})")), contextlib.ExitStack() as stack:
        lease = leases.take(store.new_id(datetime.now(UTC)))
        stack.callback(lease.release)
        ready = make_ready(configured, "default", lease, stack, say)
        bench = Bench(ready, lease, ready.drivers[driver], ready.spec(ready.arms[0].spec))
        bench.arms = {"ours": ours(bench), "bare": BARE[driver](bench, stack)}
        stack.enter_context(elsewhere(ready.cpus))
        yield bench


@contextlib.contextmanager
def elsewhere(cpus: tuple[int, ...]) -> Iterator[None]:
    """Keep this thread and those that it starts off the instances' CPUs, where there are others."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, before - set(cpus) or before)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def ours(bench: Bench) -> Boot:
    """Tare's way: the lifecycle with the real driver."""

    def boot(name: str) -> dict[str, float]:
        clock = bench.driver.clock
        with lifecycle.created(bench.driver, bench.spec, name=name, clock=clock, seconds=bench.seconds) as live:
            lifecycle.boot(live)
            lifecycle.stop(live)  # the bare script kills before it removes, too
            return live.since_request()

    return boot


def docker_script(bench: Bench, stack: contextlib.ExitStack) -> Boot:
    """The bare way to boot a container: same engine, same body of the create call."""
    driver: DockerDriver = bench.driver
    api = stack.enter_context(contextlib.closing(bare_docker.client(bench.lease.folder)))

    def boot(name: str) -> dict[str, float]:
        label = f"tare-{bench.lease.folder.name}-{name}"
        return bare_docker.boot(api, driver.container_body(bench.spec, name), label, bench.seconds)

    return boot


def qemu_script(bench: Bench, stack: contextlib.ExitStack) -> Boot:
    """The bare way to boot a guest. Its process is known to the sweep by the run's folder in its command line."""
    driver: KvmDriver = bench.driver
    folder = bench.lease.folder
    assert driver.image is not None
    image, accelerator = driver.image, bench.ready.accelerators[bench.ready.arms[0].name]

    def boot(name: str) -> dict[str, float]:
        disk = paths.cache_dir() / "overlays" / f"{folder.name}-{name}.qcow2"
        bench.lease.own("file", disk)
        disk.parent.mkdir(parents=True, exist_ok=True)
        guest = bare_qemu.Guest(image, bench.spec, bench.ready.cpus, accelerator, qemu_owner(), folder / name, disk)
        return bare_qemu.boot(guest, bench.seconds)

    return boot


BARE: dict[str, Callable[[Bench, contextlib.ExitStack], Boot]] = {"docker": docker_script, "kvm": qemu_script}


def paired(bench: Bench, pairs: int, seed: int, say: Say) -> Iterator[Pair]:
    """The measured pairs: each block boots both arms once, in a seeded random order, from a settled host."""
    shuffle = random.Random(seed)
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        for block in range(WARMUP + pairs):
            pair = one_pair(bench, block, shuffle)
            gc.collect()
            if block >= WARMUP:
                yield pair
            ratio = pair.boots["ours"]["ready"] / pair.boots["bare"]["ready"]
            say(f"{bench.driver.name} pair {block + 1} of {WARMUP + pairs}: ratio {ratio:.3f}")
    finally:
        gc.enable()
        gc.unfreeze()


def one_pair(bench: Bench, block: int, shuffle: random.Random) -> Pair:
    """Boot both arms twice: one, the other, the other, the one."""
    order = ["ours", "bare"]
    shuffle.shuffle(order)
    order += reversed(order)
    boots: dict[str, list[dict[str, float]]] = {"ours": [], "bare": []}
    unsettled: dict[str, float] = {}
    for turn, arm in enumerate(order):
        settled = lifecycle.settle(bench.driver.clock, window=SETTLE_WINDOW, share=SETTLE_SHARE, seconds=SETTLE_SECONDS)
        if not settled.quiet:
            unsettled[arm] = settled.rate
        boots[arm].append(bench.arms[arm](f"b{block}{arm[0]}{turn}"))
    return Pair(block, tuple(order), boots, unsettled)


def _mean(first: dict[str, float], second: dict[str, float]) -> dict[str, float]:
    return {name: math.sqrt(first[name] * second[name]) for name in first if name in second}


def judged(claim: Claim, pairs: list[Pair]) -> dict[str, Any]:
    """The result, and every value that it comes from."""
    ready = {arm: [pair.boots[arm]["ready"] for pair in pairs] for arm in ("ours", "bare")}
    logs = stats.log_differences(ready["bare"], ready["ours"])
    found = stats.estimate(logs, LEVEL)
    assert found is not None
    interval = {"low": _exp(found.low), "high": _exp(found.high), "level": LEVEL}
    return {
        "shown": found.high is not None and math.exp(found.high) < claim.bound,
        "bound": claim.bound,
        "pairs": found.n,
        "warmup pairs": WARMUP,
        "ratio": {"median": math.exp(found.value), **interval},
        "milestones": milestones(pairs),
        "ratios": [math.exp(value) for value in logs],
        "order": [list(pair.order) for pair in pairs],
        "ours": [pair.all_boots["ours"] for pair in pairs],
        "bare": [pair.all_boots["bare"] for pair in pairs],
        "not settled": [{"block": pair.block, **pair.unsettled} for pair in pairs if pair.unsettled],
    }


def _exp(value: float | None) -> float | None:
    return None if value is None else math.exp(value)


def milestones(pairs: list[Pair]) -> dict[str, dict[str, float]]:
    """Where the difference arises: for each milestone that both have, the medians and that of the differences (s)."""
    shared = [name for name in pairs[0].boots["ours"] if all(name in pair.boots["bare"] for pair in pairs)]
    rows = {}
    for name in sorted(shared, key=lambda name: pairs[0].boots["bare"][name]):
        both = [(pair.boots["ours"][name], pair.boots["bare"][name]) for pair in pairs if name in pair.boots["ours"]]
        rows[name] = {
            "ours": statistics.median(a for a, _ in both),
            "bare": statistics.median(b for _, b in both),
            "difference": statistics.median(a - b for a, b in both),
        }
    return rows


def write(document: dict[str, Any], folder: Path) -> Path:
    """Keep the evidence. Returns the file's path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"overhead-{document['driver']}.json"
    path.write_text(json.dumps(document, indent=1) + "\n")
    return path


def summary(document: dict[str, Any]) -> str:
    """The result in a line or two."""
    ratio = document["ratio"]
    interval = "no interval" if ratio["high"] is None else f"{ratio['low']:.4f} to {ratio['high']:.4f}"
    words = f"{document['driver']} ({document['accelerator']}): Tare's boot / bare = {ratio['median']:.4f} ({interval})"
    rows = [f"{name} {row['difference'] * 1e3:+.1f} ms" for name, row in document["milestones"].items()]
    return f"{words}, {document['pairs']} pairs; at each milestone: {', '.join(rows)}"
