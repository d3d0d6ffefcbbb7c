from __future__ import annotations

import io
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import av
import numpy as np
import pyarrow as pa
import pytest

import headrace
from headrace.errors import HeadraceWarning
from tests.support.browser import SCREENS, OpenedPage, accessibility_violations, open_page
from tests.support.sounds import silence, speechlike, write

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray
    from playwright.sync_api import Browser, Locator

AUDIO = Path(__file__).parents[2].parent / "shared" / "audio"
MARKUP_NAME = "<b>&'quoted'.wav"
EVENTS: list[tuple[str, float, float, str, float | None, float | None]] = [
    ("site a/frogs.wav", 0.2, 1.1, "frog", 500.0, 1_500.0),
    ("site a/frogs.wav", 0.5, 0.9, "bird", 2_000.0, 3_500.0),
    ("site a/frogs.wav", 2.1, 2.6, "</script>&", None, None),
    (MARKUP_NAME, 0.0, 9.0, "none", None, None),
]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a page with 11 windows: loud, clipped, silent and padded ones; one file is damaged."""
    folder = tmp_path_factory.mktemp("archive")
    (folder / "site a").mkdir()
    loud = speechlike(24_000, seed=1)
    for name, audio in (
        ("site a/frogs.wav", loud),
        ("site a/quiet.wav", 0.002 * loud),
        (MARKUP_NAME, np.clip(20 * loud, -1, 1)[:16_000]),
        ("zero.wav", silence(12_000)),
        ("z.wav", loud[:8_000]),
    ):
        write(folder / name, audio, 8_000, "WAV", "PCM_16")
    (folder / "damaged.wav").write_bytes(b"RIFF")
    with pytest.warns(HeadraceWarning, match="1 of 6 files"):
        windows = headrace.scan(folder).windows(8_000, 1.0, tail="pad", min_tail_s=0.1)
    page = folder / "page.html"
    names = ("file", "start_s", "end_s", "label", "low_hz", "high_hz")
    columns = zip(names, zip(*EVENTS, strict=True), strict=True)
    annotations = headrace.Annotations.from_table(
        pa.table(dict(columns)), files=windows.catalog.column("id").tolist()
    )
    headrace.preview(windows, annotations=annotations).save(page)
    return page


@pytest.fixture
def desk(browser: Browser, file: Path) -> Iterator[OpenedPage]:
    """Open the page in the browser; it must log nothing and request nothing."""
    with open_page(browser, file) as it:
        yield it
        assert it.complaints == []
        assert it.requests == []


def _cards(it: OpenedPage) -> Locator:
    return it.page.locator(".card:visible")


def _data(it: OpenedPage, name: str) -> list[str]:
    found: list[str] = it.page.evaluate(
        f"[...document.querySelectorAll('.card:not([hidden])')].map(card => card.dataset.{name})"
    )
    return found


def _watch(it: OpenedPage) -> None:
    """Store the player and its last start time in `window`, for the tests.

    It plays slowly, so that no sound ends before a slow machine has checked it.
    """
    it.page.evaluate("""() => {
        const play = HTMLMediaElement.prototype.play;
        HTMLMediaElement.prototype.play = function () {
            window.player = this;
            window.began = this.currentTime;
            this.playbackRate = 0.1;
            return play.call(this);
        };
    }""")


def _until(it: OpenedPage, holds: str) -> None:
    """Check an expression at each animation frame until it is true, for at most ten seconds.

    Playwright's own `wait_for_function` uses `eval`, which the page's policy forbids.
    """
    it.page.evaluate(f"""() => new Promise((resolve, reject) => {{
        const late = performance.now() + 10_000;
        const look = () => {{
            if ({holds}) resolve();
            else if (performance.now() > late) reject(new Error({holds!r}));
            else requestAnimationFrame(look);
        }};
        look();
    }})""")


def _playing(it: OpenedPage) -> str | None:
    """Return the turn of the card that is playing."""
    on = it.page.locator(".card.on")
    return on.get_attribute("data-turn") if on.count() else None


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("screen", SCREENS)
def test_the_page_renders(
    browser: Browser, file: Path, screen: str, scheme: Literal["light", "dark"]
) -> None:
    """All pictures load, nothing is wider than the screen, axe finds nothing serious."""
    with open_page(browser, file, screen, scheme) as it:
        assert it.page.locator("h1").inner_text()
        assert _cards(it).count() == 11
        assert (
            it.page.evaluate(
                "Promise.all([...document.images].map(image => image.decode()"
                ".then(() => image.naturalWidth > 50 && image.alt.length > 10)))"
            )
            == [True] * 11
        )
        assert it.overflow() == 0
        assert accessibility_violations(it.page) == []
        assert it.complaints == []
        assert it.requests == []
        ground = it.page.evaluate("getComputedStyle(document.body).backgroundColor")
        brightness = [int(number) for number in re.findall(r"\d+", ground)[:3]]
        assert (min(brightness) > 200) if scheme == "light" else (max(brightness) < 60)


def test_the_ticks_of_both_axes_are_visible(desk: OpenedPage) -> None:
    """Beside the spectrogram there is a mark for each frequency, and below it one for each time."""
    card = _cards(desk).first
    texts = [desk.page.locator(f"#{axis} text").count() for axis in ("hertz", "seconds")]
    beside, below = (_picture(card.locator(f".{axis}")) for axis in ("hertz", "seconds"))

    # The last column of pixels has the border of the card.
    assert [_runs(beside[:, -2]), _runs(below[1, :-1])] == texts


def _picture(of: Locator) -> NDArray[np.uint8]:
    """Return what is seen of an element, shape ``(height, width, 3)``."""
    with av.open(io.BytesIO(of.screenshot()), "r") as file:
        return next(file.decode(video=0)).to_ndarray(format="rgb24").astype(np.uint8, copy=False)


def _runs(line: NDArray[np.uint8]) -> int:
    """Return how many runs of pixels of a line differ from its most frequent colour."""
    _, number, counts = np.unique(line, axis=0, return_inverse=True, return_counts=True)
    differs = number.reshape(-1) != counts.argmax()
    return int(np.count_nonzero(np.diff(differs, prepend=False) & differs))


def test_the_overview_counts_recordings_windows_and_failures(desk: OpenedPage) -> None:
    """It shows counts, causes and labels, even if names look like markup."""
    tiles = dict(
        zip(
            desk.page.locator(".tiles dt").all_inner_texts(),
            desk.page.locator(".tiles dd").all_inner_texts(),
            strict=True,
        )
    )

    assert tiles["Recordings"].startswith("5")
    assert tiles["Windows"].startswith("11")
    assert tiles["Damaged files"].startswith("1")
    assert tiles["Silent"].startswith("2\nof 11")
    assert tiles["Clipped"].startswith("2\nof 11")
    text = desk.page.locator("main").inner_text()
    assert "damaged.wav" in text
    assert "NOT_AUDIO" in text
    assert MARKUP_NAME in text
    assert desk.page.locator(".bars dt").all_inner_texts() == ["</script>&", "bird", "frog", "none"]


def test_finding_filters_by_file_and_label(desk: OpenedPage) -> None:
    """All words must occur in the file name or a label; Escape shows everything again."""
    find = desk.page.get_by_role("searchbox", name="Find")
    for words, count in (
        ("FROGS", 3),
        ("site quiet", 3),
        ("bird", 1),
        (MARKUP_NAME, 2),
        ("wav no", 2),
    ):
        find.fill(words)
        assert _cards(desk).count() == count, words
        assert desk.page.locator("#count").inner_text() == f"{count} of 11 windows"

    find.fill("nothing is called so")
    assert desk.page.get_by_text("No window matches.").is_visible()
    find.press("Escape")
    assert _cards(desk).count() == 11


def test_labels_and_levels_filter(desk: OpenedPage) -> None:
    """A label called "none" differs from no label; each level choice shows what it counts."""
    label, level = desk.page.locator("[name=label]"), desk.page.locator("[name=level]")
    options = label.locator("option").all_inner_texts()
    assert options == ["any", "</script>& (1)", "bird (1)", "frog (2)", "none (2)", "no label"]
    for option, count in zip(options, (11, 1, 1, 2, 2, 6), strict=True):
        label.select_option(label=option)
        assert _cards(desk).count() == count, option
    label.select_option(label="any")
    for option in level.locator("option").all_inner_texts()[1:]:
        level.select_option(label=option)
        assert f"({_cards(desk).count()})" in option
    level.select_option(label="silent (2)")
    assert set(_data(desk, "file")) == {"zero.wav"}
    label.select_option(label="bird (1)")
    desk.page.get_by_role("button", name="Show all").click()
    assert _cards(desk).count() == 11


def test_cards_can_be_sorted(desk: OpenedPage) -> None:
    """They sort by file and time, by label, by level, and back to the chosen order."""
    sort = desk.page.get_by_label("Sort by")
    sort.select_option("file")
    places = list(zip(_data(desk, "file"), map(float, _data(desk, "at")), strict=True))
    assert places == sorted(places)
    sort.select_option("label")
    labels = [text for text in _data(desk, "labels") if text != "[]"]
    assert _data(desk, "labels") == labels + ["[]"] * 6
    for order, name, down in (
        ("loud", "rms", True),
        ("quiet", "rms", False),
        ("peak", "peak", True),
    ):
        sort.select_option(order)
        values = [float(value) for value in _data(desk, name)]
        assert values == sorted(values, reverse=down)
    sort.select_option("chosen")
    assert _data(desk, "turn") == [str(turn) for turn in range(11)]


@pytest.mark.slow
def test_a_window_plays(desk: OpenedPage) -> None:
    """The button plays and pauses its sound; at the end the card is as before."""
    page = desk.page
    _watch(desk)
    card = _cards(desk).first
    button = card.get_by_role("button")
    assert (button.get_attribute("aria-label") or "").startswith("Play ")

    button.click()
    _until(desk, "window.player.currentTime > 0.05")
    assert _playing(desk) == "0"
    assert (button.get_attribute("aria-label") or "").startswith("Pause ")
    assert page.evaluate("window.player.duration") == pytest.approx(1.0, abs=1e-3)
    _until(desk, "document.querySelector('.on .head').style.transform != ''")

    button.click()
    _until(desk, "window.player.paused && !document.querySelector('.on')")
    assert _playing(desk) is None
    at = page.evaluate("window.player.currentTime")
    button.click()
    page.evaluate("window.player.playbackRate = 1")
    _until(desk, "window.player.ended")
    assert 0 < at < 1
    assert _playing(desk) is None
    assert card.locator(".head").is_hidden()


def test_a_click_on_a_spectrogram_plays_from_there(desk: OpenedPage) -> None:
    """A click at two thirds of the width starts at two thirds of the window."""
    page = desk.page
    _watch(desk)
    view = _cards(desk).nth(1).locator(".view")
    box = view.bounding_box()
    assert box is not None

    view.click(position={"x": box["width"] * 2 / 3, "y": 20})

    assert page.evaluate("window.began") == pytest.approx(2 / 3, abs=0.02)
    _until(desk, "document.querySelector('.card.on')")
    assert _playing(desk) == "1"


def test_what_is_ticked_is_saved_as_annotations(desk: OpenedPage, tmp_path: Path) -> None:
    """Labels give whole events, once where windows share one; windows give their own span."""
    page = desk.page
    save = page.locator("#save")
    assert save.is_disabled()
    assert not page.locator(".tick:checked, .pick:checked").count()

    for window in page.locator(".card[data-file='site a/frogs.wav']").all():
        for tick in window.locator(".tick").all():
            tick.check()
    page.locator(".card", has_text=MARKUP_NAME).first.locator(".pick").check()
    page.locator("[name=mark]").fill('not, "a" frog')
    page.locator(".card[data-file='z.wav'] .play").first.focus()
    page.keyboard.press("t")
    assert save.inner_text() == "Save 6 ticked"
    with page.expect_download() as download:
        save.click()
    download.value.save_as(tmp_path / download.value.suggested_filename)

    saved = headrace.Annotations.read_csv(tmp_path / "annotations.csv")
    columns = ("file", "start_s", "end_s", "label", "low_hz", "high_hz")
    table = saved.to_arrow().select(columns).to_pylist()
    mark = 'not, "a" frog'
    assert saved.malformed == ()
    assert sorted(tuple(row.values()) for row in table) == sorted(
        [
            *EVENTS[:3],
            (MARKUP_NAME, 0.0, 1.0, mark, None, None),
            ("z.wav", 0.0, 1.0, mark, None, None),
        ],
        key=str,
    )


def test_everything_works_from_the_keyboard(desk: OpenedPage) -> None:
    """Keys move, play, keep playing while moving, find, and show the list of keys."""
    page, keys = desk.page, desk.page.keyboard
    _watch(desk)

    def focused() -> str:
        turn: str = page.evaluate("document.activeElement.closest('.card')?.dataset.turn ?? ''")
        return turn

    columns = page.evaluate(
        "getComputedStyle(document.getElementById('cards')).gridTemplateColumns.split(' ').length"
    )
    for key, turn in (
        ("j", 0), ("j", 1), ("k", 0), ("ArrowRight", 1), ("ArrowDown", 1 + columns),
        ("ArrowUp", 1), ("ArrowLeft", 0), ("ArrowLeft", 0), ("End", 10), ("j", 10), ("Home", 0),
    ):  # fmt: skip
        keys.press(key)
        assert focused() == str(turn), key
    keys.press("Space")
    _until(desk, "document.querySelector('.card.on')")
    assert _playing(desk) == "0"
    keys.press("j")
    _until(desk, "document.querySelector('.card.on')?.dataset.turn == '1'")
    keys.press("Space")
    _until(desk, "!document.querySelector('.card.on')")
    keys.press("/")
    keys.type("frog jk")
    assert page.get_by_role("searchbox").input_value() == "frog jk"
    keys.press("Escape")
    keys.press("?")
    assert page.get_by_role("dialog", name="Keys").is_visible()
    assert accessibility_violations(page) == []
    keys.press("Escape")
    assert page.get_by_role("dialog").is_hidden()


def test_the_first_tab_skips_the_overview(desk: OpenedPage) -> None:
    """A keyboard user need not tab through every table."""
    desk.page.keyboard.press("Tab")
    assert desk.page.locator(":focus").inner_text() == "Skip to the windows"
    desk.page.keyboard.press("Enter")
    desk.page.keyboard.press("Tab")
    assert desk.page.locator(":focus").get_attribute("name") == "find"


@pytest.mark.slow
@pytest.mark.parametrize("audio", ["mp3", None])
def test_pages_with_mp3_and_without_sound(
    browser: Browser, tmp_path: Path, audio: Literal["mp3"] | None
) -> None:
    """MP3 plays; without sound the keys still move."""
    write(tmp_path / "a.wav", speechlike(48_000), 16_000, "WAV", "PCM_16")
    windows = headrace.scan(tmp_path).windows(16_000, 1.0)
    headrace.preview(windows, audio=audio).save(tmp_path / "page.html")

    with open_page(browser, tmp_path / "page.html") as it:
        _watch(it)
        it.page.keyboard.press("j")
        assert it.page.evaluate("document.activeElement.closest('.card').dataset.turn") == "0"
        it.page.keyboard.press("Space")
        if audio:
            _until(it, "document.querySelector('.card.on')")
        assert it.page.get_by_role("button", name=re.compile("^(Play|Pause) a.wav")).count() == (
            3 if audio else 0
        )
        assert it.complaints == []
        assert accessibility_violations(it.page) == []


def test_a_page_of_500_windows_is_fast(browser: Browser, tmp_path: Path) -> None:
    """Cards outside the screen are not laid out; finding works on all of them."""
    write(tmp_path / "a.wav", speechlike(8_000 * 5), 8_000, "WAV", "PCM_16")
    preview = headrace.preview(headrace.scan(tmp_path).windows(8_000, 0.5))
    replace(preview, exhibits=preview.exhibits * 50).save(tmp_path / "page.html")

    with open_page(browser, tmp_path / "page.html", "phone") as it:
        assert _cards(it).count() == 500
        drawn = it.page.evaluate(
            "[...document.querySelectorAll('.card .play')].filter("
            "button => button.checkVisibility({contentVisibilityAuto: true})).length"
        )
        assert 0 < drawn < 50
        it.page.get_by_role("searchbox").fill("a.wav")
        assert it.page.locator("#count").inner_text() == "500 windows"
        assert it.overflow() == 0


@pytest.mark.skipif(not AUDIO.is_dir(), reason="no folder of real recordings is there")
@pytest.mark.parametrize("screen", SCREENS)
def test_a_page_of_real_recordings(browser: Browser, tmp_path: Path, screen: str) -> None:
    """It shows every format, sample rate and kind of file name."""
    with pytest.warns(HeadraceWarning, match="cannot be used"):
        windows = headrace.scan(AUDIO).windows()
    headrace.preview(windows[::5]).save(tmp_path / "page.html")

    with open_page(browser, tmp_path / "page.html", screen) as it:
        assert _cards(it).count() == len(windows[::5])
        assert it.overflow() == 0
        assert accessibility_violations(it.page) == []
        it.page.get_by_label("Sort by").select_option("loud")
        _watch(it)
        _cards(it).nth(3).get_by_role("button").click()
        _until(it, "document.querySelector('.card.on')")
        assert it.complaints == []
        assert it.requests == []


def test_a_page_is_self_contained(file: Path) -> None:
    """It has only data URIs, and a content security policy that forbids everything else."""
    text = file.read_text("utf-8")
    head = text.partition("</head>")[0]

    assert "default-src 'none'" in head
    assert "unsafe" not in head
    assert not re.findall(r"""(?:src|href)=["'](?!data:|#)""", text)
    assert not re.search(r"https?://", text)
    assert "</script>&" not in text
    assert "<b>&" not in text


