"""A host's own kernel as the guest's, on a real QEMU: taken where it boots, else given up and said why."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hosts import Hosts, built
from tare_bench import cache as cache_
from tare_bench import lifecycle, paths, registry
from tare_bench.drivers import guest_kernel
from tare_bench.drivers.libvirt_kvm import KvmDriver
from tare_bench.lifecycle import Live
from tare_bench.model import Spec
from tare_bench.workloads.audit import Audit

pytestmark = [pytest.mark.needs(name) for name in ("root", "kvm")]

Own = Callable[[bytes | None], str]


@pytest.fixture
def own(hosts: Hosts, monkeypatch: pytest.MonkeyPatch) -> Iterator[Own]:
    """Have the host's own kernel be these bytes (None: one that boots), in a cache that goes with the test.

    What boots is the packaged kernel, under another name than its package's. Returns its release.
    """
    assert hosts["kvm"]
    kernel, shared = guest_kernel.build(say=print), paths.cache_dir()
    with contextlib.ExitStack() as stack:
        root = Path(stack.enter_context(tempfile.TemporaryDirectory(dir="/var/tmp")))
        root.chmod(0o755)  # QEMU is another user
        (root / "cache").mkdir()
        shutil.copytree(shared / "kernel", root / "cache/kernel")
        monkeypatch.setenv("TARE_CACHE", str(root / "cache"))
        _modules(root, kernel)

        def have(image: bytes | None) -> str:
            (root / "vmlinuz").write_bytes(kernel.image.read_bytes() if image is None else image)
            origin = guest_kernel._Origin(kernel.version, root / "vmlinuz", root, guest_kernel.HOSTS_OWN)
            monkeypatch.setattr(guest_kernel, "_hosts_own", lambda: origin)
            return kernel.version

        yield have
        cache_.let_go()


def _modules(root: Path, kernel: guest_kernel.Kernel) -> None:
    """The packaged kernel's modules, as an installed one has them; what they don't have is built in."""
    folder = root / "lib/modules" / kernel.version
    (folder / "kernel").mkdir(parents=True)
    names = []
    for module in kernel.modules:
        names.append(module.stem.partition("-")[2])
        shutil.copyfile(module, folder / "kernel" / f"{names[-1]}.ko")
    built_in = [f"kernel/{name}.ko\n" for name in guest_kernel.MODULES if name not in names]
    (folder / "modules.builtin").write_text("".join(built_in))
    (folder / "modules.order").write_text("".join(f"kernel/{name}.ko\n" for name in names))
    subprocess.run(["depmod", "-b", root, kernel.version], check=True)


@contextlib.contextmanager
def guest(hosts: Hosts) -> Iterator[tuple[KvmDriver, Live]]:
    """A guest of a driver that has just been opened."""
    driver = registry.driver("kvm")
    assert isinstance(driver, KvmDriver)
    with contextlib.closing(driver):
        driver.open(hosts["kvm"].context)
        driver.prepare(built())
        driver.resolve("tcg")
        spec = Spec(vcpus=1, memory=512 << 20, rootfs=built().digest)
        with lifecycle.created(driver, spec, name="kown", clock=driver.clock, seconds=180) as live:
            lifecycle.boot(live)
            yield driver, live


def test_the_hosts_own_kernel_that_boots_is_the_guests(hosts: Hosts, own: Own) -> None:
    release = own(None)
    with guest(hosts) as (driver, live):
        facts, seen = driver.describe(), Audit().measure(live, {}).facts
    assert facts["kernel is"] == "the host's own"
    assert driver.image is not None
    assert driver.image.own_kernel
    assert facts["kernel"] == seen["inside.kernel"] == release


def test_one_that_does_not_boot_gives_way_to_the_distributions(hosts: Hosts, own: Own) -> None:
    own(b"MZ is no kernel at all" * 1000)
    with guest(hosts) as (driver, live):
        facts, seen = driver.describe(), Audit().measure(live, {}).facts
    assert facts["kernel is"].startswith("not the host's: it does not boot: ")
    assert driver.image is not None
    assert not driver.image.own_kernel
    assert facts["kernel"] == seen["inside.kernel"]
