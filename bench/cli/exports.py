"""`--export FORMAT=FILE`: files that are tried before anything is measured, and written at the end."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click
from tare_bench.reports.exports import FORMATS, render

from .. import registry, store
from ..errors import StoreError, TareError, UsageError, cut
from .common import say

if TYPE_CHECKING:
    from ..analysis import Analysis

EXPORTS = click.option(
    "--export", multiple=True, metavar="FORMAT=FILE", help="Write the run in a format of `tare report`, too; repeats."
)


@dataclass(frozen=True, slots=True)
class Export:
    """A run in a format, and where that goes."""

    form: str
    path: Path


def parsed(values: Sequence[str]) -> list[Export]:
    """What was asked for. Raises UsageError for a format that is none, for no file, and for one file twice."""
    found: list[Export] = []
    for value in values:
        form, equals, name = value.partition("=")
        if form not in FORMATS:
            hint = registry.nearest(form, FORMATS)
            raise UsageError(f"There is no format `{cut(form)}`.", details=f"--export {cut(value)}", hint=hint)
        if not equals or not name:
            raise UsageError(f"--export {cut(value)} names no file.", hint=f"--export {form}=FILE")
        path = Path(name).absolute()
        if path in [each.path for each in found]:
            raise UsageError(f"{cut(name)} is to hold two exports.", hint="Name a file for each.")
        found.append(Export(form, path))
    return found


@contextlib.contextmanager
def reserved(values: Sequence[str]) -> Iterator[list[Export]]:
    """The exports that were asked for, once it is seen that each can be written.

    Raises UsageError, and StoreError before anything is measured. Of a folder that was made for an export nothing is
    left where nothing came of the run.
    """
    exports = parsed(values)
    with contextlib.ExitStack() as stack:
        for each in exports:
            try:
                _reserve(each.path, stack)
            except OSError as error:
                hint = "Name a file that can be written: --export FORMAT=FILE."
                words = error.strerror or str(error)
                raise StoreError(f"The export cannot be written to {each.path}.", details=words, hint=hint) from error
        yield exports


def _reserve(path: Path, stack: contextlib.ExitStack) -> None:
    if path.exists():
        if path.is_dir():
            raise IsADirectoryError(0, "It is a folder.")
        if not os.access(path, os.W_OK):
            raise PermissionError(0, "It may not be written to.")
    if path.exists() and not path.is_file():
        return  # a device or a pipe, which is written as it comes
    for folder in reversed((path.parent, *path.parent.parents)):
        if not folder.exists():
            folder.mkdir()
            stack.callback(_unmake, folder)
    with tempfile.TemporaryFile(dir=path.parent) as probe:
        probe.write(b"\n")
        probe.flush()


def _unmake(folder: Path) -> None:
    with contextlib.suppress(OSError):  # where something was kept
        folder.rmdir()


def write_exports(exports: Sequence[Export], found: Analysis) -> None:
    """Write each, whole or not at all. One that fails keeps no other from being written; the first error is raised."""
    failed: list[TareError] = []
    for each in exports:
        try:
            store.write_report(each.path, render(each.form, [found]), "export")
            say(f"exported {each.form}: {each.path}")
        except TareError as error:
            failed.append(error)
    if failed:
        raise failed[0]
