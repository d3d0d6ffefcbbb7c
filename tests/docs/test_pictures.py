"""The pictures of README and documentation are what the scripts beside them draw."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
PICTURES = ROOT / "docs" / "pictures"
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")


@pytest.fixture(scope="module")
def draw() -> Iterator[Any]:
    """Return the module ``docs/pictures/draw.py``."""
    before = set(sys.modules)
    sys.path.insert(0, str(PICTURES))
    yield importlib.import_module("draw")
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(PICTURES)):
            del sys.modules[name]
    sys.path[:] = [path for path in sys.path if path != str(PICTURES)]


def _files() -> list[Path]:
    return sorted(PICTURES.glob("*.svg"))


@pytest.mark.parametrize("file", _files(), ids=lambda file: file.stem)
def test_a_picture_is_what_its_script_draws(draw: Any, file: Path) -> None:
    """Drawn again from the committed figures, a picture has the same shapes at the same places.

    The places may differ by a tenth of a pixel: sines are rounded differently on other processors.
    """
    name, _, scheme = file.stem.rpartition("-")
    kept, drawn = file.read_text("utf-8"), draw.PICTURES[name](scheme).svg()

    assert _NUMBER.sub("#", drawn) == _NUMBER.sub("#", kept)
    assert [float(one) for one in _NUMBER.findall(drawn)] == pytest.approx(
        [float(one) for one in _NUMBER.findall(kept)], abs=0.11
    )


def test_each_picture_is_there_in_both_schemes(draw: Any) -> None:
    """Each picture has a file for light and one for dark, and each file belongs to a picture."""
    expected = {f"{name}-{scheme}" for name in draw.PICTURES for scheme in ("light", "dark")}

    assert {file.stem for file in _files()} == expected


def test_each_picture_is_shown_in_both_schemes() -> None:
    """A page that shows a picture shows its dark form where a browser prefers dark."""
    shown = set()
    for page in [ROOT / "README.md", *ROOT.glob("docs/**/*.md")]:
        text = page.read_text("utf-8")
        light = re.findall(r'src="([\w./-]+)-light(\.\w+)"', text)
        dark = re.findall(
            r'<source media="\(prefers-color-scheme: dark\)" srcset="([\w./-]+)-dark(\.\w+)">', text
        )
        assert light == dark
        for name, ending in light:
            assert (page.parent / f"{name}-light{ending}").exists(), f"{page.name}: {name}"
            shown.add(Path(name).name)

    files = [*_files(), *PICTURES.glob("*.png")]
    assert shown == {file.stem.rpartition("-")[0] for file in files}


@pytest.mark.parametrize("file", _files(), ids=lambda file: file.stem)
def test_nothing_in_a_picture_is_cut_off(file: Path) -> None:
    """No line of text reaches beyond the edge, if its letters are 0.55 of their size wide."""
    svg = ET.fromstring(file.read_text("utf-8"))
    width, height = float(svg.attrib["width"]), float(svg.attrib["height"])
    for text in svg.iter("{http://www.w3.org/2000/svg}text"):
        x, y = float(text.attrib["x"]), float(text.attrib["y"])
        long = 0.55 * float(text.attrib["font-size"]) * len(text.text or "")
        before = {"start": 0.0, "middle": 0.5, "end": 1.0}[text.attrib["text-anchor"]] * long

        assert x - before >= -1, text.text
        assert x - before + long <= width + 1, text.text
        assert 0 < y < height, text.text


def test_the_comparison_is_drawn_from_new_results(draw: Any) -> None:
    """Bars are as long as speeds, the fastest first, and the ratio is to the best other."""
    works = {
        "A task": {
            "headrace": {"windows": [300, 300, 100], "seconds": [1, 2, 1]},
            "headrace, examples": {"windows": [900], "seconds": [1]},
            "Slow": {"windows": [50], "seconds": [1]},
            "Fast": {"windows": [400], "seconds": [2]},
            "Absent": {"skipped": "not installed"},
        },
        "one long task": {"headrace": {"windows": [1], "seconds": [1]}},
    }
    facts = {"machine": "2 x machine; Python", "workers": 2, "rounds": 3, "date": "2000-01-01"}

    svg = ET.fromstring(draw.charts.compare("light", {**facts, "works": works}).svg())
    words = [text.text for text in svg.iter("{http://www.w3.org/2000/svg}text")]
    bars = [float(bar.attrib["width"]) for bar in svg.iter("{http://www.w3.org/2000/svg}rect")]

    assert words[:8] == ["A task", "0.75 x", "Fast", "200", "headrace", "150", "Slow", "50"]
    assert bars == pytest.approx([208, 156, 52], abs=0.1)
    assert "3 fastest of 2 other loaders" in str(words[8])


@pytest.mark.slow
@pytest.mark.usefixtures("browser")  # is skipped without one
def test_the_card_is_a_photograph_of_the_preview(tmp_path: Path) -> None:
    """The script photographs a card of the size of the committed one, in two schemes.

    Fonts differ between machines: sizes may differ by a line, and pixels are not compared.
    """
    command = [sys.executable, str(PICTURES / "photograph.py"), str(tmp_path)]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    light, dark = (tmp_path / f"card-{scheme}.png" for scheme in ("light", "dark"))

    for file in (light, dark):
        width, height = _size(file)
        expected = _size(PICTURES / file.name)
        assert width == expected[0]
        assert height == pytest.approx(expected[1], abs=40)
    assert light.read_bytes() != dark.read_bytes()


def _size(file: Path) -> tuple[int, int]:
    """Return the width and height of a PNG."""
    head = file.read_bytes()[:24]
    assert head.startswith(b"\x89PNG")
    return int.from_bytes(head[16:20]), int.from_bytes(head[20:24])
