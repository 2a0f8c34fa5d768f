"""The installed program, as tests call it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

Tare = Callable[..., subprocess.CompletedProcess[str]]
"""Takes the words of a command line (and `seconds`, the deadline); returns what was said and the exit status."""
