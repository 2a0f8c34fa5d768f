"""`tare check`: what can run here, rung by rung."""

from __future__ import annotations

import contextlib
import shutil
import textwrap
from typing import Any

import click

from .. import config, leases, network, paths, recipes, registry, rootfs, store
from ..driver import Driver, Resolution, RunContext, Rung, Support
from ..errors import TareError, UsageError
from ..model import Spec
from .common import AS_JSON, LIBVIRT_URI, print_json, wait_for
from .ready import instance_cpus

ROOM = Spec(vcpus=1, memory=1).disk
"""Of a guest's disk, in bytes, where a plan says nothing else."""


@click.command()
@click.argument("drivers", metavar="[DRIVER...]", nargs=-1)
@click.option("--fresh", is_flag=True, help="Try again what is known from last time (does KVM boot a real kernel).")
@LIBVIRT_URI
@AS_JSON
def check(drivers: tuple[str, ...], fresh: bool, libvirt_uri: str | None, as_json: bool) -> int:
    """Say what can run here, each failed rung with its fix. Exit status 3 when a driver that you named cannot run."""
    known = [name for name in registry.names(registry.DRIVERS) if name != "fake"]
    for name in drivers:
        if name not in registry.names(registry.DRIVERS):
            raise UsageError(f"There is no driver named `{name}`.", hint=registry.nearest(name, known))
    found = {name: _one(name, libvirt_uri, fresh=fresh) for name in drivers or known}
    space = _space()
    if as_json:
        documents = {name: _document(*each) for name, each in found.items()}
        print_json({"drivers": documents, "network": {"bridge": network.refusal("bridge") or "ok"}, "space": space})
    else:
        for name, (support, resolution) in found.items():
            _show(name, support, resolution)
        why = network.refusal("bridge")
        click.echo(f"network: {f'a run can have no bridge: {why}' if why else 'a run can have a bridge'}")
        needed, free = (space[key] >> 20 for key in ("needed_bytes", "free_bytes"))
        click.echo(f"space: {needed} MiB needed for what is not built yet, {free} MiB free in {space['folder']}")
    return 3 if any(not found[name][0].ok for name in drivers) else 0


def _one(name: str, libvirt_uri: str | None, *, fresh: bool) -> tuple[Support, Resolution | None]:
    try:
        driver = registry.driver(name, {"uri": libvirt_uri} if name == config.GUESTS and libvirt_uri else None)
        support = driver.check(fresh=fresh)
        return support, _resolution(driver, fresh=fresh) if support.ok and name == config.GUESTS else None
    except UsageError:
        raise
    except TareError as error:
        return Support((Rung("driver", False, error.details or error.brief, error.hint),)), None


def _resolution(driver: Driver, *, fresh: bool) -> Resolution | None:
    """Whether KVM boots the real guest kernel: only where the images are built, since checking downloads nothing."""
    from tare_bench.drivers import guest_image

    built = rootfs.current()
    if built is None or guest_image.needed(built.digest, built.size, room=ROOM):
        return None
    # It boots a guest: not beside a run that measures, nor the other way round.
    with leases.measuring(wait_for), contextlib.ExitStack() as stack:
        lease = leases.take(f"check-{store.new_id()[-9:]}")
        stack.callback(lease.release)
        stack.callback(driver.close)
        spec = instance_cpus(1)
        driver.open(RunContext(run=lease.folder.name, folder=lease.folder, lease=lease, cpus=spec))
        driver.prepare(built)
        return driver.resolve("auto", fresh=fresh)


def _space() -> dict[str, Any]:
    """What building takes on the disk at most, about, of what is not built yet; nothing is downloaded for it."""
    folder = paths.cache_dir()
    there = next(each for each in (folder, *folder.parents) if each.exists())
    parts = _needed_parts()
    free = shutil.disk_usage(there).free
    return {"folder": str(folder), "needed_bytes": sum(parts.values()), "free_bytes": free, "parts": parts}


def _needed_parts() -> dict[str, int]:
    from tare_bench.drivers import docker_images, guest_image

    try:
        built, needed = rootfs.current(), rootfs.needed()
    except TareError:  # a host without a default: its rootfs is the user's own, and of unknown size
        return {}
    digest, size = (built.digest, built.size) if built is not None else ("", recipes.DEFAULT_SIZE)
    return {
        "rootfs": needed,
        "guest": guest_image.needed(digest, size, room=ROOM),
        "engine": docker_images.import_needed(digest, size),
    }


def _document(support: Support, resolution: Resolution | None) -> dict[str, object]:
    return {
        "ok": support.ok,
        "rungs": [{"name": r.name, "ok": r.ok, "seen": r.seen, "fix": "" if r.ok else r.fix} for r in support.rungs],
        "accelerator": resolution.accelerator if resolution else support.accelerator,
        "evidence": resolution.evidence if resolution else "",
        "notices": [*support.notices, *(resolution.notices if resolution else ())],
    }


def _show(name: str, support: Support, resolution: Resolution | None) -> None:
    click.echo(f"{name}: {'can run' if support.ok else 'cannot run'}")
    for rung in support.rungs:
        click.echo(f"  {'ok ' if rung.ok else 'NO '} {rung.name}: {rung.seen}")
        if not rung.ok:
            click.echo(textwrap.indent(f"fix: {rung.fix}", " " * 6).replace("\n", "\n" + " " * 5))
            break
    if resolution is not None:
        click.echo(f"  accelerator: {resolution.accelerator}")
    elif name == "kvm" and support.ok:
        click.echo("  accelerator: not known before the images are built; a run finds out")
    for notice in [*(support.notices if support.ok else ()), *(resolution.notices if resolution else ())]:
        click.echo(f"  note: {notice.message}")
