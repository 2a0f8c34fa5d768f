"""A plan file as it is written: its tables, where each key stands, and what is wrong with its form."""

from __future__ import annotations

import bisect
import re
import stat
import tomllib
import typing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec

from . import registry
from .errors import UsageError, cut
from .model import NetworkPath

MAX_PLAN_BYTES = 1 << 18
_TRIES = 2_000
"""How many lines one value may span before its line is not looked for any longer."""

MIN_ROUNDS, MAX_ROUNDS = 1, 10_000
MAX_SECONDS = 7 * 24 * 3600
"""A week: of measuring, or for a command."""
MAX_NAME = 40
"""Letters of an arm's or a workload's name."""

Accelerator = Literal["auto", "kvm", "tcg"]
Cache = Literal["auto", "writeback", "none"]
PageCache = Literal["warm", "cold"]


class Table(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The base of the plan file's tables."""


class RunTable(Table, kw_only=True):
    """`[run]`."""

    baseline: str | None = None
    min_rounds: int | None = None
    max_rounds: int | None = None
    max_time: float | None = None
    seed: int | None = None
    accelerator: Accelerator | None = None
    tune: bool | None = None
    suite: str | None = None
    workloads: list[str] | None = None
    aa: bool | None = None
    aa_arms: list[str] | None = None
    parallel: int | None = None
    max_instances: int | None = None


class InstanceTable(Table, kw_only=True):
    """`[instance]`: the spec that every arm has."""

    vcpus: int | None = None
    memory: int | str | None = None
    disk: int | str | None = None
    cache: Cache | None = None
    page_cache: PageCache | None = None
    network: NetworkPath | None = None


class ArmTable(Table, kw_only=True):
    """`[[arm]]`."""

    name: str | None = None
    driver: str
    vcpus: int | None = None
    memory: int | str | None = None
    cache: Cache | None = None
    page_cache: PageCache | None = None
    network: NetworkPath | None = None
    options: dict[str, Any] = {}


class WorkloadTable(Table, kw_only=True):
    """`[[workload]]`: one of the user's own where it has a command, else a built-in one with other parameters."""

    name: str
    command: str | None = None
    setup: str | None = None
    packages: list[str] | None = None
    pattern: str | None = None
    unit: str | None = None
    better: Literal["lower", "higher"] | None = None
    deadline: float | None = None
    blocks: int | None = None
    together: bool | None = None
    params: dict[str, Any] | None = None


class PlanFile(Table, kw_only=True):
    """The whole file."""

    run: RunTable = msgspec.field(default_factory=RunTable)
    instance: InstanceTable = msgspec.field(default_factory=InstanceTable)
    arm: list[ArmTable] = []
    workload: list[WorkloadTable] = []


TABLES: dict[str, type[Table]] = {
    "": PlanFile, "run": RunTable, "instance": InstanceTable, "arm": ArmTable, "workload": WorkloadTable,
}  # fmt: skip
"""By their names in the file; the file itself is one too."""
_LISTED = ("arm", "workload")

Key = str | int


@dataclass(frozen=True, slots=True)
class Lines:
    """Where in a file its keys stand. That is looked for only once something is wrong with one of them."""

    path: str = ""
    text: str = ""

    def at(self, *keys: Key) -> Place:
        """The place of `run`, `seed` or of `arm`, 0, `vcpus`."""
        return Place(self, keys)

    def line(self, keys: tuple[Key, ...]) -> int:
        """From 1; 0 where the file doesn't have that.

        tomllib tells no positions, and yet knows them best: the first statement after which the key is there.
        """
        lines = self.text.split("\n")
        ends = _statements(lines)

        def there(number: int) -> bool:
            return _holds(tomllib.loads("\n".join(lines[: ends[number]])), keys)

        found = bisect.bisect_left(range(len(ends)), True, key=there)
        if found == len(ends):
            return 0
        return ends[found - 1] + 1 if found else 1


@dataclass(frozen=True, slots=True)
class Place:
    """Where a key stands, as a message begins: `plan.toml, line 3: `. Empty where the file doesn't have it."""

    lines: Lines
    keys: tuple[Key, ...]

    def __str__(self) -> str:
        line = self.lines.line(self.keys)
        return f"{self.lines.path}, line {line}: " if line else ""

    def __bool__(self) -> bool:
        return bool(str(self))


NOWHERE = Place(Lines(), ())
"""Of what does not come from a file."""


def _statements(lines: list[str]) -> list[int]:
    """The numbers of the lines (from 1) that end a statement, which is what is TOML by itself."""
    ends: list[int] = []
    start = 0
    for end in range(1, len(lines) + 1):
        try:
            tomllib.loads("\n".join(lines[start:end]))
        except tomllib.TOMLDecodeError:
            if end - start > _TRIES:
                break
            continue
        ends.append(end)
        start = end
    return ends


def _holds(value: Any, keys: tuple[Key, ...]) -> bool:
    for key in keys:
        inside = key < len(value) if isinstance(value, list) and isinstance(key, int) else False
        if not inside and not (isinstance(value, dict) and key in value):
            return False
        value = value[key]
    return True


def read(path: Path) -> tuple[PlanFile, Lines]:
    """A plan file, and where its keys stand. Raises UsageError with the line, and the nearest known key."""
    lines = Lines(str(path), _text(path))
    try:
        table = tomllib.loads(lines.text)
    except (tomllib.TOMLDecodeError, ValueError, RecursionError) as error:
        raise UsageError(f"{path} is not TOML.", details=str(error), hint="tare plan --toml prints one.") from None
    try:
        return msgspec.convert(table, PlanFile), lines
    except msgspec.ValidationError as error:
        raise _invalid(lines, str(error)) from None


def _text(path: Path) -> str:
    hint = "A plan file is TOML in UTF-8: tare plan --toml prints one."
    try:
        seen = path.stat()
        if stat.S_ISDIR(seen.st_mode):
            raise UsageError(f"{path} is a folder; a plan is a TOML file.", hint=hint)
        if not stat.S_ISREG(seen.st_mode):
            raise UsageError(f"{path} is no regular file; a plan is a TOML file.", hint=hint)
        if seen.st_size > MAX_PLAN_BYTES:
            size = f"{seen.st_size} bytes; at most {MAX_PLAN_BYTES} are read."
            raise UsageError(f"{path} is too large for a plan file.", details=size, hint=hint)
        data = path.read_bytes()
    except OSError as error:
        words = error.strerror or str(error)
        raise UsageError(f"The plan file {path} cannot be read.", details=words, hint=hint) from error
    try:
        return data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UsageError(f"{path}, line {line}: this is not text in UTF-8.", details=str(error), hint=hint) from None


_WHERE = re.compile(r"(.*?)(?: - at `\$(\S*)`)?", re.DOTALL)
_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(.*)`")
_TYPE = re.compile(r"Expected `(.*?)(?: \| null)?`, got `(.*)`")
_VALUE = re.compile(r"Invalid enum value '(.*)'", re.DOTALL)

WORDS = {
    "int": "a whole number", "float": "a number", "str": "text", "bool": "true or false", "array": "a list",
    "object": "a table", "int | str": 'a size, in bytes or as text such as "512 MiB"', "datetime": "a date and time",
    "date": "a date", "time": "a time of day", "list": "a list", "dict": "a table",
}  # fmt: skip
"""Types as they are called in messages."""


def _invalid(lines: Lines, message: str) -> UsageError:
    """What msgspec says about the form of a file, in words, with the line that it is about."""
    words, where = _WHERE.fullmatch(message).groups("")  # type: ignore[union-attr]  # it matches whatever there is
    keys: list[Key] = [int(number) if number else name for name, number in re.findall(r"\.(\w+)|\[(\d+)\]", where)]
    table, key = str(keys[0]) if keys else "", str(next((each for each in reversed(keys) if isinstance(each, str)), ""))
    shown = f"[[{table}]]" if table in _LISTED else f"[{table}]" if table else "a plan"
    hint = ""
    if found := _UNKNOWN.fullmatch(words):
        keys.append(found.group(1))
        brief = f"{shown} has no `{cut(found.group(1))}`."
        hint = registry.nearest(found.group(1), TABLES[table].__struct_fields__)
    elif found := _MISSING.fullmatch(words):
        brief = f"{shown} needs `{found.group(1)}`."
    elif found := _VALUE.fullmatch(words):
        brief = f"{key} cannot be `{cut(found.group(1))}`."
        hint = registry.nearest(found.group(1), _values(TABLES[table], key))
    elif found := _TYPE.fullmatch(words):
        expected, got = (WORDS.get(each, each) for each in found.groups())
        verb = "hold" if isinstance(keys[-1], int) and key not in _LISTED else "be"
        brief = f"{key} must {verb} {expected}, got {got}."
        hint = f"Write it as [[{key}]]." if key in _LISTED else f"Write it as [{key}]." if key in TABLES else ""
    else:
        brief = words
    return UsageError(f"{lines.at(*keys) or f'{lines.path}: '}{brief}", hint=hint)


def _values(table: type[Table], key: str) -> list[str]:
    """The words that a key may have."""
    literal = next(each for each in typing.get_args(typing.get_type_hints(table)[key]) if typing.get_args(each))
    return list(typing.get_args(literal))


def first(*values: Any) -> Any:
    """The first that is given, which is the one that counts; None: none is."""
    return next((value for value in values if value is not None), None)
