"""The files of a run; no other module knows them.

results/<run id>/manifest.json    all that is known before the first trial; written first
                 trials.jsonl     one line a trial, flushed and synced: a crash costs at most the trial in flight
                 artifacts/<trial id>/...
                 end.json         how the run ended; not there after a crash
                 report.html
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from .errors import StoreError, UsageError, cut
from .model import SCHEMA_VERSION, Manifest, Notice, Record, Run, Stop, Trial, canonical

MANIFEST, TRIALS, END = "manifest.json", "trials.jsonl", "end.json"
LATEST = "latest"

ROOM = 4 << 20
"""Bytes that a run may need of the results' folder: what is not there is said before anything is measured."""
MAX_MANIFEST = 16 << 20
"""Bytes: more than any plan fills."""
MAX_TRIALS = 1 << 30

_DAMAGE = (msgspec.DecodeError, RecursionError, UnicodeDecodeError)


class End(Record, frozen=True, kw_only=True):
    """How a run ended."""

    finished: bool
    ended_at: str
    notices: list[Notice] = []
    stops: list[Stop] = []
    host: dict[str, str] = {}
    """Those of the host's facts that may have changed meanwhile."""


def new_id(now: datetime | None = None) -> str:
    """A run's id: sorts by time, is unique, and is short, since it is part of a socket's path."""
    return f"{(now or datetime.now(UTC)):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"


@contextlib.contextmanager
def room(results: Path) -> Iterator[None]:
    """Have the runs' folder, and find out that it can be written to. A folder that was made for nothing goes again.

    Raises StoreError when it cannot be made, written to, or is full.
    """
    made: list[Path] = []
    try:
        try:
            for folder in reversed((results, *results.parents)):
                if not folder.exists():
                    folder.mkdir()
                    made.append(folder)
            with tempfile.TemporaryFile(dir=results) as probe:
                probe.write(bytes(ROOM))
                probe.flush()
                os.fsync(probe.fileno())
        except OSError as error:
            raise _unwritable(results, error) from error
        yield
    finally:
        with contextlib.suppress(OSError):  # where something was kept
            for folder in reversed(made):
                folder.rmdir()


class Writer:
    """A run that is being written. Opened before anything is measured."""

    def __init__(self, results: Path, manifest: Manifest) -> None:
        self.folder = results / manifest.run
        self.host = manifest.host
        """What the host was like before the first trial."""
        try:
            self.folder.mkdir(parents=True)
        except OSError as error:
            raise _unwritable(self.folder, error) from error
        try:
            _write_whole(self.folder / MANIFEST, msgspec.json.format(msgspec.json.encode(manifest), indent=2))
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
            self._trials = os.open(self.folder / TRIALS, flags, 0o644)
        except OSError as error:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise _unwritable(self.folder, error) from error

    def append(self, trial: Trial, artifacts: Mapping[str, bytes]) -> None:
        """Keep a trial: its artifacts first, then its line in one write, synced.

        Raises StoreError when it cannot be written; what was kept before is whole.
        """
        try:
            self._keep(artifacts)
            line = msgspec.json.encode(trial) + b"\n"
            before = os.fstat(self._trials).st_size
            if os.write(self._trials, line) != len(line):
                os.ftruncate(self._trials, before)  # half a line would spoil the next one
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(self._trials)
        except OSError as error:
            raise _unwritable(self.folder, error) from error

    def _keep(self, artifacts: Mapping[str, bytes]) -> None:
        """All of a trial's artifacts or none."""
        try:
            for name, data in artifacts.items():
                path = self.folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
        except OSError:
            for folder in {(self.folder / name).parent for name in artifacts}:
                shutil.rmtree(folder, ignore_errors=True)
            raise

    def end(
        self,
        *,
        finished: bool,
        notices: list[Notice],
        stops: Sequence[Stop] = (),
        host: Mapping[str, str] | None = None,
    ) -> None:
        """Say how it ended, and what the host was like then. Raises StoreError."""
        end = End(finished=finished, ended_at=utc_now(), notices=notices, stops=list(stops), host=dict(host or {}))
        try:
            _write_whole(self.folder / END, msgspec.json.format(msgspec.json.encode(end), indent=2))
        except OSError as error:
            raise _unwritable(self.folder, error) from error

    def close(self) -> None:
        """Close the file."""
        os.close(self._trials)


