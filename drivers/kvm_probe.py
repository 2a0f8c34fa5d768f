"""Whether KVM works here, by booting the real guest kernel under it once.

That `/dev/kvm` is there, or opens, or runs a small guest, proves nothing: on some hosts (nested ones) a stock kernel
hangs in its decompressor or dies with an emulation failure, and `host-passthrough` is refused.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tare_bench import cache, lifecycle, paths
from tare_bench.clock import NS
from tare_bench.driver import Resolution
from tare_bench.errors import DriverUnavailable, InstanceError, InstanceTimeout
from tare_bench.model import Notice, Spec

from . import libvirt_host
from .kvm_check import DEVICE

if TYPE_CHECKING:
    from .libvirt_kvm import KvmDriver

CREATE_SECONDS = 60.0
KERNEL_SECONDS = 8.0
"""From the resume on, within which the kernel must say "Linux version"; under working KVM it takes a fraction of it."""
READY_SECONDS = 60.0
EMULATED_SECONDS = 90.0
"""The same two for a guest that is emulated, whose kernel may have to unpack itself first."""
SPEAKS = b"Linux version"


def resolve(driver: KvmDriver, asked: str, kernel_digest: str, *, fresh: bool) -> Resolution:
    """KVM where it works or was asked for, else TCG with a notice that says what was seen.

    Raises DriverUnavailable when `kvm` was asked for and doesn't work.
    """
    if asked == "tcg":
        return Resolution("tcg", (_emulated("it was asked for"),))
    reason = _device_reason()
    if not reason:
        memory = _memory_file(driver, kernel_digest)
        remembered = None if fresh else _remembered(memory)
        reason = _found_out(driver, memory) if remembered is None else remembered
    if not reason:
        return Resolution("kvm")
    if asked == "kvm":
        hint = "Run it on the host itself, or with nested virtualisation on; `--accelerator tcg` emulates instead."
        raise DriverUnavailable("KVM does not work on this host.", details=reason, hint=hint)
    return Resolution("tcg", (_emulated(reason.partition("\n")[0]),), evidence=reason)


def _emulated(why: str) -> Notice:
    return Notice(
        code="emulated",
        subject="kvm",
        message=f"Guests are EMULATED (TCG), not accelerated by KVM: {why}",
        hint="Their numbers say nothing about a KVM guest: run it on a host whose KVM works.",
    )


def _device_reason() -> str:
    """Why the device cannot be used at all; empty where it opens."""
    try:
        os.close(os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC))
    except FileNotFoundError:
        return f"there is no {DEVICE}"
    except OSError as error:
        return f"{DEVICE} does not open: {error.strerror}"
    return ""


def never_boots(driver: KvmDriver, kernel_digest: str, *, fresh: bool) -> str:
    """Why the guest's kernel does not boot although nothing of the host's is in its way, emulated; empty where it does.

    Remembered as KVM's own answer is.
    """
    memory = _memory_file(driver, kernel_digest, "tcg")
    remembered = None if fresh else _remembered(memory)
    if remembered is not None:
        return remembered
    seen = _boots(driver, "tcg")
    _remember(memory, seen)
    return seen.reason


def _found_out(driver: KvmDriver, memory: Path) -> str:
    """Why KVM does not work, by libvirt's word or a guest's; empty where it does. Remembered as long as it holds."""
    refusal = driver.refusal()
    seen = Seen(refusal) if refusal else _boots(driver)
    _remember(memory, seen)
    return seen.reason


@dataclass(frozen=True, slots=True)
class Seen:
    """Why KVM, or a kernel, does not work; an empty reason where it does."""

    reason: str
    lasts: bool = True
    """Whether it stays so until the host is booted anew; what load may have caused is believed for the day."""


_HOSTS_OWN = re.compile(r"KVM internal error|\bMSR\b|\bkvm_\w+: Assertion|Kernel panic|[Ii]nvalid kernel|PVH ELF Note")
"""What a host says of itself: its KVM lacks what the guest needs, or its kernel cannot be one's. Memory that is short,
or a deadline, says nothing."""


def _boots(driver: KvmDriver, accelerator: Literal["kvm", "tcg"] = "kvm") -> Seen:
    """Boot the real guest once under that. Says why it did not become ready, where it didn't."""
    driver.use(accelerator)
    speaks, ready = (KERNEL_SECONDS, READY_SECONDS) if accelerator == "kvm" else (EMULATED_SECONDS, EMULATED_SECONDS)
    spec = Spec(vcpus=1, memory=512 << 20)
    live: lifecycle.Live | None = None
    try:
        with lifecycle.created(driver, spec, name="probe", clock=driver.clock, seconds=CREATE_SECONDS) as live:
            live.deadline = driver.clock.now() + int(speaks * NS)
            try:
                lifecycle.boot(live)
            except InstanceTimeout:
                if SPEAKS not in live.console.text:
                    raise
                assert live.wire is not None
                live.wire.ready(driver.clock.now() + int(ready * NS))
            if (seen := lifecycle.read_back(live)) != accelerator:
                return Seen(f"the guest's own monitor says that it runs under {seen}")
    except InstanceError as error:
        log = live.evidence.get("qemu.log", b"").decode(errors="replace") if live is not None else ""
        reason = f"{_gist(error.details) or error.brief}\n{error}"
        return Seen(reason, lasts=bool(_HOSTS_OWN.search(f"{reason}\n{log}")))
    return Seen("")


_ERROR = re.compile(r"(?:^|: )error: (.+)")


def _gist(details: str) -> str:
    """The part of an engine's words that names the failure, without the clock and the program's name before it."""
    lines = [line.strip() for line in details.splitlines() if line.strip()]
    told = [found.group(1) for line in lines if (found := _ERROR.search(line))]
    return next((words for words in told if "closed the monitor" not in words), lines[0] if lines else "")


def _today() -> str:
    return datetime.now(UTC).date().isoformat()


def _memory_file(driver: KvmDriver, kernel_digest: str, accelerator: Literal["kvm", "tcg"] = "kvm") -> Path:
    device = "no device"
    if accelerator == "kvm":
        seen = DEVICE.stat()
        device = f"{seen.st_mode:o}:{seen.st_uid}:{seen.st_gid}"
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    key = f"{boot} {kernel_digest} {libvirt_host.emulator_version()} {driver.identity()} {device} {os.geteuid()}"
    return paths.cache_dir() / "kvm" / f"{hashlib.sha256(key.encode()).hexdigest()[:16]}.json"


def _remembered(memory: Path) -> str | None:
    try:
        kept = json.loads(memory.read_text())
        return str(kept["reason"]) if kept["until"] in ("reboot", _today()) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _remember(memory: Path, seen: Seen) -> None:
    memory.parent.mkdir(parents=True, exist_ok=True)
    kept = {"reason": seen.reason, "until": "reboot" if seen.lasts else _today()}
    cache.write(memory, json.dumps(kept).encode())
