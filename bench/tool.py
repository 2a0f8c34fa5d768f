"""Other programs, run so that none outlives us and each failure carries the program's own last words."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from .errors import ImageError

GRACE = 5.0
"""Seconds that an interrupted program has to remove its own temporary files before it is killed."""

SMALL = 60
"""Seconds that a program may take which only asks or unpacks something small."""
LARGE = 1800
"""Seconds for what downloads packages or copies a whole root filesystem: a mirror may hang, a disk may be slow."""

AS_MAPPED_ROOT = ("unshare", "--map-root-user", "--map-auto")
"""Before a command: run as root of a user namespace, in which an ordinary user can keep files of all owners."""

_SBIN = ("/usr/local/sbin", "/usr/sbin", "/sbin")
"""Where mke2fs and depmod live: not on an ordinary user's PATH."""


_held: set[int] = set()


def find(name: str) -> str | None:
    """The full path of a program, in the system's own folders too; None where it is not installed."""
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), *_SBIN])
    return shutil.which(name, path=path)


def require(*names: str) -> None:
    """Raise ImageError naming every one of the programs that is not installed."""
    missing = [name for name in names if find(name) is None]
    if missing:
        raise ImageError(f"not installed: {', '.join(missing)}", hint="install what is missing with: tare setup")


def run(
    argv: Sequence[str | Path],
    *,
    stdin: bytes | None = None,
    env: Mapping[str, str] | None = None,
    seconds: float = SMALL,
) -> bytes:
    """Run a program to its end and return its stdout.

    It has a session of its own, so that Ctrl-C reaches only us; when we are interrupted it is ended.
    `env` is added to our environment. Raises ImageError when it is missing, fails, or takes more than `seconds`.
    """
    words = [str(word) for word in argv]
    require(words[0])
    words[0] = find(words[0]) or words[0]
    process = subprocess.Popen(
        [*_dying_with_us(), *words],
        stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "LC_ALL": "C.UTF-8", **(env or {})},
        start_new_session=True,
        pass_fds=tuple(_held),
    )
    try:
        out, err = process.communicate(stdin, seconds)
    except subprocess.TimeoutExpired as late:
        _end(process)
        raise _too_late(words, seconds, late) from None
    except BaseException:
        _end(process)
        raise
    if process.returncode:
        raise ImageError(f"{shlex.join(words)[:200]}: {_status(process.returncode)}", details=last_lines(err or out))
    return out


def _too_late(words: Sequence[str], seconds: float, late: subprocess.TimeoutExpired) -> ImageError:
    return ImageError(
        f"{shlex.join(words)[:200]}: not done after {seconds:g} s, and ended",
        details=last_lines(late.stderr or late.output or b""),
        hint="a mirror or a proxy that doesn't answer, or a disk that hangs: try it by hand, then once more",
    )


def _dying_with_us() -> list[str]:
    """Before a command: it is ended when we are killed and can end nothing ourselves."""
    setpriv = find("setpriv")
    return [setpriv, "--pdeathsig", "TERM", "--"] if setpriv else []


@contextlib.contextmanager
def holding(descriptor: int) -> Iterator[None]:
    """Let the programs that are run meanwhile hold a lock with us.

    Where we are killed, they may live a little longer: then the lock is free only when they have ended, too.
    """
    _held.add(descriptor)
    try:
        yield
    finally:
        _held.discard(descriptor)


def last_lines(output: bytes, count: int = 12) -> str:
    """The end of a program's output, which is where it says what went wrong."""
    return "\n".join(output.decode(errors="replace").strip().splitlines()[-count:])


def _status(returncode: int) -> str:
    if returncode < 0:
        return f"ended by {signal.Signals(-returncode).name}"
    return f"exit status {returncode}"


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a program and all that it started: the session that it leads."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(GRACE)
            break
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.close()
