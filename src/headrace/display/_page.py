"""A `Preview` → the text of its page, which holds all that it shows."""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections import Counter
from html import escape
from importlib.metadata import version
from importlib.resources import files
from pathlib import PurePath
from string import Template
from typing import TYPE_CHECKING, Final

from headrace._formatting import (
    format_count,
    format_decibels,
    format_duration,
    format_hertz,
    format_time,
)
from headrace.display._draw import lowest_hz
from headrace.display._encode import data_uri
from headrace.display._overview import panels, tiles

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from headrace.display._exhibit import PreviewedWindow
    from headrace.display._preview import Preview

__all__ = ["page"]

_BANDS: Final = ((-math.inf, -60), (-60, -40), (-40, -20), (-20, math.inf))
"""Levels to choose from: RMS, dBFS, half-open."""

_LEAST_DBFS: Final = -999  # for a script that knows no infinity


def page(preview: Preview) -> str:
    """Return the page."""
    style, script = _template("preview.css"), _template("preview.js")
    shown = preview.exhibits
    labels = Counter(label for one in shown for label in one.labels)
    heading = PurePath(preview.windows.catalog.root).name or "Recordings"
    return Template(_template("preview.html")).substitute(
        version=escape(version("headrace")),
        style=style,
        style_hash=_hash(style),
        script=script,
        script_hash=_hash(script),
        title=escape(f"{heading}: headrace preview"),
        heading=escape(heading),
        lead=escape(_lead(preview)),
        tiles="".join(tiles(preview)),
        panels="".join(panels(preview)),
        note=escape(_note(preview)),
        label_choice=_label_choice(labels) if preview.labels else "",
        label_sort='<option value="label">label</option>' if preview.labels else "",
        level_options="".join(_level_options(shown)),
        chosen=escape(preview.choice),
        shown=format_count(len(shown), "window"),
        cards="\n".join(_card(turn, one) for turn, one in enumerate(shown)),
        sounds="\n".join(
            f'<script type="text/plain" id="sound-{turn}" data-type="{one.sound[0]}">'
            f"{base64.b64encode(one.sound[1]).decode()}</script>"
            for turn, one in enumerate(shown)
            if one.sound is not None
        ),
    )


def _template(name: str) -> str:
    return (files("headrace") / "templates" / name).read_text("utf-8")


