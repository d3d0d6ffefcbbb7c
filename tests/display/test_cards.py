from __future__ import annotations

from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pytest

import headrace
from headrace.errors import HeadraceWarning
from headrace.observe._stats import Stats
from headrace.windows._batch import AudioExample
from tests.support.browser import SCREENS, accessibility_violations, open_page
from tests.support.sounds import speechlike, write

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Browser

    from headrace.windows._windows import Windows

MARKUP_NAME = "<script>&'\".wav"


class _Reader(HTMLParser):
    """Collects the text of a card, its elements, and the attributes of its media."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.open: list[str] = []
        self.media: dict[str, dict[str, str | None]] = {}
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag != "script"
        if tag in {"img", "audio", "svg"}:
            self.media[tag] = dict(attrs)
        if tag not in {"img", "path", "rect"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in {"path", "rect"}:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        assert not self.open, "every element is closed"
        return " ".join(self.words)


def _read(thing: Any) -> _Reader:
    return _Reader(thing._repr_html_())


@pytest.fixture
def windows(tmp_path: Path) -> Windows:
    """Return windows of two good files, one with markup in its name; a third file is damaged."""
    write(tmp_path / MARKUP_NAME, speechlike(12_000), 8_000, "WAV", "PCM_16")
    write(tmp_path / "b.flac", speechlike(16_000), 16_000, "FLAC", "PCM_16")
    (tmp_path / "damaged.wav").write_bytes(b"RIFF")
    with pytest.warns(HeadraceWarning, match="1 of 3 files"):
        catalog = headrace.scan(tmp_path)
    return catalog.windows(8_000, 1.0)


def test_an_example_card_shows_and_plays_the_window(windows: Windows) -> None:
    """It has a labelled player, waveform and spectrogram; file, time, levels and padding."""
    card = _read(windows[1])

    assert MARKUP_NAME in card.text
    for words in ("0:01 to 0:01.5", "8 kHz", "RMS", "peak", "0.50 s of padding"):
        assert words in card.text
    assert str(card.media["audio"]["src"]).startswith("data:audio/flac;base64,")
    assert str(card.media["img"]["src"]).startswith("data:image/png;base64,")
    for media, name in (("audio", "aria-label"), ("svg", "aria-label"), ("img", "alt")):
        assert MARKUP_NAME in str(card.media[media][name])


@pytest.mark.parametrize(
    ("function", "shape"),
    [
        (lambda audio: np.log(np.ones((64, 50), np.float32)) + audio[0], "64 x 50, float32"),
        (lambda audio: np.zeros((3, 64, 50), np.float32) + audio[0], "3 x 64 x 50, float32"),
        (lambda audio: np.zeros((1, 2, 8_000), np.float32) + audio[0], "1 x 2 x 8000, float32"),
        (lambda audio: np.array(audio[0]), "a single number, float32"),
        (lambda audio: audio[:0], "0, float32"),
        (lambda audio: audio[:4_000], "4000, float32"),
        (lambda audio: (audio * 32_767).astype(np.int16), "8000, int16"),
        (lambda audio: audio * np.float32(np.nan), "8000, float32"),
        (lambda audio: audio + 1j, "8000, complex64"),
    ],
)
def test_a_card_of_something_else_than_audio_shows_its_shape(
    windows: Windows, function: Any, shape: str
) -> None:
    """If a map returns something else, the card has no picture and no level."""
    card = _read(windows.map(function)[1])

    assert card.media == {}
    for words in (MARKUP_NAME, "0:01 to 0:02", "8 kHz", shape):
        assert words in card.text
    assert "dBFS" not in card.text
    assert "padding" not in card.text


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_mapped_audio_is_shown_and_played(windows: Windows, dtype: Any) -> None:
    """A map may return any float dtype and add a channel."""
    for mapped in (
        windows.map(lambda audio: (0.5 * audio).astype(dtype)),
        windows.map(lambda audio: np.stack([audio, audio]).astype(dtype)),
    ):
        card = _read(mapped[1])
        assert {"audio", "img", "svg"} <= card.media.keys()
        assert "0.50 s of padding" in card.text


def test_an_example_card_shows_its_labels() -> None:
    """They are shown as class indices, since an example does not know the class names."""
    audio = speechlike(8_000)[:, 0].astype(np.float32)
    labels = np.array([1, 0, 0, 1], np.float32)

    example = AudioExample(audio, "a", 0.0, 8_000, "a", 0, 1.0, 8_000, labels=labels)
    card = _read(example)

    assert "classes: 0, 3 of 4" in card.text


def test_a_catalog_card_summarises_the_catalog(windows: Windows) -> None:
    """It shows files, hours, sample rates, formats, and each damaged file with its cause."""
    text = _read(windows.catalog).text

    for words in ("2 recordings, 2.5 s", "WAV PCM_16", "8 kHz", "FLAC PCM_16", "16 kHz"):
        assert words in text
    assert "1 damaged file" in text
    assert "damaged.wav NOT_AUDIO" in text
    assert "0 recordings" in _read(windows.catalog[:0]).text


def test_a_file_with_two_failures_is_one_damaged_file(tmp_path: Path) -> None:
    """It is counted once on the catalog's card, on the preview page and in the repr."""
    audio = speechlike(16_000)
    audio[100] = np.nan
    write(tmp_path / "a.wav", audio, 8_000, "WAV", "FLOAT")
    (tmp_path / "a.wav").write_bytes((tmp_path / "a.wav").read_bytes()[:50_000])
    with pytest.warns(HeadraceWarning, match="1 of 1 files"):
        catalog = headrace.scan(tmp_path, verify="decode")

    assert len(catalog.failures) == 2
    assert "1 damaged file " in _read(catalog).text
    assert "2 failures in 1 damaged file;" in repr(catalog)
    page = headrace.preview(catalog.windows(8_000, 0.5), audio=None).html
    assert "<dt>Damaged files</dt><dd>1<small>" in page


