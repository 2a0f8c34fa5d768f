"""What all tests share: folders of their own, the `needs` marker, and the check that nothing is left behind."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import hosts as hosts_
import hypothesis
import leftovers
import needs
import pytest
from hosts import Host, Hosts

hypothesis.settings.register_profile("untimed", deadline=None)  # a busy host is no failure
hypothesis.settings.load_profile("untimed")

HERE = Path(__file__).parent
NOT_RUN = HERE / "not_run.txt"

_kept = pytest.StashKey[list[str]]()
_folders = pytest.StashKey[tuple[Path, ...]]()


def pytest_configure(config: pytest.Config) -> None:
    """Folders of their own, so that a run that is alive on this host is neither seen nor disturbed.

    The cache of images is the shared one. Not below pytest's own temporary folder: a socket's path has 108 bytes, and
    an unprivileged QEMU must reach it.
    """
    if os.geteuid() == 0:
        run, state = Path(tempfile.mkdtemp(prefix="tare-", dir="/run")), Path(tempfile.mkdtemp(dir="/var/tmp"))
        run.chmod(0o711)
        os.environ |= {"TARE_RUN": str(run), "TARE_STATE": str(state)}
        config.stash[_folders] = (run, state)
    config.stash[_kept] = leftovers.found()


def pytest_unconfigure(config: pytest.Config) -> None:
    for folder in config.stash.get(_folders, ()):
        shutil.rmtree(folder, ignore_errors=True)


def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker in item.iter_markers("needs"):
        for what in marker.args:
            lacking = needs.lacking(what)
            if lacking is not None and lacking.installable:
                pytest.fail(f"{lacking.why}: `{lacking.by}` installs it", pytrace=False)
            if lacking is not None:
                pytest.skip(lacking.why)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail the session where something is left, or (in CI) where other tests than the known ones were not run."""
    before = session.config.stash[_kept]
    complaints = [f"left behind: {each}" for each in leftovers.found() if each not in before]
    if os.environ.get("CI") and _whole(session.config):
        complaints += _differences(session.config)
    session.config.stash[_kept] = complaints
    if complaints and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    skipped = _skipped(config)
    if skipped:
        terminalreporter.section("not run on this host")
        for name, why in sorted(skipped.items()):
            terminalreporter.line(f"{name}: {why}")
    for complaint in config.stash[_kept]:
        terminalreporter.line(complaint, red=True)


def _skipped(config: pytest.Config) -> dict[str, str]:
    """Each test that was not run, and why."""
    reporter = config.pluginmanager.getplugin("terminalreporter")
    reports = reporter.stats.get("skipped", []) if reporter is not None else []
    return {report.nodeid: report.longrepr[2].removeprefix("Skipped: ") for report in reports}


def _whole(config: pytest.Config) -> bool:
    """Whether all tests were asked for, and not a selection."""
    named = {Path(config.invocation_params.dir, word).resolve() for word in config.args}
    chosen = config.option.keyword or config.option.markexpr or config.getoption("lf", None) or config.option.deselect
    return named <= {HERE.resolve(), config.rootpath.resolve()} and not chosen


def _differences(config: pytest.Config) -> list[str]:
    lines = [line.partition("#")[0].strip() for line in NOT_RUN.read_text(encoding="utf-8").splitlines()]
    known, seen = {line for line in lines if line}, set(_skipped(config))
    return [
        *(f"not run, and not in {NOT_RUN.name}: {name}" for name in sorted(seen - known)),
        *(f"in {NOT_RUN.name}, and run: {name}" for name in sorted(known - seen)),
    ]


@pytest.fixture(scope="session")
def hosts() -> Iterator[Hosts]:
    """The drivers, each opened when it is first asked for: libvirt's embedded one opens once in a process."""
    opened = Hosts()
    try:
        yield opened
    finally:
        opened.close()


@pytest.fixture(params=[pytest.param(name, marks=pytest.mark.needs(name)) for name in hosts_.EVERY])
def host(request: pytest.FixtureRequest, hosts: Hosts) -> Host:
    """One driver after the other, ready to create instances."""
    return hosts[request.param]
