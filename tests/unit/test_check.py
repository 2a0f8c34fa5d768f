"""`tare check`: where it asks, and when it boots a guest to find out."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

import pytest
from click.testing import CliRunner
from tare_bench import leases, network, rootfs
from tare_bench.driver import Resolution, RunContext, Rung, Support
from tare_bench.drivers import guest_image
from tare_bench.drivers.libvirt_kvm import KvmDriver
from tare_bench.errors import UsageError

check: Any = import_module("tare_bench.cli.check")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The URIs of the drivers that were checked."""
    found: list[str] = []

    def ladder(self: KvmDriver, *, fresh: bool = False) -> Support:
        found.append(self.uri)
        return Support((Rung("x", False, "seen", "fix"),))

    monkeypatch.setattr(KvmDriver, "check", ladder)
    return found


def test_it_asks_the_libvirt_that_was_named(asked: list[str]) -> None:
    CliRunner().invoke(check.check, ["kvm", "--json"])
    CliRunner().invoke(check.check, ["kvm", "--json", "--libvirt-uri", "qemu:///session"])
    assert asked == ["qemu:///embed", "qemu:///session"]


def test_it_says_whether_a_run_can_have_a_bridge(asked: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "refusal", lambda path: "uid 1000: it takes root")
    assert "network: a run can have no bridge: uid 1000" in CliRunner().invoke(check.check, ["kvm"]).output
    assert '"bridge": "uid 1000: it takes root"' in CliRunner().invoke(check.check, ["kvm", "--json"]).output
    monkeypatch.setattr(network, "refusal", lambda path: "")
    assert "network: a run can have a bridge" in CliRunner().invoke(check.check, ["kvm"]).output


def test_a_uri_that_guests_cannot_live_at_is_a_usage_error() -> None:
    result = CliRunner().invoke(check.check, ["kvm", "--libvirt-uri", "qemu+ssh://host/system"])
    assert isinstance(result.exception, UsageError)


def test_a_guest_is_booted_under_the_lock_for_measuring_only(monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[bool] = []

    @contextlib.contextmanager
    def measuring(wait: Callable[[str], None]) -> Iterator[None]:
        held.append(True)
        yield
        held.clear()

    def opened(self: KvmDriver, context: RunContext) -> None:
        assert held, "a run may be measuring"

    built = rootfs.Rootfs(digest="sha256:0", folder=check.paths.cache_dir(), size=0, recipe="r", packages={})
    monkeypatch.setattr(leases, "measuring", measuring)
    monkeypatch.setattr(rootfs, "current", lambda: built)
    monkeypatch.setattr(guest_image, "needed", lambda digest, size, *, room: 0)
    monkeypatch.setattr(KvmDriver, "open", opened)
    monkeypatch.setattr(KvmDriver, "prepare", lambda self, rootfs: None)
    monkeypatch.setattr(KvmDriver, "resolve", lambda self, asked, *, fresh=False: Resolution("tcg"))
    assert check._resolution(KvmDriver(), fresh=False) == Resolution("tcg")
    assert held == []


def test_where_an_image_is_missing_nothing_is_opened_or_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rootfs, "current", lambda: None)
    monkeypatch.delattr(KvmDriver, "open")
    monkeypatch.delattr(KvmDriver, "prepare")
    assert check._resolution(KvmDriver, fresh=False) is None
