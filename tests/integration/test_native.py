"""Native processes where no control group can be made."""

from __future__ import annotations

import os

import pytest
from hosts import Hosts
from tare_bench import cgroups, footprint, lifecycle, processes

pytestmark = pytest.mark.needs("native")

DAEMON = "sleep 7654.125 >/dev/null 2>&1 & setsid sleep 7654.125 >/dev/null 2>&1 &"


@pytest.fixture
def no_cgroups(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*arguments: object) -> tuple[()]:
        raise PermissionError("read-only file system")

    monkeypatch.setattr(cgroups, "make", refused)


@pytest.mark.usefixtures("no_cgroups")
def test_daemons_are_found_and_do_not_outlive_their_instance(hosts: Hosts) -> None:
    host = hosts["native"]
    with host.booted() as live:
        live.run(DAEMON, seconds=10).checked()
        assert live.instance is not None
        where = live.instance.accounts()
        assert len(where.pids) >= 3
        assert where.scattered
        assert footprint.cpu_seconds(where) is None
        namespaces = {processes.mount_namespace(pid) for pid in where.pids}
        assert len(namespaces) == 1
        assert namespaces != {processes.mount_namespace(os.getpid())}
        lifecycle.stop(live)
        assert not [pid for pid in processes.all_pids() if processes.mount_namespace(pid) in namespaces]
    assert host.traces(live.name) == []
