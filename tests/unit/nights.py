"""Runs of many nights for tests: the same plan, seeded, with changes planted where a test wants them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import msgspec
from runs import METRICS, PRIMARY, Setting, build
from tare_bench.analysis import Analysis, analyse
from tare_bench.model import Run

Factor = Callable[[str, str, int], float]
USUAL = Setting(rounds=10, throughput=10, workloads=("boot", "memory"))


def night(
    number: int, factor: Factor = lambda arm, metric, block: 1.0, host: Mapping[str, str] | None = None,
    setting: Setting = USUAL,
) -> Run:  # fmt: skip
    """One night's run; `host` are facts that differ from the usual ones."""
    run = build(replace(setting, seed=number, factor=factor))
    manifest = msgspec.structs.replace(
        run.manifest,
        run=f"202611{number + 1:02d}-030000-aa{number:02d}",
        started_at=f"2026-11-{number + 1:02d}T03:00:00Z",
        host={**run.manifest.host, **(host or {})},
    )
    return msgspec.structs.replace(run, manifest=manifest)


def seen(run: Run) -> Analysis:
    """Its analysis."""
    return analyse(run, METRICS, PRIMARY)
