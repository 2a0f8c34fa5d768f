"""`isolation`: what an instance shares with the host and sees of it. Measured from inside, not asserted."""

from __future__ import annotations

import contextlib
import platform
import shlex
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from .. import cgroups, processes, syscalls, tool
from ..driver import Accounts
from ..errors import ImageError, InstanceError
from ..lifecycle import Live
from ..metrics import Metric
from ..model import Scalar
from . import Measured, Skipped, Workload, accounts
from .sized import NOT_FOUND

NAMESPACES = ("cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts")
SYSCALL_SECONDS = 120.0

# One shell, and no program where a builtin will do: it runs in a rootfs that may have little. What it cannot read it
# says nothing of.
PROBE = """\
read -r id </proc/sys/kernel/random/boot_id; echo "boot_id $id"
echo "kernel_release $(uname -r)"; echo "kernel_version $(uname -v)"; echo "machine $(uname -m)"
while IFS= read -r line; do case $line in PRETTY_NAME=*) echo "os ${line#*=}";; esac; done </etc/os-release
for kind in cgroup ipc mnt net pid time user uts; do echo "ns $kind $(readlink /proc/self/ns/$kind)"; done
while read -r key value; do case $key in CapEff:|Seccomp:|NoNewPrivs:) echo "status $key $value";; esac
done </proc/self/status
for entry in /proc/[0-9]*/stat; do
  { IFS= read -r line <"$entry" && echo "process $line"; } 2>/dev/null
done
while IFS= read -r line; do echo "mount $line"; done </proc/self/mountinfo
set --
for entry in /dev/* /dev/*/*; do if [ -b "$entry" ] || [ -c "$entry" ]; then set -- "$@" "$entry"; fi; done
[ $# -eq 0 ] || stat -L -c 'device %t:%T %F' "$@" && echo "devices $#"
count=0
for entry in /sys/dev/block/* /sys/dev/char/*; do [ -e "$entry" ] && count=$((count + 1)); done
echo "listed $count"
command -v dmesg >/dev/null && echo "log $(dmesg 2>/dev/null | wc -l)"
:
"""

_PLAIN_DEVICES = frozenset(["1:3", "1:5", "1:7", "1:8", "1:9"])
"""null, zero, full, random, urandom: every process has them, and they lead nowhere."""
_TERMINALS = frozenset((4, 5, *range(136, 144)))
"""Majors; devpts has an instance of its own for each container, with equal numbers."""


def _exact(name: str, title: str, better: str, definition: str) -> Metric:
    return Metric(name=f"isolation.{name}", unit="1", better=better, scale="exact", title=title, definition=definition)  # type: ignore[arg-type] # one of the literals, by the table below


_CALLS = (
    "Of the system calls of 64-bit Linux up to number 469 (x86-64 or arm64), each tried once by the same program "
    "inside, with arguments that are all invalid:"
)
_GUEST = "A guest's are those of its own kernel, which is not the host's."
_TOLD = (
    "Told by what the same kernel answers on the host, without a filter and with the same capabilities; where no "
    "filter is on, by the answer itself. Not there where neither can be had."
)


