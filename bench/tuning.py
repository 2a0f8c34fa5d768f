"""Host tuning as a transaction: written down before it is made, undone on every way out.

A journal in the state folder names each setting with its former value and with ours, and who owns it. Undoing gives
back what still has our value; what somebody else has changed since is theirs. A SIGKILL leaves the journal, and the
command that starts next undoes it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from . import paths, processes
from .errors import TareError
from .model import Notice, Record

ROOT = Path("/")

KNOBS = {
    "governor": (("sys/devices/system/cpu/cpufreq/policy*/scaling_governor", "performance"),),
    "turbo": (
        ("sys/devices/system/cpu/intel_pstate/no_turbo", "1"),
        ("sys/devices/system/cpu/cpufreq/boost", "0"),
    ),
    "KSM": (("sys/kernel/mm/ksm/run", "0"),),
}
"""What is tuned: where the setting may lie (the first that is there counts), and what it is set to."""
CACHES = "proc/sys/vm/drop_caches"
"""Not a setting: what is dropped is read again when it is needed, so there is nothing to undo."""

_ABSENT = "this host has no such setting"


class Change(Record, frozen=True, kw_only=True):
    """One setting of the host."""

    name: str
    """Of KNOBS."""
    path: str
    former: str
    ours: str


class Journal(Record, frozen=True, kw_only=True):
    """What a run has changed, or was about to change."""

    run: str
    pid: int
    started: int
    """The owner's start time in clock ticks since boot, so that a pid that came again is not taken for it."""
    boot: str
    """The boot id: another boot has settings of its own."""
    changes: list[Change]


@dataclass(slots=True)
class Tuned:
    """What came of tuning, for the manifest."""

    made: list[Change] = field(default_factory=list)
    already: list[str] = field(default_factory=list)
    """Names of what was as it should be."""
    dropped: bool = False
    """Whether the page cache was."""
    refused: dict[str, str] = field(default_factory=dict)
    """By name: why it was not tuned."""

    def facts(self) -> dict[str, str]:
        """As the host's facts have it."""
        found = {"tuned": self._words(), "not tuned": "; ".join(f"{name}: {why}" for name, why in self.refused.items())}
        return {key: value for key, value in found.items() if value}

    def notices(self) -> list[Notice]:
        """That the host is not as it usually is, and what could not be tuned."""
        facts, found = self.facts(), []
        if words := facts.get("tuned"):
            message = f"The host is tuned until this run ends: {words}."
            hint = "Compare it with runs that were tuned alike."
            found.append(Notice(code="tuned", subject="host", message=message, hint=hint))
        if words := facts.get("not tuned"):
            hint = "Run it as root; in a virtual machine or a container, tune the machine that it runs on."
            found.append(Notice(code="not-tuned", subject="host", message=f"Not tuned: {words}.", hint=hint))
        return found

    def _words(self) -> str:
        groups: dict[tuple[str, str, str], int] = {}
        for change in self.made:
            key = (change.name, change.former, change.ours)
            groups[key] = groups.get(key, 0) + 1
        parts = [
            f"{name} {former} → {ours}" + (f" ({times} times)" if times > 1 else "")
            for (name, former, ours), times in groups.items()
        ]
        parts += [f"{name} as it was" for name in self.already]
        return ", ".join([*parts, *(["caches dropped"] if self.dropped else [])])


@contextlib.contextmanager
def tuned(run: str, say: Callable[[str], None], root: Path = ROOT) -> Iterator[Tuned]:
    """Tune the host for a run: governor, turbo, KSM, and the caches dropped once; undone at the end.

    `say` is told at the end what could not be given back. Raises TareError where the journal cannot be written:
    then nothing was changed.
    """
    restore(say)
    found = Tuned()
    changes = _planned(root, found)
    path = _folder() / f"{os.getpid()}.json"
    try:
        if changes:
            _record(path, run, changes)
        _make(changes, found)
        _drop_caches(root / CACHES, found)
        yield found
    finally:
        _give_back(path, say)


def _planned(root: Path, found: Tuned) -> list[Change]:
    """What is to be changed; what need not or cannot be is told to `found`."""
    changes = []
    for name, places in KNOBS.items():
        known = [(path, _read(path), ours) for path, ours in _settings(root, places)]
        wanted = [(path, former, ours) for path, former, ours in known if former != ours]
        closed = [path for path, former, _ in wanted if former is None or not os.access(path, os.W_OK)]
        if not known:
            found.refused[name] = _ABSENT
        elif closed:
            found.refused[name] = f"{closed[0]} cannot be written"
        elif not wanted:
            found.already.append(name)
        changes += [
            Change(name=name, path=str(path), former=former or "", ours=ours)
            for path, former, ours in wanted
            if not closed
        ]
    return changes


