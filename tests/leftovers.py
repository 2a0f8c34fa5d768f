"""What of Tare's is on this host now, as its parts see it: by path, by cgroup, by label. Never by a program's name."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from tare_bench import cgroups, paths, processes, registry
from tare_bench.errors import TareError


def found() -> list[str]:
    """All of it, but what belongs to runs of other people, in folders that are not the tests' own."""
    others = _other_runs()
    return [each for each in _everything() if not any(name in each for name in others)]


def _other_runs() -> set[str]:
    """Runs below the usual folders, and those whose lock a living process holds."""
    folders = [entry for base in Path("/run").glob("tare*") if base != paths.runtime_dir() for entry in _in(base)]
    for pid in processes.all_pids():
        for entry in _in(Path(f"/proc/{pid}/fd")):
            with contextlib.suppress(OSError):
                if (target := entry.readlink()).name == "lock" and target.parent.parent != paths.runtime_dir():
                    folders.append(target.parent)
    return {folder.name for folder in folders}


def _in(folder: Path) -> list[Path]:
    with contextlib.suppress(OSError):
        return [entry for entry in folder.iterdir() if not entry.name.startswith(".")]
    return []


def _everything() -> Iterator[str]:
    yield from (f"run {each}" for each in _in(paths.runtime_dir()))
    for top, pattern in (("tare", "*"), ("machine", "qemu-embed-*")):
        for root in cgroups.roots(top):
            yield from (f"cgroup {each}" for each in root.glob(pattern) if each.is_dir())
    for name in ("overlays", "native"):
        yield from (f"work {each}" for each in _in(paths.cache_dir() / name))
    ours = [f"{folder}/" for folder in (paths.runtime_dir(), paths.state_dir())]
    for line in Path("/proc/self/mounts").read_text().splitlines():
        if any(folder in line for folder in ours):
            yield f"mount {line.split()[1]}"
    for pid in processes.all_pids():
        if (command := command_of(pid)) and any(folder in command for folder in ours):
            yield f"process {pid} {command[:80]}"
    yield from _containers()


def command_of(pid: int) -> str:
    """A living process's command line; empty where it is gone or a zombie."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    return ""


def _containers() -> Iterator[str]:
    with contextlib.suppress(TareError):
        yield from (f"{each.kind} {each.name}" for each in registry.driver("docker").leftovers([]))
