"""The catalogues of reports/locale: brought up to date with the texts, and compiled.

`./noxw -s translations` after a text was changed or added: it adds what is new to each .po with an empty translation,
drops what is gone, and compiles the .mo. Then fill in what it lists, and run it again.
"""

from __future__ import annotations

import ast
import io
import re
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_file
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po
from jinja2.ext import babel_extract
from tare_bench import registry
from tare_bench.audit import GRADES
from tare_bench.compare import EMULATED_MEMORY
from tare_bench.reports.language import DOMAIN, LANGUAGES
from tare_bench.reports.view_labels import COST_TITLE

ROOT = Path(__file__).resolve().parents[2]
REPORTS = ROOT / "reports"
BENCH = ROOT / "bench"
SHOWN_AS_THEY_ARE = ("reconcile.py", "audit.py")
"""Modules of the core whose texts go to the page without words of the page's around them."""
KEYWORDS: Mapping[str, Any] = {
    "_": None, "N_": None, "NN_": (1, 2), "gettext": None, "ngettext": (1, 2), "pgettext": ((1, "c"), 2),
}  # fmt: skip
COUNT = "count"
"""`count(n, "trial")` says `{n} trial` or `{n} trials`."""
JINJA = {
    "extensions": "jinja2.ext.i18n", "newstyle_gettext": "true", "trimmed": "true", "trim_blocks": "true",
    "lstrip_blocks": "true", "silent": "false",
}  # fmt: skip
_VOLATILE = (
    "POT-Creation-Date",
    "PO-Revision-Date",
    "Generated-By",
    "Last-Translator",
    "Language-Team",
    "Report-Msgid-Bugs-To",
)
_DATES = re.compile(rf'^"(?:{"|".join(_VOLATILE)}): .*\n', re.MULTILINE)


def path_of(tag: str, suffix: str) -> Path:
    """Where a language's catalogue lies: `.po` or `.mo`."""
    return REPORTS / "locale" / tag / "LC_MESSAGES" / f"{DOMAIN}{suffix}"


def template() -> Catalog:
    """Every text that can be said: those of reports/, and those of the core that reports/ shows."""
    found = Catalog(domain=DOMAIN, project="tare-bench", charset="utf-8")
    for path in sorted(REPORTS.rglob("*.py")):
        _add(found, path, extract_from_file(python_texts, path, KEYWORDS))
    for path in sorted(REPORTS.rglob("*.html")):
        _add(found, path, extract_from_file(babel_extract, path, KEYWORDS, options=JINJA))
    for name, text in core_texts():
        found.add(text, locations=[(name, 0)])
    return found


def _add(found: Catalog, path: Path, messages: Iterator[Any]) -> None:
    for _line, text, comments, context in messages:
        found.add(text, locations=[(str(path.relative_to(ROOT)), 0)], auto_comments=comments, context=context)


def core_texts() -> Iterator[tuple[str, str]]:
    """What the core says of itself in English, and reports/ translates: where it stands, and the text."""
    for metric in registry.metrics().values():
        yield "bench/metrics", metric.title
        yield "bench/metrics", metric.definition
        if metric.title.startswith(COST_TITLE):
            yield "bench/metrics", metric.title.removeprefix(COST_TITLE)
    for meaning in GRADES.values():
        yield "bench/audit.py", meaning
    yield "bench/compare.py", EMULATED_MEMORY
    for name in SHOWN_AS_THEY_ARE:
        for text in prose((BENCH / name).read_text(encoding="utf-8")):
            yield f"bench/{name}", text


_PROSE = re.compile(r"^(?!engine\.|inside\.).*[a-zA-Z]{2} [a-zA-Z]|^[A-Z][a-z]|^[A-Z]+s\b")


def prose(source: str) -> Iterator[str]:
    """The plain texts of a module that a reader may see: no docstring, no part of an f-string, no key of a lookup."""
    tree = ast.parse(source)
    left_out: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr):
            left_out.add(id(node.value))
        elif isinstance(node, ast.JoinedStr | ast.Subscript) or (
            isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
        ):
            left_out |= {id(each) for each in ast.walk(node)}
    for node in ast.walk(tree):
        text = node.value if isinstance(node, ast.Constant) and id(node) not in left_out else None
        if isinstance(text, str) and _PROSE.search(text):
            yield text


def python_texts(
    source: BinaryIO, keywords: Mapping[str, Any], comment_tags: object, options: object
) -> Iterator[tuple[int, str, list[Any], list[str]]]:
    """Marked texts by Python's own parser: Babel's looks into no f-string."""
    for node in ast.walk(ast.parse(source.read())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in (*keywords, COUNT):
            texts = [each.value if isinstance(each, ast.Constant) else None for each in node.args]
            if node.func.id == COUNT:
                texts = _counted(texts)
            if texts and isinstance(texts[0], str):
                name = "ngettext" if node.func.id == COUNT else node.func.id
                yield node.lineno, name, texts if len(texts) > 1 else texts[0], []


def _counted(arguments: list[Any]) -> list[Any]:
    words = [each for each in arguments if isinstance(each, str)]
    return [f"{{n}} {words[0]}", f"{{n}} {words[1] if len(words) > 1 else words[0] + 's'}"] if words else []


def updated(tag: str) -> Catalog:
    """The stored catalogue with what is new, and without what is gone. Nothing is guessed: no text becomes fuzzy."""
    path = path_of(tag, ".po")
    known = read_po(io.BytesIO(path.read_bytes() if path.is_file() else b""), locale=tag, domain=DOMAIN)
    known.update(template(), no_fuzzy_matching=True)
    known.obsolete.clear()
    known.project, known.version, known.fuzzy = "tare-bench", "0", False
    known.header_comment = f"# Tare's reports in {tag}."
    return known


def as_po(catalog: Catalog) -> bytes:
    """The catalogue as text, without dates: the same texts give the same bytes."""
    target = io.BytesIO()
    write_po(target, catalog, width=120, sort_by_file=True, include_lineno=False)
    return _DATES.sub("", target.getvalue().decode()).encode()


def as_mo(po: bytes, tag: str) -> bytes:
    """A .po, compiled."""
    target, catalog = io.BytesIO(), read_po(io.BytesIO(po), locale=tag, domain=DOMAIN)
    catalog.creation_date = catalog.revision_date = datetime(2000, 1, 1, tzinfo=UTC)  # else it is that of the day
    write_mo(target, catalog)
    return target.getvalue()


def main() -> int:
    left = 0
    for tag in LANGUAGES[1:]:
        catalog = updated(tag)
        text = as_po(catalog)
        path_of(tag, ".po").parent.mkdir(parents=True, exist_ok=True)
        path_of(tag, ".po").write_bytes(text)
        path_of(tag, ".mo").write_bytes(as_mo(text, tag))
        for message in catalog:
            if message.id and not (all(message.string) if message.pluralizable else message.string):
                left += 1
                print(f"{tag}: not translated: {message.id}")  # noqa: T201
    return 1 if left else 0


if __name__ == "__main__":
    sys.exit(main())
