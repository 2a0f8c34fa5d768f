"""The records: what is planned, what was measured, and what is stored.

All are frozen and hold SI base units (seconds, bytes, events per second). Their field names are the names in
`trials.jsonl` and `manifest.json`; other tools rely on them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

if TYPE_CHECKING:
    import pandas as pd

SCHEMA_VERSION = 1

Role = Literal["warmup", "measured"]
Status = Literal["ok", "failed", "timeout", "skipped"]
Accelerator = Literal["none", "kvm", "tcg", "simulated"]
"""`none`: the instance runs on the host's kernel and has no accelerator to name; `simulated`: the fake driver."""

NetworkPath = Literal["none", "bridge", "host", "user", "nat"]
"""What lies between an instance and what is outside of it. `bridge`: one of the run's own, the same for every driver.
The others are what users have by default: `host`, the host's own network; `user`, a VMM's own network stack; `nat`, an
engine's own bridge with a published port."""

Scalar = str | int | float | bool

INHERENT = "none of its own"
"""What a technology does not have by its nature: a container has no disk whose cache would have a mode."""
UNLIMITED = "unlimited"


class Record(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=False):
    """The base of every record: immutable, built by keyword."""


class Spec(Record, frozen=True, kw_only=True):
    """What an instance is given: the same for every arm, but where an arm differs in an axis on purpose."""

    vcpus: int
    memory: int
    """Bytes. A limit for a container, the size of a guest (its kernel included)."""
    rootfs: str = ""
    """The digest of the root filesystem, `sha256:...`; empty until it has been built."""
    network: NetworkPath = "none"
    """Why an instance cannot have one is said before the first trial; it never gets another one instead."""
    disk: int = 1 << 30
    """Bytes of room that a guest's disk has beyond the rootfs itself."""
    init: Literal["agent"] = "agent"
    cache: Literal["auto", "writeback", "none"] = "auto"
    """How a guest's disk goes through the host's page cache; `none` is with native AIO. `auto`: `none` where storage is
    measured, else `writeback`. It says nothing to a container, which has no disk of its own."""
    turn: int = 0
    """Where many instances of an arm run at once: which of the host's sets of CPUs this one has, all around."""
    page_cache: Literal["warm", "cold"] = "warm"
    """`warm`: as it is once the arm's first instance has started. `cold`: before each boot that is measured, and each
    trial of storage, nothing of its files is in memory, which is verified."""


class Arm(Record, frozen=True, kw_only=True):
    """One side of a comparison."""

    name: str
    driver: str
    options: dict[str, str] = {}
    spec: Spec


class Cell(Record, frozen=True, kw_only=True):
    """The key of every table: which arm did which workload with which parameters."""

    arm: str
    driver: str
    accelerator: Accelerator
    workload: str
    params: dict[str, Scalar] = {}
    spec: Spec


class Sample(Record, frozen=True, kw_only=True):
    """One measured value of one metric; never a mean."""

    metric: str
    value: float
    unit: str
    error: float | None = None
    """Half the width of the interval, in the same unit, where the value was polled rather than stamped."""


class Trial(Record, frozen=True, kw_only=True):
    """One planned execution of a cell: a line of `trials.jsonl`."""

    trial: str
    cell: Cell
    instance: str
    """The instance's id, the same for all trials that shared one; empty when none was made."""
    age_s: float | None
    """Seconds from the instance's READY to the start of the trial; None for `boot` and where it never was ready."""
    block: int
    position: int
    """The place of the trial's session in its block, from 0."""
    role: Role
    status: Status
    started_at: str
    """UTC, ISO 8601. For people: it is never subtracted from another."""
    samples: list[Sample] = []
    reason: str = ""
    """Why a trial that is not ok is not; empty when it is."""
    artifacts: list[str] = []
    """Paths below the run's folder."""
    facts: dict[str, str] = {}
    """What was read as text rather than as a number, e.g. `kernel_release`."""


