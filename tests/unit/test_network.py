"""The run's bridge and its namespace, without an instance."""

from __future__ import annotations

import ipaddress
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tare_bench import network, processes
from tare_bench.errors import InstanceError
from tare_bench.network import HOST, PORTS, Link, Outside, Port

needs_root = [pytest.mark.needs("root"), pytest.mark.needs("netns")]


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Outside]:
    made = Outside(tmp_path, tmp_path)
    made.open()
    yield made
    made.close()


@pytest.fixture
def alone() -> Iterator[int]:
    """A process in a network namespace of its own."""
    process = subprocess.Popen(["unshare", "-n", "sh", "-c", "echo; exec cat"], stdin=-1, stdout=-1)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdout.readline()
    yield process.pid
    process.stdin.close()
    process.stdout.close()
    process.wait()


def test_addresses_are_those_of_benchmarks_and_of_one_instance_each() -> None:
    ports = [Port(number) for number in range(1, 400)]
    assert (
        len({each.address for each in ports} | {each.mac for each in ports} | {each.device for each in ports})
        == 3 * 399
    )
    assert all(ipaddress.ip_address(each.address) in ipaddress.ip_network("198.18.0.0/15") for each in ports)
    assert str(network.SUBNET[1]) not in {each.address for each in ports}
    assert all(int(each.mac[:2], 16) & 3 == 2 for each in ports), "locally administered, and no group's"
    assert all(len(each.device) < 16 for each in ports)


@pytest.mark.parametrize("path", ["none", "bridge", "host", "user", "nat"])
def test_a_network_of_nothing_does_nothing(path: network.NetworkPath) -> None:
    link = Link(None, path)
    link.attach(1)
    link.adopt()
    link.drop()
    assert (link.address, link.granted(), link.reach(PORTS[0])) == ("", {}, None)


def test_what_shares_the_hosts_network_has_ports_of_its_own(tmp_path: Path) -> None:
    there = Outside(tmp_path, tmp_path)
    links = [Link(there, "host") for _ in range(1200)]
    reached = [link.reach(port) for link in links for port in PORTS]
    assert len({each.port for each in reached[:2000] if each is not None}) == 2000
    assert all(each is not None and each.port == each.listen and each.place == HOST for each in reached)


def test_what_is_published_stands_for_a_port_of_the_instance(tmp_path: Path) -> None:
    link = Link(Outside(tmp_path, tmp_path), "nat", published={PORTS[0]: 40000})
    found = link.reach(PORTS[0])
    assert found is not None
    assert (found.address, found.port, found.listen, found.place) == ("127.0.0.1", 40000, PORTS[0], HOST)


def test_who_is_not_root_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    network.refusal.cache_clear()
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    try:
        assert network.refusal("none") == ""
        assert "root (CAP_NET_ADMIN" in network.refusal("bridge")
    finally:
        network.refusal.cache_clear()


def test_what_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    network.refusal.cache_clear()
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr("tare_bench.tool.find", lambda name: None if name == "ip" else name)
    try:
        assert network.refusal("bridge") == "not installed: ip (tare setup)"
    finally:
        network.refusal.cache_clear()


class TestBridge:
    """With a namespace of its own."""

    pytestmark = needs_root

    def test_nothing_of_it_is_in_the_hosts_namespace(self, outside: Outside) -> None:
        ours = set(os.listdir("/sys/class/net"))  # noqa: PTH208 - names only
        assert network.BRIDGE not in ours
        said = network._in(outside._namespace, ["ip", "-o", "link"])
        assert network.BRIDGE in said
        assert "eth0" not in said
        assert network._in(outside._namespace, ["ip", "route", "show", "default"]) == ""

    def test_a_process_gets_a_device_with_its_address(self, outside: Outside, alone: int) -> None:
        link = Link(outside, "bridge")
        assert link.granted() == {}
        link.attach(alone)
        assert link.granted() == {"network": "bridge"}
        with Path(f"/proc/{alone}/ns/net").open() as theirs:
            said = network._in(theirs.fileno(), ["ip", "-o", "-4", "addr"])
            assert link.address in network._in(theirs.fileno(), ["cat", "/proc/net/fib_trie"])
        assert f"{link.address}/16" in said
        link.drop()
        assert link.granted() == {}
        link.drop()

    def test_a_device_that_is_down_is_not_one(self, outside: Outside, alone: int) -> None:
        link = Link(outside, "bridge")
        link.attach(alone)
        with Path(f"/proc/{alone}/ns/net").open() as theirs:
            network._in(theirs.fileno(), ["ip", "link", "set", "eth0", "down"])
        assert link.granted() == {}

    def test_what_cannot_be_attached_is_said_in_the_programs_words(self, outside: Outside) -> None:
        with pytest.raises(InstanceError, match="network could not be made") as caught:
            Link(outside, "bridge").attach(2**22 + 1)
        assert caught.value.details

    def test_a_thread_comes_back_whatever_happens(self, outside: Outside) -> None:
        here = Path("/proc/thread-self/ns/net")
        before = here.readlink()
        with pytest.raises(ValueError, match=r"net:\[\d+\]") as caught, outside.entered():
            raise ValueError(str(here.readlink()))
        assert str(before) not in str(caught.value)
        assert here.readlink() == before

    def test_without_a_bridge_it_is_said(self, outside: Outside, alone: int) -> None:
        outside.close()
        link = Link(outside, "bridge")
        for call in (lambda: link.attach(alone), link.adopt, lambda: outside.run(["true"], seconds=5)):
            with pytest.raises(InstanceError, match="no bridge"):
                call()
        with pytest.raises(InstanceError, match="no bridge"), link.entered():
            raise AssertionError
        assert link.granted() == {}
        link.drop()

    def test_it_is_made_once_and_closed_twice(self, outside: Outside) -> None:
        first = outside._namespace
        outside.open()
        assert outside._namespace == first
        outside.close()
        outside.close()

    def test_it_ends_with_a_process_that_is_killed(self, outside: Outside, alone: int) -> None:
        """The other end of a veth goes with its namespace, so that its peer tells."""
        holder = subprocess.Popen([sys.executable, "-c", HOLDS, str(alone)], stdin=-1, stdout=-1)
        assert holder.stdin is not None
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"attached\n"
        with Path(f"/proc/{alone}/ns/net").open() as theirs:
            assert "eth0" in network._in(theirs.fileno(), ["ip", "-o", "link"])
            watch = subprocess.Popen(
                ["nsenter", f"--net=/proc/{alone}/ns/net", "ip", "monitor", "link"], stdout=-1, stderr=-1
            )
            try:
                holder.send_signal(signal.SIGKILL)
                holder.wait()
                assert _gone(theirs.fileno(), watch)
            finally:
                watch.kill()
                watch.communicate()
                holder.stdin.close()
                holder.stdout.close()
        assert processes.start_time(holder.pid) is None


HOLDS = """
import sys
from pathlib import Path
from tare_bench.network import Link, Outside

outside = Outside(Path("/"), Path("/"))
outside.open()
Link(outside, "bridge").attach(int(sys.argv[1]))
print("attached", flush=True)
sys.stdin.read()
"""


def _gone(namespace: int, watch: subprocess.Popen[bytes]) -> bool:
    """Whether the device goes: the kernel takes a namespace apart a moment after its end, and says so."""
    assert watch.stdout is not None
    while "eth0" in network._in(namespace, ["ip", "-o", "link"]):
        if not select.select([watch.stdout], [], [], 20)[0]:
            return False
        os.read(watch.stdout.fileno(), 4096)
    return True
