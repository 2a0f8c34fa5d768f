"""`isolation`: what an instance shares with the host and sees of it. Measured from inside, not asserted."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from pathlib import Path

from .. import processes
from ..errors import InstanceError
from ..lifecycle import Live
from ..metrics import Metric
from ..model import Scalar
from . import Measured, Workload

NAMESPACES = ("cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts")

# One shell, and no program where a builtin will do: it runs in a rootfs that may have little.
PROBE = """\
read -r id </proc/sys/kernel/random/boot_id; echo "boot_id $id"
echo "kernel_release $(uname -r)"
while IFS= read -r line; do case $line in PRETTY_NAME=*) echo "os ${line#*=}";; esac; done </etc/os-release
for kind in cgroup ipc mnt net pid time user uts; do echo "ns $kind $(readlink /proc/self/ns/$kind)"; done
while read -r key value; do case $key in CapEff:|Seccomp:|NoNewPrivs:) echo "status $key $value";; esac
done </proc/self/status
for entry in /proc/[0-9]*/stat; do
  { IFS= read -r line <"$entry" && echo "process $line"; } 2>/dev/null
done
"""


def _exact(name: str, title: str, better: str, definition: str) -> Metric:
    return Metric(name=f"isolation.{name}", unit="1", better=better, scale="exact", title=title, definition=definition)  # type: ignore[arg-type] # one of the literals, by the table below


class Isolation(Workload):
    """Kernel, namespaces, processes, capabilities, seccomp."""

    name = "isolation"
    title = "which kernel an instance runs, what it shares with the host and what it sees of it"
    seconds = 0.2
    metrics = (
        _exact("same_kernel", "Runs the host's kernel", "lower", "1 where the boot id inside is the host's own."),
        _exact(
            "namespaces",
            "Namespaces of its own",
            "higher",
            "How many of the kernel's 8 kinds of namespace differ from the host's; all of them in a kernel of its own.",
        ),
        _exact(
            "host_processes",
            "Host processes visible",
            "lower",
            "Processes in its /proc that are the host's own, by pid and start time.",
        ),
        _exact("capabilities", "Capabilities", "lower", "Effective capabilities that its processes hold."),
        _exact("seccomp", "Seccomp mode", "higher", "0 off, 1 strict, 2 filter, as /proc/self/status says inside."),
    )

    def measure(self, live: Live, params: Mapping[str, Scalar]) -> Measured:
        answer = live.run(PROBE, seconds=60).checked()
        measured = parse(answer.stdout.decode(errors="replace"), host_view(accounts_pids(live)))
        measured.artifacts["isolation.txt"] = answer.stdout
        return measured


class HostView(dict[str, str]):
    """The host's own boot id, and namespaces by kind."""

    processes: frozenset[tuple[int, int]] = frozenset()
    """Pid and start time of every process that is not the instance's."""


def accounts_pids(live: Live) -> set[int]:
    """The instance's own processes: they are no part of the host that it sees."""
    from .. import cgroups
    from . import Skipped, accounts

    try:
        where = accounts(live)
    except Skipped:
        return set()
    return {*where.pids, *cgroups.pids(where.cgroups)}


def host_view(own: set[int]) -> HostView:
    """What an instance is compared with."""
    view = HostView(boot_id=Path("/proc/sys/kernel/random/boot_id").read_text().strip())
    view |= {f"ns {kind}": str(Path(f"/proc/self/ns/{kind}").readlink()) for kind in NAMESPACES}
    pairs = ((pid, processes.start_time(pid)) for pid in processes.all_pids() if pid not in own)
    view.processes = frozenset((pid, started) for pid, started in pairs if started is not None)
    return view


def parse(text: str, host: HostView) -> Measured:
    """The probe's lines to samples and facts. Raises InstanceError where the probe said nothing."""
    seen: dict[str, str] = {}
    inside: set[tuple[int, int]] = set()
    for line in text.splitlines():
        kind, _, rest = line.partition(" ")
        if kind == "process" and ")" in rest:  # a name may hold a line break: what follows it is no process
            fields = rest[rest.rindex(")") + 2 :].split()
            inside.add((int(rest.split()[0]), int(fields[19])))
        elif kind in ("ns", "status"):
            key, _, value = rest.partition(" ")
            seen[f"{kind} {key.rstrip(':')}"] = value
        else:
            seen[kind] = rest
    if "boot_id" not in seen:
        raise InstanceError("The probe of the isolation said nothing.", details=text[-500:])
    return _weigh(seen, inside, host)


def _weigh(seen: dict[str, str], inside: set[tuple[int, int]], host: HostView) -> Measured:
    same = seen["boot_id"] == host["boot_id"]
    # Another kernel numbers its first namespaces like this one does: equal numbers there say nothing.
    differ = sum(1 for kind in NAMESPACES if not same or seen.get(f"ns {kind}") != host[f"ns {kind}"])
    visible = len(inside & host.processes) if same else 0
    values = (
        float(same),
        float(differ),
        float(visible),
        float(int(seen.get("status CapEff", "0"), 16).bit_count()),
        float(seen.get("status Seccomp", "0")),
    )
    measured = Measured()
    for metric, value in zip(Isolation.metrics, values, strict=True):
        measured.add(metric, value)
    measured.facts = {
        "kernel_release": seen.get("kernel_release", ""),
        "boot_id": seen["boot_id"],
        "os": seen.get("os", "").strip('"'),
        "namespaces": ", ".join(k for k in NAMESPACES if not same or seen.get(f"ns {k}") != host[f"ns {k}"]),
        "host_kernel_release": platform.release(),
    }
    return measured
