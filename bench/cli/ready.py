"""From a plan to drivers that are open and have their images: which can run, what they run, on which CPUs."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass, field

from .. import paths, registry, rootfs
from ..config import Configured
from ..driver import LABEL_INSTANCE, LABEL_RUN, LABEL_RUNS, Driver, RunContext
from ..errors import DriverUnavailable, ImageError, TareError
from ..leases import Lease
from ..model import Accelerator, Arm, Notice, Spec
from ..rootfs import Rootfs


@dataclass(slots=True)
class Ready:
    """What a run has at hand."""

    rootfs: Rootfs
    cpus: tuple[int, ...]
    drivers: dict[str, Driver] = field(default_factory=dict)
    """By their own names."""
    arms: list[Arm] = field(default_factory=list)
    accelerators: dict[str, Accelerator] = field(default_factory=dict)
    """By arm."""
    notices: list[Notice] = field(default_factory=list)

    def spec(self, spec: Spec) -> Spec:
        """A spec with the rootfs that was built."""
        import msgspec

        return msgspec.structs.replace(spec, rootfs=self.rootfs.digest)


def make_ready(
    configured: Configured, reference: str, lease: Lease, stack: contextlib.ExitStack, say: Callable[[str], None]
) -> Ready:
    """Check, build, open, prepare, resolve: none of it is timed. What is opened is closed by the stack.

    Raises DriverUnavailable when a driver that was asked for cannot run, TareError when none can.
    """
    plan = configured.plan
    wanted = list(dict.fromkeys(arm.driver for arm in plan.arms))
    able, notices = _able(wanted, configured.asked)
    cpus = instance_cpus(max(arm.spec.vcpus for arm in plan.arms))
    room = max(arm.spec.disk for arm in plan.arms)
    context = RunContext(lease.folder.name, lease.folder, lease, cpus, room)
    simulated = all(name == "fake" for name in able)
    built = _simulated_rootfs() if simulated else build_rootfs(reference, context, say)
    ready = Ready(rootfs=built, cpus=cpus, notices=notices)
    move_elsewhere(cpus)
    for name, driver in able.items():
        try:
            _open(driver, context, built, plan.accelerator, ready, stack, say)
        except TareError as error:
            if name in configured.asked:
                raise
            ready.notices.append(_left_out(name, error.brief, error.details, error.hint))
    ready.arms = [arm for arm in plan.arms if arm.driver in ready.drivers]
    ready.accelerators = {arm.name: ready.accelerators[f"driver {arm.driver}"] for arm in ready.arms}
    if not ready.arms:
        why = [f"{notice.message}\n{notice.hint}" for notice in ready.notices if notice.code == "left-out"]
        hint = "tare check says more, tare setup installs what is missing."
        raise TareError("No driver can run here.", details="\n".join(why), hint=hint)
    return ready


def build_rootfs(reference: str, context: RunContext, say: Callable[[str], None]) -> Rootfs:
    """The rootfs, from the cache or built: with a container engine, open for that long, where it takes one.

    Raises ImageError, also where there is no such engine.
    """
    why = rootfs.why_engine(reference)
    if not why:
        return rootfs.build(reference, say=say)
    from tare_bench.drivers.docker_engine import DockerDriver
    from tare_bench.drivers.docker_images import NO_NETWORK, DockerImages

    say(f"opening the docker engine: {why}")
    with contextlib.closing(DockerDriver()) as driver:
        try:
            driver.open(context)
        except DriverUnavailable as error:
            raise ImageError(
                f"no engine to build the rootfs with: {why}", details=str(error), hint=error.hint
            ) from error
        labels = {LABEL_RUN: context.run, LABEL_INSTANCE: "rootfs", LABEL_RUNS: str(paths.runtime_dir())}
        private = driver.describe()["private"] == "yes"
        engine = DockerImages(driver.client, labels, no_network=NO_NETWORK if private else "")
        return rootfs.build(reference, engine=engine, say=say)


def _able(wanted: list[str], asked: frozenset[str]) -> tuple[dict[str, Driver], list[Notice]]:
    """The drivers whose ladder holds, and a notice for each that was left out."""
    able: dict[str, Driver] = {}
    notices: list[Notice] = []
    for name in wanted:
        try:
            driver = registry.driver(name)
        except DriverUnavailable as error:
            if name in asked:
                raise
            notices.append(_left_out(name, error.brief, error.details, error.hint))
            continue
        support = driver.check()
        if support.failed is None:
            able[name] = driver
            notices += support.notices
        elif name in asked:
            failed = support.failed
            raise DriverUnavailable(
                f"The driver {name} cannot run here.", details=f"{failed.name}: {failed.seen}", hint=failed.fix
            )
        else:
            notices.append(_left_out(name, support.failed.name, support.failed.seen, support.failed.fix))
    return able, notices


def _left_out(name: str, what: str, seen: str, fix: str) -> Notice:
    words = ": ".join(part for part in (what.rstrip("."), seen.strip()) if part)
    return Notice(code="left-out", subject=name, message=f"{name} is left out: {words}", hint=fix)


def _open(
    driver: Driver,
    context: RunContext,
    built: Rootfs,
    accelerator: str,
    ready: Ready,
    stack: contextlib.ExitStack,
    say: Callable[[str], None],
) -> None:
    say(f"{driver.name}: opening")
    stack.callback(_close, driver, context.lease, say)
    driver.open(context)
    say(f"{driver.name}: preparing its image")
    driver.prepare(built)
    resolution = driver.resolve(accelerator)
    ready.drivers[driver.name] = driver
    ready.accelerators[f"driver {driver.name}"] = resolution.accelerator
    ready.notices += resolution.notices


def _close(driver: Driver, lease: Lease, say: Callable[[str], None]) -> None:
    """Close a driver; where that fails, the run's lease stays, and with it what a sweep needs to know."""
    try:
        driver.close()
    except Exception as error:  # noqa: BLE001 - what was measured is not lost for it; it is said, and left to a sweep
        lease.keep = True
        say(f"{driver.name} could not be closed: {error}\nWhat is left behind is removed by: tare sweep")


def move_elsewhere(cpus: tuple[int, ...]) -> None:
    """Keep ourselves, and the engines that we start from now on, off the instances' CPUs, where there are others."""
    others = os.sched_getaffinity(0) - set(cpus)
    if others:
        os.sched_setaffinity(0, others)


def instance_cpus(vcpus: int) -> tuple[int, ...]:
    """The last CPUs of those that we may use: engines and harness have the others, where there are others."""
    allowed = sorted(os.sched_getaffinity(0))
    return tuple(allowed[-vcpus:])


def _simulated_rootfs() -> Rootfs:
    return Rootfs(digest="sha256:" + "0" * 64, folder=paths.cache_dir(), size=0, recipe="simulated", packages={})
