"""Whether KVM works here, by booting the real guest kernel under it once.

That `/dev/kvm` is there, or opens, or runs a small guest, proves nothing: on some hosts (nested ones) a stock kernel
hangs in its decompressor or dies with an emulation failure, and `host-passthrough` is refused.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from tare_bench import lifecycle, paths
from tare_bench.clock import NS
from tare_bench.driver import Resolution
from tare_bench.errors import DriverUnavailable, InstanceError, InstanceTimeout
from tare_bench.model import Notice, Spec

from . import libvirt_embed
from .kvm_check import DEVICE

if TYPE_CHECKING:
    from .libvirt_kvm import KvmDriver

KERNEL_SECONDS = 8.0
"""Within which the kernel must say "Linux version"; a stock kernel under working KVM takes a fraction of it."""
READY_SECONDS = 60.0
SPEAKS = b"Linux version"


def resolve(driver: KvmDriver, asked: str, kernel_digest: str, *, fresh: bool) -> Resolution:
    """KVM where it works or was asked for, else TCG with a notice that says what was seen.

    Raises DriverUnavailable when `kvm` was asked for and doesn't work.
    """
    if asked == "tcg":
        return Resolution("tcg", (_emulated("it was asked for"),))
    reason = _remembered(kernel_digest, fresh=fresh)
    if reason is None:
        reason = _device_reason() or driver.refusal() or _boots(driver)
        _remember(kernel_digest, reason)
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


def _boots(driver: KvmDriver) -> str:
    """Boot the real guest once under KVM. Returns why it did not become ready; empty when it did."""
    driver.use("kvm")
    spec = Spec(vcpus=1, memory=512 << 20)
    try:
        with lifecycle.created(driver, spec, name="probe", clock=driver.clock, seconds=KERNEL_SECONDS) as live:
            try:
                lifecycle.boot(live)
            except InstanceTimeout:
                if SPEAKS not in live.console.text:
                    raise
                assert live.wire is not None
                live.wire.ready(driver.clock.now() + int(READY_SECONDS * NS))
            if lifecycle.read_back(live) != "kvm":
                return "the guest's own monitor says that KVM is not enabled"
    except InstanceError as error:
        return f"{_gist(error.details) or error.brief}\n{error}"
    return ""


_ERROR = re.compile(r"(?:^|: )error: (.+)")


def _gist(details: str) -> str:
    """The part of an engine's words that names the failure, without the clock and the program's name before it."""
    lines = [line.strip() for line in details.splitlines() if line.strip()]
    told = [found.group(1) for line in lines if (found := _ERROR.search(line))]
    return next((words for words in told if "closed the monitor" not in words), lines[0] if lines else "")


def _memory_file(kernel_digest: str) -> Path:
    try:
        mode = f"{DEVICE.stat().st_mode:o}:{DEVICE.stat().st_uid}:{DEVICE.stat().st_gid}"
    except FileNotFoundError:
        mode = "none"
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    key = f"{boot} {kernel_digest} {libvirt_embed.emulator_version()} {mode} {os.geteuid()}"
    return paths.cache_dir() / "kvm" / f"{hashlib.sha256(key.encode()).hexdigest()[:16]}.json"


def _remembered(kernel_digest: str, *, fresh: bool) -> str | None:
    if fresh:
        return None
    try:
        kept = json.loads(_memory_file(kernel_digest).read_text())
        return str(kept["reason"])
    except (OSError, ValueError, KeyError):
        return None


def _remember(kernel_digest: str, reason: str) -> None:
    path = _memory_file(kernel_digest)
    path.parent.mkdir(parents=True, exist_ok=True)
    staged = path.with_suffix(f".{os.getpid()}")
    staged.write_text(json.dumps({"reason": reason}))
    staged.rename(path)
