"""What runs inside an instance: the agent, and the init of a guest's initramfs."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

AGENT_NAME = "tare-agent"
PORT_NAME = "tare.wire"
INIT_MARKER = b"tare: init"


@cache
def agent() -> str:
    """The agent's text, for `sh -c`."""
    return files(__package__).joinpath("agent.sh").read_text(encoding="ascii")


def agent_argv() -> list[str]:
    """The argv that runs the agent on its standard input and output (native, containers)."""
    return ["/bin/sh", "-c", agent(), AGENT_NAME, "stdio", "exit"]
