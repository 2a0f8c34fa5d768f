"""Sphinx's settings; build.py makes the folder that is built from."""

from __future__ import annotations

from importlib.metadata import version as installed
from typing import Any

from sphinx.application import Sphinx

project = "Tare"
author = "the authors of Tare"
copyright = "the authors of Tare, Apache-2.0"  # noqa: A001 - Sphinx's name for it
version = release = installed("tare-bench")

extensions = ["myst_parser", "sphinx_click"]
nitpicky = True
highlight_language = "text"
default_role = "code"
smartquotes = False  # an option begins with two hyphens
myst_heading_anchors = 4

html_theme = "furo"  # no fonts and no scripts but its own, and its search works from disk
html_title = "Tare"
html_copy_source = False
html_show_sourcelink = False

KOREAN = ("index.ko",)


def setup(app: Sphinx) -> None:
    app.connect("html-page-context", _language)


def _language(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: object) -> None:
    """Sphinx knows one language for all pages."""
    if page in KOREAN:
        context["language"] = "ko"
