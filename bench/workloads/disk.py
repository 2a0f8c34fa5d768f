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


class Disk(Workload):
    """What is allocated on disk."""

    name = "disk"
    title = "bytes on disk: the image once, and what one instance adds by starting"
    primary = "disk.instance"
    seconds = 0.1

    def measure(self, live: Live, params: Mapping[str, Scalar]) -> Measured:
        where = accounts(live)
        measured = Measured()
        image, instance = DISK
        if where.image_bytes is not None:
            measured.add(image, float(where.image_bytes))
        try:
            if where.files:
                measured.add(instance, float(footprint.allocated(where.files)))
            else:
                measured.facts["instance"] = NOT_KNOWN if os.geteuid() == 0 else f"{NOT_KNOWN}, or need root"
        except PermissionError as error:
            measured.facts["instance"] = f"{error.filename} needs root"
        if not measured.samples:
            raise Skipped(f"Not available: the image's size is not known; {measured.facts['instance']}.")
        return measured
