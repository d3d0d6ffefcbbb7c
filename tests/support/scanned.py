"""What a scan makes of one file, and what loading gives of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

import headrace
from headrace import _kernel
from headrace.codecs._probe import probe
from headrace.codecs._recording import Recording
from tests.support.ffmpeg_files import plain_decode, uninterrupted_decode

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["check_ranges", "check_windows", "index_of", "only", "whole_of", "without_layout"]


def only(path: Path) -> Recording:
    """Return what a scan makes of a file."""
    found = probe(str(path), "a")
    assert isinstance(found, Recording), found
    return found


def index_of(path: Path) -> _kernel.PacketIndex:
    """Return the index of packets that a scan of the file gives."""
    index = _kernel.unpack_packet_index(only(path).seek_points or b"")
    assert index is not None
    return index


def without_layout(index: _kernel.PacketIndex) -> _kernel.PacketIndex:
    """Return an index without what only the kernel's own readers of containers use."""
    return _kernel.PacketIndex(
        decoder_major=index.decoder_major,
        pre_roll=index.pre_roll,
        forgets=index.forgets,
        frames=index.frames,
        anchors=index.anchors,
        continuous=index.continuous,
    )


def whole_of(path: Path) -> NDArray[np.float32]:
    """Return the whole recording, loaded in order: shape ``(frames, channels)``."""
    (one,) = catalog = headrace.scan(path)
    windows = catalog.windows(one.sample_rate, one.frames / one.sample_rate, channel="all")
    (window,) = windows.loader(workers=0)
    return np.ascontiguousarray(window.audio[:, : one.frames].T)


def check_windows(path: Path) -> None:
    """Fail unless the kernel finds the packets by itself, and gives the samples of the anchors."""
    one, index, whole = only(path), index_of(path), whole_of(path)
    assert index.has_layout
    assert len(index.anchors) > 1
    assert len(whole) == len(uninterrupted_decode(path)) == index.frames
    assert whole.tobytes() == plain_decode(path, index).tobytes()
    windows = headrace.scan(path).windows(one.sample_rate, 0.7, 0.41, channel="all")
    for window in windows.shuffle(seed=1).loader(workers=2):
        start = round(window.offset * one.sample_rate)
        expected = whole[start : start + window.valid_samples].T
        assert window.audio[:, : window.valid_samples].tobytes() == expected.tobytes()


def check_ranges(path: Path, share: float, count: int | None = None) -> None:
    """Fail if a window needs other bytes than those of its ranges: all others are set to zero.

    Each has ranges with less than `share` of the bytes, and `count` of them, if that is given.
    """
    catalog, whole, data = headrace.scan(path), whole_of(path), path.read_bytes()
    (one,) = catalog
    assert one.seek_points is not None
    size = one.sample_rate // 2
    windows = catalog.windows(one.sample_rate, 0.5, 0.45, channel="all")

    for number in range(0, len(windows), 3):
        start = round(number * 0.45 * one.sample_rate)
        stop = min(start + size, len(whole))
        ranges = _kernel.byte_ranges(one.seek_points, start, stop, len(data))
        assert count is None or len(ranges) == count
        assert sum(end - first for first, end, _ in ranges) < share * len(data)
        kept = bytearray(len(data))
        for first, end, _ in ranges:
            kept[first:end] = data[first:end]
        path.write_bytes(kept)
        (window,) = windows[number : number + 1].loader(workers=0)
        assert window.audio[:, : stop - start].tobytes() == whole[start:stop].T.tobytes()
