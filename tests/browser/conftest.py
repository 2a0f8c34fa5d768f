"""One browser for all tests, a context for each: what a page shows, says and asks for, and pictures that are kept."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import needs
import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

ARTEFACTS = Path(os.environ.get("TARE_ARTEFACTS") or Path(__file__).parents[1] / "artefacts")
"""Where pictures of the pages are kept to be looked at."""

QUIET = (
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
)

_pictures = pytest.StashKey[list[Path]]()


@dataclass
class Visit:
    """A page that a browser has loaded from a file, with what it complained about and asked for since."""

    page: Page
    messages: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def sees(self, expression: str) -> Any:
        """What an expression of JavaScript is there, also where the page itself may run none."""
        return self.page.evaluate(expression)


Look = Callable[..., Visit]
Keep = Callable[[str, bytes], Path]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Debian's Chromium; nothing of it is left at the end, its profile included."""
    from playwright.sync_api import sync_playwright

    folder = Path(tempfile.mkdtemp(prefix="tare-browser-"))
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("TMPDIR", str(folder))  # of Playwright's driver, which makes the profile there
            playwright = sync_playwright().start()
        try:
            chromium = playwright.chromium.launch(
                executable_path=needs.browser(), args=QUIET, chromium_sandbox=False,
                env={**os.environ, "TMPDIR": str(folder)},
            )  # fmt: skip
            yield chromium
            chromium.close()
        finally:
            playwright.stop()
        assert [each.name for each in folder.iterdir()] == [], "the browser left files behind"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def look(browser: Browser, tmp_path: Path) -> Iterator[Look]:
    """Opens a page, given as text, from a file: `look(text, width=360, dark=True, scripts=False, at="#boot")`."""
    contexts: list[BrowserContext] = []

    def open_page(
        text: str, *, width: int = 1440, dark: bool = False, scripts: bool = True, at: str = "", **more: Any
    ) -> Visit:
        file = tmp_path / f"page-{len(contexts)}.html"
        file.write_text(text, encoding="utf-8")
        context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme="dark" if dark else "light",
            java_script_enabled=scripts, **more,
        )  # fmt: skip
        contexts.append(context)
        visit = Visit(context.new_page())
        context.on("console", lambda message: visit.messages.append(message.text))
        context.on("weberror", lambda error: visit.messages.append(str(error.error)))
        context.on("request", lambda request: _asked(visit, request.url, file))
        visit.page.on("websocket", lambda socket: visit.requests.append(socket.url))
        visit.page.goto(file.as_uri() + at)
        return visit

    yield open_page
    for context in contexts:
        context.close()


def _asked(visit: Visit, url: str, file: Path) -> None:
    if not url.startswith("data:") and url.partition("#")[0] != file.as_uri():
        visit.requests.append(url)


@pytest.fixture
def keep(request: pytest.FixtureRequest) -> Keep:
    """Keeps a picture or a printed page, to be looked at."""

    def written(name: str, content: bytes) -> Path:
        ARTEFACTS.mkdir(parents=True, exist_ok=True)
        path = ARTEFACTS / name.replace(" ", "-")
        path.write_bytes(content)
        request.config.stash.setdefault(_pictures, []).append(path)
        return path

    return written


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if pictures := config.stash.get(_pictures, []):
        terminalreporter.line(f"{len(pictures)} pictures of the page to look at: {ARTEFACTS}")
