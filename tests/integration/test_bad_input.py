"""What is wrong with what a user gives: one clear error, the right exit status, no traceback, nothing left behind."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from needs import TARE
from program import Tare
from tare_bench import store
from tare_bench.reports.exports import FORMATS

FAKE = ("run", "-d", "fake", "-w", "boot", "--rounds", "2", "--seed", "1")


@pytest.fixture(autouse=True)
def nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Neither a lease nor a temporary file, and so no file of a crash either."""
    runtime, temporary = Path(os.environ["TARE_RUN"]), tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    before = set(runtime.iterdir())
    yield
    assert {each.name for each in set(runtime.iterdir()) - before} <= {".lock", ".measuring"}
    assert list(temporary.iterdir()) == []


@pytest.fixture
def refused(tare: Tare, tmp_path: Path) -> Callable[..., str]:
    """Calls it, and returns the one error that it said. The folder is as it was before."""

    def call(*words: str | Path, status: int = 2) -> str:
        before = sorted(tmp_path.rglob("*"))
        done = tare(*words, seconds=60)
        assert done.returncode == status, done.stderr
        assert done.stdout == ""
        assert "Traceback" not in done.stderr
        assert "bug" not in done.stderr
        assert done.stderr.lower().count("error: ") == 1, done.stderr
        assert sorted(tmp_path.rglob("*")) == before
        return done.stderr

    return call


@pytest.fixture
def kept(tare: Tare, tmp_path: Path) -> Path:
    """A run in `results`."""
    done = tare(*FAKE)
    assert done.returncode == 0, done.stderr
    return store.find("latest", tmp_path / "results")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--rounds", "x"), "'x' is not a valid integer"),
        (("--rounds", "1.5"), "'1.5' is not a valid integer"),
        (("--rounds", "true"), "is not a valid integer"),
        (("--rounds", "0"), "0 rounds are not possible."),
        (("--rounds", "-3"), "-3 rounds are not possible."),
        (("--rounds", str(10**30)), "more than 10^20 rounds are not possible."),
        (("--rounds", "9" * 5000), "is not a valid integer"),
        (("--max-time", "nan"), "A time limit of nan s is not possible."),
        (("--max-time", "inf"), "A time limit of inf s is not possible."),
        (("--max-time", "-1"), "A time limit of -1 s is not possible."),
        (("--seed", "-1"), "The seed -1 is not possible."),
        (("--seed", str(10**30)), "The seed more than 10^20 is not possible."),
        (("--accelerator", "xen"), "'xen' is not one of"),
        (("-d", "fake,fake"), "Two arms are named `fake`."),
        (("-d", "x" * 10_000), "There is no driver named `xxx"),
        (("-d", "\x1b[31m"), "There is no driver named `\N{REPLACEMENT CHARACTER}[31m`"),
        (("-w", "../boot"), "There is no workload named `../boot`."),
        (("--rootfs", "no/such/rootfs", "-d", "native"), "no such rootfs"),
    ],
)
def test_an_option(refused: Callable[..., str], words: tuple[str, ...], said: str) -> None:
    assert said in refused("run", *(() if "-d" in words else ("-d", "fake")), *words)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[run]\nmax_round = 1\n", "line 2: [run] has no `max_round`.\nwhat to do: Did you mean `max_rounds`?"),
        ("[run]\nmax_rounds = 'ten'\n", "line 2: max_rounds must be a whole number, got text."),
        ("[[arm]]\ndriver = 'fake'\nvcpus = 1000000\n", "line 3: 1000000 vCPUs are not possible"),
        ("[[arm]]\ndriver = 'fake'\nname = 'a/b'\n", "line 3: `a/b` is no name for an arm."),
        ("[run\n", "is not TOML."),
        ("a = " + "[" * 5000, "is not TOML."),
        ("\0\1\2", "is not TOML."),
    ],
)
def test_a_plan(refused: Callable[..., str], tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "plan.toml").write_text(text)
    assert said in refused("run", "plan.toml")
    assert said in refused("plan", "plan.toml")


