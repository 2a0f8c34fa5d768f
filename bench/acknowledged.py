"""`acknowledged.toml` in a folder of runs: changes that somebody has looked at, with what they said. Reviewed text.

[[change]]
run = "20261124-030000-ab12"
metric = "boot.ready"
arm = "kvm"
why = "new guest kernel; reviewed in the change that brought it"
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from .errors import UsageError
from .nights import Acknowledged

NAME = "acknowledged.toml"


class _File(msgspec.Struct, forbid_unknown_fields=True):
    change: list[Acknowledged] = []


def read(folder: Path) -> list[Acknowledged]:
    """What is acknowledged there; nothing where there is no such file. Raises UsageError for one that is wrong."""
    path = folder / NAME
    try:
        return msgspec.toml.decode(path.read_bytes(), type=_File).change
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UsageError(f"{path} cannot be read.", details=error.strerror or str(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        hint = "Each [[change]] has run, metric, arm and why; workload where a metric has several rows."
        raise UsageError(f"{path} is not a list of changes.", details=str(error), hint=hint) from error
