"""The fairness audit: readings to differences, causes and grades."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import pytest
from audits import GOT, KERNEL, MIB, SHARED, audited, reading
from runs import HOSTILE, SPEC, build
from tare_bench.audit import GRADES, Audit, Difference, Side, compare, fairness, side
from tare_bench.model import Accelerator, Arm, Spec

ACCELERATORS: Mapping[str, Accelerator] = {"kvm": "kvm"}


def made(
    driver: str,
    *,
    name: str = "",
    spec: Spec = SPEC,
    accelerator: Accelerator | None = None,
    kernel: str = KERNEL,
    options: Mapping[str, str] | None = None,
    **changed: str | None,
) -> Side:
    """A side that got what it was to get, but for what is changed: `inside_cpus`, or None where it was not read."""
    got: dict[str, str] = dict(GOT[driver])
    for key, value in changed.items():
        place, _, fact = key.partition("_")
        got.pop(found := f"{place}.{fact.replace('_', ' ')}", None)
        if value is not None:
            got[found] = value
    if driver == "kvm":
        spec = msgspec.structs.replace(spec, cache=spec.cache if spec.cache != "auto" else "writeback")
    arm = Arm(name=name or driver, driver=driver, options=dict(options or {}), spec=spec)
    return side(arm, spec, accelerator or ACCELERATORS.get(driver, "none"), kernel, got)


def found(audit: Audit, what: str) -> Difference:
    return next(each for each in audit.differences if each.what == what)


def graver(audit: Audit) -> dict[str, str]:
    """What is no technology's own, by its cause."""
    return {each.what: each.cause for each in audit.differences if each.cause != "technology"}


@pytest.mark.parametrize(
    ("baseline", "arm"), [("docker", "native"), ("docker", "kvm"), ("native", "kvm"), ("docker", "docker")]
)
def test_where_only_the_technology_differs_it_is_an_a(baseline: str, arm: str) -> None:
    audit = compare(made(baseline), made(arm))
    assert graver(audit) == {}
    assert audit.grade == "A"
    assert audit.because == []
    assert audit.equal > 10
    assert all(each.why for each in audit.differences if each.what != "Accelerator")


def test_an_arm_with_itself_differs_in_nothing() -> None:
    assert compare(made("kvm"), made("kvm", name="again")).differences == []


LARGE = msgspec.structs.replace(SPEC, vcpus=2)
SMALL = msgspec.structs.replace(SPEC, memory=256 * MIB)
BRIDGED = msgspec.structs.replace(SPEC, network="bridge")
DIRECT = msgspec.structs.replace(SPEC, cache="none")
CLOUD = "6.1.0-28-cloud-amd64"
DECLARED = {
    "vcpus": (
        made("docker"),
        made("docker", name="two", spec=LARGE, engine_vcpus="2", inside_cpus="2", engine_cpus="0,1"),
        {"CPUs", "CPUs, inside", "Host CPUs"},
    ),
    "memory": (
        made("docker"),
        made(
            "docker", name="small", spec=SMALL, engine_memory=str(256 * MIB), **{"inside_memory limit": str(256 * MIB)}
        ),
        {"Memory", "Memory, inside"},
    ),
    "kernel": (
        made("docker"),
        made("kvm", kernel=CLOUD, inside_kernel=CLOUD, **{"inside_kernel build": "#1 SMP Debian 2"}),
        {"Kernel", "Kernel's build"},
    ),
    "network": (
        made("docker"),
        made("docker", name="bridged", spec=BRIDGED, engine_network="bridge", inside_network="eth0"),
        {"Network", "Network devices, inside"},
    ),
    "cache": (
        made("kvm"),
        made("kvm", name="direct", spec=DIRECT, engine_disk_cache="none", engine_disk_io="native"),
        {"Cache mode of the disk", "Requests of the disk"},
    ),
}


@pytest.mark.parametrize("axis", DECLARED)
def test_what_was_asked_for_is_a_declared_axis_and_a_b(axis: str) -> None:
    baseline, arm, what = DECLARED[axis]
    audit = compare(baseline, arm)
    assert graver(audit) == dict.fromkeys(what, "axis")
    assert {each.axis for each in audit.differences if each.cause == "axis"} == {axis}
    assert audit.grade == "B"


@pytest.mark.parametrize("axis", DECLARED)
def test_the_same_difference_that_nobody_asked_for_is_a_c(axis: str) -> None:
    baseline, arm, what = DECLARED[axis]
    as_asked_of_both = Side(arm.name, arm.driver, arm.accelerator, dict(baseline.asked), arm.options, arm.got)
    if axis == "cache":
        assert "cache" in baseline.asked
    audit = compare(baseline, as_asked_of_both)
    assert {each.what for each in audit.differences if each.cause == "other"} == what
    assert audit.grade == "C"


@pytest.mark.parametrize("axis", DECLARED)
def test_what_was_asked_for_and_not_given_is_a_c(axis: str) -> None:
    baseline, arm, _ = DECLARED[axis]
    kept = {key: value for key, value in baseline.got.items() if key != "engine.kind"}
    same = Side(arm.name, arm.driver, arm.accelerator, arm.asked, arm.options, arm.got | kept)
    audit = compare(baseline, same)
    assert audit.grade == "C"
    [*missed] = [each for each in audit.differences if each.cause == "other"]
    assert missed
    assert all("was to have" in each.why for each in missed)


