"""The documents: what they name exists, and what must be said is said."""

from __future__ import annotations

import ast
import re
import shlex
import types
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import click
import pytest
from documents import FENCE, ROOT, blocks, prose
from tare_bench import Driver, Instance, as_toml, config, planfile, registry
from tare_bench.cli import COMMANDS, cli

README = ROOT / "README.md"
DOCUMENTS = (*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md")))
WRITTEN = (
    *DOCUMENTS,
    *(path for name in ("*.toml", "*.lock", "*.py", "noxw", ".gitignore", ".ci/*") for path in ROOT.glob(name)),
    *(path for folder in ("bench", "drivers", "reports", "docs", "tests") for path in (ROOT / folder).rglob("*")),
)
REGISTRIES = ("pypi", "pythonhosted", "npmjs", "debian", "ubuntu")

README_ORDER = (
    r"^# Tare$",
    r"^Tare measures .+ on one page\.$",
    r"^!\[[^]]{20,}\]\(docs/answer\.png\)$",
    r"^<!-- numbers -->$",
    r"^<!-- /numbers -->$",
    r"the KVM path is shown by a boot sector only\.",
    r"^## Commands$",
    r"^## Plan files$",
    r"^## What you get without root, KVM or Docker$",
    r"^## Why not a script$",
    r"in 52 % of cases",
    r"did so in 5 %",
    r"^## How to read the page$",
    r"^## What the commands do to your system$",
    r"^## More$",
)

_LINK = re.compile(r"!?\[[^]]*\]\(([^)\s]+)\)")


def _spans(text: str) -> list[str]:
    return re.findall(r"`([^`\n]+)`", prose(text))


def _command_lines(text: str) -> Iterator[list[str]]:
    """Every call of tare and of the wrapper that a document shows, as words."""
    fenced = [line for language, body in FENCE.findall(text) if language == "sh" for line in body.splitlines()]
    for line in (*fenced, *_spans(text)):
        words = shlex.split(line, comments=True) if line.startswith(("tare ", "./noxw")) else []
        if words:
            yield words


def _options(command: click.Command) -> set[str]:
    """What the command takes, its help too."""
    with click.Context(command, **cli.context_settings) as context:
        return {
            name for parameter in command.get_params(context) for name in (*parameter.opts, *parameter.secondary_opts)
        }


def _command(name: str) -> click.Command:
    found = cli.get_command(click.Context(cli), name)
    assert found is not None, f"there is no command {name}"
    return found


def _nox_sessions() -> set[str]:
    tree = ast.parse((ROOT / "noxfile.py").read_text())
    functions = (node for node in tree.body if isinstance(node, ast.FunctionDef))
    return {each.name for each in functions if any("session" in ast.unparse(mark) for mark in each.decorator_list)}


def _anchors(document: Path) -> set[str]:
    """The headings' names, as they are linked to."""
    heads = re.findall(r"^#+ (.+)$", prose(document.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def _named(document: Path) -> str:
    return str(document.relative_to(ROOT))


@pytest.mark.parametrize("document", DOCUMENTS, ids=_named)
def test_every_command_that_is_shown_exists_with_its_options(document: Path) -> None:
    for words in _command_lines(document.read_text()):
        if words[0] == "tare" and not words[1].startswith("-"):
            command, arguments = _command(words[1]), words[2:]
        elif words[0] == "tare":
            command, arguments = cli, words[1:]
        else:
            assert set(words[2:3] if words[1:2] == ["-s"] else []) <= _nox_sessions(), words
            bench = words[1:3] == ["-s", "bench"]
            command, arguments = _command("run"), words[words.index("--") + 1 :] if bench and "--" in words else []
        unknown = {word.partition("=")[0] for word in arguments if word.startswith("-")} - _options(command)
        assert not unknown, f"{shlex.join(words)}: {command.name} has no {', '.join(sorted(unknown))}"


def test_every_option_that_the_readme_names_alone_exists() -> None:
    every = set().union(*(_options(_command(name)) for name in COMMANDS))
    named = {span.split()[0] for span in _spans(README.read_text()) if span.startswith("--") and span != "--"}
    assert named, "the README names no option"
    assert named <= every, f"no command has {', '.join(sorted(named - every))}"


def test_the_readme_shows_every_command() -> None:
    shown = {words[1] for words in _command_lines(README.read_text()) if words[0] == "tare"}
    assert set(COMMANDS) <= shown


@pytest.mark.parametrize("document", DOCUMENTS, ids=_named)
def test_every_link_leads_somewhere(document: Path) -> None:
    for link in _LINK.findall(prose(document.read_text())):
        parts = urlsplit(link)
        if parts.scheme:
            assert parts.scheme == "https", f"{_named(document)}: {link} is not an address that is read safely"
            assert re.fullmatch(r"[a-z0-9-]+(\.[a-z0-9-]+)+", parts.netloc), f"{_named(document)}: {link} has no host"
            continue
        target = (document.parent / unquote(parts.path)).resolve() if parts.path else document
        assert target.is_file(), f"{_named(document)}: {link} leads nowhere"
        assert target.is_relative_to(ROOT), f"{_named(document)}: {link} leads out"
        there = not parts.fragment or unquote(parts.fragment) in _anchors(target)
        assert there, f"{_named(document)}: {link} names no heading"


def test_every_document_is_linked_to_or_is_a_beginning() -> None:
    linked = {ROOT / "README.md"}
    for document in DOCUMENTS:
        links = _LINK.findall(prose(document.read_text()))
        linked |= {(document.parent / link.partition("#")[0]).resolve() for link in links}
    assert not [_named(document) for document in DOCUMENTS if document not in linked]


def test_no_file_names_the_host_of_a_package_registry() -> None:
    """Whoever installs from a mirror of their own would be led away from it."""
    host = re.compile(rf"\b(?:{'|'.join(REGISTRIES)})\.(?:org|com|net)\b".encode(), re.IGNORECASE)
    assert host.search(b"https://" + b"pypi" + b".org/simple")
    there = [path for path in WRITTEN if path.is_file() and path.suffix not in (".png", ".pyc")]
    assert len(there) > 200
    assert not [path.relative_to(ROOT) for path in there if host.search(path.read_bytes())]


def test_each_command_has_the_options_that_the_readme_gives_to_all() -> None:
    assert "Each command has `--help` and `--json`." in README.read_text()
    assert not [name for name in COMMANDS if not {"--help", "--json"} <= _options(_command(name))]


def test_every_metric_is_defined_in_the_methodology() -> None:
    named = set(_spans((ROOT / "docs/methodology.md").read_text()))
    missing = set(registry.metrics()) - named
    assert not missing, f"not in docs/methodology.md: {', '.join(sorted(missing))}"


def test_every_primary_metric_is_marked_as_one() -> None:
    lines = (ROOT / "docs/methodology.md").read_text().splitlines()
    marked = {line.split("`")[1] for line in lines if line.startswith("| `") and "**primary" in line}
    assert marked == set(registry.primaries().values())


def test_every_module_is_in_the_architecture() -> None:
    named = set(_spans((ROOT / "docs/architecture.md").read_text()))
    for folder in ("bench", "drivers", "reports"):
        modules = {path.stem for path in (ROOT / folder).glob("*.py")} - {"__init__"}
        folders = {f"{path.parent.name}/" for path in (ROOT / folder).glob("*/__init__.py")}
        missing = (modules | folders) - named
        assert not missing, f"not in docs/architecture.md: {', '.join(sorted(missing))}"


def test_every_part_of_the_contract_is_in_the_page_on_drivers() -> None:
    named = {span for span in _spans((ROOT / "docs/adding-a-driver.md").read_text()) if span.startswith("test_")}
    assert named == {path.name for path in (ROOT / "tests/contract").glob("test_*.py")}


def test_every_session_is_in_the_page_on_contributing() -> None:
    shown = {words[2] for words in _command_lines((ROOT / "CONTRIBUTING.md").read_text()) if words[1:2] == ["-s"]}
    assert shown == _nox_sessions()


def test_the_readme_says_what_it_must_in_its_order() -> None:
    text, at = README.read_text(), 0
    for pattern in README_ORDER:
        found = re.compile(pattern, re.MULTILINE).search(text, at)
        assert found is not None, f"{pattern} is missing, or not in its place"
        at = found.end()


def test_the_readme_has_six_lines_of_numbers_and_labels_what_was_emulated() -> None:
    table = README.read_text().partition("<!-- numbers -->")[2].partition("<!-- /numbers -->")[0]
    lines = [line for line in table.splitlines() if line.startswith("|")]
    assert len(lines) == 2 + 6
    assert re.search(r"\bkvm\b(?! *\|)", lines[0]), "kvm stands there with what it was measured under"


def test_the_worked_driver_leaves_nothing_of_the_port_out() -> None:
    text = (ROOT / "docs/adding-a-driver.md").read_text()
    source = blocks(ROOT / "docs/adding-a-driver.md", "python")[0]
    module = types.ModuleType("tare_unshare")
    exec(compile(source, "docs/adding-a-driver.md", "exec", dont_inherit=True), module.__dict__)
    driver, instance = module.UnshareDriver, module.UnshareInstance
    assert issubclass(driver, Driver)
    assert issubclass(instance, Instance)
    assert not driver.__abstractmethods__
    assert not instance.__abstractmethods__
    assert driver().name in text.partition("tare.drivers")[2]


def test_the_plan_file_in_the_readme_is_one_and_shows_every_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = README.read_text()
    path = tmp_path / "plan.toml"
    path.write_text(blocks(README, "toml")[0])
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(4)))
    plan = config.configure(config.Options(plan=path)).plan
    path.write_text(as_toml.text(plan))
    assert config.configure(config.Options(plan=path)).plan == plan
    section = text.partition("## Plan files")[2].partition("\n## ")[0]
    keys = {key for table in planfile.TABLES.values() for key in table.__struct_fields__}
    assert not [key for key in keys if not re.search(rf"\b{key}\b", section)]
