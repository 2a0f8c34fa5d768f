"""`tare setup`: says what the system lacks and why it is needed, and then installs it."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence

import click
from tare_bench import apt, environment, system, tool
from tare_bench.errors import TareError

from .common import AS_JSON, print_json


@click.command()
@click.option("-y", "--yes", is_flag=True, help="Go ahead without asking.")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
@click.option("--tests", is_flag=True, help="Also what Tare's own tests need.")
@AS_JSON
def setup(yes: bool, dry_run: bool, tests: bool, as_json: bool) -> None:
    """Install the system packages that are missing, after saying which and why.

    It asks only at a terminal. Without root it prints the one command to run. TARE_YES=1 or 0 answers beforehand.
    With --json it says what is missing and installs nothing. What Python lacks for virtual machines it names only.
    """
    host = system.distribution()
    packages, steps = system.missing(tests=tests), system.steps()
    if as_json:
        print_json(
            {
                "packages": [{"name": each.name, "why": each.why} for each in packages],
                "steps": [{"what": each.what, "why": each.why} for each in steps],
                "command": command(packages, steps) if packages or steps else "",
                "then": binding(),
            }
        )
        return
    if tests and host.id == "ubuntu":
        click.echo("chromium is a snap on Ubuntu: for the tests of the report in a browser, snap install chromium")
    if not packages and not steps:
        click.echo("nothing is missing" if not binding() else "no system package is missing")
        _name_binding()
        return
    _describe(packages, steps)
    if not host.known:
        raise _unknown(host)
    if not dry_run and not system.is_root():
        click.echo(f"\nWithout root this is not done. The one command:\n\n{command(packages, steps)}")
    elif not dry_run and (yes or consent("Install?")):
        _carry_out(packages, steps)
    _name_binding()


def binding() -> str:
    """What is typed afterwards for libvirt's Python binding; empty where it is there or the clone's wrapper adds it."""
    if environment.binding_there() or environment.clone() is not None:
        return ""
    return environment.add(environment.BINDING, extra="kvm")


def _name_binding() -> None:
    if command := binding():
        click.echo(f"For virtual machines Python lacks {environment.BINDING}, which is then added by:\n\n{command}")


def consent(question: str) -> bool:
    """Whether to go ahead: TARE_YES says so, or the user at a terminal; without one, the answer is yes."""
    answer = os.environ.get("TARE_YES", "")
    if answer in ("0", "1"):
        return answer == "1"
    if sys.stdin.isatty() and not os.environ.get("CI"):
        return click.confirm(question, default=True)
    return True


def command(packages: Sequence[system.Package], steps: Sequence[system.Step]) -> str:
    """What an administrator types for all of it, in one line."""
    parts = [apt.install_command([package.name for package in packages])] if packages else []
    parts += [shlex.join(words) for step in steps for words in step.commands]
    line = " && ".join(parts)
    return f"sudo {line}" if len(parts) == 1 else f"sudo sh -c {shlex.quote(line)}"


def _describe(packages: Sequence[system.Package], steps: Sequence[system.Step]) -> None:
    width = max((len(package.name) for package in packages), default=0)
    if packages:
        click.echo("missing packages:")
    for package in packages:
        click.echo(f"  {package.name:{width}}  {package.why}")
    if system.runs_systemd() and any(package.name == "docker.io" for package in packages):
        click.echo("  (the distribution starts Docker's service when docker.io is installed)")
    for step in steps:
        click.echo(f"to do: {step.what}\n  {step.why}")


def _unknown(host: system.Distribution) -> TareError:
    return TareError(
        f"the packages of {host.name} are not known to Tare",
        details="Named above is what Debian and Ubuntu call them.",
        hint="install your distribution's packages of that purpose; `tare check` then says what is usable",
    )


def _carry_out(packages: Sequence[system.Package], steps: Sequence[system.Step]) -> None:
    """All that can be done of it; what can't is named at the end, in one error."""

    def say(text: str) -> None:
        click.echo(text, err=True)

    failures: list[apt.Failure] = []
    if packages:
        say(f"installing {len(packages)} packages")
        failures = apt.install([package.name for package in packages], say=say)
    # Asked again: a package that has just been installed may have made a group or a device's rule by itself.
    for step in system.steps() if packages else steps:
        say(step.what)
        failures += _run(step)
    if failures:
        raise TareError(
            f"not installed: {', '.join(failure.package for failure in failures)}",
            details="\n".join(f"{failure.package}: {failure.reason}" for failure in failures),
            hint="the rest is installed; `tare check` says what can be measured without them",
        )
    say("done")


def _run(step: system.Step) -> list[apt.Failure]:
    try:
        for words in step.commands:
            tool.run(words)
    except TareError as error:
        return [apt.Failure(step.what, error.details or error.brief)]
    return []
