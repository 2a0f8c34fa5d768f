"""Tare weighs isolation: what a virtual machine or a container costs before it does any work, and while it does.

What plug-ins may import is here: the driver port, the records, the errors. Nothing heavy is.
"""

from .driver import Accounts, Driver, Instance, Kind, Leftover, Resolution, RunContext, Rung, Streams, Support
from .errors import DriverUnavailable, ImageError, InstanceError, InstanceTimeout, TareError, UsageError
from .metrics import Metric
from .model import Arm, Cell, Notice, Plan, Run, Sample, Spec, Trial

__all__ = [
    "Accounts",
    "Arm",
    "Cell",
    "Driver",
    "DriverUnavailable",
    "ImageError",
    "Instance",
    "InstanceError",
    "InstanceTimeout",
    "Kind",
    "Leftover",
    "Metric",
    "Notice",
    "Plan",
    "Resolution",
    "Run",
    "RunContext",
    "Rung",
    "Sample",
    "Spec",
    "Streams",
    "Support",
    "TareError",
    "Trial",
    "UsageError",
]