def test_what_is_no_plan(refused: Callable[..., str], tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("nowhere")
    (tmp_path / "program").write_bytes(TARE.resolve().read_bytes() + b"\x00\xff\xfe")
    with (tmp_path / "large").open("wb") as large:
        large.truncate(100 << 20)
    for name in ("pipe", "link", "program", "large", ".", "/dev/zero", "none", "x" * 10_000):
        assert "what to do: A plan file is TOML" in refused("run", name)


def test_an_empty_plan_is_the_default_one_and_what_is_read_is_said_first(tare: Tare, tmp_path: Path) -> None:
    (tmp_path / "tare.toml").write_text("")
    done = tare("plan", "--seed", "1")
    assert done.stdout.splitlines()[0] == "plan: tare.toml"
    (tmp_path / "tare.toml").unlink()
    assert done.stdout.splitlines()[1:] == tare("plan", "--seed", "1").stdout.splitlines()
    (tmp_path / "other.toml").write_text("")
    assert tare(*FAKE[:1], "other.toml", *FAKE[1:]).stderr.splitlines()[0] == "plan: other.toml"


@pytest.mark.parametrize("what", ["drivers", "workloads", "suites", "metrics", "runs"])
def test_a_name_that_is_not_in_a_list(refused: Callable[..., str], tare: Tare, what: str) -> None:
    names = {"drivers": "kvmm", "workloads": "memroy", "suites": "ful", "metrics": "boot.redy", "runs": "x"}
    nearest = {"drivers": "kvm", "workloads": "memory", "suites": "full", "metrics": "boot.ready"}
    said = refused("list", what, names[what])
    assert f"There is no {what[:-1]} named `{names[what]}`." in said
    if what in nearest:
        assert f"Did you mean `{nearest[what]}`?" in said
        assert tare("list", what, nearest[what]).stdout.split()[0] == nearest[what]


def test_a_place_for_results_that_is_none(refused: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to("nowhere")
    assert "is a file" in refused(*FAKE, "--results", "file")
    assert "Not a directory" in refused(*FAKE, "--results", "file/below", status=1)
    assert "File exists" in refused(*FAKE, "--results", "link", status=1)
    assert "--results DIR" in refused(*FAKE, "--results", "x" * 300, status=1)


@pytest.mark.needs("root", "native")
@pytest.mark.parametrize(
    ("mount", "words"),
    [("-t tmpfs -o ro", "Read-only file system"), ("-t tmpfs -o size=256k", "No space left on device")],
)
def test_results_that_cannot_be_kept_are_said_before_anything_is_started(
    tmp_path: Path, mount: str, words: str
) -> None:
    results = tmp_path / "results"
    results.mkdir()
    line = f'mount {mount} tmpfs "$1" && "$2" run -d native -w boot --results "$1/new"; code=$?; ls -A "$1"; exit $code'
    argv = ["unshare", "--mount", "sh", "-c", line, "sh", results, TARE]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1, done.stderr
    assert words in done.stderr
    assert "what to do: Name a folder with room" in done.stderr
    assert "native: opening" not in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert list(results.iterdir()) == []


@pytest.mark.needs("root")
def test_a_disk_that_fills_up_ends_the_run_with_one_error_and_keeps_what_is_whole(tmp_path: Path) -> None:
    results = tmp_path / "results"
    results.mkdir()
    # what is there at the start is taken away by something else while it measures
    line = (
        'mount -t tmpfs -o size=5m tmpfs "$1"; mkfifo "$1/go"; '
        '"$2" run -d fake -w boot,sysbench-cpu --rounds 3000 --progress json --results "$1" 2>"$3/said" >"$3/out" & '
        'until ls "$1"/*/manifest.json >/dev/null 2>&1; do :; done; '
        'head -c 5000000 /dev/zero >"$1/filler" 2>/dev/null; wait $!; code=$?; cp -r "$1"/2* "$3/kept"; exit $code'
    )
    argv = ["unshare", "--mount", "sh", "-c", line, "sh", results, TARE, tmp_path]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=120)
    said = (tmp_path / "said").read_text()
    assert done.returncode == 1, said
    assert said.count("error: ") == 1, said[-2000:]
    assert "error: The results cannot be written to " in said
    assert "No space left on device" in said
    assert "Traceback" not in said
    run = store.load(tmp_path / "kept")
    assert [notice.code for notice in run.notices if notice.code == "torn-line"] == []
    assert not run.finished
    assert not [each for each in (tmp_path / "kept").iterdir() if each.name.startswith(".")]


def test_a_run_that_is_none(refused: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "empty").mkdir()
    (tmp_path / "folder" / "manifest.json").mkdir(parents=True)
    assert "file is a file; a run is a folder." in refused("report", "file")
    assert "empty is not a run." in refused("report", "empty")
    assert "folder is not a run." in refused("report", "folder")
    assert "There is no run named none." in refused("report", "none")
    assert "There is no run named xxx" in refused("report", "x" * 10_000)
    assert "There is no run in results." in refused("report")
    assert "There is no run in empty." in refused("report", "latest", "--results", "empty")
    assert "is a file" in refused("report", "--results", "file")


def _edit(**changes: object) -> Callable[[Path], None]:
    def edit(path: Path) -> None:
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return edit


def _grow(path: Path) -> None:
    os.truncate(path, 100 << 20)


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _write(data: bytes) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(data) and None


def _arms(path: Path) -> None:
    document = json.loads(path.read_text())
    document["plan"]["arms"] = []
    path.write_text(json.dumps(document))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_write(b""), "cannot be read."),
        (_write(b'{"schema_version": 1'), "cannot be read."),
        (_write(b"\xff\xfe{}"), "cannot be read."),
        (_write(b"[" * 100_000), "cannot be read."),
        (_write(b'{"schema_version": 1, "a": ' + b"[" * 100_000), "cannot be read."),
        (_write(b"[]"), "cannot be read."),
        (_write(b'{"name": "a package.json"}'), "is not a run's manifest."),
        (_write(b'{"schema_version": true}'), "is not a run's manifest."),
        (_write(b'{"schema_version": 1}'), "is not a run's manifest."),
        (_arms, "is not a run's manifest."),
        (_edit(schema_version=2), "is of schema 2; this tare reads schema 1."),
        (_edit(schema_version=0), "is of schema 0; this tare reads schema 1."),
        (_edit(plan=None), "is not a run's manifest."),
        (_grow, "is too large"),
    ],
)
def test_a_manifest(
    refused: Callable[..., str], tare: Tare, kept: Path, spoil: Callable[[Path], None], said: str
) -> None:
    spoil(kept / store.MANIFEST)
    for words in (("report",), ("report", kept.name, "--format", "csv"), ("report", kept, "--json")):
        assert said in refused(*words, status=1)
    listed = tare("list", "runs")
    assert listed.returncode == 0
    assert f"{kept.name}  cannot be read: " in listed.stdout


