from __future__ import annotations

import re
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import pytest

from headrace.bench._chart import charts
from headrace.bench._plot import _draw_chart, check_plot_file, plot, sweep_page
from headrace.bench._worker_sweep import SweepResult, WorkerResult
from headrace.errors import HeadraceError
from headrace.observe._stats import Stats
from tests.support.browser import SCREENS, open_page

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
def measured() -> SweepResult:
    """Return a sweep in which two workers are twice as fast as one, and blocked half the time."""
    faster = replace(RUN, workers=2, wall_s=5.0, wait_s=4.5, blocked_s=4.75)
    rows = (
        WorkerResult(0, (replace(RUN, workers=0, wait_s=10.0),)),
        WorkerResult(1, (RUN, replace(RUN, wall_s=11.0), replace(RUN, wall_s=12.0))),
        WorkerResult(2, (faster,)),
    )
    return SweepResult(rows, 1_000, 1, 5.0, 16_000, 32, 2, 0)


def test_the_parts_add_up_to_the_busy_time() -> None:
    """Blocked time is subtracted from native work in proportion, and not from transforms."""
    run = replace(RUN, transform_s=2.0, blocked_s=4.75)

    assert sum(run.parts.values()) == pytest.approx(run.busy_s)
    assert run.parts == pytest.approx(
        {
            "waiting for files or a processor": 4.75,
            "decoding": 3.0,
            "resampling": 1.5,
            "the rest": 0.25,
            "transforms": 2.0,
            "waiting for the store": 0.0,
        }
    )


def test_a_page_has_the_figures_and_the_recommendation(measured: SweepResult) -> None:
    """Reason and verdict come first; each chart has its figures as text for screen readers."""
    text = sweep_page(measured)

    assert "workers=2: " in text
    assert measured.verdict.split(";")[0] in text
    descriptions = re.findall(r'<svg[^>]* aria-label="([^"]+)"', text)
    assert descriptions[0] == "0 workers: 100; 1 worker: 91; 2 workers: 200"
    assert descriptions[1] == "0 workers: 100%; 1 worker: 82%; 2 workers: 90%"
    assert "decoding 6 ms" in descriptions[2]
    assert "waiting for files or a processor 4.75 ms" in descriptions[2]
    assert "src=" not in text
    assert "href=" not in text


def test_bar_heights_match_the_figures(measured: SweepResult) -> None:
    """Bars are as high as their figures: 9.5 ms per window, divided in proportion."""
    third = re.findall(r"<svg.*?</svg>", sweep_page(measured), re.DOTALL)[2]
    svg = ET.fromstring(third)

    heights = [float(rect.attrib["height"]) for rect in svg.iter("rect")]
    full = 250 - 12 - 44
    assert sum(heights[:6]) == pytest.approx(0.95 * full, abs=0.3)
    assert heights[1] == pytest.approx(0.6 * full, abs=0.1)
    assert heights[13] == pytest.approx(0.3 * full, abs=0.1)


def test_a_png_can_be_written(measured: SweepResult, tmp_path: Path) -> None:
    """Matplotlib draws the charts into a PNG file."""
    pytest.importorskip("matplotlib")
    file = tmp_path / "sweep.png"

    plot(measured, file)

    assert file.read_bytes().startswith(b"\x89PNG\r\n")


def test_a_png_has_every_shape_of_the_charts(measured: SweepResult) -> None:
    """Matplotlib draws the lines, bars, dots and labels that the page has as SVG."""
    figure = pytest.importorskip("matplotlib.figure").Figure()
    for chart in charts(measured):
        axes = figure.subplots()
        _draw_chart(axes, chart)

        assert [text.get_text() for text in axes.texts] == [label.text for label in chart.labels]
        assert len(axes.lines) == len(chart.lines) + len(chart.dots)
        bars = [(bar.get_x(), bar.get_y(), bar.get_height()) for bar in axes.patches]
        assert bars[: len(chart.bars)] == [(bar.x, bar.y, bar.height) for bar in chart.bars]
        assert axes.get_legend_handles_labels()[1] == [name for name, _ in chart.legend]


def test_plot_files_are_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another suffix is an error; a PNG without matplotlib names the extra to install."""
    check_plot_file("sweep.HTML")
    with pytest.raises(ValueError, match=r"'sweep.svg' must end in .html or .png"):
        check_plot_file("sweep.svg")
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(HeadraceError, match=r"pip install 'headrace\[plot\]', or write a .html"):
        check_plot_file("sweep.png")


@pytest.mark.parametrize("screen", SCREENS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_in_a_browser(
    measured: SweepResult, tmp_path: Path, browser: Browser, screen: str, scheme: Any
) -> None:
    """It fits a phone and a screen, requests nothing, and logs nothing to the console."""
    file = tmp_path / "sweep.html"
    plot(measured, file)

    with open_page(browser, file, screen, scheme) as it:
        width, _ = SCREENS[screen]
        assert it.page.evaluate("document.documentElement.scrollWidth") <= width
        assert it.page.locator("svg").count() == 3

    assert not it.complaints
    assert not it.requests
