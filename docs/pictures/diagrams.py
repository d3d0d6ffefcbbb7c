"""Diagrams of what headrace does, computed by headrace from recordings that are made here."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import soundfile
from svg import Drawing

import headrace
from headrace.bench import write_archive

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from svg import Scheme

RATE: Final = 16_000
WINDOW_S: Final = 5.0
BATCH: Final = 6


def _envelope(audio: NDArray[np.float32], columns: int) -> list[tuple[float, float]]:
    """Return the least and the greatest sample of each of so many equal parts."""
    return [(float(part.min()), float(part.max())) for part in np.array_split(audio, columns)]


def _wave(
    drawing: Drawing,
    x: float,
    middle: float,
    width: float,
    height: float,
    audio: NDArray[np.float32],
    colour: str = "accent",
) -> None:
    """Draw a wave form, scaled to the loudest sample."""
    columns = max(8, round(width / 2))
    found = _envelope(audio / max(float(np.abs(audio).max()), 1e-9), columns)
    places = [x + (at + 0.5) * width / columns for at in range(columns)]
    upper = [(at, middle - high * height / 2) for at, (_, high) in zip(places, found, strict=True)]
    lower = [(at, middle - low * height / 2) for at, (low, _) in zip(places, found, strict=True)]
    drawing.area([*upper, *reversed(lower)], fill=colour)


@cache
def _journey() -> tuple[NDArray[np.float32], list[tuple[str, int, NDArray[np.float32]]]]:
    """Return a whole recording as it is stored, and the rows of a shuffled batch."""
    with tempfile.TemporaryDirectory() as folder:
        write_archive(folder, recordings=4, seconds=30, sites=2)
        catalog = headrace.scan(Path(folder, "raw_data"), progress=False)
        stored, _ = soundfile.read(catalog[0].path, dtype="float32")
        windows = catalog.windows(RATE, WINDOW_S).shuffle(seed=10)
        with windows.loader(batch_size=BATCH, workers=0) as loader:
            batch = next(iter(loader))
        rows = [
            (batch.file_id[row], int(batch.offset[row] / WINDOW_S), batch.audio[row].copy())
            for row in range(BATCH)
        ]
        rows.sort(key=lambda row: row[0] != catalog[0].id)  # one of the recording comes first
    return stored, rows


def window(scheme: Scheme) -> Drawing:
    """Show the way of a window from its file through a worker into a batch, and to the model."""
    stored, rows = _journey()
    name, number, audio = rows[0]
    drawing = Drawing(880, 284, scheme, "The way of a window: file, worker, batch, model")
    heads = ((8, "1  file"), (314, "2  read, in a worker"), (560, "3  batch"), (776, "4  model"))
    for x, head in heads:
        drawing.text(x, 20, head, bold=True, size=14)

    left, width, middle = 8, 250, 110
    each = width * WINDOW_S * 22_050 / len(stored)
    drawing.box(left, 66, width, 88, line="grid")
    drawing.box(left + number * each, 66, each, 88, fill="pale")
    _wave(drawing, left, middle, width, 80, stored, "quiet")
    for edge in range(1, round(width / each)):
        drawing.line([(left + edge * each, 66), (left + edge * each, 154)], colour="grid")
    drawing.text(left, 58, name, size=12, colour="faint")
    drawing.text(left, 174, "22,050 Hz, 16 bits, 30 s on disk", size=12, colour="faint")
    drawing.text(
        left, 191, f"window {number}, of {WINDOW_S:g} s, is wanted", size=12, colour="faint"
    )

    drawing.line([(266, middle), (306, middle)], colour="faint", width=1.5, arrow=True)
    drawing.box(314, 66, 180, 88, line="grid", fill="pale")
    _wave(drawing, 318, middle, 172, 80, audio)
    drawing.text(314, 58, "float32, 80,000 samples", size=12, colour="faint")
    for at, words in enumerate(
        ("seek and decode", "mix, convert, resample", "in C++, without the GIL")
    ):
        drawing.text(314, 174 + 17 * at, words, size=12, colour="faint")

    drawing.line([(502, middle), (552, middle)], colour="faint", width=1.5, arrow=True)
    for row, (_, _, one) in enumerate(rows):
        y = 46 + row * 24
        drawing.box(560, y, 140, 20, line="grid", fill="pale" if row == 0 else None)
        _wave(drawing, 562, y + 10, 136, 18, one, "accent" if row == 0 else "quiet")
    drawing.text(560, 207, f"({BATCH}, 80000), shuffled;", size=12, colour="faint")
    drawing.text(560, 224, "memory that is used again", size=12, colour="faint")

    drawing.line([(708, middle), (768, middle)], colour="faint", width=1.5, arrow=True)
    drawing.text(738, middle - 10, "next()", size=12, anchor="middle")
    drawing.box(776, 66, 92, 88, line="accent")
    drawing.text(822, middle + 4, "your code", size=12, anchor="middle")
    drawing.text(776, 174, "works, while", size=12, colour="faint")
    drawing.text(776, 191, "workers load on", size=12, colour="faint")

    drawing.line([(314, 252), (700, 252)], colour="accent", width=1.5)
    for x in (314, 700):
        drawing.line([(x, 246), (x, 258)], colour="accent", width=1.5)
    words = "all of this together is never more than loader.memory_bound"
    drawing.text(507, 275, words, size=12, anchor="middle", colour="accent")
    return drawing


RECORDINGS: Final = 8
EACH: Final = 12  # windows of a recording


@cache
def _orders() -> dict[str, Sequence[int]]:
    """Return the window at each position of an epoch, in several orders."""
    with tempfile.TemporaryDirectory() as folder:
        for number in range(RECORDINGS):
            soundfile.write(Path(folder, f"{number}.wav"), np.zeros(1_000 * EACH), 1_000)
        windows = headrace.scan(folder, progress=False).windows(1_000, 1.0)
        orders = {
            "in order": windows,
            "shuffle(seed=0)": windows.shuffle(seed=0),
            'by="block", block=4': windows.shuffle(seed=0, by="block", block=4),
            'by="file"': windows.shuffle(seed=0, by="file"),
            'by="file", interleave=3': windows.shuffle(seed=0, by="file", interleave=3),
        }
        return {
            name: [example.index for example in order.loader(workers=0)]
            for name, order in orders.items()
        }


def shuffles(scheme: Scheme) -> Drawing:
    """Show which window stands at each position of an epoch, in five orders."""
    side, gap, left, top = 144, 26, 72, 44
    orders = _orders()
    drawing = Drawing(
        left + len(orders) * (side + gap), top + side + 46, scheme,
        "Five orders: the window at each position of an epoch",
    )  # fmt: skip
    total = RECORDINGS * EACH
    for at, (name, order) in enumerate(orders.items()):
        x = left + at * (side + gap)
        drawing.text(x, top - 12, name, size=11.5, bold=True)
        for recording in range(RECORDINGS):
            y = top + recording * side / RECORDINGS
            if recording % 2 == 0:
                drawing.box(x, y, side, side / RECORDINGS, fill="pale", round_=0)
            if at == 0:
                drawing.text(
                    left - 8, y + 13, f"{recording}.wav", size=11.5, anchor="end", colour="faint"
                )
        drawing.box(x, top, side, side, line="grid", round_=0)
        drawing.dots(
            (x + (position + 0.5) * side / total, top + (index + 0.5) * side / total)
            for position, index in enumerate(order)
        )
        drawing.line(
            [(x, top + side + 14), (x + side, top + side + 14)], colour="faint", arrow=True
        )
    words = (
        f"From left to right the positions of an epoch, from top to bottom the windows of "
        f"{RECORDINGS} recordings, {EACH} each."
    )
    drawing.text(left, top + side + 38, words, size=12, colour="faint")
    return drawing


def anchors(scheme: Scheme, found: dict[str, Any]) -> Drawing:
    """Show what is decoded for a random window of AAC: from the anchors before its segments on."""
    drawing = Drawing(880, 250, scheme, "What is decoded for a window of AAC in M4A")
    rate, left, right = found["rate"], 20, 860
    seconds = 20.0
    starts = [0.0, *(start / rate for start in found["starts"])]
    pre_roll = found["pre_roll"] * found["packet"] / rate

    def place(second: float) -> float:
        return left + second / seconds * (right - left)

    def span(begin: float, stop: float, y: float, height: float, fill: str) -> None:
        drawing.box(place(begin), y, place(stop) - place(begin), height, fill=fill, round_=0)

    begin, stop = 6.4, 11.4
    drawing.text(left, 20, "the recording, in segments, each with an anchor", size=12)
    for start, end in zip(starts, [*starts[1:], seconds], strict=True):
        if start < seconds:
            drawing.box(
                place(start) + 1, 32, place(min(end, seconds)) - place(start) - 2, 26, line="quiet"
            )
            drawing.text(place(start) + 6, 50, f"{start:.1f} s", size=12, colour="faint")
    drawing.text(left, 92, f"the window that is wanted, {begin:g} to {stop:g} s", size=12)
    span(begin, stop, 100, 22, "accent")
    drawing.text(
        left, 154,
        "what is decoded for it: each segment by a new decoder, which begins "
        f"{found['pre_roll']} packets ({1000 * pre_roll:.0f} ms) before",
        size=12,
    )  # fmt: skip
    for start, end in zip(starts, [*starts[1:], seconds], strict=True):
        if start < stop and end > begin:
            span(max(0.0, start - pre_roll), start, 162, 22, "warm")
            span(start, max(start, begin), 162, 22, "pale")
            span(max(start, begin), min(end, stop), 162, 22, "accent")
            for upper, lower in ((60, 76), (100, 138), (162, 190)):
                drawing.line([(place(start), upper), (place(start), lower)], dashed=True)
    for x, colour, words in (
        (left, "accent", "kept"),
        (left + 90, "pale", "decoded, but before the window"),
        (left + 320, "warm", "pre-roll: it fills the decoder's memory"),
    ):
        drawing.box(x, 212, 14, 14, fill=colour)
        drawing.text(x + 20, 224, words, size=12, colour="faint")
    return drawing
