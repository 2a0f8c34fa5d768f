"""Drivers that are open and instances that run, shared by tests so that a guest boots once where once is enough."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Iterator
from functools import cache

import leftovers
import libvirtd
import msgspec
import pytest
from fakes import TAUGHT
from tare_bench import cgroups, config, leases, lifecycle, paths, processes, registry, rootfs
from tare_bench.cli.ready import instance_cpus
from tare_bench.driver import Driver, RunContext
from tare_bench.drivers.fake import Behaviour, FakeDriver
from tare_bench.lifecycle import Live
from tare_bench.model import NetworkPath, Spec
from tare_bench.network import Outside
from tare_bench.rootfs import Rootfs

REAL = ("native", "docker", "kvm")
SYSTEM = "kvm-system"
"""Guests in a system libvirtd, which is the tests' own."""
EVERY = (*REAL, SYSTEM, "fake")
REAL_ONLY = pytest.mark.parametrize(
    "host", [pytest.param(name, marks=pytest.mark.needs(name)) for name in (*REAL, SYSTEM)], indirect=True
)
"""For what a simulated instance doesn't have."""

_run_numbers = itertools.count()


@cache
def built() -> Rootfs:
    """The rootfs, from the shared cache where it is there."""
    return rootfs.build()


def made(name: str, uri: str = "qemu:///system") -> Driver:
    """A new driver of that name; for guests in a system libvirtd, of the one at that URI."""
    if name == SYSTEM:
        return registry.driver("kvm", {"uri": uri})
    return FakeDriver(Behaviour(replies=TAUGHT)) if name == "fake" else registry.driver(name)


class Host:
    """A driver that is open, prepared and resolved."""

    def __init__(self, driver: Driver, context: RunContext, spec: Spec) -> None:
        self.driver = driver
        self.context = context
        self.spec = spec
        self.accelerator = driver.resolve("auto").accelerator
        letter = "s" if driver.options else driver.name[0]
        self._names = (f"{letter}{number:03}" for number in itertools.count())
        self._stack = contextlib.ExitStack()
        self._shared: Live | None = None

    @property
    def name(self) -> str:
        return self.driver.name

    @contextlib.contextmanager
    def created(self, network: NetworkPath = "none") -> Iterator[Live]:
        """A new instance that has not run."""
        spec = msgspec.structs.replace(self.spec, network=network)
        seconds = 180.0 if self.accelerator == "tcg" else 60.0
        name = next(self._names)
        with lifecycle.created(self.driver, spec, name=name, clock=self.driver.clock, seconds=seconds) as live:
            yield live

    @contextlib.contextmanager
    def booted(self, network: NetworkPath = "none") -> Iterator[Live]:
        """A new instance that is ready."""
        with self.created(network) as live:
            lifecycle.boot(live)
            yield live

    def shared(self) -> Live:
        """An instance that is ready, the same for all who leave it running."""
        if self._shared is None or self._shared.wire is None or self._shared.wire.ended_at is not None:
            self.close()
            self._shared = self._stack.enter_context(self.booted())
        return self._shared

    def close(self) -> None:
        """Destroy the shared instance."""
        self._shared = None
        self._stack.close()

    def traces(self, name: str) -> list[str]:
        """What of that instance is left on the host."""
        word = f"{self.context.run}-{name}"
        folders = [
            each for top in ("tare", "machine") for root in cgroups.roots(top) for each in root.glob(f"*{word}*")
        ]
        folders += [each for kind in ("overlays", "native") for each in (paths.cache_dir() / kind).glob(f"{word}*")]
        found = [str(each) for each in (*folders, self.context.folder / name) if each.exists()]
        found += [str(pid) for pid in processes.all_pids() if word in leftovers.command_of(pid)]
        if isinstance(self.driver, FakeDriver):
            found += [each for each in self.driver.alive if each == name]
        return found + _containers(self.driver, self.context.run, name)


def _containers(driver: Driver, run: str, name: str) -> list[str]:
    client = getattr(driver, "_client", None)
    if client is None:
        return []
    labels = {"label": [f"tare.run={run}", f"tare.instance={name}"]}
    return [each["Id"] for each in client.containers(all=True, filters=labels)]


class Hosts:
    """The drivers of one run, each opened when it is first asked for."""

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()
        self._open: dict[str, Host] = {}
        self._context: RunContext | None = None

    def __getitem__(self, name: str) -> Host:
        if name not in self._open:
            uri = self._stack.enter_context(libvirtd.running()) if name == SYSTEM else ""
            self._open[name] = self._opened(made(name, uri))
        return self._open[name]

    def _opened(self, driver: Driver) -> Host:
        context = self._context = self._context or self._begin()
        vcpus = len(context.cpus)
        self._stack.callback(driver.close)
        with pytest.MonkeyPatch.context() as patch:
            # A private engine locks what it keeps: other tests start one while this is open.
            patch.setenv("TARE_STATE", str(paths.state_dir() / "contract"))
            driver.open(context)
        driver.prepare(built())
        host = Host(driver, context, Spec(vcpus=vcpus, memory=512 << 20, rootfs=built().digest))
        self._stack.callback(host.close)
        return host

    def _begin(self) -> RunContext:
        lease = leases.take(f"t{os.getpid()}-{next(_run_numbers)}")
        self._stack.callback(lease.release)
        cpus = instance_cpus(config.default_vcpus())
        outside = Outside(lease.folder, built().tree)
        self._stack.callback(outside.close)
        return RunContext(run=lease.folder.name, folder=lease.folder, lease=lease, cpus=cpus, outside=outside)

    def quiet(self) -> None:
        """Destroy the shared instances of all: a guest that runs has its kernel mapped."""
        for host in self._open.values():
            host.close()

    def close(self) -> None:
        """Destroy what runs and close what is open."""
        self._stack.close()
