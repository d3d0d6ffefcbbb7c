"""The length of Vorbis and Opus in Ogg from the first and the last pages."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pytest

import headrace
from headrace.codecs._probe import probe
from headrace.codecs._recording import Recording
from tests.codecs.test_ogg import OPUS, VORBIS, encoded, stored
from tests.support.ogg_pages import join
from tests.support.sounds import noise

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.ogg_pages import Page

FRAMES = 960_777

ENDS = 48 << 10
"""Bytes at the begin and at the end that are enough."""


def from_ends(path: Path) -> Recording:
    """Return what a scan finds that reads as little as it can."""
    found = probe(str(path), "a.ogg", from_ends=True)
    assert isinstance(found, Recording), found
    return found


@pytest.fixture(scope="module", params=[VORBIS, OPUS])
def pages(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[Page]:
    """Return the pages of a file of 20 s."""
    level = {VORBIS: 0.1, OPUS: 0.5}[request.param]
    return encoded(tmp_path_factory.mktemp("pages"), request.param, FRAMES, level=level)


def test_the_length_is_found_without_the_middle_of_the_file(
    pages: list[Page], tmp_path: Path
) -> None:
    """It is the number of frames that were encoded; the bytes between the ends may be anything."""
    data = join(pages)
    assert len(data) > 2 * ENDS + 10_000
    hollow = data[:ENDS] + bytes(len(data) - 2 * ENDS) + data[-ENDS:]
    found = from_ends(stored(tmp_path, hollow))
    assert found.frames == FRAMES
    assert found.seek_points is None
    assert found.defects == ()
    whole = probe(str(stored(tmp_path, data, "whole.ogg")), "a.ogg")
    assert isinstance(whole, Recording)
    assert replace(found, path="", mtime_ns=0) == replace(whole, path="", mtime_ns=0)


def without_last(pages: list[Page]) -> list[Page]:
    """Return the pages of a file that was cut short."""
    return pages[:-1]


def chained(pages: list[Page]) -> list[Page]:
    """Return the pages of two streams that follow each other."""
    return [*pages, *(replace(one, serial=one.serial + 1) for one in pages)]


def late(pages: list[Page]) -> list[Page]:
    """Return pages whose last positions skip 1,000 frames, as after an edit."""
    return [*pages[:-2], *(replace(one, granule=one.granule + 1_000) for one in pages[-2:])]


def early_gap(pages: list[Page]) -> list[Page]:
    """Return pages of which one near the begin is missing."""
    return pages[:3] + pages[4:]


def trailing(pages: list[Page]) -> list[Page]:
    """Return pages that end with one behind the last."""
    return [*pages, replace(pages[-1], number=pages[-1].number + 1, flags=0)]


def joined(pages: list[Page]) -> list[Page]:
    """Return pages of one file twice, with the same serial number."""
    return [*pages, *pages]


def in_small_pages(pages: list[Page]) -> bool:
    """Return whether the pages have about one size."""
    sizes = [len(one.body) for one in pages[3:-1]]
    return max(sizes) < 1.4 * min(sizes)


@pytest.mark.parametrize("change", [without_last, chained, late, early_gap, trailing])
def test_ends_that_do_not_show_the_length_are_not_believed(
    pages: list[Page], tmp_path: Path, change: Callable[[list[Page]], list[Page]]
) -> None:
    """The whole file is read, and what is wrong with it is found, as without the short way."""
    path = stored(tmp_path, change(pages))
    whole = probe(str(path), "a.ogg")
    found = from_ends(path)
    assert isinstance(whole, Recording)
    assert found == whole
    assert found.seek_points == whole.seek_points is not None
    assert found.defects == whole.defects


def test_a_file_that_was_joined_to_itself_has_too_few_pages(tmp_path: Path) -> None:
    """The numbers of its last pages are too small for its size, where pages have one size."""
    pages = encoded(tmp_path, VORBIS, FRAMES, channels=2, level=0.1)
    assert in_small_pages(pages)
    found = from_ends(stored(tmp_path, joined(pages)))
    assert found.frames == 2 * FRAMES


def test_a_page_that_is_lost_in_the_middle_is_found_when_it_is_read(
    pages: list[Page], tmp_path: Path
) -> None:
    """What is around it is delivered; as many windows fail as the length was too long."""
    middle = len(pages) // 2
    path = stored(tmp_path, pages[:middle] + pages[middle + 1 :])
    with pytest.warns(headrace.errors.DamagedWarning):
        whole = headrace.scan(path)
    found = from_ends(path)
    assert found.frames == FRAMES > whole[0].frames
    values = {name: getattr(found, name) for name in whole.columns}
    row = pa.table({name: [value] for name, value in values.items() if value is not None})
    catalog = headrace.Catalog.from_table(row, tmp_path)
    loaders = [
        one.windows(48_000, 0.25, channel="all").loader(on_error="skip", workers=2)
        for one in (whole, catalog)
    ]
    expected, got = ([window.audio for window in loader] for loader in loaders)
    assert len(expected) - 1 <= len(got) <= len(expected)
    for one, other in zip(expected, got, strict=False):
        np.testing.assert_array_equal(one, other)
    assert {one.code for one in loaders[1].failures} == {"TRUNCATED"}
    ledger = loaders[1].ledger()
    assert ledger["expected"][0].as_py() == len(got) + ledger["failed"][0].as_py()


def test_large_pages_need_more_of_the_ends(tmp_path: Path) -> None:
    """Where a page has 44 KiB, more is read than 48 KiB at each end, and not everything."""
    pages = encoded(tmp_path, OPUS, FRAMES, channels=2, level=0.1, signal=noise)
    assert min(len(one.body) for one in pages[2:-1]) > 44_000
    data = join(pages)
    head, tail = 3 * ENDS, 4 * ENDS
    assert len(data) > head + tail + ENDS
    hollow = data[:head] + bytes(len(data) - head - tail) + data[-tail:]
    assert from_ends(stored(tmp_path, hollow)).frames == FRAMES
