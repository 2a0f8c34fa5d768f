"""Every command as a newcomer meets it: help, answers, refusals, exit statuses."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from needs import lacking
from program import Tare
from tare_bench import store
from tare_bench.cli import COMMANDS

HEAVY = {"pandas", "matplotlib", "scipy", "docker", "libvirt", "jinja2", "numpy", "requests"}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_has_help(tare: Tare, command: str) -> None:
    done = tare(command, "--help")
    assert done.returncode == 0
    assert done.stdout.startswith(f"Usage: tare {command} ")
    lines = [line for line in done.stdout.splitlines() if line.strip()]
    assert len(lines[1].strip()) > 20
    described = done.stdout.partition("Options:")[2].splitlines()
    options = [line for line in described if line.startswith("  -")]
    assert options
    for number, line in enumerate(described):
        if line.startswith("  -"):
            words = line.strip().split("  ", 1)
            assert len(words) == 2 or described[number + 1].startswith("   "), f"{line} says nothing"


def test_the_programs_help_names_every_command(tare: Tare) -> None:
    done = tare("--help")
    assert done.returncode == 0
    words = " ".join(done.stdout.split())
    for command, about in COMMANDS.items():
        assert f" {command} {about}" in words


def test_help_and_version_import_nothing_heavy() -> None:
    code = "import sys; from tare_bench.cli import main; main(['--help'])"
    done = subprocess.run([sys.executable, "-X", "importtime", "-c", code], capture_output=True, text=True, check=True)
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert "click" in imported
    assert imported & HEAVY == set()


@pytest.mark.parametrize(
    ("words", "nearest"),
    [
        (("runn",), "run"),
        (("run", "-d", "dokcer"), "docker"),
        (("run", "-w", "memroy"), "memory"),
        (("run", "--suite", "defualt"), "default"),
        (("run", "-d", "native", "--baseline", "natve"), "native"),
        (("check", "natvie"), "native"),
        (("plan", "-d", "dockr"), "docker"),
    ],
)
def test_what_is_misspelt_gets_the_nearest_name(tare: Tare, words: tuple[str, ...], nearest: str) -> None:
    done = tare(*words)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert f"Did you mean `{nearest}`?" in done.stderr


@pytest.mark.parametrize(
    "words",
    [
        ("run", "--rounds", "x"),
        ("run", "--rounds", "0"),
        ("run", "--no-such-option"),
        ("run", "no-such-plan.toml"),
        ("report", "no-such-run"),
        ("report", "latest"),
        ("run", "-d", "fake,native"),
        ("run", "-d", "fake", "--rootfs", ".", "--max-time", "0"),
        ("list", "nothing"),
    ],
)
def test_what_is_wrong_is_said_without_a_traceback(tare: Tare, words: tuple[str, ...]) -> None:
    done = tare(*words)
    assert done.returncode == 2
    assert done.stderr.strip()
    assert "Traceback" not in done.stderr


@pytest.mark.needs("root", "native", "docker", "kvm")
def test_check_says_for_each_driver_what_it_saw(tare: Tare) -> None:
    done = tare("check", "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert set(document["drivers"]) == {"native", "docker", "kvm"}
    for driver in document["drivers"].values():
        assert driver["ok"]
        assert all(rung["ok"] and rung["seen"] for rung in driver["rungs"])
    assert document["drivers"]["kvm"]["accelerator"] in ("kvm", "tcg")
    assert document["space"]["free_bytes"] > 0
    text = tare("check")
    assert "native: can run" in text.stdout
    assert f"accelerator: {document['drivers']['kvm']['accelerator']}" in text.stdout


KVM_OR_NOTHING = ("run", "-d", "kvm", "-w", "boot", "--rounds", "1", "--accelerator", "kvm", "--results", "results")


@pytest.mark.needs("root", "kvm", "kvm-guest")
def test_a_stock_kernel_runs_under_kvm(tare: Tare, tmp_path: Path) -> None:
    done = tare(*KVM_OR_NOTHING, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["emulated"] == []
    run = store.load(store.find("latest", tmp_path / "results"))
    assert {trial.cell.accelerator for trial in run.trials} == {"kvm"}


@pytest.mark.needs("root", "kvm")
def test_kvm_is_refused_with_what_was_seen_where_a_stock_kernel_does_not_boot(tare: Tare, tmp_path: Path) -> None:
    if lacking("kvm-guest") is None:
        return  # it boots: the other test shows that
    done = tare(*KVM_OR_NOTHING)
    assert done.returncode == 3
    assert "error: KVM does not work on this host." in done.stderr
    evidence = done.stderr.partition("KVM does not work on this host.")[2].partition("what to do:")
    assert len(evidence[0].strip()) > 20
    assert "tcg" in evidence[2]
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("what", ["drivers", "workloads", "suites", "metrics", "runs"])
def test_list_says_the_same_to_people_and_programs(tare: Tare, what: str) -> None:
    text, document = tare("list", what), tare("list", what, "--json")
    assert text.returncode == document.returncode == 0
    rows = json.loads(document.stdout)
    assert [line.split()[0] for line in text.stdout.splitlines()] == [row["name"] for row in rows]
    assert bool(rows) == (what != "runs")
    assert all(row["about"] for row in rows)


def test_plan_shows_order_and_time_and_runs_nothing(tare: Tare, tmp_path: Path) -> None:
    done = tare("plan", "--quick", "--seed", "7")
    assert done.returncode == 0, done.stderr
    assert "arm docker: docker," in done.stdout
    assert "the baseline" in done.stdout
    assert "blocks of boot: 10 measured after 1 of warm-up" in done.stdout
    assert "  sysbench-cpu (threads = 1): 6 blocks\n" in done.stdout
    assert "seed 7" in done.stdout
    assert "\nblock " not in done.stdout
    whole = tare("plan", "--seed", "7", "--verbose").stdout
    assert "blocks of throughput: 10 measured after 1 of warm-up; all instances stay up" in whole
    assert whole.count("\nblock ") == 2 * 11
    assert "images come before" in whole
    assert list(tmp_path.iterdir()) == []


def test_a_plan_says_how_long_at_least_and_at_most_and_what_it_could_detect(tare: Tare) -> None:
    text = tare("plan").stdout
    assert re.search(r"at least about \d+ s, at most 300 s, of measuring", text)
    assert "arm docker A/A: docker a second time" in text
    assert re.search(r"boot: 1\.\d+x with 10 pairs", text)
    assert "By precision: " in text
    fixed = tare("plan", "--rounds", "30", "--no-aa").stdout
    assert "A/A" not in fixed
    assert "Fixed: 30 measured blocks of boot" in fixed
    assert re.search(r"boot: 1\.\d+x with 30 pairs \(", fixed)
    document = json.loads(tare("plan", "--json").stdout)
    assert document["seconds"] < document["seconds_most"] == 300
    assert "boot" in document["detectable"]


def test_a_plan_as_toml_is_a_plan(tare: Tare, tmp_path: Path) -> None:
    words = ("plan", "-d", "native,docker", "-w", "memory", "--rounds", "9", "--seed", "5", "--max-time", "60")
    (tmp_path / "tare.toml").write_text(tare(*words, "--toml").stdout)
    direct, read = (json.loads(tare(*each, "--json").stdout) for each in (words, ("plan",)))
    assert read == direct
    assert "plan: tare.toml" in tare("plan").stdout


@pytest.mark.needs("root")
def test_sweep_finds_nothing_on_a_clean_host(tare: Tare, monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory(prefix="tare-", dir="/run") as folder:
        monkeypatch.setenv("TARE_RUN", folder)
        for words in (("sweep", "--dry-run"), ("sweep",)):
            done = tare(*words)
            assert done.returncode == 0, done.stderr
            assert done.stdout == "nothing is left behind\n"
        assert json.loads(tare("sweep", "--json").stdout) == []


@pytest.mark.needs("root")
def test_sweep_removes_what_a_dead_run_owned(tare: Tare, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    overlay = tmp_path / "overlay"
    overlay.write_text("x")
    with tempfile.TemporaryDirectory(prefix="tare-", dir="/run") as folder:
        monkeypatch.setenv("TARE_RUN", folder)
        dead = Path(folder) / "dead"
        dead.mkdir()
        (dead / "lease.jsonl").write_text(json.dumps({"kind": "file", "name": str(overlay), "started": 0}) + "\n{torn")
        said = tare("sweep", "--dry-run").stdout
        assert f"would remove file {overlay} (run dead)" in said
        assert overlay.exists()
        assert tare("sweep").returncode == 0
        assert not overlay.exists()
        assert not dead.exists()


@pytest.mark.parametrize("program", ["tare", "tare-bench"])
def test_both_names_are_the_same_program(program: str) -> None:
    path = Path(sys.executable).with_name(program)
    done = subprocess.run([path, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("tare, version ")


def test_check_says_what_building_takes_before_anything_is_downloaded(
    tare: Tare, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TARE_CACHE", str(tmp_path / "cache"))
    space = json.loads(tare("check", "--json").stdout)["space"]
    assert space["folder"] == str(tmp_path / "cache")
    assert set(space["parts"]) == {"rootfs", "guest", "engine"}
    assert space["needed_bytes"] == sum(space["parts"].values())
    assert space["parts"]["rootfs"] >= 500 << 20
    assert space["parts"]["guest"] > 0
    assert not (tmp_path / "cache").exists()