def _hash(text: str) -> str:
    """Return what a content security policy knows an inline style or script by."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _lead(preview: Preview) -> str:
    windows = preview.windows
    spec = windows.spec
    shown = len(preview.exhibits)
    which = "All are" if shown == len(windows) else f"{shown:,}, {preview.choice}, are"
    return (
        f"{format_count(len(windows.catalog), 'recording')} with {format_duration(windows.catalog.duration_s)} of "
        f"audio, cut into {format_count(len(windows), 'window')} of {spec.size / spec.sample_rate:g} s "
        f"at {format_hertz(spec.sample_rate)}. {which} shown below."
    )


def _note(preview: Preview) -> str:
    rate = preview.windows.spec.sample_rate
    given = "your functions get" if preview.windows.transforms else "a model gets"
    sound = {
        "flac": f"You hear what {given}, to 16 bits.",
        "mp3": f"You hear an MP3 of what {given}.",
        None: "This page was made without sound.",
    }[preview.audio]
    return (
        f"Spectrograms go from {format_hertz(lowest_hz(rate))} up to {format_hertz(rate / 2)} on the mel scale; "
        f"each has shades of its own, from its quietest (dark) to its loudest (light). {sound}"
    )


def _label_choice(labels: Counter[str]) -> str:
    """Return the choice of a label; its values begin with ``=``, so that "none" can be a label."""
    options = "".join(
        f'<option value="{escape("=" + label)}">{escape(label or "without label")} ({count:,})'
        "</option>"
        for label, count in sorted(labels.items())
    )
    return (
        '<label><span>Label</span><select name="label"><option value="">any</option>'
        f'{options}<option value="none">no label</option></select></label>'
    )


def _level_options(shown: Sequence[PreviewedWindow]) -> Iterator[str]:
    """Yield what there is to choose from."""
    flags = Counter(flag for one in shown for flag in _flags(one))
    for flag in sorted(flags):
        yield f'<option value="{flag}">{flag} ({flags[flag]:,})</option>'
    for low, high in _BANDS:
        count = sum(low <= one.levels.rms_dbfs < high for one in shown)
        if count:
            words = f"{format_decibels(low)} to {format_decibels(high)} dBFS"
            if low == -math.inf:
                words = f"below {format_decibels(high)} dBFS"
            elif high == math.inf:
                words = f"from {format_decibels(low)} dBFS up"
            value = f"{max(low, _LEAST_DBFS):g} to {min(high, -_LEAST_DBFS):g}"
            yield f'<option value="{value}">{words} ({count:,})</option>'


def _flags(one: PreviewedWindow) -> list[str]:
    told = {
        "silent": one.levels.silent,
        "clipped": one.levels.clipped > 0,
        "padded": one.padded_s > 0,
    }
    return [flag for flag, holds in told.items() if holds]


def _card(turn: int, one: PreviewedWindow) -> str:
    folder, slash, name = one.file_id.rpartition("/")
    span = f"{format_time(one.offset)} to {format_time(one.stop)}"
    what = escape(f"{one.file_id}, {span}")
    path = f"<span>{escape(folder)}{slash}</span>" if folder else ""
    measured = one.levels
    data = {
        "turn": turn,
        "file": one.file_id,
        "at": f"{one.offset:.3f}",
        "length": f"{one.length_s:.6f}",
        "rms": f"{max(measured.rms_dbfs, _LEAST_DBFS):.2f}",
        "peak": f"{max(measured.peak_dbfs, _LEAST_DBFS):.2f}",
        "clipped": measured.clipped,
        "flags": " ".join(_flags(one)),
        "labels": json.dumps(one.labels),
    }
    attributes = " ".join(f'data-{key}="{escape(str(value))}"' for key, value in data.items())
    button = (
        f'<button type="button" class="play" aria-label="Play {what}"><svg aria-hidden="true">'
        '<use href="#i-play"/></svg></button>'
    )
    return (
        f'<li class="card" {attributes}>'
        f'<div class="view"><img src="{data_uri("image/png", one.picture)}" width="320" '
        f'height="112" decoding="async" alt="Spectrogram of {what}">{_marks(one)}'
        '<span class="head" hidden></span></div>'
        f'<div class="line">{"" if one.sound is None else button}'
        f'<div class="what"{"" if one.sound else " tabindex=0"}>'
        f"<h3>{path}{escape(name)}</h3>"
        f"<p><span>{span}</span> <span>RMS {format_decibels(measured.rms_dbfs)}, "
        f"peak {format_decibels(measured.peak_dbfs)} dBFS</span></p>{_chips(one)}</div></div></li>"
    )


def _marks(one: PreviewedWindow) -> str:
    """Return where the events are, over the spectrogram; the chips say the same in words."""
    parts = [event for event in one.events if event[1] - event[0] < one.length_s - one.padded_s]
    if not parts:  # what lasts all the time needs no mark
        return ""
    shapes = "".join(
        f'<rect x="{start:.3f}" width="{max(stop - start, 0):.3f}" height="1"/>'
        f'<line x1="{start:.3f}" x2="{stop:.3f}" y1="1" y2="1"/>'
        for start, stop, _ in parts
    )
    return (
        f'<svg class="marks" viewBox="0 0 {one.length_s:.3f} 1" preserveAspectRatio="none" '
        f'aria-hidden="true">{shapes}</svg>'
    )


def _chips(one: PreviewedWindow) -> str:
    """Return labels, and what is wrong with the window."""
    times: dict[str, list[str]] = {}
    for start, stop, label in one.events:
        times.setdefault(label, []).append(f"{start:.1f} to {stop:.1f} s")
    chips = [
        f'<li title="{escape("; ".join(when))}">{escape(label or "without label")}</li>'
        for label, when in times.items()
    ]
    told = {
        "silent": "silent",
        "clipped": format_count(one.levels.clipped, "clipped sample"),
        "padded": f"{one.padded_s:.1f} s of padding",
    }
    chips += [
        f'<li class="flag">{told[flag]}</li>' if flag != "padded" else f"<li>{told[flag]}</li>"
        for flag in _flags(one)
    ]
    return f'<ul class="chips">{"".join(chips)}</ul>' if chips else ""