def _settings(root: Path, places: Iterable[tuple[str, str]]) -> list[tuple[Path, str]]:
    for pattern, ours in places:
        if there := sorted(root.glob(pattern)):
            return [(path, ours) for path in there]
    return []


def _make(changes: list[Change], found: Tuned) -> None:
    for change in changes:
        try:
            Path(change.path).write_text(change.ours)
        except OSError as error:  # a governor that this kernel lacks
            found.refused[change.name] = f"{change.path}: {error.strerror}"
        else:
            found.made.append(change)


def _drop_caches(path: Path, found: Tuned) -> None:
    try:
        if not path.exists():
            raise FileNotFoundError(0, _ABSENT)
        os.sync()  # what is dirty cannot be dropped
        path.write_text("3")
        found.dropped = True
    except OSError as error:
        found.refused["caches"] = error.strerror or str(error)


# The journal


def _folder() -> Path:
    return paths.state_dir() / "tuned"


@contextlib.contextmanager
def _locked() -> Iterator[None]:
    """Held while settings change hands, so that none is given back under the feet of the next run."""
    folder = _folder()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _record(path: Path, run: str, changes: list[Change]) -> None:
    pid = os.getpid()
    journal = Journal(run=run, pid=pid, started=processes.start_time(pid) or 0, boot=_boot(), changes=changes)
    try:
        with _locked():
            _write(path, journal)
    except OSError as error:
        brief = "What is tuned cannot be written down, so nothing was tuned."
        hint = "Name a folder that can be written to: TARE_STATE=FOLDER, or leave out --tune."
        raise TareError(brief, details=f"{path}: {error.strerror}", hint=hint) from error


def _write(path: Path, journal: Journal) -> None:
    """Whole or not at all, and on the disk before anything is changed. With the lock held."""
    staged = path.with_name(".new")
    with os.fdopen(os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as file:
        file.write(msgspec.json.encode(journal))
        file.flush()
        os.fsync(file.fileno())
    staged.rename(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _boot() -> str:
    return _read(Path("/proc/sys/kernel/random/boot_id")) or ""


def _read(path: Path) -> str | None:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return None


def left() -> list[tuple[Path, Journal]]:
    """The journals of runs that are dead: what they changed on this host is still changed."""
    found = []
    for path in sorted(_folder().glob("*.json")):
        if _ours(path.parent) and _ours(path) and (journal := _load(path)) and not _alive(journal):
            found.append((path, journal))
    return found


def _ours(path: Path) -> bool:
    """A journal names files to write: nobody else may have made it up."""
    try:
        info = path.lstat()
    except FileNotFoundError:  # another command has just undone it
        return False
    return info.st_uid == os.geteuid() and not stat.S_ISLNK(info.st_mode) and not info.st_mode & 0o022


def _load(path: Path) -> Journal | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Journal)
    except (OSError, msgspec.DecodeError):
        return None


def _alive(journal: Journal) -> bool:
    return journal.boot == _boot() and processes.start_time(journal.pid) == journal.started


def restore(say: Callable[[str], None]) -> None:
    """Undo what killed runs have left tuned, and say so."""
    for path, journal in left():
        say(f"The run {journal.run} was killed while the host was tuned; giving back: {described(journal)}")
        _give_back(path, say)


def described(journal: Journal) -> str:
    """Its settings with their former values."""
    return ", ".join(f"{change.path} {change.former}" for change in journal.changes)


def _give_back(path: Path, say: Callable[[str], None]) -> None:
    try:
        for line in undo(path):
            say(line)
    except OSError as error:
        say(f"The host is still tuned: {error}\nWhat is left is given back by: tare sweep")


def undo(path: Path) -> list[str]:
    """Give back what a journal names, the latest first, and drop it. Returns what was not ours any more.

    Idempotent. Raises OSError where a setting cannot be written: the journal then stays, with that.
    """
    if not path.exists():
        return []
    with _locked():
        journal = _load(path)
        if journal is None or journal.boot != _boot():
            path.unlink(missing_ok=True)
            return []
        others, stays = _undone(journal.changes[::-1])
        if not stays:
            path.unlink(missing_ok=True)
            return others
        _write(path, msgspec.structs.replace(journal, changes=[change for change, _ in stays[::-1]]))
        raise stays[0][1]


def _undone(changes: list[Change]) -> tuple[list[str], list[tuple[Change, OSError]]]:
    """What somebody else has changed meanwhile, and what could not be written."""
    others, stays = [], []
    for change in changes:
        now = _read(Path(change.path))
        if now in (None, change.former):
            continue  # it is gone with its CPU, or was never changed
        if now != change.ours:
            others.append(f"{change.path} is now {now}, which is not Tare's: it is left so (it was {change.former}).")
            continue
        try:
            Path(change.path).write_text(change.former)
        except OSError as error:
            stays.append((change, error))
    return others, stays
