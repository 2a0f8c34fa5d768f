"""`commit`: an image of a changed instance (`docker commit`, a snapshot of a guest's disk), and a start from it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

from .. import footprint
from ..clock import NS, Call, finish, let_end, outcome
from ..crowd import Crowd, CrowdWorkload
from ..driver import Commits, Committed
from ..errors import InstanceError, InstanceTimeout
from ..lifecycle import Live
from ..metrics import Metric
from ..model import Scalar
from . import Measured, Skipped
from .growth import DEADLINE, FILE, MB, require_room, write

_HOW = (
    "The instance has written 10 MB and synced, and runs. Docker pauses it meanwhile, as `docker commit` does; a guest "
    "goes on, and what it had written by then is the image (an external snapshot of its disk, libvirt's)."
)

TIME = Metric(
    name="commit.time",
    unit="s",
    better="lower",
    resolution=1e-4,
    title="Making an image of an instance",
    definition=f"From asking for an image of a changed instance to the call's return. {_HOW}",
)
SIZE = Metric(
    name="commit.size",
    unit="B",
    better="lower",
    scale="exact",
    title="Size of that image",
    definition="Bytes allocated on the host for that image beside the one that its instance started from.",
)
READY = Metric(
    name="commit.ready",
    unit="s",
    better="lower",
    resolution=1e-4,
    title="Boot to ready from that image",
    definition="As `boot.ready`, of an instance that starts from that image, the other one being gone.",
)


class Commit(CrowdWorkload):
    """An image of a changed instance: how long it takes, how large it is, and what starting from it takes."""

    name = "commit"
    title = "an image of an instance that wrote 10 MB (commit, snapshot): time, size, and the start from it"
    metrics = (TIME, SIZE, READY)
    primary = TIME.name
    variants = ({"written": 10 * MB},)
    seconds = 6.0
    usual_blocks = 1

    def measure_crowd(self, crowd: Crowd, params: Mapping[str, Scalar]) -> Measured:
        size = int(params["written"])
        driver = crowd.driver
        if not isinstance(driver, Commits):
            raise Skipped(f"{driver.name} makes no image of an instance: it runs the rootfs as it is.")
        measured = Measured()
        with contextlib.ExitStack() as stack:
            with crowd.created() as live:
                crowd.boot(live)
                require_room(live, size)
                write(live, size)
                live.run("sync", seconds=DEADLINE).checked()
                image, seconds = stack.enter_context(committed(driver, live))
                measured.add(TIME, seconds)
            _weigh(image, measured)
            with crowd.created(source=image) as again:
                crowd.boot(again)
                measured.add(READY, again.since_request()["ready"])
                _verify(again, size)
        return measured


@contextlib.contextmanager
def committed(driver: Commits, live: Live) -> Iterator[tuple[Committed, float]]:
    """An image of that instance, and the seconds that making it took; removed at the end whatever happens."""
    clock, instance = live.clock, live.instance
    assert instance is not None
    calls: list[Call[Committed]] = []
    asked_at = clock.now()
    try:
        call = clock.begin(lambda: driver.commit(instance, name=f"{live.name}i"), calls.append)
        if not clock.select([call], asked_at + int(DEADLINE * NS)):
            raise InstanceTimeout("Making an image of the instance did not return before its deadline.")
        image = outcome(call)
        yield image, ((call.returned_at or clock.now()) - asked_at) / NS
    finally:
        for call in calls:
            _remove(call, live)


def _remove(call: Call[Committed], live: Live) -> None:
    """Remove what a call has made, once it has ended; one that failed has made nothing, and has said why."""
    if call.began:
        let_end(live.clock, call)
    try:
        image = call.result()
    except Exception:  # noqa: BLE001 - it is what brought us here
        return
    finally:
        call.close()
    finish(live.clock, image.remove, live.clock.now() + int(DEADLINE * NS), what="Removing the image")


def _weigh(image: Committed, measured: Measured) -> None:
    measured.facts |= image.describe()
    try:
        files = image.files()
        if files:
            measured.add(SIZE, float(footprint.allocated(files)))
    except PermissionError as error:
        measured.facts["size"] = f"{error.filename} needs root"


def _verify(live: Live, size: int) -> None:
    """Raise InstanceError where the image lacks what its instance had written."""
    seen = live.run(f"stat -c %s {FILE}", seconds=30)
    if seen.stdout.strip() != str(size).encode():
        words = (seen.stdout + seen.stderr).decode(errors="replace")
        raise InstanceError("The image lacks what its instance had written.", details=words)
