"""The files of a run; no other module knows them.

results/<run id>/manifest.json    all that is known before the first trial; written first
                 trials.jsonl     one line a trial, flushed and synced: a crash costs at most the trial in flight
                 artifacts/<trial id>/...
                 end.json         how the run ended; not there after a crash
                 report.html
"""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from .errors import StoreError, UsageError
from .model import SCHEMA_VERSION, Manifest, Notice, Record, Run, Trial

MANIFEST, TRIALS, END = "manifest.json", "trials.jsonl", "end.json"
LATEST = "latest"


class End(Record, frozen=True, kw_only=True):
    """How a run ended."""

    finished: bool
    ended_at: str
    notices: list[Notice] = []


def new_id(now: datetime | None = None) -> str:
    """A run's id: sorts by time, is unique, and is short, since it is part of a socket's path."""
    return f"{(now or datetime.now(UTC)):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"


class Writer:
    """A run that is being written. Opened before anything is measured: a full disk is found out first."""

    def __init__(self, results: Path, manifest: Manifest) -> None:
        self.folder = results / manifest.run
        try:
            self.folder.mkdir(parents=True)
            _write_whole(self.folder / MANIFEST, msgspec.json.format(msgspec.json.encode(manifest), indent=2))
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
            self._trials = os.open(self.folder / TRIALS, flags, 0o644)
        except OSError as error:
            raise _unwritable(self.folder, error) from error

    def append(self, trial: Trial, artifacts: Mapping[str, bytes]) -> None:
        """Keep a trial: its artifacts first, then its line in one write, synced.

        Raises StoreError when it cannot be written; what was kept before is whole.
        """
        try:
            for name, data in artifacts.items():
                path = self.folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
            line = msgspec.json.encode(trial) + b"\n"
            before = os.fstat(self._trials).st_size
            if os.write(self._trials, line) != len(line):
                os.ftruncate(self._trials, before)  # half a line would spoil the next one
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(self._trials)
        except OSError as error:
            raise _unwritable(self.folder, error) from error

    def end(self, *, finished: bool, notices: list[Notice]) -> None:
        """Say how it ended."""
        end = End(finished=finished, ended_at=utc_now(), notices=notices)
        _write_whole(self.folder / END, msgspec.json.format(msgspec.json.encode(end), indent=2))

    def close(self) -> None:
        """Close the file."""
        os.close(self._trials)


def utc_now() -> str:
    """Now as ISO 8601 text in UTC, for people."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _unwritable(folder: Path, error: OSError) -> StoreError:
    hint = "Give a folder that can be written: --results DIR."
    return StoreError(f"The results cannot be written to {folder}.", details=error.strerror or str(error), hint=hint)


def _write_whole(path: Path, data: bytes) -> None:
    """A file that is there whole or not at all."""
    staged = path.with_name(f".{path.name}.{os.getpid()}")
    staged.write_bytes(data)
    staged.rename(path)


def write_report(path: Path, text: str) -> None:
    """Write a rendered page: whole or not at all, but into a device or a pipe as it comes. Raises StoreError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and not path.is_file():
            path.write_text(text, encoding="utf-8")
        else:
            _write_whole(path, text.encode())
    except OSError as error:
        raise StoreError(f"The page cannot be written to {path}.", details=error.strerror or str(error)) from error


def runs(results: Path) -> list[Path]:
    """The folders of the runs that are there, the oldest first."""
    if not results.is_dir():
        return []
    return sorted(folder for folder in results.iterdir() if (folder / MANIFEST).is_file())


def find(name: str, results: Path) -> Path:
    """The folder of a run: given as a folder, an id, or `latest`. Raises UsageError when there is none."""
    if name == LATEST:
        there = runs(results)
        if not there:
            raise UsageError(f"There is no run in {results}.", hint="Measure one: tare run --quick")
        return there[-1]
    for folder in (Path(name), results / name):
        if (folder / MANIFEST).is_file():
            return folder
    if Path(name).is_dir():
        raise UsageError(f"{name} is not a run.", details=f"It has no {MANIFEST}.", hint="tare list runs")
    if Path(name).exists():
        raise UsageError(f"{name} is a file; a run is a folder.", hint="Give the folder that holds it.")
    known = ", ".join(folder.name for folder in runs(results)[-5:]) or "none"
    raise UsageError(
        f"There is no run named {name}.", details=f"The latest in {results}: {known}.", hint="tare list runs"
    )


def load(folder: Path) -> Run:
    """Read a run. A torn last line is a notice; any other damage raises StoreError that names the file and line."""
    manifest = _manifest(folder / MANIFEST)
    trials, notices = _trials(folder / TRIALS)
    try:
        end = msgspec.json.decode((folder / END).read_bytes(), type=End)
    except (FileNotFoundError, msgspec.DecodeError):
        end = End(finished=False, ended_at="")
        notices.append(
            Notice(
                code="unfinished",
                subject="run",
                message="This run was ended from outside: every finished trial is here, the rest is not.",
                hint="tare sweep removes what it may have left on its host.",
            )
        )
    every = [*manifest.notices, *end.notices, *notices]
    return Run(path=str(folder), manifest=manifest, trials=trials, notices=every, finished=end.finished)


def _manifest(path: Path) -> Manifest:
    try:
        data = path.read_bytes()
        version = msgspec.json.decode(data, type=dict[str, object]).get("schema_version")
    except (OSError, msgspec.DecodeError) as error:
        raise StoreError(f"{path} cannot be read.", details=str(error)) from error
    if isinstance(version, int) and version > SCHEMA_VERSION:
        hint = "Read it with the version of tare that wrote it, or a newer one."
        raise StoreError(f"{path} is of schema {version}; this tare reads up to {SCHEMA_VERSION}.", hint=hint)
    try:
        return msgspec.json.decode(data, type=Manifest)
    except msgspec.DecodeError as error:
        raise StoreError(f"{path} is not a run's manifest.", details=str(error)) from error


def _trials(path: Path) -> tuple[list[Trial], list[Notice]]:
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return [], []
    except OSError as error:
        raise StoreError(f"{path} cannot be read.", details=str(error)) from error
    trials: list[Trial] = []
    decoder = msgspec.json.Decoder(Trial)
    last = lines.pop()
    for number, line in enumerate(lines, 1):
        try:
            trials.append(decoder.decode(line))
        except msgspec.DecodeError as error:
            raise StoreError(f"Line {number} of {path} is not a trial.", details=str(error)) from error
    torn = Notice(code="torn-line", subject="run", message="The last line was torn: the trial in flight was lost.")
    return trials, [torn] if last else []
