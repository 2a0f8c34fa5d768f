"""What can go wrong, said in three parts: what happened, the evidence, and what to do next."""

from __future__ import annotations


class TareError(Exception):
    """An error that a user can act on.

    `brief` says what happened in one line, `details` is the evidence (an engine's own words, a console's tail),
    `hint` is what to do next. `exit_status` is the status that the command line ends with.
    """

    exit_status = 1

    def __init__(self, brief: str, *, details: str = "", hint: str = "") -> None:
        super().__init__(brief)
        self.brief = brief
        self.details = details.strip()
        self.hint = hint

    def __str__(self) -> str:
        return "\n".join(part for part in (self.brief, self.details, self.hint) if part)


class UsageError(TareError):
    """The command line, the plan file or an argument is wrong."""

    exit_status = 2


class DriverUnavailable(TareError):
    """A driver that was asked for cannot run on this host."""

    exit_status = 3


class InstanceError(TareError):
    """An instance could not be made, did not start, or died."""


class InstanceTimeout(InstanceError):
    """An instance did not do in time what it was asked to do."""


class ImageError(TareError):
    """The rootfs, or an image that is made from it, could not be built."""


class StoreError(TareError):
    """A stored run cannot be written or read."""


def cut(text: str, most: int = 60) -> str:
    """A word of the user's as a message shows it."""
    shown = "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text)
    return shown if len(shown) <= most else f"{shown[: most - 1]}…"


def figure(number: float) -> str:
    """A number of the user's, which may be one of thousands of digits."""
    if not isinstance(number, int):
        return f"{number:g}"
    return str(number) if abs(number) < 10**20 else f"{'less than -' if number < 0 else 'more than '}10^20"
