"""The language that a report is rendered in: the texts' own is English, others are gettext catalogues.

    with language("ko"):
        page = render_html(analysis)

Texts are marked where they stand, with `_` or `ngettext`; one that is made before the language is known (a module's
constant) with `N_`, and translated by `_` where it is used. The language belongs to the thread and its context.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from gettext import GNUTranslations, NullTranslations
from importlib.resources import files

LANGUAGES = ("en", "ko")
"""The first is that of the texts themselves."""
DOMAIN = "tare"

_SOURCE = NullTranslations()
_current: ContextVar[tuple[str, NullTranslations]] = ContextVar("language", default=(LANGUAGES[0], _SOURCE))


@contextmanager
def language(tag: str) -> Iterator[None]:
    """Render in this language inside the block. Raises ValueError for one that there is no catalogue of."""
    with speaking(tag, catalogue(tag)):
        yield


@contextmanager
def speaking(tag: str, translations: NullTranslations) -> Iterator[None]:
    """The same with a catalogue of the caller's own."""
    token = _current.set((tag, translations))
    try:
        yield
    finally:
        _current.reset(token)


@cache
def catalogue(tag: str) -> NullTranslations:
    """The texts in a language. Raises ValueError for one that is not among LANGUAGES."""
    if tag not in LANGUAGES:
        raise ValueError(f"no catalogue for the language {tag!r}")
    if tag == LANGUAGES[0]:
        return _SOURCE
    package = (__package__ or "").partition(".")[0]
    where = files(f"{package}.reports").joinpath("locale", tag, "LC_MESSAGES", f"{DOMAIN}.mo")
    with where.open("rb") as stored:
        return GNUTranslations(stored)


def current() -> str:
    """The tag of the language that is spoken: `en`."""
    return _current.get()[0]


def translations() -> NullTranslations:
    """The texts of the language that is spoken, for a renderer that brings its own marks."""
    return _current.get()[1]


def N_(text: str) -> str:  # noqa: N802 - gettext's own name for it
    """Mark a text for the catalogues, and leave it as it is."""
    return text


def NN_(one: str, many: str) -> tuple[str, str]:  # noqa: N802 - as above
    """The same for the two texts that `ngettext` takes."""
    return one, many


def _(text: str, **values: object) -> str:
    """A text in the current language, with its `{placeholders}` filled in."""
    found = translations().gettext(text) if text else text
    return found.format(**values) if values else found


def ngettext(one: str, many: str, n: int, **values: object) -> str:
    """`one` or `many` by the number, in the current language; `{n}` is the number."""
    return translations().ngettext(one, many, n).format(n=n, **values)


def pgettext(context: str, text: str, **values: object) -> str:
    """A text whose translation depends on where it stands."""
    found = translations().pgettext(context, text)
    return found.format(**values) if values else found
