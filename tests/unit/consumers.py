"""Each export read as its consumer reads it, strictly: what cannot be read raises."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from datetime import datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pandas as pd
from lxml import etree
from markdown_it import MarkdownIt
from markdown_it.token import Token
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from tare_bench.reports.exports.csv_text import CELLS, SAMPLES

CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""What steers a terminal, or turns the reading order around."""

_METRIC = {
    "type": "object",
    "properties": {key: {"type": "number"} for key in ("value", "lower_value", "upper_value")},
    "required": ["value"],
    "additionalProperties": False,
}
BMF = {
    "type": "object",
    "additionalProperties": {"type": "object", "minProperties": 1, "additionalProperties": _METRIC},
    "propertyNames": {"minLength": 1, "maxLength": 1024, "not": {"pattern": "-bencher-ignore$"}},
}
"""Bencher Metric Format, as https://bencher.dev/bmf.json has it, and what Bencher says of names."""

_TEXT, _NUMBER = {"type": "string"}, {"type": "number"}
GITHUB = {
    "type": "array",
    "items": {
        "type": "object",
        "properties": {"name": _TEXT, "unit": _TEXT, "value": _NUMBER, "range": _TEXT, "extra": _TEXT},
        "required": ["name", "unit", "value"],
        "additionalProperties": False,
    },
}
"""BenchmarkResult of github-action-benchmark's src/extract.ts."""

HYPERFINE = {
    "type": "object",
    "properties": {
        "results": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "command": _TEXT,
                    **dict.fromkeys(("mean", "median", "min", "max"), _NUMBER),
                    "stddev": {"type": ["number", "null"]},
                    "times": {"type": "array", "items": _NUMBER, "minItems": 1},
                    "exit_codes": {"type": "array", "items": {"type": ["integer", "null"]}, "minItems": 1},
                    "parameters": {"type": "object", "additionalProperties": _TEXT},
                },
                "required": ["command", "mean", "stddev", "median", "min", "max", "times", "exit_codes"],
            },
        }
    },
    "required": ["results"],
}
"""BenchmarkResult of hyperfine's src/benchmark/benchmark_result.rs, without `user` and `system`."""


def _strict(text: str) -> Any:
    def refuse(name: str) -> None:
        raise ValueError(f"{name} is not JSON")

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        assert len({key for key, _ in pairs}) == len(pairs), "a key stands there twice"
        return dict(pairs)

    return json.loads(text, parse_constant=refuse, object_pairs_hook=unique)


def _validated(schema: dict[str, Any]) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        found = _strict(text)
        jsonschema.validate(found, schema)
        return found

    return read


def read_pytest_benchmark(text: str) -> Any:
    """By what its `storage` and `table` take for granted."""
    found = _strict(text)
    assert {"machine_info", "commit_info", "benchmarks", "datetime", "version"} <= set(found)
    for bench in found["benchmarks"]:
        assert {"group", "name", "fullname", "params", "param", "extra_info", "options", "stats"} <= set(bench)
        assert len(bench["stats"]["data"]) == bench["stats"]["rounds"] == len(bench["extra_info"]["block"])
    return found


def read_junit(text: str) -> etree._Element:
    schema = etree.XMLSchema(etree.parse(Path(__file__).with_name("junit.xsd")))
    parser = etree.XMLParser(resolve_entities=False, no_network=True, huge_tree=False)
    root = etree.fromstring(text.encode(), parser)
    schema.assertValid(root)
    return root


def read_openmetrics(text: str) -> dict[str, Any]:
    found = {family.name: family for family in text_string_to_metric_families(text)}
    for family in found.values():
        keys = [tuple(sorted(sample.labels.items())) for sample in family.samples]
        assert len(set(keys)) == len(keys), f"{family.name} has two samples with the same labels"
    return found


def _pandas(types: dict[str, str]) -> Callable[[str], pd.DataFrame]:
    def read(text: str) -> pd.DataFrame:
        return pd.read_csv(io.StringIO(text), dtype=types, keep_default_na=False, na_values=no_value)

    no_value = {name: [""] for name, kind in types.items() if kind != "str"}
    return read


def read_otava(text: str) -> list[dict[str, str]]:
    """As its CsvImporter: every row as long as the head, a time in each, numbers in the columns of metrics."""
    head, *rows = csv.reader(io.StringIO(text), delimiter=",", quotechar='"')
    assert len(set(head)) == len(head)
    found = [dict(zip(head, row, strict=True)) for row in rows]
    for row in found:
        for name in head[head.index("labels") + 1 :]:
            float(row[name])
    return found


def read_time(text: str) -> datetime:
    return datetime.fromisoformat(text)


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for key, value in attrs if key in ("href", "src")]


GENERATED = {"p", "strong", "h3", "table", "thead", "tbody", "tr", "th", "td", "ul", "li", "pre", "code"}


def read_markdown(text: str) -> list[Token]:
    """As GitHub reads it, which lets HTML through and makes links of addresses: nothing of that may come of it."""
    reader = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    tokens = reader.parse(text)
    for kind in {each.type for token in tokens for each in (token, *(token.children or ()))}:
        assert kind not in ("html_block", "html_inline", "link_open", "image", "em_open", "s_open", "code_inline")
        assert kind not in ("hr", "blockquote_open", "ordered_list_open", "code_block")
    tags = _Tags()
    tags.feed(reader.render(text))
    assert set(tags.tags) <= GENERATED
    assert not tags.links
    return tokens


def read_text(text: str) -> str:
    assert not CONTROL.search(text)
    return text


def read_html(text: str) -> str:
    tags = _Tags()
    tags.feed(text)
    assert not {"iframe", "object", "embed", "img"} & set(tags.tags)
    assert tags.tags.count("script") == 1  # the page's own
    assert not CONTROL.search(text)
    return text


READ: dict[str, Callable[[str], Any]] = {
    "html": read_html,
    "text": read_text,
    "markdown": read_markdown,
    "csv": _pandas(SAMPLES),
    "csv-cells": _pandas(CELLS),
    "json": lambda text: (msgspec.json.decode(text), _strict(text))[1],
    "pytest-benchmark": read_pytest_benchmark,
    "bmf": _validated(BMF),
    "github-benchmark-smaller": _validated(GITHUB),
    "github-benchmark-bigger": _validated(GITHUB),
    "junit": read_junit,
    "openmetrics": read_openmetrics,
    "hyperfine": _validated(HYPERFINE),
    "otava": read_otava,
}
