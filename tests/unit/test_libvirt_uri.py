"""Which libvirt guests can live in, and what is said of the others."""

from __future__ import annotations

import pytest
from tare_bench import registry
from tare_bench.drivers.libvirt_uri import Flavour, flavour
from tare_bench.errors import UsageError


@pytest.mark.parametrize(
    ("uri", "found"),
    [
        ("qemu:///embed", Flavour.EMBED),
        ("qemu:///system", Flavour.SYSTEM),
        ("qemu:///session", Flavour.SESSION),
        ("qemu:///system?socket=/run/x/libvirt-sock", Flavour.SYSTEM),
    ],
)
def test_what_is_on_this_host(uri: str, found: Flavour) -> None:
    assert flavour(uri) is found


@pytest.mark.parametrize(
    ("uri", "why"),
    [
        ("qemu+ssh://host/system", "another host"),
        ("qemu://host/system", "another host"),
        ("qemu+tcp:///system", "another host"),
        ("qemu+unix:///system", "another host"),
        ("lxc:///system", "QEMU driver"),
        ("test:///default", "QEMU driver"),
        ("qemu:///embed?root=/elsewhere", "root folder"),
        ("qemu:///sesion", "has no `/sesion`"),
        ("qemu:", "has no ``"),
        ("", "QEMU driver"),
        ("qemu://[/system", "is not a URI"),
    ],
)
def test_what_is_not_is_refused_with_the_reason_and_what_there_is(uri: str, why: str) -> None:
    with pytest.raises(UsageError, match=why.replace("[", r"\[")) as caught:
        registry.driver("kvm", {"uri": uri}).check()
    assert "qemu:///" in caught.value.hint
    if why == "another host":
        assert "same host" in caught.value.details
