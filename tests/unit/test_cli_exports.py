"""`tare run --export` and `tare report --format`, by the command line itself."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from importlib.resources import files
from pathlib import Path

import pytest
from consumers import READ
from tare_bench.cli.exports import Export, parsed, reserved
from tare_bench.errors import StoreError, UsageError
from tare_bench.reports.exports import FORMATS

DEMO = str(files("tare_bench").joinpath("demo"))
TARE = [sys.executable, "-c", "from tare_bench.cli import main; main()"]
FAKE = ("run", "-d", "fake", "-w", "boot", "--rounds", "2", "--progress", "none")


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """Where a run may leave things."""
    yield tmp_path
    left = [path for path in tmp_path.glob("**/.*") if path.parent != tmp_path / "run"]
    assert not left, "something staged was left"


def tare(place: Path, *words: str, status: int = 0) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "TARE_RUN": str(place / "run"), "TARE_STATE": str(place / "state"), "NO_COLOR": "1"}
    done = subprocess.run(
        [*TARE, *words], cwd=place, env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == status, done.stderr
    return done


def test_a_run_is_exported_in_every_format_at_once(place: Path) -> None:
    asked = [word for form in FORMATS for word in ("--export", f"{form}=out/{form}")]
    done = tare(place, *FAKE, *asked)
    for form in FORMATS:
        text = (place / "out" / form).read_text()
        READ[form](text)
        assert "SIMULATED" in text or text == "[]\n"  # no metric of boot is better for being more
        assert f"{form}: {place / 'out' / form}" in done.stderr
    assert "--export html=out/html --export text=out/text" in done.stdout


@pytest.mark.parametrize(
    ("export", "said", "status"),
    [
        ("junitx=a.xml", "Did you mean `junit`?", 2),
        ("junit", "names no file", 2),
        ("junit=", "names no file", 2),
        ("junit=/proc/none.xml", "The export cannot be written to /proc/none.xml", 1),
        ("junit=.", "It is a folder", 1),
        ("junit=file/a.xml", "The export cannot be written", 1),
    ],
)
def test_an_export_that_cannot_be_is_refused_before_anything_is_measured(
    place: Path, export: str, said: str, status: int
) -> None:
    (place / "file").write_text("")
    done = tare(place, *FAKE, "--export", "bmf=new/ones.json", "--export", export, status=status)
    assert said in done.stderr
    assert not (place / "results").exists()
    assert not (place / "new").exists()


def test_two_exports_of_one_file_are_refused() -> None:
    with pytest.raises(UsageError, match="two exports"):
        parsed(["junit=a", "bmf=./a"])


def test_a_file_with_an_equals_sign_in_its_name_is_one(tmp_path: Path) -> None:
    assert parsed([f"bmf={tmp_path}/a=b"]) == [Export("bmf", tmp_path / "a=b")]


def test_what_was_there_stays_until_the_end_and_a_device_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "old").write_text("old")
    with reserved([f"bmf={tmp_path}/old", "junit=/dev/null", f"csv={tmp_path}/new/folder/file"]):
        assert (tmp_path / "old").read_text() == "old"
        assert [path.name for path in tmp_path.iterdir()] == ["old", "new"] or (tmp_path / "new" / "folder").is_dir()
    assert [path.name for path in tmp_path.iterdir()] == ["old"]
    assert Path("/dev/null").is_char_device()


@pytest.mark.needs("root")
def test_a_file_system_that_is_read_only_is_refused() -> None:
    with pytest.raises(StoreError), reserved(["junit=/sys/none.xml"]):
        pass


def test_a_stored_run_is_printed_in_a_format_or_written_to_a_file(place: Path) -> None:
    printed = tare(place, "report", DEMO, "--format", "bmf").stdout
    tare(place, "report", DEMO, "--format", "bmf", "--output", "bmf.json")
    assert (place / "bmf.json").read_text() == printed
    assert json.loads(printed)


def test_several_runs_are_one_document_where_the_format_has_a_line_for_each(place: Path) -> None:
    tare(place, *FAKE)
    tare(place, *FAKE)
    for runs in (("results",), tuple(str(path) for path in (place / "results").iterdir())):
        tare(place, "report", *runs, "--format", "otava", "--output", "series.csv")
        assert len(READ["otava"]((place / "series.csv").read_text())) == 2
    done = tare(place, "report", DEMO, DEMO, "--format", "junit", "--output", "gate.xml", status=2)
    assert "--output is one file" in done.stderr


def test_a_data_format_is_english_whatever_the_language(place: Path) -> None:
    for form in ("junit", "openmetrics", "github-benchmark-smaller", "csv-cells"):
        told = [tare(place, "report", DEMO, "--format", form, "--lang", lang).stdout for lang in ("en", "ko")]
        assert told[0] == told[1]


def terminal(environment: Mapping[str, str]) -> str:
    """What `tare report --format text` writes to a terminal."""
    ours, theirs = pty.openpty()
    with os.fdopen(ours, "rb", buffering=0) as reader:
        command = [*TARE, "report", DEMO, "--format", "text"]
        clean = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "FORCE_COLOR", "COLUMNS")}
        with subprocess.Popen(command, stdout=theirs, env=clean | {"TERM": "xterm-256color"} | environment) as running:
            os.close(theirs)
            found = b""
            while True:
                try:
                    chunk = reader.read(65536)
                except OSError:  # what Linux says once the other end is closed
                    break
                if not chunk:
                    break
                found += chunk
        assert running.returncode == 0
    return found.decode()


COLOUR = re.compile("\x1b\\[(?:[0-9;]*;)?(?:3[0-8]|4[0-8]|9[0-7])[0-9;]*m")


def test_a_terminal_has_colour_unless_it_is_not_wanted() -> None:
    assert COLOUR.search(terminal({}))
    assert not COLOUR.search(terminal({"NO_COLOR": "1"}))


def test_a_pipe_and_a_file_have_no_escapes(place: Path) -> None:
    assert "\x1b" not in tare(place, "report", DEMO, "--format", "text").stdout
    tare(place, "report", DEMO, "--format", "text", "--output", "table.txt")
    text = (place / "table.txt").read_text()
    assert "\x1b" not in text
    assert max(map(len, text.splitlines())) <= 80
    assert text.startswith("kvm (EMULATED) takes 21.7 times as long to boot")
