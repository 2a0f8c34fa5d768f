"""The language of a report, and its catalogues: whole, sound, compiled."""

from __future__ import annotations

import ast
import io
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import catalogue
import pytest
from babel.messages.catalog import Catalog, Message
from babel.messages.pofile import read_po
from tare_bench.reports import language as words
from tare_bench.reports.language import LANGUAGES, N_, _, current, language, ngettext

OTHERS = LANGUAGES[1:]
PLACEHOLDER = re.compile(r"\{\w*\}|%\(\w+\)s|%%|</?[a-z]+[^>]*>|&\w+;")


def stored(tag: str) -> Catalog:
    return read_po(io.BytesIO(catalogue.path_of(tag, ".po").read_bytes()), locale=tag)


def said(message: Message) -> list[str]:
    return list(message.string) if message.pluralizable else [str(message.string)]


def asked(message: Message) -> list[str]:
    return list(message.id) if message.pluralizable else [str(message.id)]


def test_the_texts_are_english_whatever_the_host_speaks(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LANG", "LC_ALL", "LANGUAGE"):
        monkeypatch.setenv(name, "ko_KR.UTF-8")
    assert current() == "en"
    assert _("median") == "median"


def test_a_language_ends_with_its_block_also_when_it_breaks() -> None:
    def broken() -> None:
        with language("ko"):
            assert current() == "ko"
            raise RuntimeError

    with pytest.raises(RuntimeError):
        broken()
    assert current() == "en"


def test_a_language_is_that_of_its_thread() -> None:
    with language("ko"), ThreadPoolExecutor(1) as elsewhere:
        assert elsewhere.submit(current).result() == "en"
        with language("en"):
            assert current() == "en"
        assert current() == "ko"


def test_a_language_without_a_catalogue_is_refused() -> None:
    with pytest.raises(ValueError, match="tlh"), language("tlh"):
        pass


def test_placeholders_are_filled_in_and_what_fills_them_is_no_format() -> None:
    assert _("{name} is it", name="{x} %s") == "{x} %s is it"
    assert _("100 {of") == "100 {of"
    assert [ngettext("{n} trial of {what}", "{n} trials of {what}", n, what="it") for n in (1, 2)] == [
        "1 trial of it",
        "2 trials of it",
    ]
    assert N_("as it is") == "as it is"


@pytest.mark.parametrize("tag", OTHERS)
def test_every_text_is_in_the_catalogue_and_none_that_is_gone(tag: str) -> None:
    wanted = {(message.id, message.context) for message in catalogue.template() if message.id}
    there = {(message.id, message.context) for message in stored(tag) if message.id}
    assert not wanted - there, "run ./noxw -s translations"
    assert not there - wanted, "run ./noxw -s translations"
    assert not stored(tag).obsolete


@pytest.mark.parametrize("tag", OTHERS)
def test_every_text_is_translated_and_none_was_guessed(tag: str) -> None:
    for message in stored(tag):
        assert not message.fuzzy, message.id
        assert all(said(message)), message.id


@pytest.mark.parametrize("tag", OTHERS)
def test_placeholders_and_markup_agree(tag: str) -> None:
    for message in (each for each in stored(tag) if each.id):
        wanted = set(PLACEHOLDER.findall(" ".join(asked(message))))
        for text in filter(None, said(message)):
            assert set(PLACEHOLDER.findall(text)) == wanted, message.id


@pytest.mark.parametrize("tag", OTHERS)
def test_the_catalogue_is_written_as_its_tool_writes_it_and_compiled(tag: str) -> None:
    source = catalogue.path_of(tag, ".po").read_bytes()
    assert catalogue.as_po(catalogue.updated(tag)) == source, "run ./noxw -s translations"
    assert catalogue.as_mo(source, tag) == catalogue.path_of(tag, ".mo").read_bytes(), "run ./noxw -s translations"


@pytest.mark.parametrize("tag", OTHERS)
def test_the_installed_catalogue_is_that_of_the_sources(tag: str) -> None:
    some = next(message for message in stored(tag) if message.id and not message.pluralizable and not message.context)
    assert words.catalogue(tag).gettext(str(some.id)) == some.string


def test_what_is_counted_is_said_where_it_is_counted() -> None:
    """The extractor reads literals only: two texts that come by a variable would never be translated."""
    ours = ("language.py", "view_format.py")  # where it is defined, and `count`, which is extracted by itself
    for path in sorted((Path(__file__).parents[2] / "reports").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "ngettext":
                literal = all(isinstance(each, ast.Constant) for each in node.args[:2])
                marked = any(isinstance(each, ast.Starred) for each in node.args)  # by NN_
                assert literal or marked or path.name in ours, f"{path.name}:{node.lineno}"