class Notice(Record, frozen=True, kw_only=True):
    """A warning as data."""

    code: str
    """Stable, kebab-case, e.g. `emulated`."""
    subject: str
    """What it is about: a driver, an arm, the host."""
    message: str
    hint: str = ""


class OwnWorkload(Record, frozen=True, kw_only=True):
    """A workload of the user's own: a command of the rootfs, and what is read from it."""

    command: str
    """For the instance's shell."""
    setup: str = ""
    """What is run before, once for an instance and untimed."""
    pattern: str = ""
    """A regular expression whose first group is the value, in what the command prints; empty: its wall time."""
    unit: str = "s"
    better: Literal["lower", "higher"] = "lower"
    deadline: float = 60.0
    """Seconds."""
    packages: list[str] = []
    """What the default rootfs has beside its usual packages, for it."""


class WorkloadPlan(Record, frozen=True, kw_only=True):
    """One workload as it was planned, with one set of parameters."""

    name: str
    params: dict[str, Scalar] = {}
    blocks: int | None = None
    """In how many measured blocks it runs; None: in all of them."""
    together: bool = False
    """Whether it runs in blocks of throughput, in which all arms' instances stay up, and not in boot's blocks."""
    crowd: bool = False
    """Whether it starts its instances itself, as many as it needs, in blocks that come last."""
    sized: bool = False
    """Whether the warm-up finds out how much work it is given, the same for all arms."""
    packages: list[str] = []
    """What the default rootfs has beside its usual packages, for it."""
    own: OwnWorkload | None = None
    """What it does, where the plan file says that and not Tare."""

    @property
    def key(self) -> str:
        """Its name, with its parameters where it has some: unique in a plan."""
        return self.name if not self.params else f"{self.name} {canonical(self.params)}"


class Plan(Record, frozen=True, kw_only=True):
    """What is to be measured, whole: arms x workloads, and how many blocks of them."""

    arms: list[Arm]
    workloads: list[WorkloadPlan]
    baseline: str
    """The name of the arm that ratios are taken against."""
    rounds: int
    """Measured blocks of boot, and of what is measured on the instances that boot was measured on."""
    max_rounds: int | None = None
    """How many blocks of a kind there are at most, where further ones follow for pairs that are open; None: `rounds`
    is the number of blocks, whatever they show."""
    twins: dict[str, str] = {}
    """The name of an arm's twin to the arm's: the same arm a second time in blocks of boot, so that the run shows what
    it calls different where nothing differs (A/A)."""
    warmup: int = 1
    """Blocks before them, kept in the file with the role warmup."""
    throughput_rounds: int = 0
    """Measured blocks of throughput, which come after those."""
    throughput_warmup: int = 1
    """Blocks of throughput before them, in which each workload's amount of work is sized."""
    seed: int = 0
    max_time: float | None = None
    """Seconds that the measuring may take; None: as long as the rounds need."""
    accelerator: Literal["auto", "kvm", "tcg"] = "auto"
    tune: bool = False
    """Whether the host is tuned for as long as the run takes."""
    boot_deadline: float = 60.0
    """Seconds. 180 for an emulated guest."""
    stopping_rule: str = ""
    """In words, as it stood before the first trial."""

    @property
    def every_arm(self) -> list[Arm]:
        """The arms, and the twins as arms of their own."""
        by_name = {arm.name: arm for arm in self.arms}
        twins = [msgspec.structs.replace(by_name[of], name=name) for name, of in self.twins.items() if of in by_name]
        return [*self.arms, *twins]

    @property
    def packages(self) -> list[str]:
        """What the default rootfs has beside its usual packages, sorted."""
        own = [name for each in self.workloads if each.own for name in each.own.packages]
        return sorted({*own, *(name for each in self.workloads for name in each.packages)})

    def times(self, workload: WorkloadPlan) -> int:
        """The measured blocks that a workload is planned for."""
        if workload.crowd:
            return workload.blocks or 1
        most = self.throughput_rounds if workload.together else self.rounds
        return most if workload.blocks is None else min(workload.blocks, most)


