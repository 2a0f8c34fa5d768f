"""What instances see from inside is the same in every driver: files, environment, limits, mounts."""

from __future__ import annotations

import pytest
from hosts import REAL, Host, Hosts
from tare_bench.guest import AGENT_NAME

pytestmark = [pytest.mark.needs("root"), *(pytest.mark.needs(name) for name in REAL)]

ENGINES_OWN = ("/etc/hostname", "/etc/hosts", "/etc/resolv.conf", "/etc/mtab")

# Owners, modes, sizes, links of everything, and the content of every regular file. A folder's size is its file
# system's own affair.
LISTING = r"""
cd / && find bin boot etc home lib* media mnt opt root sbin srv usr var -xdev \
  \( -type d -printf '%p d %m %U %G\n' -o -printf '%p %y %m %U %G %s %l\n' \) | LC_ALL=C sort
"""
CONTENT = r"""
cd / && find etc usr var -xdev -type f -print0 | LC_ALL=C sort -z | xargs -0 cksum
"""
ENVIRONMENT = "env | LC_ALL=C sort; pwd; umask; id -u; id -g; id -G"
LIMITS = "for s in S H; do ulimit -$s -c; done; ulimit -S -n; ulimit -S -s; ulimit -S -f; ulimit -S -v; ulimit -S -t"
MOUNTS = "cat /proc/self/mounts"
WRITABLE = 'for f in /work /tmp /run/tare /dev/shm; do : >$f/.probe && rm $f/.probe && echo "$f"; done'
LO = "cat /sys/class/net/lo/flags"
DEVICES = "for d in null zero full random urandom tty; do [ -c /dev/$d ] && echo $d; done; head -c 3 /dev/zero | wc -c"


def _seen(hosts: Hosts, command: str) -> dict[str, str]:
    seen = {}
    for name in REAL:
        answer = hosts[name].shared().run(command, seconds=170)
        assert answer.status == 0, f"{name}: {answer.stderr[-500:]!r}"
        seen[name] = answer.stdout.decode()
    return seen


def _own(line: str) -> bool:
    words = line.split()
    return not any(f"/{word}" in ENGINES_OWN for word in words)


@pytest.mark.parametrize("command", [LISTING, CONTENT], ids=["listing", "content"])
def test_they_have_the_same_files(hosts: Hosts, command: str) -> None:
    seen = {name: [line for line in text.splitlines() if _own(line)] for name, text in _seen(hosts, command).items()}
    assert len(seen["native"]) > 1000
    for name in REAL[1:]:
        assert sorted(set(seen[name]) ^ set(seen["native"])) == [], f"{name} and native differ"


@pytest.mark.parametrize("command", [ENVIRONMENT, LIMITS, WRITABLE, DEVICES], ids=["env", "limits", "writable", "dev"])
def test_they_have_the_same_surroundings(hosts: Hosts, command: str) -> None:
    seen = _seen(hosts, command)
    assert seen["native"].strip()
    assert seen == dict.fromkeys(REAL, seen["native"])


def test_they_have_the_same_mounts_of_interest(hosts: Hosts) -> None:
    wanted = {
        "/proc": {"proc"},
        "/sys": {"sysfs"},
        "/dev": {"tmpfs", "devtmpfs"},
        "/dev/pts": {"devpts"},
        "/dev/shm": {"tmpfs"},
        "/tmp": {"tmpfs"},
        "/run/tare": {"tmpfs"},
    }
    for name, text in _seen(hosts, MOUNTS).items():
        kinds = {words[1]: words[2] for words in map(str.split, text.splitlines())}
        assert {where for where, kind in wanted.items() if kinds.get(where) not in kind} == set(), name


def test_their_loopback_is_up(hosts: Hosts) -> None:
    for name, flags in _seen(hosts, LO).items():
        assert int(flags, 16) & 1, name


def test_what_is_written_stays_in_the_instance(hosts: Hosts) -> None:
    for name in REAL:
        host: Host = hosts[name]
        with host.booted() as live:
            live.run("echo x >/work/mine && echo x >/tmp/mine", seconds=60).checked()
        with host.booted() as live:
            assert live.run("ls /work /tmp", seconds=60).checked().stdout.decode().split() == ["/tmp:", "/work:"]


def test_the_agent_is_no_part_of_the_rootfs(hosts: Hosts) -> None:
    for text in _seen(hosts, f"find /usr /etc /var -xdev -name '{AGENT_NAME}*'; true").values():
        assert text == ""
