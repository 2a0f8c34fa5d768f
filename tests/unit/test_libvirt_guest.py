"""What a guest's definition says of its memory."""

from __future__ import annotations

from tare_bench.drivers.libvirt_guest import settings


def test_what_can_give_a_guests_memory_back_is_read_from_the_running_definition() -> None:
    none = settings("<domain><devices><memballoon model='none'/></devices></domain>")
    assert none == {"balloon": "none", "free page reporting": "off", "memory backing": "anonymous"}
    balloon = "<memballoon model='virtio' freePageReporting='on'/>"
    backing = "<memoryBacking><hugepages/><locked/></memoryBacking>"
    found = settings(f"<domain>{backing}<devices>{balloon}</devices></domain>")
    assert found == {"balloon": "virtio", "free page reporting": "on", "memory backing": "hugepages, locked"}
    assert settings("<domain/>")["balloon"] == "none"