class Isolation(Workload):
    """Kernel, namespaces, what is seen of the host, capabilities, system calls."""

    name = "isolation"
    title = (
        "which kernel an instance runs, what it shares with the host, what it sees of it and which calls it may make"
    )
    seconds = 0.5
    metrics = (
        _exact("same_kernel", "Runs the host's kernel", "lower", "1 where the boot id inside is the host's own."),
        _exact(
            "same_version",
            "Kernel of the host's version",
            "neither",
            "1 where release and build of the kernel inside are those of the host's, be it the same kernel or not.",
        ),
        _exact(
            "namespaces",
            "Namespaces of its own",
            "higher",
            "How many of the host kernel's kinds of namespace, 8 today, differ from the host's; all of them in a "
            "kernel of its own. One that cannot be read counts as shared.",
        ),
        _exact(
            "host_processes",
            "Host processes visible",
            "lower",
            "Processes in its /proc that are the host's own, by pid and start time.",
        ),
        _exact(
            "host_devices",
            "Host devices in /dev",
            "lower",
            "Devices of the host's kernel that have a node in its /dev; null, zero, full, random, urandom and "
            "terminals, which every process has, aside.",
        ),
        _exact(
            "host_devices_listed",
            "Host devices in /sys",
            "lower",
            "Devices of the host's kernel that its /sys/dev lists, whether it can open them or not.",
        ),
        _exact(
            "host_mounts",
            "Host mounts visible",
            "lower",
            "Mounts in its own table that are of a file system which the host has mounted too, by device number; what "
            "was mounted for this instance aside.",
        ),
        _exact(
            "host_log",
            "Host kernel log lines visible",
            "lower",
            "Lines of the host's kernel log that `dmesg` prints inside; 0 where it is refused.",
        ),
        _exact("capabilities", "Capabilities", "lower", "Effective capabilities that its processes hold."),
        _exact("seccomp", "Seccomp mode", "higher", "0 off, 1 strict, 2 filter, as /proc/self/status says inside."),
        _exact("no_new_privs", "No new privileges", "higher", "1 where no program inside can gain any by being run."),
        _exact(
            "syscalls",
            "System calls let through",
            "lower",
            f"{_CALLS} those that were taken up: the answer is neither EPERM nor ENOSYS, and the caller was not killed "
            f"by SIGSYS. {_GUEST}",
        ),
        _exact(
            "syscalls_filtered",
            "System calls filtered",
            "higher",
            f"{_CALLS} those that a seccomp filter refuses: SIGSYS, or EPERM or ENOSYS where the kernel itself answers "
            f"otherwise. {_TOLD}",
        ),
        _exact(
            "syscalls_refused",
            "System calls for which it lacks a capability",
            "higher",
            f"{_CALLS} those that the kernel itself answers with EPERM. {_TOLD}",
        ),
        _exact(
            "syscalls_missing",
            "System calls not implemented",
            "neither",
            f"{_CALLS} those that the kernel itself answers with ENOSYS: older or newer than it, or left out of it. "
            f"{_TOLD}",
        ),
        _exact(
            "vmm_seccomp",
            "Seccomp mode of its VMM",
            "higher",
            "Guests only: 0 off, 1 strict, 2 filter, as the host's kernel says of the virtual machine monitor; the "
            "least of its threads'. It stands between the guest's devices and the host.",
        ),
        _exact(
            "vmm_capabilities",
            "Capabilities of its VMM",
            "lower",
            "Guests only: effective capabilities on the host that the virtual machine monitor holds.",
        ),
    )

    def measure(self, live: Live, params: Mapping[str, Scalar]) -> Measured:
        answer = live.run(PROBE, seconds=60).checked()
        where = _accounts(live)
        host = host_view(_own_pids(where), _own_words(live, where))
        inside = parse(answer.stdout.decode(errors="replace"))
        measured = weigh(inside, host)
        measured.artifacts["isolation.txt"] = answer.stdout
        _add(measured, _of_vmm(where))
        _try_calls(live, inside, host, measured)
        return measured


METRICS = {each.name.removeprefix("isolation."): each for each in Isolation.metrics}


def _add(measured: Measured, values: Mapping[str, float | None]) -> None:
    """What is not known is not there, and never a zero."""
    for name, value in values.items():
        if value is not None:
            measured.add(METRICS[name], float(value))


def _accounts(live: Live) -> Accounts:
    try:
        return accounts(live)
    except Skipped:
        return Accounts()


def _own_pids(where: Accounts) -> set[int]:
    """The instance's own processes: they are no part of the host that it sees."""
    return {*where.pids, *cgroups.pids(where.cgroups)}


def _own_words(live: Live, where: Accounts) -> list[str]:
    """What stands in the host's table of mounts where something was mounted for this one instance."""
    assert live.instance is not None
    return [live.instance.id, *map(str, where.files)]


