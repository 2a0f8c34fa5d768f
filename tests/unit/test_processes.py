"""Processes by pid and start time."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess

from tare_bench import processes


def sleeper() -> subprocess.Popen[bytes]:
    return subprocess.Popen(["/bin/sh", "-c", "sleep 7657; :"], start_new_session=True)


def end(process: subprocess.Popen[bytes]) -> None:
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def test_a_process_is_named_by_pid_and_start() -> None:
    process = sleeper()
    try:
        assert processes.start_time(process.pid) == processes.start_time(process.pid)
        assert processes.parent(process.pid) == os.getpid()
        assert process.pid in processes.all_pids()
        assert process.pid in processes.descendants(os.getpid())
    finally:
        end(process)
    assert processes.start_time(process.pid) is None
    assert processes.parent(process.pid) is None
    assert processes.descendants(process.pid) == []


def test_a_zombie_is_gone() -> None:
    process = subprocess.Popen(["/bin/sh", "-c", "exit 0"])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert processes.start_time(process.pid) is None
    process.wait()


def test_another_start_time_is_another_process_and_is_left_alone() -> None:
    process = sleeper()
    try:
        born = processes.start_time(process.pid)
        assert born is not None
        processes.kill(process.pid, born + 1)
        assert processes.wait_gone(process.pid, born + 1, 0.0)
        assert not processes.wait_gone(process.pid, born, 0.0)
        assert process.poll() is None
        processes.kill(process.pid, born)
        assert process.wait(30) == -signal.SIGKILL
    finally:
        os.killpg(process.pid, signal.SIGKILL) if process.returncode is None else None


def test_what_has_ended_is_reaped_and_may_be_asked_for_again() -> None:
    child = os.posix_spawn("/bin/true", ["true"], {})
    assert processes.wait_gone(child, None, 30.0)
    assert processes.wait_gone(child, None, None)
    processes.kill(child)
    processes.reap([child])


def test_a_name_may_hold_anything() -> None:
    name = ") R 1 (x"
    process = subprocess.Popen(["/bin/sh", "-c", f"printf '%s' '{name}' >/proc/$$/comm; echo; sleep 7658; :"],
                               stdout=subprocess.PIPE, start_new_session=True)  # fmt: skip
    assert process.stdout is not None
    try:
        process.stdout.readline()
        assert processes.parent(process.pid) == os.getpid()
    finally:
        end(process)
        process.stdout.close()


def test_a_descriptor_beyond_what_select_takes_can_be_waited_for() -> None:
    reader, writer = os.pipe()
    high = fcntl.fcntl(reader, fcntl.F_DUPFD_CLOEXEC, 1100)
    try:
        assert not processes.readable(high, 0.0)
        os.write(writer, b".")
        assert processes.readable(high, 30.0)
    finally:
        for each in (reader, writer, high):
            os.close(each)
