"""From a plan to drivers that are open and have their images: which can run, what they run, on which CPUs."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from .. import pagecache, paths, registry, rootfs
from ..config import Configured
from ..driver import LABEL_INSTANCE, LABEL_RUN, LABEL_RUNS, Driver, RunContext
from ..errors import DriverUnavailable, ImageError, TareError
from ..leases import Lease
from ..model import Accelerator, Arm, Notice, Spec
from ..network import Outside
from ..rootfs import Rootfs


@dataclass(slots=True)
class Ready:
    """What a run has at hand."""

    rootfs: Rootfs
    cpus: tuple[int, ...]
    drivers: dict[str, Driver] = field(default_factory=dict)
    """By arm; arms with the same driver and the same options share one."""
    described: dict[str, dict[str, str]] = field(default_factory=dict)
    """What each driver says of itself: by driver, or by arm where one driver has several sets of options."""
    arms: list[Arm] = field(default_factory=list)
    accelerators: dict[str, Accelerator] = field(default_factory=dict)
    """By arm."""
    notices: list[Notice] = field(default_factory=list)

    def spec(self, spec: Spec) -> Spec:
        """A spec with the rootfs that was built."""
        import msgspec

        return msgspec.structs.replace(spec, rootfs=self.rootfs.digest)


@dataclass(frozen=True, slots=True)
class _Use:
    """A driver with one set of options, and the arms that have both."""

    driver: Driver
    arms: tuple[Arm, ...]
    only: bool
    """Whether the plan has that driver with these options only."""

    @property
    def label(self) -> str:
        """What messages call it: the driver, or where that would not tell, its arms."""
        return self.driver.name if self.only else ", ".join(arm.name for arm in self.arms)

    @property
    def keys(self) -> list[str]:
        """The names that its description is stored by."""
        return [self.driver.name] if self.only else [arm.name for arm in self.arms]


def make_ready(
    configured: Configured, reference: str, lease: Lease, stack: contextlib.ExitStack, say: Callable[[str], None]
) -> Ready:
    """Check, build, open, prepare, resolve: none of it is timed. What is opened is closed by the stack.

    Raises DriverUnavailable when a driver that was asked for cannot run, TareError when none can.
    """
    plan = configured.plan
    uses, notices = _uses(plan.arms, configured.asked)
    able, more = _able(uses, configured.asked)
    notices += more
    cpus = instance_cpus(max(arm.spec.vcpus for arm in plan.arms))
    room = max(arm.spec.disk for arm in plan.arms)
    context = RunContext(lease.folder.name, lease.folder, lease, cpus, room, crowd_cpus=crowd_cpus(len(cpus)))
    simulated = all(use.driver.name == "fake" for use in able)
    built = _simulated_rootfs() if simulated else build_rootfs(reference, context, say, plan.packages)
    ready = Ready(rootfs=built, cpus=cpus, notices=notices)
    move_elsewhere(cpus)
    paths_asked = {arm.spec.network for use in able for arm in use.arms} - {"none"}
    if paths_asked:
        context = replace(context, outside=_outside(context, built, stack, bridged="bridge" in paths_asked))
    for use in able:
        try:
            _open(use, context, plan.accelerator, ready, stack, say)
        except TareError as error:
            if use.driver.name in configured.asked:
                raise
            ready.notices.append(_left_out(use.label, error.brief, error.details, error.hint))
    ready.arms = [arm for arm in plan.arms if arm.name in ready.drivers]
    if not ready.arms:
        why = [f"{notice.message}\n{notice.hint}" for notice in ready.notices if notice.code == "left-out"]
        hint = "tare check says more, tare setup installs what is missing."
        raise TareError("No driver can run here.", details="\n".join(why), hint=hint)
    return ready


def build_rootfs(
    reference: str, context: RunContext, say: Callable[[str], None], packages: Sequence[str] = ()
) -> Rootfs:
    """The rootfs, from the cache or built: with a container engine, open for that long, where it takes one.

    Raises ImageError, also where there is no such engine.
    """
    why = rootfs.why_engine(reference, packages)
    if not why:
        return rootfs.build(reference, packages=packages, say=say)
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
        return rootfs.build(reference, packages=packages, engine=engine, say=say)


def _uses(arms: Sequence[Arm], asked: frozenset[str]) -> tuple[list[_Use], list[Notice]]:
    """A driver object for each driver with its options, and a notice for each that does not load."""
    groups: dict[tuple[str, tuple[tuple[str, str], ...]], list[Arm]] = {}
    for arm in arms:
        groups.setdefault((arm.driver, tuple(sorted(arm.options.items()))), []).append(arm)
    drivers = [name for name, _ in groups]
    uses: list[_Use] = []
    notices: list[Notice] = []
    for (name, options), alike in groups.items():
        try:
            uses.append(_Use(registry.driver(name, dict(options)), tuple(alike), drivers.count(name) == 1))
        except DriverUnavailable as error:
            if name in asked:
                raise
            notices.append(_left_out(name, error.brief, error.details, error.hint))
    return uses, notices


def _able(uses: Sequence[_Use], asked: frozenset[str]) -> tuple[list[_Use], list[Notice]]:
    """The drivers whose ladder holds, and a notice for each that was left out."""
    able: list[_Use] = []
    notices: list[Notice] = []
    for use in uses:
        support = use.driver.check()
        if support.failed is None:
            try:
                require_networks(use.driver, use.arms)
            except DriverUnavailable as error:
                if use.driver.name in asked:
                    raise
                notices.append(_left_out(use.label, error.brief, error.details, error.hint))
                continue
            able.append(use)
            notices += support.notices
        elif use.driver.name in asked:
            failed = support.failed
            what = f"The driver {use.driver.name}" + ("" if use.only else f" of {use.label}")
            raise DriverUnavailable(
                f"{what} cannot run here.", details=f"{failed.name}: {failed.seen}", hint=failed.fix
            )
        else:
            notices.append(_left_out(use.label, support.failed.name, support.failed.seen, support.failed.fix))
    return able, list(dict.fromkeys(notices))


def _left_out(name: str, what: str, seen: str, fix: str) -> Notice:
    words = ": ".join(part for part in (what.rstrip("."), seen.strip()) if part)
    verb = "are" if ", " in name else "is"
    return Notice(code="left-out", subject=name, message=f"{name} {verb} left out: {words}", hint=fix)


def _open(
    use: _Use,
    context: RunContext,
    accelerator: str,
    ready: Ready,
    stack: contextlib.ExitStack,
    say: Callable[[str], None],
) -> None:
    driver = use.driver
    say(f"{use.label}: opening")
    stack.callback(_close, driver, context.lease, say)
    driver.open(context)
    say(f"{use.label}: preparing its image")
    driver.prepare(ready.rootfs)
    resolution = driver.resolve(driver.options.get("accelerator", accelerator))
    ready.notices += [each for each in resolution.notices if each not in ready.notices]
    described = dict(driver.describe())
    ready.described |= dict.fromkeys(use.keys, described)
    if any(arm.spec.page_cache == "cold" for arm in use.arms):
        pagecache.cold_image(driver)  # refused before the first trial, where it cannot be seen
    require_networks(driver, use.arms)
    for arm in use.arms:
        ready.drivers[arm.name] = driver
        ready.accelerators[arm.name] = resolution.accelerator


def _outside(context: RunContext, built: Rootfs, stack: contextlib.ExitStack, *, bridged: bool) -> Outside:
    outside = Outside(context.folder, built.tree)
    stack.callback(outside.close)
    if bridged:
        outside.open()
    return outside


def require_networks(driver: Driver, arms: Sequence[Arm]) -> None:
    """Raise DriverUnavailable where an arm cannot have the network that it was planned with: it gets no other one."""
    for arm in arms:
        if why := driver.refuses(arm.spec.network):
            hint = 'Another `network` for that arm, or none: network = "none".'
            raise DriverUnavailable(f'{arm.name} cannot have network = "{arm.spec.network}".', details=why, hint=hint)


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


def crowd_cpus(vcpus: int) -> tuple[int, ...]:
    """Where many instances run at once: all CPUs but the first, which is left to us where one instance can spare it."""
    allowed = sorted(os.sched_getaffinity(0))
    return tuple(allowed[1:] if len(allowed) > vcpus else allowed)


def _simulated_rootfs() -> Rootfs:
    return Rootfs(digest="sha256:" + "0" * 64, folder=paths.cache_dir(), size=0, recipe="simulated", packages={})