@dataclass(frozen=True, slots=True)
class HostView:
    """The host as this program sees it."""

    boot_id: str
    kernel: str
    """Release and build."""
    namespaces: Mapping[str, str]
    """By kind; those that its kernel has."""
    processes: frozenset[tuple[int, int]] = frozenset()
    """Pid and start time of every process that is not the instance's."""
    filesystems: frozenset[str] = frozenset()
    """Device numbers of what is mounted."""


def host_view(own: Collection[int], mounted: Iterable[str] = ()) -> HostView:
    """What an instance is compared with. `own`: its processes; `mounted`: how its own mounts are told."""
    namespaces = {}
    for kind in NAMESPACES:
        with contextlib.suppress(FileNotFoundError):  # an older kernel has fewer
            namespaces[kind] = str(Path(f"/proc/self/ns/{kind}").readlink())
    pairs = ((pid, processes.start_time(pid)) for pid in processes.all_pids() if pid not in own)
    words, table = list(mounted), Path("/proc/self/mountinfo").read_text(errors="replace").splitlines()
    return HostView(
        boot_id=Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
        kernel=f"{platform.release()} {platform.version()}",
        namespaces=namespaces,
        processes=frozenset((pid, started) for pid, started in pairs if started is not None),
        filesystems=frozenset(line.split()[2] for line in table if not any(word in line for word in words)),
    )


@dataclass(slots=True)
class Inside:
    """What the probe said. A line that it did not print is not there."""

    words: dict[str, str]
    processes: set[tuple[int, int]]
    filesystems: list[str]
    """The device number of each mount."""
    devices: set[str]
    """Type and number of each node in /dev that leads somewhere."""

    def number(self, key: str, base: int = 10) -> int | None:
        """A line's number; None where there is none."""
        try:
            return int(self.words.get(key, ""), base)
        except ValueError:
            return None


def parse(text: str) -> Inside:
    """The probe's lines. Raises InstanceError where it said nothing."""
    found = Inside({}, set(), [], set())
    for line in text.splitlines():
        kind, _, rest = line.partition(" ")
        fields = rest.split()
        if kind == "process" and ")" in rest:  # a name may hold a line break: what follows it is no process
            found.processes.add((int(fields[0]), int(rest[rest.rindex(")") + 2 :].split()[19])))
        elif kind == "mount" and len(fields) > 2:
            found.filesystems.append(fields[2])
        elif kind == "device" and len(fields) > 1:
            found.devices |= _leading(fields[0], fields[1])
        elif kind in ("ns", "status") and fields:
            found.words[f"{kind} {fields[0].rstrip(':')}"] = " ".join(fields[1:])
        else:
            found.words[kind] = rest
    if "boot_id" not in found.words:
        raise InstanceError("The probe of the isolation said nothing.", details=text[-500:])
    return found


def _leading(number: str, kind: str) -> set[str]:
    """A device by type and number, from what stat(1) prints in hexadecimal; empty for those that every process has."""
    major, minor = (int(each, 16) for each in number.split(":"))
    plain = kind == "character" and (major in _TERMINALS or f"{major}:{minor}" in _PLAIN_DEVICES)
    return set() if plain else {f"{kind} {major}:{minor}"}


def weigh(inside: Inside, host: HostView) -> Measured:
    """What it sees against what there is: samples and facts."""
    words = inside.words
    same = words["boot_id"] == host.boot_id
    # Another kernel numbers its first namespaces like this one does: equal numbers there say nothing.
    own = [kind for kind, ours in host.namespaces.items() if not same or words.get(f"ns {kind}", "") not in ("", ours)]
    capabilities = inside.number("status CapEff", 16)
    kernel = f"{words.get('kernel_release', '')} {words.get('kernel_version', '')}"
    measured = Measured()
    _add(
        measured,
        {
            "same_kernel": same,
            "same_version": kernel == host.kernel,
            "namespaces": len(own),
            "host_processes": same * len(inside.processes & host.processes),
            "host_devices": same * len(inside.devices) if "devices" in words else None,
            "host_devices_listed": same * (inside.number("listed") or 0),
            "host_mounts": same * sum(each in host.filesystems for each in inside.filesystems),
            "host_log": _if_known(same, inside.number("log")),
            "capabilities": None if capabilities is None else capabilities.bit_count(),
            "seccomp": inside.number("status Seccomp"),
            "no_new_privs": inside.number("status NoNewPrivs"),
        },
    )
    measured.facts = {
        "kernel_release": words.get("kernel_release", ""),
        "kernel_version": words.get("kernel_version", ""),
        "boot_id": words["boot_id"],
        "os": words.get("os", "").strip('"'),
        "namespaces": ", ".join(own),
        "host_kernel_release": platform.release(),
    }
    return measured