def _in_the_middle(data: bytes) -> Callable[[Path], None]:
    def spoil(path: Path) -> None:
        lines = path.read_bytes().splitlines(keepends=True)
        path.write_bytes(b"".join([*lines[:2], data, *lines[2:]]))

    return spoil


def _value(text: bytes) -> Callable[[Path], None]:
    def spoil(path: Path) -> None:
        lines = path.read_bytes().splitlines(keepends=True)
        head, found, tail = lines[2].partition(b'"value":')
        assert found
        lines[2] = head + found + text + tail[tail.index(b",") :]
        path.write_bytes(b"".join(lines))

    return spoil


def _other_arm(path: Path) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    lines[2] = lines[2].replace(b'"arm":"fake"', b'"arm":"other"')
    path.write_bytes(b"".join(lines))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_in_the_middle(b"garbage\n"), "Line 3 of "),
        (_in_the_middle(b"\n"), "Line 3 of "),
        (_in_the_middle(b"\xff\xfe\x00\n"), "Line 3 of "),
        (_in_the_middle(b"[" * 100_000 + b"\n"), "Line 3 of "),
        (_value(b"NaN"), "Line 3 of "),
        (_value(b"Infinity"), "Line 3 of "),
        (_value(b"1e999"), "Line 3 of "),
        (_value(b'"1"'), "Line 3 of "),
        (_other_arm, "Line 3 of "),
        (_pipe, "is no regular file."),
    ],
)
def test_trials(refused: Callable[..., str], kept: Path, spoil: Callable[[Path], None], said: str) -> None:
    spoil(kept / store.TRIALS)
    assert said in refused("report", status=1)


