"""The rules of the architecture, read from the sources' own imports."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("bench", "drivers", "reports")
SOURCES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
ONLY_IN = {
    "docker": "drivers",
    "libvirt": "drivers",
    "libvirt_qemu": "drivers",
    "matplotlib": "reports",
    "jinja2": "reports",
    "prometheus_client": "reports",
}
HEAVY = {"pandas", "matplotlib", "scipy", "docker", "libvirt", "numpy", "jinja2", "prometheus_client"}


def module(path: Path) -> str:
    """`tare_bench.drivers.fake` for drivers/fake.py."""
    parts = list(path.relative_to(ROOT).with_suffix("").parts)
    parts = ["tare_bench", *(parts[1:] if parts[0] == "bench" else parts)]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path, *, lazy: bool = True) -> set[str]:
    """What a file imports, whole names; without `lazy` only what is imported with it, types apart."""
    package = module(path).split(".")
    if path.name != "__init__.py":
        package = package[:-1]
    found: set[str] = set()
    for node in _nodes(ast.parse(path.read_text(encoding="utf-8")), lazy=lazy):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            name = ".".join([*base, *(node.module.split(".") if node.module else [])])
            found |= {name, *(f"{name}.{alias.name}" for alias in node.names)}
    return found


def _nodes(tree: ast.AST, *, lazy: bool) -> list[ast.AST]:
    found: list[ast.AST] = []
    for child in ast.iter_child_nodes(tree):
        later = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
        types = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
        if lazy or not (later or types):
            found += [child, *_nodes(child, lazy=lazy)]
    return found


def within(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def named(*modules: str) -> list[Path]:
    return [path for path in SOURCES if any(within(module(path), name) for name in modules)]


def test_the_sources_are_found() -> None:
    assert len(SOURCES) > 40
    assert "tare_bench.driver" in imports(ROOT / "drivers/fake.py")
    assert "tare_bench.clock.Clock" in imports(ROOT / "bench/wire.py")


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_keeps_the_rules(path: Path) -> None:
    name, all_of_it = module(path), imports(path)
    for library, folder in ONLY_IN.items():
        if path.relative_to(ROOT).parts[0] != folder:
            assert not [each for each in all_of_it if within(each, library)], f"{library} belongs in {folder}/"
    if path.relative_to(ROOT).parts[0] == "bench" and not within(name, "tare_bench.cli"):
        for package in ("tare_bench.drivers", "tare_bench.reports", "tare_bench.cli"):
            assert not [each for each in all_of_it if within(each, package)], "the core knows the port only"
    source = path.read_text(encoding="utf-8")
    assert not re.search(r"\btime\.time\(", source), "a wall clock is no duration"
    assert "killall" not in source
    assert "waitpid(-1" not in source


@pytest.mark.parametrize(
    ("who", "whom"),
    [
        ("tare_bench.analysis", "tare_bench.driver"),
        ("tare_bench.reports", "tare_bench.driver"),
        ("tare_bench.reports", "tare_bench.drivers"),
        ("tare_bench.drivers", "tare_bench.reports"),
        ("tare_bench.drivers", "tare_bench.cli"),
        ("tare_bench.runner", "tare_bench.analysis"),
        ("tare_bench.store", "tare_bench.analysis"),
        ("tare_bench.runner", "tare_bench.store"),
        ("tare_bench.stats", "tare_bench.model"),
        ("tare_bench.plan", "tare_bench.driver"),
    ],
)
def test_nobody_asks_the_one_before(who: str, whom: str) -> None:
    there = named(who)
    assert there
    for path in there:
        assert not [each for each in imports(path) if within(each, whom)], f"{path.name} imports {whom}"


def test_what_a_run_measures_with_imports_nothing_heavy() -> None:
    for path in named("tare_bench.runner", "tare_bench.lifecycle", "tare_bench.wire", "tare_bench.store"):
        assert not [each for each in imports(path) if each.partition(".")[0] in HEAVY]


def test_there_are_no_cycles() -> None:
    known = {module(path): path for path in SOURCES}
    graph = {
        name: {each for each in imports(path, lazy=False) if each in known and each != name}
        for name, path in known.items()
    }
    done: set[str] = set()

    def visit(name: str, above: tuple[str, ...]) -> None:
        assert name not in above, " -> ".join([*above[above.index(name) :], name])
        if name not in done:
            for each in sorted(graph[name]):
                # a package's __init__ is imported with any of its modules: what matters is that it needs none of them
                if not within(name, each):
                    visit(each, (*above, name))
            done.add(name)

    for name in sorted(graph):
        visit(name, ())


def test_nothing_names_where_it_was_written() -> None:
    for path in SOURCES:
        text = path.read_text(encoding="utf-8")
        assert str(ROOT) not in text, path


def test_no_two_files_of_tests_have_the_same_name() -> None:
    """pytest imports them by their bare names."""
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert sorted(names) == sorted(set(names))
