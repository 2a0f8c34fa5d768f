"""What the core says in English, in words that are put together there, said in the language of the page."""

from __future__ import annotations

import re
from functools import cache

from .language import LANGUAGES, N_, _, current

_SAID = (
    N_("{lost} of {pairs} pairs were lost"),
    N_("{lost} of {pairs} pairs have a value of 0, of which there is no ratio"),
    N_("{pairs} pair; an interval at {level} % takes {needed}"),
    N_("{pairs} pairs; an interval at {level} % takes {needed}"),
    N_("the difference is smaller than the measurement floor"),
    N_("the difference is smaller than the instrument can tell"),
    N_("the clock of {arm} runs off the host's"),
    N_("the same arm measured twice was called different, too"),
    N_("the difference is not larger than what the same arm measured twice may differ by"),
    N_("not read of {one} and {other}"),
    N_("not read of {arm}"),
    N_("{arm} was to have {what}"),
    N_("memory: {available} MiB available, of which {floor} must stay, and one more may take {next}"),
    N_("probe: p99 {now} ms, {first} ms with one instance"),
    N_("less than can be told: {size} KiB"),
    N_("{low} to {high} s"),
    N_("{late} of {all}: older than {age} s"),
    N_("{size} MiB of one alone"),
    N_("Option {name}"),
)
"""In the order in which they are tried: what is more particular comes first."""


def worded(text: str) -> str:
    """A text of the core's in the current language; as it is, where that has no words for it."""
    if current() == LANGUAGES[0] or not text:
        return text
    if (found := _(text)) != text:
        return found
    for said in _SAID:
        if match := _pattern(said).fullmatch(text):
            return _(said, **match.groupdict())
    return text


@cache
def _pattern(said: str) -> re.Pattern[str]:
    """What such a text looks like: each placeholder stands for anything."""
    parts = re.split(r"\{(\w+)\}", said)
    return re.compile("".join(f"(?P<{part}>.+?)" if place % 2 else re.escape(part) for place, part in enumerate(parts)))
