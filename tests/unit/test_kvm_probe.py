"""Whether KVM works: what is believed, what is remembered, and what is said where it doesn't."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tare_bench import leases
from tare_bench.driver import Instance, Resolution, RunContext
from tare_bench.drivers import guest_image, kvm_probe
from tare_bench.drivers.fake import Behaviour, FakeDriver, FakeInstance
from tare_bench.drivers.guest_image import GuestImage
from tare_bench.drivers.kvm_probe import Seen
from tare_bench.drivers.libvirt_kvm import KvmDriver
from tare_bench.errors import DriverUnavailable, UsageError
from tare_bench.model import Spec
from tare_bench.rootfs import Rootfs

LIBVIRT = (
    "internal error: process exited while connecting to monitor: 2026-01-01T00:00:00.000000Z qemu-system-x86_64: "
    "error: failed to set MSR 0x10a to 0xe04006b\nqemu-system-x86_64: kvm_buf_set_msrs: Assertion failed"
)


@pytest.fixture
def tries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Each time that a guest is booted; what it is found to say is the last entry's."""
    monkeypatch.setenv("TARE_CACHE", str(tmp_path))
    device = tmp_path / "kvm-device"
    device.touch()
    monkeypatch.setattr(kvm_probe, "DEVICE", device)
    done: list[str] = []

    def boots(driver: KvmDriver, accelerator: str = "kvm") -> Seen:
        done.append(accelerator)
        return Seen(outcome[0], lasts=lasts[0]) if accelerator == "kvm" else Seen(emulated[0])

    monkeypatch.setattr(kvm_probe, "_boots", boots)
    monkeypatch.setattr(KvmDriver, "refusal", lambda self: refusal[0])
    outcome[0] = refusal[0] = emulated[0] = ""
    lasts[0] = True
    return done


outcome, refusal, emulated, lasts = [""], [""], [""], [True]


def resolve(asked: str, *, digest: str = "d", fresh: bool = False, driver: KvmDriver | None = None) -> Resolution:
    return kvm_probe.resolve(driver or KvmDriver(), asked, digest, fresh=fresh)


def test_tcg_is_forced_without_a_try_and_loudly(tries: list[str]) -> None:
    found = resolve("tcg")
    assert found.accelerator == "tcg"
    assert [notice.code for notice in found.notices] == ["emulated"]
    assert tries == []


def test_a_guest_that_boots_is_kvm(tries: list[str]) -> None:
    found = resolve("auto")
    assert (found.accelerator, found.notices) == ("kvm", ())
    assert resolve("kvm").accelerator == "kvm"
    assert len(tries) == 1, "what was seen is remembered"


def test_it_is_tried_again_when_asked_and_for_another_kernel(tries: list[str]) -> None:
    resolve("auto")
    resolve("auto", fresh=True)
    resolve("auto", digest="other")
    assert len(tries) == 3


def test_another_mode_of_the_device_is_another_question(tries: list[str]) -> None:
    resolve("auto")
    kvm_probe.DEVICE.chmod(0o600)
    resolve("auto")
    assert len(tries) == 2


def test_a_torn_memory_is_none(tries: list[str]) -> None:
    resolve("auto")
    for torn in ("{", "[]", '{"reason": ""}'):
        kvm_probe._memory_file(KvmDriver(), "d").write_text(torn)
        resolve("auto")
    assert len(tries) == 4