def test_more_cpus_are_an_axis_and_others_are_not() -> None:
    wide = {"spec": LARGE, "engine_vcpus": "2", "inside_cpus": "2"}
    moved = compare(made("docker"), made("docker", name="b", engine_cpus="2,3", **wide))  # type: ignore[arg-type]
    assert {each.what for each in moved.because} == {"Host CPUs"}
    assert moved.grade == "C"


def test_a_cold_page_cache_is_an_axis() -> None:
    audit = compare(made("docker"), made("docker", name="cold", spec=msgspec.structs.replace(SPEC, page_cache="cold")))
    assert audit.grade == "B"
    [difference] = audit.differences
    assert (difference.axis, difference.baseline, difference.arm) == ("page_cache", "warm", "cold")


def test_options_of_one_driver_are_axes() -> None:
    audit = compare(made("docker"), made("docker", name="crun", options={"runtime": "crun"}))
    assert audit.grade == "B"
    assert (found(audit, "Option runtime").baseline, found(audit, "Option runtime").arm) == ("default", "crun")


@pytest.mark.parametrize("baseline", ["docker", "native"])
def test_an_emulated_guest_is_never_above_c_beside_a_container_and_says_so(baseline: str) -> None:
    audit = compare(made(baseline), made("kvm", accelerator="tcg", options={"accelerator": "tcg"}))
    assert audit.grade == "C"
    assert audit.emulated
    assert audit.because[0].what == "Accelerator"
    assert "EMULATED" in audit.because[0].why


def test_two_emulated_guests_are_compared_as_any_two() -> None:
    audit = compare(made("kvm", accelerator="tcg"), made("kvm", name="again", accelerator="tcg"))
    assert (audit.grade, audit.emulated) == ("A", False)


def test_kvm_beside_emulation_is_an_axis_only_where_it_was_asked_for() -> None:
    asked = made("kvm", name="slow", accelerator="tcg", options={"accelerator": "tcg"})
    assert compare(made("kvm"), asked).grade == "B"
    assert compare(made("kvm"), made("kvm", name="slow", accelerator="tcg")).grade == "C"


@pytest.mark.parametrize("key", sorted(SHARED))
def test_what_could_not_be_read_never_counts_as_equal(key: str) -> None:
    hidden = {key.replace(".", "_", 1): None}
    for audit in (
        compare(made("docker"), made("docker", name="b", **hidden)),
        compare(made("docker", **hidden), made("docker", name="b", **hidden)),
    ):
        assert {each.cause for each in audit.differences} == {"unknown"}
        assert audit.grade == "C"
        assert "not read of" in audit.differences[0].why


def test_a_guest_whose_memory_is_far_from_its_size_is_found() -> None:
    assert found(compare(made("docker"), made("kvm", inside_memory=str(300 * MIB))), "Memory, inside").cause == "other"
    assert found(compare(made("docker"), made("kvm", inside_memory=str(600 * MIB))), "Memory, inside").cause == "other"


def test_memory_within_a_step_is_the_same_memory() -> None:
    assert compare(made("docker"), made("docker", name="b", engine_memory=str(512 * MIB - 4096))).grade == "A"
    assert compare(made("docker"), made("docker", name="b", engine_memory=str(511 * MIB))).grade == "C"


def test_limits_matter_only_where_something_may_run_into_them() -> None:
    low = "open files: 1024 of 1024\nprocesses: 96364 of 96364\ncore file size: 0 of 0"
    audit = compare(made("docker"), made("docker", name="b", inside_limits=low))
    assert found(audit, "Limits").cause == "other"
    assert compare(made("docker"), made("docker", name="b", engine_processes="100")).grade == "C"
    small = "open files: 1024 of 4096\nprocesses: 470 of 470\ncore file size: 0 of 0"
    assert compare(made("docker"), made("kvm", inside_limits=small)).grade == "A"
    assert compare(made("docker"), made("docker", name="b", engine_processes="2048")).grade == "A"


def test_mitigations_are_told_apart_by_whether_they_are_on() -> None:
    worded = "meltdown: Not affected\nspectre_v2: Mitigation: Enhanced IBRS"
    assert compare(made("docker"), made("kvm", inside_mitigations=worded)).grade == "A"
    off = "meltdown: Not affected\nspectre_v2: Vulnerable"
    assert compare(made("docker"), made("kvm", inside_mitigations=off)).grade == "C"
    untold = "meltdown: Not affected\nspectre_v2: Unknown: Dependent on hypervisor status"
    assert compare(made("docker"), made("kvm", inside_mitigations=untold)).grade == "A"
    assert compare(made("docker"), made("docker", name="b", inside_mitigations=untold)).grade == "C"
    older = {"inside_mitigations": "spectre_v2: Mitigation: Retpolines"}
    assert compare(made("docker"), made("kvm", **older)).grade == "C"
    assert compare(made("docker"), made("kvm", kernel=CLOUD, inside_kernel=CLOUD, **older)).grade == "B"


