"""Which file system holds a path, by a table of mounts."""

from __future__ import annotations

from pathlib import Path

import pytest
from tare_bench import mounts

TABLE = r"""
21 1 254:1 / / rw,noatime shared:1 - ext4 /dev/vda1 rw,discard,data=ordered
30 21 0:25 / /tmp rw,nosuid,nodev - tmpfs tmp rw,size=64m
31 21 0:26 / /srv/with\040space rw,relatime - xfs /dev/sdb1 rw,attr2
32 21 0:27 / /work rw,relatime master:2 propagate_from:3 - ext4 /dev/sdc1 rw
33 32 0:28 / /work ro,relatime - overlay overlay rw,lowerdir=/a:/b
34 21 0:29 / /torn
"""


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/etc/passwd", "ext4 rw relatime data=ordered discard"),
        ("/tmp/x", "tmpfs rw strictatime size=64m"),
        ("/tmpfile", "ext4 rw relatime data=ordered discard"),
        ("/srv/with space/x", "xfs rw relatime"),
        ("/work", "overlay ro relatime"),
    ],
)
def test_the_deepest_and_last_mount_holds_a_path(path: str, words: str) -> None:
    found = mounts.holding(TABLE, path)
    assert found is not None
    assert found.words() == words


def test_what_says_nothing_of_a_path_is_none() -> None:
    assert mounts.holding("", "/work") is None
    assert mounts.holding("torn - line", "/work") is None


def test_the_hosts_own_table_is_read(tmp_path: Path) -> None:
    words, _, device = mounts.storage(tmp_path).partition(" on ")
    assert words.split()[1:3] in (["rw", "relatime"], ["rw", "strictatime"])
    assert all(part.isdigit() for part in device.split(":"))
    assert mounts.storage(tmp_path / "not" / "there") == mounts.storage(tmp_path)
