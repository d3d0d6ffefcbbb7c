"""A browser for the tests, and checks that every page must pass."""

from __future__ import annotations

import re
import shutil
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Page

__all__ = ["CHROMIUM", "SCREENS", "OpenedPage", "accessibility_violations", "open_page"]

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
"""Path of the browser; without one, the tests that need it are skipped."""

SCREENS = {"desktop": (1280, 900), "phone": (360, 844)}
"""Width and height in CSS pixels."""

OPTIONS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--mute-audio")


@dataclass
class OpenedPage:
    """A page in the browser.

    Attributes
    ----------
    page : Page
        To interact with.
    complaints : list of str
        Messages of the console, and errors of scripts.
    requests : list of str
        Requested addresses, other than the file itself and data in it.
    """

    page: Page
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def overflow(self) -> int:
        """Return how many pixels the page is wider than the screen."""
        wide: int = self.page.evaluate(
            "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        )
        return wide


@contextmanager
def open_page(
    browser: Browser,
    file: Path,
    screen: str = "desktop",
    scheme: Literal["light", "dark"] = "light",
) -> Iterator[OpenedPage]:
    """Open a file from disk, without a network."""
    width, height = SCREENS[screen]
    phone: dict[str, Any] = {"is_mobile": True, "has_touch": True} if screen == "phone" else {}
    context = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme=scheme, offline=True, **phone
    )
    try:
        it = OpenedPage(context.new_page())
        it.page.set_default_timeout(10_000)
        it.page.on("console", lambda message: it.complaints.append(message.text))
        it.page.on("pageerror", lambda error: it.complaints.append(str(error)))
        it.page.on(
            "request",
            lambda request: (
                None
                if re.match(r"data:|blob:", request.url) or request.url == file.as_uri()
                else it.requests.append(request.url)
            ),
        )
        it.page.goto(file.as_uri())
        yield it
    finally:
        context.close()


def accessibility_violations(page: Page) -> list[str]:
    """Return the serious and critical accessibility violations that axe-core finds."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page).response["violations"]
    return [
        f"{one['id']}: {one['help']}: {one['nodes'][0]['html'][:200]}"
        for one in found
        if one["impact"] in {"serious", "critical"}
    ]