def test_a_folder_in_memory_is_no_technology() -> None:
    assert compare(made("docker"), made("kvm", **{"inside_mount /work": "tmpfs rw relatime"})).grade == "C"
    assert compare(made("docker"), made("kvm", **{"inside_mount /work": "ext4 rw relatime nobarrier"})).grade == "C"


def test_how_the_hosts_file_system_treats_its_disk_is_read_once() -> None:
    shown = {"inside_mount /": "ext4 ro relatime discard", "inside_mount /work": "ext4 rw relatime data=writeback"}
    assert compare(made("docker"), made("native", **shown)).grade == "A"
    assert compare(made("docker"), made("native", engine_storage="ext4 rw relatime discard on 254:0")).grade == "C"


def test_a_small_guest_has_no_huge_pages_by_nature() -> None:
    never = {"inside_transparent hugepages": "never"}
    assert compare(made("docker"), made("kvm", **never)).grade == "A"
    large = msgspec.structs.replace(SPEC, memory=1 << 30)
    sizes = {"engine_memory": str(1 << 30)}
    docker = made("docker", spec=large, **sizes, **{"inside_memory limit": str(1 << 30)})
    guest = made("kvm", spec=large, inside_memory=str(980 * MIB), **sizes)
    assert compare(docker, guest).grade == "A"
    assert compare(docker, made("kvm", spec=large, inside_memory=str(980 * MIB), **sizes, **never)).grade == "C"
    assert compare(made("docker"), made("docker", name="b", **never)).grade == "C"


def test_a_container_with_a_network_that_nobody_asked_for_is_found() -> None:
    audit = compare(made("docker"), made("docker", name="b", engine_network="eth0", inside_network="eth0"))
    assert {each.what for each in audit.because} == {"Network", "Network devices, inside"}


def test_on_one_bridge_all_are_alike() -> None:
    bridged = {"spec": BRIDGED, "engine_network": "bridge", "inside_network": "eth0"}
    native, docker = (made(name, **bridged) for name in ("native", "docker"))
    assert compare(docker, native).grade == "A"
    assert not [each for each in compare(docker, native).differences if "etwork" in each.what]


def test_a_process_that_was_to_be_on_a_bridge_and_has_the_hosts_network_is_found() -> None:
    docker = made("docker", spec=BRIDGED, engine_network="bridge", inside_network="eth0")
    audit = compare(docker, made("native", spec=BRIDGED, engine_network="host", inside_network="eth0"))
    assert {each.what: each.why for each in audit.because} == {"Network": "native was to have bridge"}
    assert audit.grade == "C"


# Of a stored run.


def test_a_run_without_readings_has_no_audit() -> None:
    assert fairness(build()) is None


def test_a_run_is_audited_against_its_baseline() -> None:
    kvm = GOT["kvm"] | {"inside.kernel": CLOUD}
    found_ = fairness(audited(reading(1, "native"), reading(2, "docker"), reading(3, "kvm", facts=kvm)))
    assert found_ is not None
    assert {audit.arm: audit.grade for audit in found_.audits} == {"native": "A", "kvm": "C"}
    assert {audit.baseline for audit in found_.audits} == {"docker"}
    assert all(set(each.values) == {"native", "docker", "kvm"} for each in found_.readings)
    assert set(GRADES) == {"A", "B", "C"}


def test_a_reading_that_failed_is_unknown_and_the_last_good_one_counts() -> None:
    failed = reading(4, "kvm", status="failed", facts={})
    for trials in ((failed,), (failed, reading(5, "kvm")), (reading(5, "kvm"), failed)):
        found_ = fairness(audited(reading(1, "native"), reading(2, "docker"), *trials, accelerator="kvm"))
        assert found_ is not None
        causes = {each.cause for each in found_.audits[1].differences}
        assert ("unknown" in causes) == (trials == (failed,))


def test_the_declared_kernel_is_the_one_that_its_driver_describes() -> None:
    kvm = GOT["kvm"] | {"inside.kernel": CLOUD}
    run = audited(reading(1, "docker"), reading(2, "kvm", facts=kvm), reading(3, "native"), accelerator="kvm")
    described = run.manifest.drivers | {"kvm": {"kernel": CLOUD}}
    run = msgspec.structs.replace(run, manifest=msgspec.structs.replace(run.manifest, drivers=described))
    found_ = fairness(run)
    assert found_ is not None
    assert found(found_.audits[1], "Kernel").axis == "kernel"
    assert found_.audits[1].grade == "B"


@pytest.mark.parametrize("text", [HOSTILE, "", " ", "9" * 5000, "²", "\n: \n", "a\x85b: c"])
def test_odd_readings_raise_nothing(text: str) -> None:
    odd = dict.fromkeys(GOT["kvm"], text)
    found_ = fairness(audited(reading(1, "native"), reading(2, "docker", facts=odd), reading(3, "kvm", facts=odd)))
    assert found_ is not None
    assert {audit.grade for audit in found_.audits} == {"C"}
