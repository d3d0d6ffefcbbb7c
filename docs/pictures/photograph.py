"""Photograph a card of the preview page in light and dark, as `headrace preview` makes it.

    python docs/pictures/photograph.py           # into the folder of this file
    python docs/pictures/photograph.py FOLDER

Needs Chromium, and playwright (extra `test`). Fonts differ between machines, so pixels do too.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path
from typing import Final

import headrace
from headrace.bench import write_archive

FOLDER: Final = Path(__file__).parent


def photograph(folder: Path) -> list[Path]:
    """Write `card-light.png` and `card-dark.png` to a folder."""
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    with tempfile.TemporaryDirectory() as made, sync_playwright() as playwright:
        page_file = Path(made, "page.html")
        write_archive(made, recordings=4, seconds=30, sites=2)
        catalog = headrace.scan(Path(made, "raw_data"), progress=False)
        annotations = headrace.Annotations.read_anuraset(Path(made, "strong_labels"))
        shown = headrace.preview(catalog.windows(16_000, 5.0), 1, annotations=annotations)
        shown.save(page_file)
        browser = playwright.chromium.launch(
            executable_path=chromium,
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        files = []
        for scheme in ("light", "dark"):
            page = browser.new_page(
                viewport={"width": 760, "height": 900},
                color_scheme=scheme,
                device_scale_factor=1,
            )
            page.goto(page_file.as_uri())
            files.append(folder / f"card-{scheme}.png")
            page.locator("li.card").first.screenshot(path=files[-1])
        browser.close()
    return files


if __name__ == "__main__":
    print(*photograph(Path(sys.argv[1]) if sys.argv[1:] else FOLDER), sep="\n")