def utc_now() -> str:
    """Now as ISO 8601 text in UTC, for people."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _unwritable(folder: Path, error: OSError) -> StoreError:
    hint = "Name a folder with room that can be written to: --results DIR."
    return StoreError(f"The results cannot be written to {folder}.", details=error.strerror or str(error), hint=hint)


def _write_whole(path: Path, data: bytes) -> None:
    """A file that is there whole or not at all."""
    staged = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        staged.write_bytes(data)
        staged.rename(path)
    except OSError:
        staged.unlink(missing_ok=True)
        raise


def write_report(path: Path, text: str, what: str = "page") -> None:
    """Write a rendered page, or what else it is: whole or not at all, but into a device or a pipe as it comes.

    Raises StoreError.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and not path.is_file():
            path.write_text(text, encoding="utf-8")
        else:
            _write_whole(path, text.encode())
    except OSError as error:
        words = error.strerror or str(error)
        hint = "Name a file that can be written: tare report RUN --output FILE."
        raise StoreError(f"The {what} cannot be written to {path}.", details=words, hint=hint) from error


def runs(results: Path) -> list[Path]:
    """The folders of the runs that are there, the oldest first."""
    if not results.is_dir():
        return []
    try:
        return sorted(folder for folder in results.iterdir() if (folder / MANIFEST).is_file())
    except OSError as error:
        raise StoreError(f"{results} cannot be read.", details=error.strerror or str(error)) from error


def holds_runs(folder: Path) -> bool:
    """Whether it is a folder of runs, and no run itself."""
    # where Path's own functions raise for a name that is too long
    return os.path.isdir(folder) and not (folder / MANIFEST).is_file() and bool(runs(folder))  # noqa: PTH112


def find(name: str, results: Path) -> Path:
    """The folder of a run: given as a folder, an id, or `latest`. Raises UsageError when there is none."""
    if name == LATEST:
        there = runs(results)
        if not there:
            raise UsageError(f"There is no run in {results}.", hint="Measure one: tare run --quick")
        return there[-1]
    for folder in (Path(name), results / name):
        if os.path.isfile(folder / MANIFEST):  # noqa: PTH113 - where Path's own raises for a name that is too long
            return folder
    shown, hint = cut(name), "tare list runs"
    if os.path.isdir(name):  # noqa: PTH112
        raise UsageError(f"{shown} is not a run.", details=f"It has no file {MANIFEST}.", hint=hint)
    if os.path.lexists(name):
        raise UsageError(f"{shown} is a file; a run is a folder.", hint="Give the folder that holds it.")
    known = ", ".join(folder.name for folder in runs(results)[-5:]) or "none"
    raise UsageError(f"There is no run named {shown}.", details=f"The latest in {results}: {known}.", hint=hint)


def load(folder: Path) -> Run:
    """Read a run. A torn last line is a notice; any other damage raises StoreError that names the file and line."""
    kept = manifest(folder)
    trials, notices = _trials(folder / TRIALS, {arm.name for arm in kept.plan.every_arm})
    try:
        end = msgspec.json.decode(_read(folder / END), type=End)
    except (FileNotFoundError, StoreError, *_DAMAGE):
        end = End(finished=False, ended_at="")
        notices.append(
            Notice(
                code="unfinished",
                subject="run",
                message="This run has not come to its end: every finished trial is here, the rest is not.",
                hint="If it was ended from outside, tare sweep removes what it may have left on its host.",
            )
        )
    every = [*kept.notices, *end.notices, *notices]
    return Run(
        path=str(folder),
        manifest=kept,
        trials=trials,
        notices=every,
        stops=end.stops,
        host_after=end.host,
        finished=end.finished,
        printed=_printed(folder, trials),
    )


