from __future__ import annotations

import re
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import pytest

from headrace.bench._plot import check_plot_file, page, plot
from headrace.bench._sweep import Row, Sweep
from headrace.errors import HeadraceError
from headrace.observe._stats import Stats
from tests.support.browser import SCREENS, opened

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Browser

RUN = Stats(
    windows=1_000,
    failed=0,
    audio_s=5_000.0,
    wall_s=10.0,
    wait_s=9.0,
    first_wait_s=0.0,
    decode_s=6.0,
    resample_s=3.0,
    other_s=0.5,
    workers=1,
    memory_bound=1 << 20,
    peak_bytes=1 << 20,
    kept_bytes=0,
)


@pytest.fixture
def measured() -> Sweep:
    """Return a sweep in which two workers are twice as fast, and half blocked."""
    faster = replace(RUN, workers=2, wall_s=5.0, wait_s=4.5, blocked_s=4.75)
    rows = (
        Row(0, (replace(RUN, workers=0, wait_s=10.0),)),
        Row(1, (RUN, replace(RUN, wall_s=11.0), replace(RUN, wall_s=12.0))),
        Row(2, (faster,)),
    )
    return Sweep(rows, 1_000, 1, 5.0, 16_000, 32, 2, 0)


def test_the_parts_are_all_of_the_work() -> None:
    """What was blocked is taken off native work in proportion, and off no transform."""
    run = replace(RUN, transform_s=2.0, blocked_s=4.75)

    assert sum(run.parts.values()) == pytest.approx(run.busy_s)
    assert run.parts == pytest.approx(
        {
            "waiting for files or a processor": 4.75,
            "decoding": 3.0,
            "resampling": 1.5,
            "the rest": 0.25,
            "transforms": 2.0,
        }
    )


def test_a_page_has_the_figures_and_what_to_do(measured: Sweep) -> None:
    """The reason and the verdict on top; each chart tells its figures to who cannot see it."""
    text = page(measured)

    assert "workers=2: " in text
    assert measured.verdict.split(";")[0] in text
    told = re.findall(r'<svg[^>]* aria-label="([^"]+)"', text)
    assert told[0] == "0 workers: 100; 1 workers: 91; 2 workers: 200"
    assert told[1] == "0 workers: 100%; 1 workers: 82%; 2 workers: 90%"
    assert "decoding 6 ms" in told[2]
    assert "waiting for files or a processor 4.75 ms" in told[2]
    assert "src=" not in text
    assert "href=" not in text


def test_heights_are_the_figures(measured: Sweep) -> None:
    """Of the bars: 9.5 ms of work for each window in both, and the parts in proportion."""
    third = re.findall(r"<svg.*?</svg>", page(measured))[2]
    svg = ET.fromstring(third)

    heights = [float(rect.attrib["height"]) for rect in svg.iter("rect")]
    full = 250 - 12 - 44
    assert sum(heights[:5]) == pytest.approx(0.95 * full, abs=0.3)
    assert heights[1] == pytest.approx(0.6 * full, abs=0.1)
    assert heights[11] == pytest.approx(0.3 * full, abs=0.1)


def test_a_picture_is_a_picture(measured: Sweep, tmp_path: Path) -> None:
    """Drawn by matplotlib."""
    pytest.importorskip("matplotlib")
    file = tmp_path / "sweep.png"

    plot(measured, file)

    assert file.read_bytes().startswith(b"\x89PNG\r\n")


def test_what_cannot_be_drawn_is_refused_beforehand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another ending, and a picture without matplotlib: the extra is named."""
    check_plot_file("sweep.HTML")
    with pytest.raises(ValueError, match=r"'sweep.svg' must end in .html or .png"):
        check_plot_file("sweep.svg")
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(HeadraceError, match=r"pip install 'headrace\[plot\]', or write a .html"):
        check_plot_file("sweep.png")


@pytest.mark.parametrize("screen", SCREENS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_in_a_browser(
    measured: Sweep, tmp_path: Path, browser: Browser, screen: str, scheme: Any
) -> None:
    """It fits a telephone and a screen, asks for nothing, and says nothing on the console."""
    file = tmp_path / "sweep.html"
    plot(measured, file)

    with opened(browser, file, screen, scheme) as it:
        width, _ = SCREENS[screen]
        assert it.page.evaluate("document.documentElement.scrollWidth") <= width
        assert it.page.locator("svg").count() == 3

    assert not it.complaints
    assert not it.requests