def _if_known(same: bool, value: int | None) -> float | None:
    return None if same and value is None else float(same * (value or 0))


def _of_vmm(where: Accounts) -> dict[str, float | None]:
    """The sandbox around a guest's VMM. Seccomp is each thread's own: what the least of them has counts."""
    pid = next((pid for pid, part in where.parts.items() if part == "vmm"), None)
    if pid is None:
        return {}
    threads = [_status(path) for path in Path(f"/proc/{pid}/task").glob("*/status")]
    modes = [int(each["Seccomp"]) for each in threads if "Seccomp" in each]
    held = [int(each["CapEff"], 16).bit_count() for each in threads if "CapEff" in each]
    return {"vmm_seccomp": min(modes, default=None), "vmm_capabilities": max(held, default=None)}


def _status(path: Path) -> dict[str, str]:
    """A status file of /proc, by key; empty where its process is gone."""
    try:
        lines = path.read_text(errors="replace").splitlines()
    except OSError:
        return {}
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


def _try_calls(live: Live, inside: Inside, host: HostView, measured: Measured) -> None:
    """Try the system calls inside, and sort what they came to."""
    machine = inside.words.get("machine", "")
    if not syscalls.numbers(machine):
        measured.facts["syscalls"] = f"not tried: their numbers on {machine} are not known"
        return
    answer = live.run(shlex.join(syscalls.argv(machine)), seconds=SYSCALL_SECONDS)
    seen = syscalls.parse(answer.stdout.decode(errors="replace"), machine)
    if answer.status == NOT_FOUND:
        measured.facts["syscalls"] = "not tried: the rootfs has no perl"
        return
    if seen is None:
        answer.checked()
        raise InstanceError("The program that tries system calls did not end.", details=answer.stdout[-500:].decode())
    measured.artifacts["syscalls.txt"] = answer.stdout
    reference, unknown = _reference(seen, inside, host, machine)
    found = syscalls.sort(seen, reference)
    _add(
        measured,
        {
            "syscalls": len(found.through),
            "syscalls_filtered": None if found.filtered is None else len(found.filtered),
            "syscalls_refused": None if found.refused is None else len(found.refused),
            "syscalls_missing": None if found.missing is None else len(found.missing),
        },
    )
    measured.facts["syscalls"] = f"{len(seen)} tried"
    for kind, names in (("filtered", found.filtered), ("refused", found.refused), ("missing", found.missing)):
        if names:
            measured.facts[f"syscalls {kind}"] = ", ".join(sorted(names))
    if unknown:
        measured.facts["syscalls unknown"] = unknown


def _reference(
    seen: Mapping[str, int], inside: Inside, host: HostView, machine: str
) -> tuple[Mapping[str, int] | None, str]:
    """What the same kernel answers without a filter and with the same capabilities; or None, and why."""
    words = inside.words
    if words.get("status Seccomp") == "0":
        return seen, ""
    held, ours = words.get("status CapEff", ""), _status(Path("/proc/self/status"))
    if words["boot_id"] != host.boot_id or machine != platform.machine():
        return None, "a filter in another kernel than the host's"
    if words.get("ns user") != host.namespaces.get("user"):
        return None, "its capabilities are those of a user namespace"
    if ours.get("Seccomp") != "0":
        return None, "the host is under a filter itself"
    if not held or int(held, 16) & ~int(ours["CapEff"], 16):
        return None, "it holds capabilities that this program lacks"
    try:
        output = tool.run(syscalls.argv(machine, held))
    except ImageError as error:
        return None, error.brief
    return syscalls.parse(output.decode(errors="replace"), machine), ""
