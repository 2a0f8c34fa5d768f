"""Other programs: a deadline for each."""

from __future__ import annotations

from pathlib import Path

import pytest
from tare_bench import processes, tool
from tare_bench.errors import ImageError


def test_a_program_that_hangs_is_ended_with_what_it_started(tmp_path: Path) -> None:
    script = f"sleep 600 & echo $! >{tmp_path}/pid; echo asking the mirror >&2; wait"
    with pytest.raises(ImageError, match="not done after") as caught:
        tool.run(["sh", "-c", script], seconds=0.5)
    assert caught.value.details == "asking the mirror"
    assert "mirror" in caught.value.hint
    assert processes.wait_gone(int((tmp_path / "pid").read_text()), None, 10)