MOST_PRINTED = 4000
"""Characters of a tool's output that are read."""


def _printed(folder: Path, trials: Sequence[Trial]) -> dict[str, str]:
    """What the tools printed: of each cell the first measured trial that went well. What cannot be read is left out."""
    found: dict[str, str] = {}
    seen: set[tuple[str, str, str]] = set()
    for trial in trials:
        key = (trial.cell.arm, trial.cell.workload, canonical(trial.cell.params))
        kept = [name for name in trial.artifacts if name.endswith(".txt") and name.startswith("artifacts/")]
        if key in seen or trial.role != "measured" or trial.status != "ok" or not kept:
            continue
        seen.add(key)
        with contextlib.suppress(OSError, ValueError):
            found[trial.trial] = _beginning(folder, kept[0])
    return found


def _beginning(folder: Path, name: str) -> str:
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()) or not path.is_file():
        raise ValueError(name)  # a stored path is a text like any other
    with path.open("rb") as file:
        text = file.read(4 * MOST_PRINTED).decode("utf-8", "replace")
    return text if len(text) <= MOST_PRINTED else f"{text[:MOST_PRINTED]}\n[…]"


def manifest(folder: Path) -> Manifest:
    """What is known of a run before its first trial. Raises StoreError for a foreign, damaged or newer one."""
    path = folder / MANIFEST
    try:
        data = _read(path)
        version = msgspec.json.decode(data, type=dict[str, object]).get("schema_version")
    except (OSError, *_DAMAGE) as error:
        hint = "A run's folder is whole or not at all: this one was changed, or is of another program."
        raise StoreError(f"{path} cannot be read.", details=str(error), hint=hint) from error
    if type(version) is not int:
        raise StoreError(f"{path} is not a run's manifest.", details="It has no number `schema_version`.")
    if version != SCHEMA_VERSION:
        newer = "Read it with the version of tare that wrote it, or a newer one."
        hint = newer if version > SCHEMA_VERSION else "Read it with the version of tare that wrote it."
        raise StoreError(f"{path} is of schema {version}; this tare reads schema {SCHEMA_VERSION}.", hint=hint)
    try:
        found = msgspec.json.decode(data, type=Manifest)
    except _DAMAGE as error:
        raise StoreError(f"{path} is not a run's manifest.", details=str(error)) from error
    if found.plan.baseline not in [arm.name for arm in found.plan.arms]:
        details = f"Its baseline `{cut(found.plan.baseline)}` is none of its arms."
        raise StoreError(f"{path} is not a run's manifest.", details=details)
    return found


def _read(path: Path, most: int = MAX_MANIFEST) -> bytes:
    seen = path.stat()
    if not stat.S_ISREG(seen.st_mode):
        raise StoreError(f"{path} is no regular file.")
    if seen.st_size > most:
        raise StoreError(f"{path} is too large: {seen.st_size} bytes; at most {most} are read.")
    return path.read_bytes()


def _trials(path: Path, arms: Collection[str]) -> tuple[list[Trial], list[Notice]]:
    try:
        lines = _read(path, MAX_TRIALS).split(b"\n")
    except FileNotFoundError:
        return [], []
    except OSError as error:
        raise StoreError(f"{path} cannot be read.", details=error.strerror or str(error)) from error
    trials: list[Trial] = []
    decoder = msgspec.json.Decoder(Trial)
    last = lines.pop()
    for number, line in enumerate(lines, 1):
        try:
            trial = decoder.decode(line)
        except _DAMAGE as error:
            hint = "Everything before that line is whole: remove it and what follows to read the rest."
            raise StoreError(f"Line {number} of {path} is not a trial.", details=str(error), hint=hint) from error
        if trial.cell.arm not in arms:
            details = f"Its arm `{cut(trial.cell.arm)}` is none of the run's."
            raise StoreError(f"Line {number} of {path} is not a trial of this run.", details=details)
        trials.append(trial)
    torn = Notice(code="torn-line", subject="run", message="The last line was torn: the trial in flight was lost.")
    return trials, [torn] if last else []
