"""The embedded driver's root: what libvirt is told, and what is kept of what it learns."""

from __future__ import annotations

from pathlib import Path

import pytest
from tare_bench import cgroups
from tare_bench.drivers import libvirt_embed
from tare_bench.drivers.libvirt_host import Owner
from tare_bench.errors import DriverUnavailable

OWNER = Owner(64055, 108)


@pytest.fixture(autouse=True)
def as_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libvirt_embed.os, "geteuid", lambda: 0)
    monkeypatch.setenv("TARE_CACHE", str(tmp_path / "cache"))


@pytest.mark.needs("kvm")
@pytest.mark.parametrize("writable", [True, False])
def test_guests_have_control_groups_where_some_can_be_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writable: bool
) -> None:
    monkeypatch.setattr(cgroups, "writable", lambda: writable)
    libvirt_embed.make_root(tmp_path / "root", OWNER)
    told = (tmp_path / "root/etc/qemu.conf").read_text()
    assert ("cgroup_controllers = []" in told) is not writable
    assert 'user = "+64055"' in told


@pytest.mark.needs("kvm")
def test_what_is_learnt_with_and_without_the_device_is_kept_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(libvirt_embed, "KVM_DEVICE", tmp_path / "kvm")
    without = libvirt_embed._kept_capabilities()
    (tmp_path / "kvm").touch()
    assert libvirt_embed._kept_capabilities() != without


def test_a_path_that_is_too_long_for_sockets_is_said_before_libvirt_is_asked() -> None:
    libvirt_embed._require_short(Path("/run/tare/20260101-000000-abcd/libvirt"))
    with pytest.raises(DriverUnavailable, match="too long a path") as caught:
        libvirt_embed._require_short(Path("/run/user/1000") / ("x" * 40) / "tare/20260101-000000-abcd/libvirt")
    assert "TARE_RUN" in caught.value.hint