def test_a_windows_card_shows_the_geometry_and_what_is_left_out(windows: Windows) -> None:
    """A slice has no coverage; its card shows the rest."""
    text = _read(windows).text
    for words in ("3 windows", "1 s (8,000 samples)", "8 kHz", "padded with zeros"):
        assert words in text
    assert "2.5 s of 2.5 s are in a window" in text

    dropped = _read(windows.catalog.windows(8_000, 1.0, tail="drop", channel=0)).text
    assert "Left out 0.5 s" in dropped
    assert "channel 0, counted from 0" in dropped
    assert "Left out" not in _read(windows[::2]).text


def test_windows_of_several_catalogs_have_a_card(windows: Windows) -> None:
    """Their card shows no coverage."""
    text = _read(headrace.concat([windows[:2], windows.catalog[:1].windows(8_000, 1.0)])).text

    assert "4 windows" in text
    assert "Left out" not in text


def test_a_stats_card_shows_the_verdict(windows: Windows) -> None:
    """It does so before the first delivery too, without a bar."""
    with windows.loader(workers=1) as loader:
        assert "Nothing has been delivered yet." in _read(loader.stats()).text
        list(loader)
        stats = loader.stats()

    card = _read(stats)
    assert stats.verdict in card.text
    assert "3 windows, 0 failed" in card.text
    assert f"waited {stats.wait_share:.1%}" in str(card.media["svg"]["aria-label"])


def test_an_example_of_any_sample_rate_has_a_card() -> None:
    """If no browser can play the sample rate, only the player is left out."""
    audio = np.zeros(800_000, np.float32)
    card = _read(AudioExample(audio, "bat", 0.0, 800_000, "bat", 0, 1.0, 800_000))

    assert "audio" not in card.media
    assert "800 kHz" in card.text
    assert "silent" in card.text


def test_plain_reprs_are_short(windows: Windows) -> None:
    """Each repr is one line and prints no samples."""
    with windows.loader(batch_size=2, workers=0) as loader:
        batch = next(iter(loader))
        stats = loader.stats()

    assert repr(windows[2]) == (
        "<AudioExample: b.flac from 0 s to 1 s at 8000 Hz, audio of shape (8000,), "
        "8,000 samples valid, index 2>"
    )
    assert repr(batch) == (
        "<Batch: 2 windows at 8000 Hz of 1 recording, audio of shape (2, 8000), 2 valid>"
    )
    assert repr(stats).startswith("<Stats: 2 windows in ")
    assert stats.verdict in repr(stats)
    assert "\n" not in repr(stats)


def test_cards_are_small(windows: Windows) -> None:
    """A notebook is saved with its cards: a window's card is little larger than its sound."""
    assert len(windows[0]._repr_html_()) < 60_000
    assert all(len(one._repr_html_()) < 5_000 for one in (windows, windows.catalog))


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("screen", SCREENS)
def test_cards_in_a_browser(
    browser: Browser,
    windows: Windows,
    tmp_path: Path,
    screen: str,
    scheme: Literal["light", "dark"],
) -> None:
    """They render, play, fit a phone, and axe finds nothing serious, in light and dark mode."""
    stats = Stats(3, 0, 3.0, 2.0, 0.5, 0.1, 1.0, 0.2, 0.1, 2, 1 << 20, 1 << 19, 0)
    cards = [one._repr_html_() for one in (windows[0], windows.catalog, windows, stats)]
    (tmp_path / "cards.html").write_text(
        '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" '
        'content="width=device-width"><title>Cards</title><style>:root{color-scheme:light dark}'
        f"</style><main><h1>Cards</h1>{''.join(cards)}</main></html>",
        "utf-8",
    )

    with open_page(browser, tmp_path / "cards.html", screen, scheme) as it:
        assert it.page.evaluate("document.images[0].decode().then(() => true)")
        assert it.page.evaluate(
            "(player => player.play().then(() => new Promise(done => player.ontimeupdate ="
            " () => player.currentTime > 0.1 && done(player.duration))))"
            "(document.querySelector('audio'))"
        ) == pytest.approx(1.0, abs=1e-3)
        assert it.overflow() == 0
        assert accessibility_violations(it.page) == []
        assert it.complaints == []
        assert it.requests == []


def test_axe_reports_bad_pages(browser: Browser, tmp_path: Path) -> None:
    """The accessibility check reports an image without alt text and a low contrast."""
    page = tmp_path / "bad.html"
    page.write_text('<title>x</title><img src="data:,"><p style="color:#ccc">pale</p>', "utf-8")

    with open_page(browser, page) as it:
        found = " ".join(accessibility_violations(it.page))

    assert "image-alt" in found
    assert "color-contrast" in found
