"""Pictures of the page, kept to be looked at: light, dark, narrow, printed."""

from __future__ import annotations

import pytest
from conftest import Keep, Look
from pages import WHOLE, page

pytestmark = pytest.mark.needs("chromium", "page-tools")

KINDS = {"light": {}, "dark": {"dark": True}, "narrow": {"width": 360}}


@pytest.mark.parametrize("name", WHOLE)
def test_pictures_are_kept(look: Look, keep: Keep, name: str) -> None:
    for kind, options in KINDS.items():
        picture = keep(f"{name}-{kind}.png", look(page(name), **options).page.screenshot(full_page=True))
        assert picture.read_bytes().startswith(b"\x89PNG")
    assert keep(f"{name}.pdf", look(page(name)).page.pdf()).read_bytes().startswith(b"%PDF")