@pytest.mark.parametrize("text", [b"1e308", b"-1e308", b"0", b"-1", b"1e-320", b"9" * 300])
def test_a_value_that_is_odd_is_shown(tare: Tare, kept: Path, text: bytes) -> None:
    _value(text)(kept / store.TRIALS)
    for form in FORMATS:
        done = tare("report", "--format", form, "--output", "-")
        assert done.returncode == 0, done.stderr


def test_what_a_newer_tare_wrote_beside_and_a_torn_last_line_are_no_errors(tare: Tare, kept: Path) -> None:
    path = kept / store.TRIALS
    lines = path.read_bytes().splitlines(keepends=True)
    lines[1] = lines[1].replace(b"{", b'{"news":[1],', 1)
    path.write_bytes(b"".join(lines)[:-20])
    (kept / store.END).unlink()
    (kept / store.END).mkdir()
    done = tare("report", "--json")
    assert done.returncode == 0, done.stderr
    codes = [notice["code"] for notice in json.loads(done.stdout)["notices"]]
    assert {"torn-line", "unfinished"} <= set(codes)


def test_a_run_without_a_single_trial(tare: Tare, kept: Path) -> None:
    (kept / store.TRIALS).write_bytes(b"")
    done = tare("report")
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr


def test_a_place_for_the_page(refused: Callable[..., str], tare: Tare, kept: Path, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("")
    assert "is a directory" in refused("report", "--output", "folder")
    assert "--output FILE" in refused("report", "--output", "file/page.html", status=1)
    assert "--output FILE" in refused("report", "--output", "/proc/none/page.html", status=1)
    assert "--output is one file" in refused("report", kept, kept, "--output", "page.html")
    assert tare("report", "--output", "new/folder/page.html").returncode == 0
    assert (tmp_path / "new/folder/page.html").is_file()
    shutil.rmtree(tmp_path / "new")


@pytest.mark.needs("root")
def test_a_run_in_a_folder_that_cannot_be_written_is_read(tmp_path: Path, kept: Path) -> None:
    line = 'mount --bind "$1" "$1" && mount -o remount,bind,ro "$1" && '
    line += '"$2" report "$1"; echo $?; "$2" report "$1" --output -'
    argv = ["unshare", "--mount", "sh", "-c", line, "sh", kept, TARE]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60, cwd=tmp_path)
    assert done.stderr.count("error: ") == 1, done.stderr
    assert "what to do: Name a file that can be written: tare report RUN --output FILE." in done.stderr
    assert done.stdout.startswith("1\n<!")
    assert done.returncode == 0


def test_the_longer_run_is_the_same_command(tare: Tare, tmp_path: Path) -> None:
    (tmp_path / "my plan.toml").write_text("[[arm]]\ndriver = 'fake'\n[run]\nworkloads = ['boot']\n")
    done = tare("run", "my plan.toml", "--rounds", "2", "--results", "a b", "--max-time", "50", "--seed=3")
    assert done.returncode == 0, done.stderr
    line = next(line for line in done.stdout.splitlines() if line.startswith("run longer:"))
    assert line.endswith(" run --rounds 6 --seed 3 --results 'a b' 'my plan.toml'")
    again = subprocess.run(
        ["sh", "-c", line.removeprefix("run longer:")],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        timeout=60,
    )
    assert again.returncode == 0, again.stderr
    first, second = (store.load(folder).manifest.plan for folder in store.runs(tmp_path / "a b"))
    assert (first.rounds, second.rounds) == (2, 6)
    assert (first.arms, first.workloads, first.seed) == (second.arms, second.workloads, second.seed)


def test_the_longer_run_of_a_quick_one_has_its_workloads_in_every_block(tare: Tare) -> None:
    done = tare("run", "--quick", "-d", "fake")
    line = next(line for line in done.stdout.splitlines() if line.startswith("run longer:"))
    assert line.endswith(" run --driver fake --suite quick --rounds 30")
    done = tare("run", "--quick", "-d", "fake", "-w", "boot")
    line = next(line for line in done.stdout.splitlines() if line.startswith("run longer:"))
    assert line.endswith(" run --driver fake --workload boot --rounds 30")
