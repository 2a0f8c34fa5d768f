"""Where a key stands in a plan file, however it is written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tare_bench.planfile import _TRIES, Lines

TEXT = '''\
# [run] seed = 1
run."seed" = 3 # seed

[instance]
# memory
'memory' = """
[[arm]]
vcpus = 1
"""

[[arm]] # the first
name = "vcpus = 2"
driver = 'kvm'
options = { uri = "x", "a b" = 'y' }

  [[ arm ]]
  vcpus = 2
  list = [
    1,
    # 2
    3 ]
  [arm.options]
  uri = 1
'''


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        (("run",), 2),
        (("run", "seed"), 2),
        (("instance",), 4),
        (("instance", "memory"), 6),
        (("arm",), 11),
        (("arm", 0), 11),
        (("arm", 0, "name"), 12),
        (("arm", 0, "options", "a b"), 14),
        (("arm", 0, "vcpus"), 0),
        (("arm", 1), 16),
        (("arm", 1, "vcpus"), 17),
        (("arm", 1, "list"), 18),
        (("arm", 1, "list", 1), 18),
        (("arm", 1, "options", "uri"), 23),
        (("arm", 2), 0),
        (("run", "seed", "x"), 0),
        (("none",), 0),
    ],
)
def test_a_key_is_found_on_its_line(keys: tuple[str | int, ...], line: int) -> None:
    lines = Lines("plan.toml", TEXT)
    assert lines.line(keys) == line
    assert str(lines.at(*keys)) == (f"plan.toml, line {line}: " if line else "")
    assert bool(lines.at(*keys)) == bool(line)


@given(st.integers(0, 30), st.integers(0, 30))
def test_what_stands_before_moves_it(comments: int, arms: int) -> None:
    text = "# x\n" * comments + "[[arm]]\n" * arms + "[run]\nseed = 1"
    assert Lines("x", text).line(("run", "seed")) == comments + arms + 2


def test_a_value_over_very_many_lines_is_not_looked_through() -> None:
    text = "a = [\n" + "1,\n" * 5 * _TRIES + "]\n"
    assert Lines("x", text).line(("a",)) == 0
    assert Lines("x", "b = 1\n" + text).line(("b",)) == 1
