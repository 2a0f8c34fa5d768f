"""What commands share: where they print, and options that several have."""

from __future__ import annotations

import shlex
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec
from click.core import ParameterSource
from tare_bench.reports.language import LANGUAGES

from ..model import Notice

if TYPE_CHECKING:
    from rich.console import Console

RESULTS = click.option(
    "--results", type=click.Path(path_type=Path, file_okay=False), default=Path("results"), show_default=True,
    help="The folder that holds the runs.",
)  # fmt: skip
ROOTFS = click.option(
    "--rootfs", "rootfs_reference", default="default", metavar="R",
    help="A folder or tar file of your own, or docker:IMAGE.",
)  # fmt: skip
LIBVIRT_URI = click.option(
    "--libvirt-uri", metavar="URI", help="The libvirt that guests run in; by default Tare's own."
)
LANG = click.option(
    "--lang", type=click.Choice(LANGUAGES), default=LANGUAGES[0], show_default=True, envvar="TARE_LANG",
    help="The language of the answer, the tables and the page; TARE_LANG sets it, too.",
)  # fmt: skip
AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of text.")


def stderr() -> Console:
    """Progress and notices go here."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, soft_wrap=True)


def stdout() -> Console:
    """Results go here."""
    from rich.console import Console

    return Console(highlight=False)


def say(text: str) -> None:
    """One line of progress."""
    click.echo(text, err=True)


def plan_line(source: str) -> str:
    """Which plan file is read: the first line of what is said."""
    return f"plan: {source}"


def wait_for(owner: str) -> None:
    """Say that another run holds the lock for measuring."""
    say(f"Another run measures on this host (pid {owner}); waiting until it has ended.")


def print_json(document: Any) -> None:
    """The one document of --json."""
    click.echo(msgspec.json.format(msgspec.json.encode(document), indent=2).decode())


def show_notices(notices: Iterable[Notice]) -> None:
    """Each notice in a line or two, on stderr."""
    from rich.text import Text

    console = stderr()
    for notice in notices:
        loud = notice.code == "emulated"
        console.print(Text.assemble(("notice: ", "bold red" if loud else "bold yellow"), notice.message))
        if notice.hint:
            console.print(Text(textwrap.indent(notice.hint, " " * 8)))


def split(values: Sequence[str]) -> list[str]:
    """`-d a,b -d c` is a, b, c."""
    return [word.strip() for value in values for word in value.split(",") if word.strip()]


def repeated(context: click.Context, changes: Mapping[str, str | None]) -> str:
    """The command line of this call once more, with some options changed (None: left out), ready to be pasted.

    `changes` are by parameter, as the command's function names them.
    """
    words, last = [], []
    for parameter in context.command.params:
        name = parameter.name or ""
        value = context.params.get(name)
        if isinstance(parameter, click.Argument):
            last = [str(value)] if value is not None else []
        elif name in changes:
            words += [parameter.opts[-1], str(changes[name])] if changes[name] is not None else []
        elif context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            if isinstance(parameter, click.Option) and parameter.is_flag:
                words.append(((parameter.secondary_opts if value is False else []) or parameter.opts)[-1])
            else:
                given = value if isinstance(value, tuple) else [value]
                words += [word for each in given for word in (parameter.opts[-1], str(each))]
    dashed = ["--"] if last and last[0].startswith("-") else []
    return " ".join([program(), shlex.join([context.info_name or "", *words, *dashed, *last])])


def program() -> str:
    """How this program is called so that it works when pasted: by its name where the PATH has it."""
    here = Path(sys.argv[0]).resolve()
    found = shutil.which("tare")
    return "tare" if found and Path(found).resolve() == here else shlex.quote(str(here))


def plan_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that say what is to be measured: `plan` and `run` have them."""
    options = [
        click.argument("plan_file", metavar="[PLAN.toml]", required=False, type=click.Path(path_type=Path)),
        click.option("-d", "--driver", "drivers", multiple=True, metavar="DRIVER,...", help="Drivers to compare."),
        click.option("-w", "--workload", "workloads", multiple=True, metavar="WORKLOAD,...", help="Workloads to run."),
        click.option("--suite", metavar="SUITE", help="A named set of workloads; see `tare list suites`."),
        click.option("--baseline", metavar="ARM", help="The arm that ratios are taken against."),
        click.option("--rounds", type=int, metavar="N", help="Measured blocks, each with every arm once."),
        click.option("--max-time", type=float, metavar="SECONDS", help="Start no block that would not fit."),
        click.option("--seed", type=int, metavar="N", help="The seed of the order; by default a new one."),
        click.option(
            "--accelerator", type=click.Choice(["auto", "kvm", "tcg"]),
            help="For guests: KVM where it works, KVM or nothing, or emulation.",
        ),
        LIBVIRT_URI,
        click.option(
            "--aa/--no-aa", default=None, help="Boot the baseline twice in each block, as its control. [default: on]"
        ),
        click.option(
            "--aa-arm", "aa_arms", multiple=True, metavar="ARM", help="The arm that is its own control; repeats."
        ),
        click.option(
            "--tune/--no-tune", default=None,
            help="Set governor, turbo and KSM for the run and drop the caches; undone on every way out.",
        ),
        click.option("--parallel", type=int, metavar="N", help="For the workload storm: 1, 2, 4, ... N at once."),
        click.option("--max-instances", type=int, metavar="N", help="For the workload density: no more than these."),
        click.option("--quick", is_flag=True, help="10 blocks of boot, 6 of memory and CPU: about a minute."),
    ]  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command
