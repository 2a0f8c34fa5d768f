"""Live progress on stderr, drawn between trials only: while one is timed, nothing here runs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from rich.console import Console

Mode = Literal["auto", "plain", "json", "none"]


class Progress(Protocol):
    """What is told how a run goes on."""

    def session(
        self, arm: str, block: int, blocks: int, done: int, total: int, seconds_left: float, workload: str = ""
    ) -> None:
        """An instance is about to be asked for."""

    def trial(self, trial: str, arm: str, workload: str, status: str, reason: str) -> None:
        """A trial is done."""

    def close(self) -> None:
        """The run is over."""


def duration(seconds: float) -> str:
    """`1 min 20 s`, `45 s`."""
    whole = max(0, round(seconds))
    return f"{whole // 60} min {whole % 60} s" if whole >= 60 else f"{whole} s"


def make(mode: Mode, console: Console) -> Progress:
    """The one for this mode; `auto` is a live line on a terminal and plain lines elsewhere."""
    if mode == "none":
        return Silent()
    if mode == "json":
        return JsonLines(console)
    return LiveLine(console) if mode == "auto" and console.is_terminal else PlainLines(console)


class Silent:
    """Says nothing."""

    def session(
        self, arm: str, block: int, blocks: int, done: int, total: int, seconds_left: float, workload: str = ""
    ) -> None:
        pass

    def trial(self, trial: str, arm: str, workload: str, status: str, reason: str) -> None:
        pass

    def close(self) -> None:
        pass


class PlainLines(Silent):
    """A line for each block, and one for each trial that is not ok."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._block = -1

    def session(
        self, arm: str, block: int, blocks: int, done: int, total: int, seconds_left: float, workload: str = ""
    ) -> None:
        if block != self._block:
            self._block = block
            self._print(f"block {block + 1} of {blocks}, about {duration(seconds_left)} left")

    def trial(self, trial: str, arm: str, workload: str, status: str, reason: str) -> None:
        if status != "ok":
            self._print(f"{trial} {arm} {workload}: {status}: {reason}")

    def _print(self, line: str) -> None:
        self._console.print(line, markup=False)


class LiveLine(PlainLines):
    """One line that is drawn anew before each instance."""

    def __init__(self, console: Console) -> None:
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as Bar

        super().__init__(console)
        # No refresh by a thread: it would draw while something is timed.
        self._bar = Bar(
            BarColumn(bar_width=24), TextColumn("{task.description}", markup=False),
            console=console, auto_refresh=False, transient=True,
        )  # fmt: skip
        self._bar.start()
        self._task = self._bar.add_task("")

    def session(
        self, arm: str, block: int, blocks: int, done: int, total: int, seconds_left: float, workload: str = ""
    ) -> None:
        doing = f"  {workload}" if workload else ""
        words = f"block {block + 1}/{blocks}  {arm}{doing}  about {duration(seconds_left)} left"
        self._bar.update(self._task, completed=done, total=total, description=words)
        self._bar.refresh()

    def close(self) -> None:
        self._bar.stop()


class JsonLines(Silent):
    """A JSON object in a line for each event."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def session(
        self, arm: str, block: int, blocks: int, done: int, total: int, seconds_left: float, workload: str = ""
    ) -> None:
        self._write(
            event="session",
            arm=arm,
            block=block,
            blocks=blocks,
            done=done,
            total=total,
            seconds_left=seconds_left,
            workload=workload,
        )

    def trial(self, trial: str, arm: str, workload: str, status: str, reason: str) -> None:
        self._write(event="trial", trial=trial, arm=arm, workload=workload, status=status, reason=reason)

    def _write(self, **fields: object) -> None:
        self._console.file.write(json.dumps(fields) + "\n")
        self._console.file.flush()
