"""What this machine is, and which notices that earns."""

from __future__ import annotations

import os
import platform

import pytest
from tare_bench import hostfacts

MIB = 1 << 20


def codes(facts: dict[str, str], memory: int = 512 * MIB) -> list[str]:
    return [notice.code for notice in hostfacts.notices(facts, memory)]


def test_the_facts_of_this_host() -> None:
    facts = hostfacts.collect()
    assert facts["kernel"] == platform.release()
    assert facts["cpus"] == str(os.cpu_count())
    assert facts["boot id"]
    assert facts["cgroups"] in ("v1", "v2", "hybrid", "none")
    assert facts["memory"].endswith(" MiB")
    assert all(isinstance(value, str) and value for value in facts.values())


def test_a_quiet_machine_earns_no_notice() -> None:
    assert codes({"governor": "performance", "ksm": "0", "memory available": "9000 MiB"}) == []
    assert codes({}) == []


@pytest.mark.parametrize(
    ("facts", "code"),
    [
        ({"hypervisor vendor": "KVM"}, "host-is-a-guest"),
        ({"container": "docker"}, "host-is-a-container"),
        ({"governor": "powersave"}, "governor"),
        ({"ksm": "1"}, "ksm"),
        ({"memory available": "1000 MiB"}, "little-memory"),
    ],
)
def test_what_moves_results_earns_one(facts: dict[str, str], code: str) -> None:
    assert codes(facts) == [code]


def test_little_memory_depends_on_what_instances_get() -> None:
    assert codes({"memory available": "1000 MiB"}, 256 * MIB) == []


def test_a_choice_is_the_one_in_brackets() -> None:
    assert hostfacts._choice("always [madvise] never") == "madvise"
    assert hostfacts._choice("performance") == "performance"


def test_busy_time_is_less_our_own() -> None:
    before = hostfacts.busy_seconds()
    assert before is not None
    sum(range(100_000))
    after = hostfacts.busy_seconds()
    assert after is not None


def test_of_the_kernels_command_line_only_what_tells_is_kept() -> None:
    line = "root=UUID=1234 mitigations=off quiet rd.luks.key=secret nohz_full=1 -- --token mitigations=secret"
    assert hostfacts.telling(line) == "mitigations=off nohz_full=1"
