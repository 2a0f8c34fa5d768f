"""Which libvirt guests live in, by its URI: the embedded one, or a daemon of the user's on this host."""

from __future__ import annotations

from enum import StrEnum
from urllib.parse import urlsplit

from tare_bench.errors import UsageError

EMBED = "qemu:///embed"


class Flavour(StrEnum):
    """The kinds of QEMU driver that libvirt has."""

    EMBED = "embed"
    """Inside this process."""
    SYSTEM = "system"
    """root's daemon."""
    SESSION = "session"
    """The user's own daemon, which libvirt starts when it is first asked for."""


def flavour(uri: str) -> Flavour:
    """What a URI names. Raises UsageError for what is not QEMU, or not on this host."""
    hint = f"One of: {', '.join(f'qemu:///{each}' for each in Flavour)}."
    try:
        parts = urlsplit(uri)
    except ValueError as error:
        raise UsageError(f"`{uri}` is not a URI.", details=str(error), hint=hint) from None
    if parts.netloc or parts.scheme.startswith("qemu+"):
        why = "A guest's wire, its disk and the clock must be on the same host as Tare."
        raise UsageError(f"`{uri}` names a libvirt on another host, or a way to one.", details=why, hint=hint)
    if parts.scheme != "qemu":
        raise UsageError(f"`{uri}` does not name libvirt's QEMU driver.", hint=hint)
    try:
        found = Flavour(parts.path.removeprefix("/"))
    except ValueError:
        raise UsageError(f"libvirt's QEMU driver has no `{parts.path}`.", hint=hint) from None
    if found is Flavour.EMBED and parts.query:
        raise UsageError(f"`{uri}` names a root folder: each run has its own.", hint=f"Say {EMBED}.")
    return found