def test_another_libvirt_or_another_user_of_qemu_is_another_question(
    tries: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve("auto")
    driver = KvmDriver()
    driver.options = {"uri": "qemu:///system"}
    resolve("auto", driver=driver)
    monkeypatch.setattr(KvmDriver, "identity", lambda self: "qemu:///system 9.1.0")
    resolve("auto", driver=driver)
    assert len(tries) == 3


def test_what_load_may_have_caused_is_believed_for_the_day_only(
    tries: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    outcome[0], lasts[0] = "The deadline came", False
    resolve("auto")
    resolve("auto")
    assert len(tries) == 1
    monkeypatch.setattr(kvm_probe, "_today", lambda: "2999-01-01")
    resolve("auto")
    assert len(tries) == 2
    lasts[0] = True
    resolve("auto", fresh=True)
    monkeypatch.setattr(kvm_probe, "_today", lambda: "2999-01-02")
    resolve("auto")
    assert len(tries) == 3


class Guest(FakeDriver):
    """One whose life goes as a test says, and whose monitor says KVM."""

    def use(self, accelerator: str) -> None:
        pass

    def create(self, spec: Spec, *, name: str) -> Instance:
        instance = super().create(spec, name=name)
        instance.accelerator = lambda: "kvm"  # type: ignore[method-assign]
        return instance


def test_the_kernel_has_its_time_from_the_resume_on_whatever_creating_took() -> None:
    within = kvm_probe.KERNEL_SECONDS * 0.9
    slow = Guest(Behaviour(create=kvm_probe.KERNEL_SECONDS * 2, boot=within, spread=0))
    assert kvm_probe._boots(slow) == Seen("")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("behaviour", "log", "lasts"),
    [
        (Behaviour(hang_boot=[0]), b"", False),
        (Behaviour(hang_boot=[0]), b"KVM internal error. Suberror: 1", True),
        (Behaviour(create=kvm_probe.CREATE_SECONDS * 2), b"", False),
        (Behaviour(fail_create=[0]), b"", False),
        (Behaviour(die_boot=[0]), b"", False),
    ],
)
def test_only_what_the_host_itself_says_lasts(
    monkeypatch: pytest.MonkeyPatch, behaviour: Behaviour, log: bytes, lasts: bool
) -> None:
    monkeypatch.setattr(FakeInstance, "diagnostics", lambda self: {"qemu.log": log})
    seen = kvm_probe._boots(Guest(behaviour))  # type: ignore[arg-type]
    assert seen.reason
    assert seen.lasts is lasts


def test_an_accelerator_of_the_arms_own_beats_the_plans(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = KvmDriver()
    asked: list[str] = []
    monkeypatch.setattr(
        kvm_probe, "resolve", lambda driver, asking, digest, *, fresh: asked.append(asking) or Resolution("tcg")
    )
    driver.image = GuestImage(Path(), Path(), Path(), "", "d", "", 0)
    driver.resolve("kvm")
    driver.options = {"accelerator": "tcg"}
    driver.resolve("kvm")
    assert asked == ["kvm", "tcg"]
    driver.options = {"accelerator": "hvf"}
    for call in (driver.check, lambda: driver.resolve("auto")):
        with pytest.raises(UsageError, match="hvf"):
            call()


def test_auto_falls_back_loudly_with_what_was_seen(tries: list[str]) -> None:
    outcome[0] = "failed to set MSR 0x10a\nand all the rest"
    for _ in range(2):
        found = resolve("auto")
        assert found.accelerator == "tcg"
        [notice] = found.notices
        assert "EMULATED" in notice.message
        assert "failed to set MSR 0x10a" in notice.message
        assert "rest" not in notice.message
        assert found.evidence == outcome[0]
    assert len(tries) == 1


def test_kvm_or_nothing_is_refused_with_what_was_seen(tries: list[str]) -> None:
    outcome[0] = "failed to set MSR 0x10a\nand all the rest"
    with pytest.raises(DriverUnavailable) as caught:
        resolve("kvm")
    assert caught.value.exit_status == 3
    assert caught.value.details == outcome[0]
    assert "tcg" in caught.value.hint


def test_a_device_that_is_not_there_or_does_not_open_needs_no_guest(
    tries: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kvm_probe, "DEVICE", tmp_path / "none")
    assert resolve("auto").evidence == f"there is no {tmp_path / 'none'}"
    monkeypatch.setattr(kvm_probe, "DEVICE", tmp_path)
    assert "does not open" in resolve("auto").evidence
    assert tries == []


def test_what_libvirt_itself_refuses_needs_no_guest(tries: list[str]) -> None:
    refusal[0] = "the accel 'kvm' is not supported by this QEMU"
    assert resolve("auto").evidence == refusal[0]
    assert tries == []


def test_the_gist_is_the_part_that_names_the_failure() -> None:
    assert kvm_probe._gist(LIBVIRT) == "failed to set MSR 0x10a to 0xe04006b"
    assert kvm_probe._gist("The console's end:\nx") == "The console's end:"
    assert kvm_probe._gist("") == ""


# The host's own kernel, and what becomes of one that does not boot.

OWN = GuestImage(Path(), Path(), Path(), "6.18", "own", "the host's own", 0, own_kernel=True)
CLOUD = GuestImage(Path(), Path(), Path(), "6.1-cloud", "cloud", "package", 0)


@pytest.fixture
def guests(tries: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> KvmDriver:
    """A driver whose host's own kernel can be had."""

    def build(source: Rootfs, *, room: int, instead: str = "") -> GuestImage:
        return replace(CLOUD, instead=instead) if instead else OWN

    monkeypatch.setattr(guest_image, "build", build)
    driver = KvmDriver()
    driver._context = RunContext("r", tmp_path, leases.take("r-kernel"), (0,))
    driver.prepare(Rootfs(digest="d", folder=tmp_path, size=0, recipe="", packages={}))
    driver._context.lease.release()
    return driver


def image(driver: KvmDriver) -> GuestImage:
    assert driver.image is not None
    return driver.image


def test_the_hosts_own_kernel_that_boots_under_kvm_is_kept(guests: KvmDriver, tries: list[str]) -> None:
    assert guests.resolve("auto").accelerator == "kvm"
    assert image(guests) == OWN
    assert tries == ["kvm"]


def test_where_kvm_is_at_fault_the_hosts_own_kernel_is_kept(guests: KvmDriver, tries: list[str]) -> None:
    outcome[0] = "failed to set MSR 0x10a"
    for _ in range(2):
        assert guests.resolve("auto").accelerator == "tcg"
    assert image(guests) == OWN
    assert tries == ["kvm", "tcg"], "that it boots is remembered"
    with pytest.raises(DriverUnavailable):
        guests.resolve("kvm")


@pytest.mark.parametrize("asked", ["auto", "kvm", "tcg"])
def test_one_that_does_not_boot_gives_way_and_the_reason_is_kept(
    guests: KvmDriver, tries: list[str], asked: str
) -> None:
    outcome[0], emulated[0] = "KVM internal error", "Kernel panic\nand more"
    if asked == "kvm":
        with pytest.raises(DriverUnavailable):
            guests.resolve(asked)
    else:
        assert guests.resolve(asked).accelerator == "tcg"
    assert image(guests) == replace(CLOUD, instead="it does not boot: Kernel panic")
    assert tries == (["tcg"] if asked == "tcg" else ["kvm", "tcg", "kvm"])


def test_its_successor_is_tried_under_kvm_again(
    guests: KvmDriver, tries: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    emulated[0] = "Kernel panic"
    fails = kvm_probe._boots

    def boots(driver: KvmDriver, accelerator: str = "kvm") -> Seen:
        seen = fails(driver, accelerator)  # type: ignore[arg-type]
        return Seen("") if image(driver).kernel_digest == "cloud" else seen

    monkeypatch.setattr(kvm_probe, "_boots", boots)
    outcome[0] = "the guest did not speak"
    assert guests.resolve("auto").accelerator == "kvm"
    assert image(guests).kernel_digest == "cloud"
