"""An instance's network: up, the same path in every driver, no way out of the run's own namespace, gone afterwards."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from hosts import REAL, SYSTEM, Host, Hosts, built
from tare_bench.errors import InstanceError
from tare_bench.network import BRIDGE, DEVICE, SUBNET, Outside
from tare_bench.workloads import Skipped
from tare_bench.workloads.network import NetRequest

pytestmark = [pytest.mark.needs("root"), pytest.mark.needs("netns")]

ON_A_BRIDGE = pytest.mark.parametrize(
    "host", [pytest.param(name, marks=pytest.mark.needs(name)) for name in REAL], indirect=True
)
SIZE = {"connections": 1}


def outside(host: Host) -> Outside:
    found = host.context.outside
    assert found is not None
    found.open()
    return found


def devices(host: Host) -> set[str]:
    """Those of the run's namespace."""
    said = subprocess.run(
        ["nsenter", f"--net=/proc/self/fd/{outside(host)._namespace}", "ip", "-json", "link"],
        pass_fds=(outside(host)._namespace,), capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    return {each["ifname"] for each in json.loads(said)} - {"lo", BRIDGE, *_FALLBACK}


_FALLBACK = {"tunl0", "sit0", "gre0", "gretap0", "erspan0", "ip_vti0", "ip6_vti0", "ip6tnl0", "ip6gre0"}


@ON_A_BRIDGE
def test_it_is_up_answers_from_outside_and_leads_nowhere_else(host: Host) -> None:
    hosts_own = sorted(os.listdir("/sys/class/net"))  # noqa: PTH208 - names only
    outside(host)
    with host.booted("bridge") as live:
        assert live.instance is not None
        assert live.milestones["network"] >= max(live.milestones["start_returned"], live.milestones["first_command"])
        assert live.instance.granted()["network"] == "bridge"
        assert live.instance.address in {str(each) for each in SUBNET}
        inside = live.run("cat /proc/net/dev /proc/net/route", seconds=60).checked().stdout.decode()
        names = {line.partition(":")[0].strip() for line in inside.splitlines() if ":" in line} - _FALLBACK
        assert names == {"lo", DEVICE}
        routes = [line.split() for line in inside.splitlines() if line.startswith(f"{DEVICE}\t")]
        assert [(each[1], each[2]) for each in routes] == [("000012C6", "00000000")], "one route, and no gateway"
        assert sorted(os.listdir("/sys/class/net")) == hosts_own  # noqa: PTH208
        assert len(devices(host)) == 1
        measured = NetRequest().measure_work(live, SIZE, 100)
        assert {each.metric for each in measured.samples} >= {"net-request.rate", "net-request.p99"}
        assert measured.artifacts["net-request.txt"].startswith(b'"test","rps"')
    assert devices(host) == set()
    assert host.traces(live.name) == []


@ON_A_BRIDGE
def test_instances_have_addresses_of_their_own_and_one_alone_goes(host: Host) -> None:
    outside(host)
    with host.booted("bridge") as one:
        with host.booted("bridge") as other:
            assert one.instance is not None
            assert other.instance is not None
            assert one.instance.address != other.instance.address
            assert len(devices(host)) == 2
        assert len(devices(host)) == 1
        assert one.instance.granted()["network"] == "bridge"
        NetRequest().measure_work(one, SIZE, 100)


def test_without_one_there_is_none(host: Host) -> None:
    live = host.shared()
    assert live.instance is not None
    assert live.instance.address == ""
    assert "network" not in live.milestones
    with pytest.raises(Skipped, match="no network"):
        NetRequest().measure_work(live, SIZE, 100)


@pytest.mark.parametrize(
    "host", [pytest.param(name, marks=pytest.mark.needs(name)) for name in ("native", "docker")], indirect=True
)
def test_one_that_does_not_come_up_is_said_with_what_is_there(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(*arguments: object) -> None:
        return None

    outside(host)
    monkeypatch.setattr(Outside, "attach", nothing)
    with pytest.raises(InstanceError, match="network is not up") as caught, host.booted("bridge"):
        pass
    assert "lo" in caught.value.details


@ON_A_BRIDGE
def test_one_that_cannot_be_attached_leaves_nothing(host: Host) -> None:
    outside(host).close()
    with pytest.raises(InstanceError, match="no bridge"), host.booted("bridge") as live:
        raise AssertionError(live)
    assert cgroups_and_files(host) == []


def cgroups_and_files(host: Host) -> list[str]:
    """What is left of any instance but the shared one."""
    names = [f"{host.driver.name[0]}{number:03}" for number in range(200)]
    shared = host._shared.name if host._shared is not None else ""
    return [trace for name in names if name != shared for trace in host.traces(name)]


@pytest.mark.needs("kvm")
def test_a_tap_that_is_on_no_bridge_is_not_granted_as_one(hosts: Hosts, monkeypatch: pytest.MonkeyPatch) -> None:
    host = hosts["kvm"]
    outside(host)
    monkeypatch.setattr(Outside, "adopt", lambda *arguments: None)
    with host.booted("bridge") as live:
        assert live.instance is not None
        assert live.instance.granted()["network"] == "virtio"


@pytest.mark.parametrize("host", [pytest.param(SYSTEM, marks=pytest.mark.needs(SYSTEM))], indirect=True)
def test_a_daemons_guests_cannot_be_in_the_runs_namespace(host: Host) -> None:
    assert "makes its taps in its own network namespace" in host.driver.refuses("bridge")


@pytest.mark.needs("kvm")
def test_qemus_own_network_is_reached_by_a_port_of_the_loopback(hosts: Hosts) -> None:
    host = hosts["kvm"]
    assert host.driver.refuses("user") == ""
    with host.booted("user") as live:
        assert live.instance is not None
        assert live.instance.granted()["network"] == "user"
        reach = live.instance.reach(17201)
        assert reach is not None
        assert (reach.address, reach.listen) == ("127.0.0.1", 17201)
        assert reach.port != reach.listen
        NetRequest().measure_work(live, SIZE, 100)


@pytest.mark.needs("native")
def test_a_process_on_the_hosts_network_is_reached_by_loopback(hosts: Hosts) -> None:
    host = hosts["native"]
    with host.booted("host") as one, host.booted("host") as other:
        for live in (one, other):
            assert live.instance is not None
            assert live.instance.granted()["network"] == "host"
            NetRequest().measure_work(live, SIZE, 100)


def test_load_has_a_view_of_the_rootfs_that_it_cannot_change(tmp_path: Path) -> None:
    there = Outside(tmp_path, built().tree)
    there.open()
    try:
        assert there.run(["sh", "-c", "ls -d /work /proc/1"], seconds=20) == b"/proc/1\n/work\n"
        with pytest.raises(InstanceError, match="load generator sh failed") as caught:
            there.run(["sh", "-c", "echo x >/etc/x"], seconds=20)
        assert "Read-only file system" in caught.value.details
        assert there.run(["sh", "-c", f"ls /sys/class/net/{BRIDGE}/brif"], seconds=20) == b""
    finally:
        there.close()
