"""`disk`: bytes on the host's disk, of the image once and of each instance."""

from __future__ import annotations

import os
from collections.abc import Mapping

from .. import footprint
from ..lifecycle import Live
from ..metrics import DISK
from ..model import Scalar
from . import Measured, Skipped, Workload, accounts

NOT_KNOWN = "its files are not known"
MANY = 10
"""Instances, as `disk.ten` has them."""


class Disk(Workload):
    """What is allocated on disk."""

    name = "disk"
    title = "bytes on disk: the image once, and what one instance adds by starting"
    primary = "disk.instance"
    seconds = 0.1

    def measure(self, live: Live, params: Mapping[str, Scalar]) -> Measured:
        image_bytes = accounts(live).image_bytes
        measured = Measured()
        image, instance, ten = DISK
        if image_bytes is not None:
            measured.add(image, float(image_bytes))
        try:
            own = own_bytes(live)
        except Skipped as error:
            measured.facts["instance"] = error.details
        else:
            measured.add(instance, float(own))
            if image_bytes is not None:
                measured.add(ten, float(image_bytes + MANY * own))
        if not measured.samples:
            raise Skipped(f"Not available: the image's size is not known; {measured.facts['instance']}.")
        return measured


def own_bytes(live: Live) -> int:
    """Bytes allocated on the host for this one instance. Raises Skipped, with the reason in its details."""
    files = accounts(live).files
    try:
        if files:
            return footprint.allocated(files)
        why = NOT_KNOWN if os.geteuid() == 0 else f"{NOT_KNOWN}, or need root"
    except PermissionError as error:
        why = f"{error.filename} needs root"
    raise Skipped(f"Not available: {why}.", details=why)
