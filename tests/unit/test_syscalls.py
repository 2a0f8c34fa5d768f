"""The system calls that are tried: their numbers, that the program does nothing, and what answers mean."""

from __future__ import annotations

import errno
import platform
import re
import signal
import subprocess
from pathlib import Path

import pytest
from tare_bench import syscalls

HEADER = Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h")
HERE = platform.machine()
DANGEROUS = ["exit", "exit_group", "fork", "vfork", "pause", "rt_sigreturn", "sync", "vhangup", "kill", "reboot"]
A, B, C, D = "read", "mount", "bpf", "vserver"


@pytest.mark.skipif(not HEADER.is_file(), reason="the kernel's own list of x86-64 is not installed")
def test_the_numbers_are_the_kernels_own() -> None:
    listed = dict(re.findall(r"#define __NR_(\w+) (\d+)", HEADER.read_text()))
    known = {name: str(number) for number, name in syscalls.numbers("x86_64").items()}
    assert {name: known.get(name) for name in listed if name not in syscalls.SKIPPED} == {
        name: number for name, number in listed.items() if name not in syscalls.SKIPPED
    }


@pytest.mark.parametrize(
    ("machine", "found"),
    [
        ("x86_64", {0: "read", 165: "mount", 424: "pidfd_send_signal", 469: "file_setattr"}),
        ("aarch64", {63: "read", 40: "mount", 291: "statx", 424: "pidfd_send_signal", 469: "file_setattr"}),
    ],
)
def test_each_machine_has_numbers_of_its_own(machine: str, found: dict[int, str]) -> None:
    known = syscalls.numbers(machine)
    assert {number: known[number] for number in found} == found
    assert len(set(known.values())) == len(known)
    assert not syscalls.numbers("vax")


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_what_could_do_anything_is_never_called_and_says_why(machine: str) -> None:
    assert set(DANGEROUS) <= set(syscalls.SKIPPED)
    assert not set(syscalls.SKIPPED) & set(syscalls.numbers(machine).values())
    numbers = {str(number) for number in syscalls.numbers(machine)}
    assert {each.partition(":")[0] for each in syscalls.argv(machine)[6:]} == numbers
    assert all(syscalls.SKIPPED.values())


def test_what_minus_one_would_make_is_only_looked_up() -> None:
    """With -1 for its flags, msgget makes a queue that outlives everybody."""
    for name in ("msgget", "semget", "shmget"):
        assert syscalls.ARGUMENTS[name][-1] == 0


def test_the_program_tries_each_call_once_and_leaves_nothing() -> None:
    queues = Path("/proc/sysvipc/msg").read_text()
    done = subprocess.run(syscalls.argv(HERE), capture_output=True, text=True, check=True, timeout=60)
    found = syscalls.parse(done.stdout, HERE)
    assert found is not None
    assert set(found) == set(syscalls.numbers(HERE).values())
    assert found["read"] == errno.EBADF
    assert found["getpid"] == 0
    assert found["futex"] not in (0, errno.ENOSYS)
    assert Path("/proc/sysvipc/msg").read_text() == queues


def test_the_program_gives_up_the_capabilities_that_it_is_told_to() -> None:
    done = subprocess.run(syscalls.argv(HERE, "0" * 16), capture_output=True, text=True, check=True, timeout=60)
    found = syscalls.parse(done.stdout, HERE)
    assert found is not None
    assert found["acct"] == errno.EPERM
    assert found["read"] == errno.EBADF


def test_a_program_that_did_not_end_is_no_answer() -> None:
    assert syscalls.parse("0 9\n", "x86_64") is None
    assert syscalls.parse("", "x86_64") is None
    assert syscalls.parse("0 9\n1 signal 31\nend\n", "x86_64") == {"read": 9, "write": -31}


def test_a_filter_is_told_from_the_kernel_by_what_that_says_without_one() -> None:
    seen = {A: errno.EBADF, B: errno.EPERM, C: errno.EPERM, D: errno.ENOSYS, "clone3": errno.ENOSYS}
    reference = {**seen, B: errno.EFAULT, "clone3": errno.E2BIG}
    found = syscalls.sort(seen, reference)
    assert (found.through, found.filtered, found.refused, found.missing) == ([A], [B, "clone3"], [C], [D])


def test_without_a_filter_nothing_is_filtered() -> None:
    seen = {A: errno.EBADF, B: errno.EPERM, D: errno.ENOSYS}
    found = syscalls.sort(seen, seen)
    assert (found.through, found.filtered, found.refused, found.missing) == ([A], [], [B], [D])


def test_whoever_is_killed_for_it_was_filtered_and_whoever_waits_was_let_through() -> None:
    seen = {A: -signal.SIGALRM, B: -signal.SIGSYS}
    assert syscalls.sort(seen, {A: 0, B: -signal.SIGSYS}).filtered == [B]
    assert syscalls.sort(seen, seen).through == [A]


def test_what_cannot_be_told_is_not_there() -> None:
    found = syscalls.sort({A: errno.EBADF, B: errno.EPERM, D: errno.ENOSYS}, None)
    assert found.through == [A]
    assert (found.filtered, found.refused, found.missing) == (None, None, None)
