"""The documents, as tests read them: their blocks of code, and the packages that they show."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

from program import Tare

ROOT = Path(__file__).resolve().parents[1]
TARE = Path(sys.executable).with_name("tare")

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(document: Path, language: str) -> list[str]:
    """The blocks of code in that language."""
    return [body for named, body in FENCE.findall(document.read_text(encoding="utf-8")) if named == language]


def prose(text: str) -> str:
    """What is not in a block of code."""
    return FENCE.sub("", text)


def installed(document: Path, folder: Path) -> Tare:
    """Tare, called in a folder beside which the package that the document shows is installed."""
    site = folder / "beside"
    project = tomllib.loads(blocks(document, "toml")[0])
    [module] = project["tool"]["setuptools"]["py-modules"]
    about = site / f"{module}-{project['project']['version']}.dist-info"
    about.mkdir(parents=True)
    (site / f"{module}.py").write_text(blocks(document, "python")[0], encoding="utf-8")
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['project']['name']}\nVersion: 0.1\n")
    points = project["project"]["entry-points"]
    lines = [f"[{group}]\n" + "".join(f"{name} = {what}\n" for name, what in points[group].items()) for group in points]
    (about / "entry_points.txt").write_text("\n".join(lines))

    def call(*words: str | Path, seconds: float = 300) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PYTHONPATH": str(site), "NO_COLOR": "1", "COLUMNS": "200"}
        return subprocess.run(
            [TARE, *words], capture_output=True, text=True, check=False, cwd=folder, env=environment,
            stdin=subprocess.DEVNULL, timeout=seconds,
        )  # fmt: skip

    return call