class RootfsFacts(Record, frozen=True, kw_only=True):
    """Where the root filesystem came from."""

    digest: str
    recipe: str
    """How it was made, in one line."""
    size: int
    """Bytes of its files."""
    packages: dict[str, str] = {}
    """Name to version, as the rootfs's own database says; empty where it has none."""


class Manifest(Record, frozen=True, kw_only=True):
    """`manifest.json`: all that is known before the first trial."""

    schema_version: int = SCHEMA_VERSION
    run: str
    """The run's id, which is its folder's name."""
    tare_version: str
    started_at: str
    command: str
    """The command line that repeats the run."""
    plan: Plan
    host: dict[str, str]
    drivers: dict[str, dict[str, str]]
    """Versions and settings, as the driver describes itself: by driver, or by arm where a plan has a driver with
    several sets of options."""
    accelerators: dict[str, Accelerator]
    """By arm, as `check` resolved them; what an instance reports must agree."""
    rootfs: RootfsFacts
    notices: list[Notice] = []

    def described(self, arm: Arm) -> dict[str, str]:
        """What the driver of an arm said of itself."""
        return self.drivers.get(arm.name) or self.drivers.get(arm.driver) or {}


class Stop(Record, frozen=True, kw_only=True):
    """Why no more of a primary pair was measured."""

    workload: str
    params: str
    """Canonical JSON."""
    arm: str
    metric: str
    pairs: int
    why: str
    """`different` or `equivalent`: decided; `beyond the budget`, `out of time`, `out of rounds`, `pairs lost`."""
    needed: int | None = None
    """About how many pairs a decision would take, where that can be foreseen."""


class Run(Record, frozen=True, kw_only=True):
    """A stored execution of a plan."""

    path: str
    manifest: Manifest
    trials: list[Trial]
    notices: list[Notice] = []
    """The manifest's, and what was noticed when it was loaded (a torn last line)."""
    stops: list[Stop] = []
    """Why each primary pair was measured no longer, where precision steered the run."""
    host_after: dict[str, str] = {}
    """Those of the manifest's host facts that may have changed, as they were at the end."""
    finished: bool = True
    """False where the run was interrupted; what is there is whole all the same."""
    in_flight: bool = False
    """Whether it is still going on on this host, so that more will come; it is not finished then."""
    printed: dict[str, str] = {}
    """What the tool itself printed, by trial: of each cell the first measured one that kept it, cut if it is long."""

    @property
    def simulated(self) -> bool:
        """Whether any arm was the fake driver: such a run is watermarked SIMULATED everywhere."""
        return "simulated" in self.manifest.accelerators.values()

    @property
    def emulated(self) -> list[str]:
        """The names of the arms whose guests ran without KVM."""
        return [arm for arm, accelerator in self.manifest.accelerators.items() if accelerator == "tcg"]

    def frame(self) -> pd.DataFrame:
        """The tidy table: one row a sample, with the trial's fields beside it.

        Columns: trial, arm, driver, accelerator, workload, params (canonical JSON), instance, age_s, block,
        position, role, status, metric, value, unit, error. A trial without samples has no row here.
        """
        import pandas as pd

        columns = ["trial", "arm", "driver", "accelerator", "workload", "params", "instance", "age_s", "block"]
        columns += ["position", "role", "status", "metric", "value", "unit", "error"]
        rows = [
            (
                trial.trial,
                trial.cell.arm,
                trial.cell.driver,
                trial.cell.accelerator,
                trial.cell.workload,
                canonical(trial.cell.params),
                trial.instance,
                trial.age_s,
                trial.block,
                trial.position,
                trial.role,
                trial.status,
                sample.metric,
                sample.value,
                sample.unit,
                sample.error,
            )
            for trial in self.trials
            for sample in trial.samples
        ]
        return pd.DataFrame(rows, columns=columns)


def canonical(params: dict[str, Scalar]) -> str:
    """Parameters as one line of JSON with sorted keys: equal text for equal parameters."""
    return msgspec.json.encode(dict(sorted(params.items()))).decode()
