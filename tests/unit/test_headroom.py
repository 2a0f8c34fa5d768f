"""How much memory the host can spare."""

from __future__ import annotations

from pathlib import Path

import pytest
from tare_bench import headroom
from tare_bench.errors import TareError
from tare_bench.headroom import Headroom

GIB = 1 << 30


def test_the_floor_is_15_percent_and_never_less_than_a_gibibyte() -> None:
    assert Headroom(20 * GIB, 0).floor == 3 * GIB
    assert Headroom(4 * GIB, 0).floor == GIB


def test_what_can_be_spared_is_what_is_above_the_floor() -> None:
    room = Headroom(20 * GIB, 5 * GIB)
    assert room.spare == 2 * GIB
    assert room.holds(4, GIB // 2)
    assert not room.holds(5, GIB // 2)
    assert not Headroom(20 * GIB, 2 * GIB).holds(1, 1)


def test_this_host_says_what_it_has() -> None:
    here = headroom.read()
    assert 0 < here.available < here.total


def test_a_host_that_does_not_state_its_memory_is_an_error(tmp_path: Path) -> None:
    odd = tmp_path / "meminfo"
    odd.write_text("MemTotal: 1 kB\n")
    with pytest.raises(TareError, match="does not say how much memory"):
        headroom.read(odd)


def test_the_hosts_memory_is_in_bytes_by_the_kernels_names() -> None:
    text = "MemTotal:       24684092 kB\nHugePages_Total:       3\nMemAvailable:     100 kB\n"
    assert headroom.sizes(text) == {"MemTotal": 24684092 * 1024, "MemAvailable": 102400}
    assert headroom.host()["MemTotal"] > headroom.host()["MemAvailable"] > 0
