"""`tare images`: what runs are made from, listed, built beforehand, removed."""

from __future__ import annotations

import click

from .. import config, images, leases, store
from ..errors import UsageError
from .common import AS_JSON, ROOTFS, print_json, say, show_notices, wait_for
from .interrupts import guarded
from .ready import Ready, make_ready
from .run import tidied


@click.command("images")
@click.argument("action", type=click.Choice(["list", "build", "remove"]))
@click.argument("ids", nargs=-1, metavar="[ID...]")
@ROOTFS
@click.option("--all", "everything", is_flag=True, help="With remove: all of them.")
@click.option("--unused", is_flag=True, help="With remove: what a run of the default rootfs would not take up.")
@AS_JSON
def images_(
    action: str, ids: tuple[str, ...], rootfs_reference: str, everything: bool, unused: bool, as_json: bool
) -> int:
    """List, build or remove what runs are made from: root filesystems, guest disks, kernels.

    `build` does what a run does before it measures. `remove` takes ids (or their beginnings), and leaves what a run
    is using.

    \b
    tare images list
    tare images build --rootfs docker:debian:12-slim
    tare images remove --unused
    """
    if action != "remove" and (ids or everything or unused):
        raise UsageError(
            f"`tare images {action}` takes no ids, no --all and no --unused.", hint="tare images remove ID"
        )
    if action == "build":
        return _build(rootfs_reference, as_json=as_json)
    there = images.found()
    if action == "list":
        return _list(there, as_json=as_json)
    if (bool(ids), everything, unused).count(True) != 1:
        raise UsageError("What is to be removed?", hint="Name ids (tare images list has them), or --all, or --unused.")
    picked = there if everything else images.unused(there) if unused else images.chosen(ids, there)
    freed = images.remove(picked)
    if as_json:
        print_json({"removed": [image.id for image in picked], "freed_bytes": freed})
    else:
        click.echo(f"removed: {', '.join(image.id for image in picked) or 'nothing'}; {freed} bytes freed")
    return 0


def _list(there: list[images.Image], *, as_json: bool) -> int:
    total = sum(image.allocated for image in there)
    if as_json:
        keys = ("id", "kind", "digest", "how", "made_at")
        rows = [{key: getattr(image, key) for key in keys} | {"allocated_bytes": image.allocated} for image in there]
        print_json({"images": rows, "total_bytes": total})
        return 0
    width = max((len(image.id) for image in there), default=0)
    for image in there:
        click.echo(f"{image.id:{width}}  {image.allocated:>12}  {image.made_at}  {image.kind}: {image.how}")
    click.echo(f"{'total':{width}}  {total:>12}  bytes on disk")
    return 0


def _build(reference: str, *, as_json: bool) -> int:
    """Make ready what a run of the default plan needs, and close it again."""
    configured = config.configure(config.Options())
    with guarded() as guard, leases.measuring(wait_for), tidied(guard) as stack:
        lease = leases.take(store.new_id())
        stack.callback(lease.release)
        ready = make_ready(configured, reference, lease, stack, say)
    show_notices(ready.notices)
    _built(ready, as_json=as_json)
    return 0


def _built(ready: Ready, *, as_json: bool) -> None:
    facts = ready.rootfs.facts()
    left_out = {notice.subject: notice.message for notice in ready.notices if notice.code == "left-out"}
    if as_json:
        print_json({"rootfs": facts, "ready": sorted(ready.drivers), "left_out": left_out})
        return
    click.echo(f"rootfs {facts.digest}: {facts.recipe}")
    click.echo(f"ready: {', '.join(sorted(ready.drivers))}")
    for message in left_out.values():
        click.echo(message)
