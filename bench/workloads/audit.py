"""`audit`: what an instance really got, read back from inside and from its engine. What is made of it: `..audit`."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping

from .. import mounts
from ..clock import NS, finish
from ..driver import GRANTED
from ..errors import TareError
from ..granted import devices
from ..lifecycle import Live
from ..model import Scalar
from . import Measured, Workload

SECONDS = 60.0
ENGINE_SECONDS = 20
MAX_CPUS = 1 << 16

_PROGRAMS = "sh sysbench fio redis-server redis-benchmark"
_LIBRARIES = "/lib*/libc.so.6 /lib/*/libc.so.6 /lib/ld-musl-*.so.1"

# One `head` for all files, since each program that is started takes an emulated guest its time. The environment is
# last: only there can a value have a line that looks like a heading.
PROBE = f"""\
: tare audit
set --
for name in {_PROGRAMS}; do
  for folder in /usr/bin /bin /usr/local/bin; do [ -f "$folder/$name" ] && set -- "$@" "$folder/$name" && break; done
done
for file in {_LIBRARIES}; do [ -f "$file" ] && set -- "$@" "$file" && break; done
echo '==> payload <=='
[ $# -eq 0 ] || sha256sum "$@"
echo '==> network <=='
for entry in /sys/class/net/*; do [ -e "$entry" ] && echo "${{entry##*/}}"; done
set -- /proc/self/status /proc/self/limits /proc/self/mountinfo /proc/meminfo /proc/sys/kernel/osrelease \\
  /proc/sys/kernel/version /sys/devices/system/cpu/online /sys/kernel/mm/transparent_hugepage/enabled \\
  /sys/devices/system/clocksource/clocksource0/current_clocksource \\
  /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/devices/system/cpu/vulnerabilities/* \\
  /proc/cpuinfo
head -v -c 32768 "$@" 2>/dev/null
echo
head -v -c 32768 /proc/self/environ
"""

_HEADING = re.compile(r"^==> (.+) <==$", re.MULTILINE)
_VULNERABILITIES = "/sys/devices/system/cpu/vulnerabilities/"
_SHOWN = frozenset(("HOME", "LANG", "PATH", "PWD", "OLDPWD", "SHLVL", "TZ", "TERM", "USER", "LOGNAME", "_"))
_SHOWN_BEGIN = ("LC_", "LD_", "MALLOC_", "GLIBC_", "OMP_")
_CPU = ("model name", "CPU implementer", "CPU part", "uarch")


class Audit(Workload):
    """Facts only; nothing of it is timed."""

    name = "audit"
    title = "what an instance really got, read back from inside and from its engine: the fairness audit"
    seconds = 0.5

    def measure(self, live: Live, params: Mapping[str, Scalar]) -> Measured:
        answer = live.run(PROBE, seconds=SECONDS)
        inside = parse(answer.stdout.decode(errors="replace"))
        engine = _engine(live) | {"accelerator": live.accelerator}
        facts = {f"inside.{name}": value for name, value in inside.items() if value}
        facts |= {f"engine.{name}": value for name, value in engine.items() if value}
        return Measured(facts=facts, artifacts={"audit.txt": _without_environment(answer.stdout)})


def _engine(live: Live) -> dict[str, str]:
    assert live.instance is not None
    try:
        until = live.clock.now() + ENGINE_SECONDS * NS
        found = finish(live.clock, live.instance.granted, until, what="Asking what it was given")
    except TareError as error:  # what could not be read is unknown; what was measured is not lost for it
        return {"unread": error.brief}
    return {name: value for name, value in found.items() if name in GRANTED}


def _without_environment(output: bytes) -> bytes:
    """What the probe printed, but for the values of variables: results are passed on."""
    return output.partition(b"==> /proc/self/environ <==")[0]


def parse(text: str) -> dict[str, str]:
    """What the probe printed, as facts by name. What it could not read is not there."""
    text, _, environment = text.partition("==> /proc/self/environ <==\n")
    parts = _HEADING.split(text)
    files = {name: body.strip() for name, body in zip(parts[1::2], parts[2::2], strict=True)}
    status, memory = (_fields(files.get(f"/proc/{name}", "")) for name in ("self/status", "meminfo"))
    mountinfo = files.get("/proc/self/mountinfo", "")
    return {
        "cpus": _usable(status.get("Cpus_allowed_list", ""), files.get("/sys/devices/system/cpu/online", "")),
        "memory": _bytes(memory.get("MemTotal", "")),
        "memory limit": _limit(files),
        "kernel": files.get("/proc/sys/kernel/osrelease", ""),
        "kernel build": files.get("/proc/sys/kernel/version", ""),
        "cpu": _cpu(files.get("/proc/cpuinfo", "")),
        "mitigations": _mitigations(files),
        "transparent hugepages": _chosen(files.get("/sys/kernel/mm/transparent_hugepage/enabled", "")),
        "clocksource": files.get("/sys/devices/system/clocksource/clocksource0/current_clocksource", ""),
        **{f"mount {path}": _mount(mountinfo, path) for path in ("/", "/work", "/tmp")},
        "limits": _limits(files.get("/proc/self/limits", "")),
        "user": " ".join(status[name] for name in ("Uid", "Gid", "Umask") if name in status),
        "network": devices(files["network"].split()) if files.get("network") else "",
        "payload": _payload(files.get("payload", "")),
        "environment": _environment(environment),
    }


def _fields(text: str) -> dict[str, str]:
    pairs = (line.partition(":") for line in text.splitlines())
    return {key: " ".join(value.split()) for key, _, value in pairs}


def cpu_set(text: str) -> frozenset[int]:
    """`0-2,5` as numbers. Raises ValueError where it is none, or names more CPUs than Linux can have."""
    found: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        if (end := int(last or first)) > MAX_CPUS:
            raise ValueError(text)
        found |= set(range(int(first), end + 1))
    return frozenset(found)


def _usable(allowed: str, online: str) -> str:
    """How many CPUs are online and allowed."""
    try:
        return str(len(cpu_set(allowed) & cpu_set(online)))
    except ValueError:
        return ""


def _bytes(text: str) -> str:
    number = text.removesuffix(" kB")
    return str(int(number) << 10) if number.isdigit() else ""


def _limit(files: Mapping[str, str]) -> str:
    """The limit of memory that a control group shows inside; not there where none is to be seen."""
    names = ("memory.max", "memory/memory.limit_in_bytes")
    return next((files[path] for path in (f"/sys/fs/cgroup/{name}" for name in names) if path in files), "")


def _cpu(text: str) -> str:
    """The first processor: its name, or where the architecture gives none, its numbers."""
    found = _fields(text.partition("\n\n")[0])
    fields = {key.strip(): value for key, value in found.items()}
    return fields.get("model name") or ", ".join(f"{key} {fields[key]}" for key in _CPU if key in fields)


def _chosen(text: str) -> str:
    """`always [madvise] never` is madvise."""
    return text.partition("[")[2].partition("]")[0] or text


def _mitigations(files: Mapping[str, str]) -> str:
    found = {path.removeprefix(_VULNERABILITIES): files[path] for path in files if path.startswith(_VULNERABILITIES)}
    return "\n".join(f"{name}: {found[name]}" for name in sorted(found))


def _mount(mountinfo: str, path: str) -> str:
    found = mounts.holding(mountinfo, path)
    return found.words() if found else ""


def _limits(text: str) -> str:
    """`open files: 1024 of 4096`, a line each: what holds, and how far it can be raised."""
    rows = (re.fullmatch(r"Max (.+?)\s{2,}(\S+)\s+(\S+)(?:\s+\S+)?\s*", line) for line in text.splitlines()[1:])
    return "\n".join(f"{row[1]}: {row[2]} of {row[3]}" for row in rows if row)


def _payload(text: str) -> str:
    """`fio 3f…`, a line each; by name, since /bin and /usr/bin may be one."""
    lines = (line.split(maxsplit=1) for line in text.splitlines())
    found = {path.strip().rpartition("/")[2]: digest for digest, path in (line for line in lines if len(line) == 2)}
    return "\n".join(f"{name}: {found[name]}" for name in sorted(found))


def _environment(text: str) -> str:
    """Each variable; of one that Tare doesn't know, a digest instead of the value, which may be a secret."""
    entries = sorted(entry.partition("=") for entry in text.strip("\n").split("\0") if "=" in entry)
    return "\n".join(f"{name}={value if _may_be_shown(name) else _digest(value)}" for name, _, value in entries)


def _may_be_shown(name: str) -> bool:
    return name in _SHOWN or name.startswith(_SHOWN_BEGIN)


def _digest(value: str) -> str:
    return f"sha256:{hashlib.sha256(value.encode(errors='replace')).hexdigest()[:12]}"
