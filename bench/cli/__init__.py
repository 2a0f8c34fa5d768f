"""The command line: the composition root. It alone wires the core to drivers and reports. One file a command."""

from __future__ import annotations

import importlib
import sys
import tempfile
import traceback
from importlib.metadata import version
from pathlib import Path

import click

from ..errors import TareError
from .interrupts import Interrupted

EXIT_BUG = 70

COMMANDS = {
    "check": "What can run here, rung by rung, each failed rung with its fix.",
    "setup": "Install the system packages that are missing, after saying which.",
    "list": "List drivers, workloads, suites, metrics or runs.",
    "plan": "Show what a run would measure, in which order, and how long it takes.",
    "run": "Measure, and put the answer on one page.",
    "images": "List, build or remove what runs are made from: rootfs, guest disk, kernel.",
    "report": "Render stored runs again.",
    "sweep": "Remove what a killed run left behind on this host.",
    "demo": "Render a stored run that ships with the package.",
}
"""In the order of their use. A command's module is imported when it is called."""


class LazyGroup(click.Group):
    """Commands by name: `tare --help` imports none of them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        module = importlib.import_module(f"{__name__}.{'list_' if name == 'list' else name}")
        command: click.Command = getattr(module, {"list": "list_", "images": "images_"}.get(name, name))
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and args[0] not in COMMANDS:
            from ..errors import UsageError
            from ..registry import nearest

            raise UsageError(f"There is no command `{args[0]}`.", hint=nearest(args[0], COMMANDS))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(version("tare-bench"), prog_name="tare")
@click.pass_context
def cli(context: click.Context) -> None:
    """Tare weighs isolation: what a virtual machine costs compared with a container, on your own hardware.

    Start with `tare run --quick`; it needs about a minute once its images are built. `tare check` says what can run
    here, `tare setup` installs what is missing.
    """
    if context.invoked_subcommand != "sweep":  # which lists it among what it removes
        from .. import tuning
        from .common import say

        tuning.restore(say)


def main(arguments: list[str] | None = None) -> None:
    """The entry point of `tare` and `tare-bench`: ends the process with the command's exit status."""
    try:
        status = cli.main(args=arguments, standalone_mode=False)
    except click.exceptions.Exit as stop:
        status = stop.exit_code
    except click.ClickException as error:
        error.show(file=sys.stderr)
        status = error.exit_code
    except TareError as error:
        _show(error)
        status = error.exit_status
    except Interrupted as interrupt:
        status = interrupt.exit_status
    except (KeyboardInterrupt, click.Abort) as error:
        # click turns the one into the other.
        status = getattr(error.__cause__ or error.__context__, "exit_status", 130)
    except BrokenPipeError:  # whoever read our output has had enough of it
        sys.stderr.close()
        status = 141
    except Exception as error:  # noqa: BLE001 - the last resort: a bug, kept in a file
        status = _crash(error)
    sys.exit(status if isinstance(status, int) else 0)


def _show(error: TareError) -> None:
    """An error in its three parts, on stderr."""
    from rich.console import Console
    from rich.text import Text

    console = Console(stderr=True, highlight=False, soft_wrap=True)
    console.print(Text.assemble(("error: ", "bold red"), (error.brief, "bold")))
    for line in error.details.splitlines()[-30:]:
        console.print(Text(f"  {line}"))
    if error.hint:
        console.print(Text.assemble(("what to do: ", "bold"), error.hint))


def _crash(error: Exception) -> int:
    with tempfile.NamedTemporaryFile("w", prefix="tare-crash-", suffix=".txt", delete=False) as file:
        file.write(f"tare {version('tare-bench')}, python {sys.version}\narguments: {sys.argv[1:]}\n\n")
        traceback.print_exception(error, file=file)
    click.echo(f"error: This is a bug in tare: {type(error).__name__}: {error}", err=True)
    click.echo(f"what to do: Report it with this file: {Path(file.name)}", err=True)
    return EXIT_BUG