@pytest.mark.parametrize(("screen", "scheme"), [("desktop", "light"), ("phone", "dark")])
def test_a_page_of_detections_in_ultrasound(
    browser: Browser, tmp_path: Path, screen: str, scheme: Literal["light", "dark"]
) -> None:
    """It has boxes, axes and scores, plays slower and sorts by score; axe finds nothing."""
    write(tmp_path / "bat.wav", speechlike(96_000, seed=1), 192_000, "WAV", "PCM_16")
    windows = headrace.scan(tmp_path).windows(192_000, 0.1)
    found = headrace.Detections.from_table(
        pa.table(
            {
                "id": ["bat.wav"] * 3,
                "start_s": [0.01, 0.02, 0.25],
                "end_s": [0.03, 0.05, 0.28],
                "label": ["<i>Myotis</i>", "Pipistrellus", "Pipistrellus"],
                "low_hz": [30e3, 40e3, 40e3],
                "high_hz": [80e3, 60e3, 60e3],
                "score": [0.6, 0.5, 0.9],
            }
        )
    )
    page = tmp_path / "page.html"
    headrace.preview(windows, detections=found).save(page)
    with open_page(browser, page, screen, scheme) as it:
        assert _data(it, "score") == ["0.9", "0.6"]
        it.page.locator("[name=sort]").select_option("doubt")
        assert _data(it, "score") == ["0.6", "0.9"]
        boxes = it.page.locator(".card").first.locator(".marks rect")
        first, second = (box.bounding_box() for box in boxes.all())
        view = it.page.locator(".view").first.bounding_box()
        assert first is not None
        assert second is not None
        assert view is not None
        assert (first["x"] - view["x"]) / view["width"] == pytest.approx(0.1, abs=0.02)
        assert (
            first["y"] < second["y"] < second["y"] + second["height"] < first["y"] + first["height"]
        )
        colours = boxes.evaluate_all("them => them.map(it => getComputedStyle(it).stroke)")
        assert len(set(colours)) == 2
        assert it.page.locator(".hertz").first.bounding_box() is not None
        _watch(it)
        it.page.locator(".view").first.click(position={"x": view["width"] / 2, "y": 20})
        assert it.page.evaluate("window.began") == pytest.approx(0.5, abs=0.02)
        assert it.overflow() == 0
        assert accessibility_violations(it.page) == []
        assert it.complaints == []
        assert it.requests == []
