"""Which bytes a read of FLAC needs, found out from those that are there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from headrace import _kernel
from tests.support.flac_encoder import header
from tests.support.flac_frames import BLOCK, frame_offsets, write_uneven

if TYPE_CHECKING:
    from pathlib import Path

RATE = 16_000
KINDS = _kernel.FlacRangeKind


class Search:
    """Searches a file of which bytes are given to a store."""

    def __init__(self, data: bytes, frames: int) -> None:
        self.data = data
        self.key = f"{len(data)} x"
        self.store = _kernel.FetchedStore(1 << 20, 1 << 18)
        self.landmarks = _kernel.Landmarks()
        self.file = _kernel.RecordingFile(
            id=0,
            format=0,
            frames=frames,
            file_bytes=len(data),
            place=_kernel.Place(path=self.key.encode(), store=self.store),
            landmarks=self.landmarks,
            name="x",
        )
        self.asked: list[tuple[int, int]] = []

    def step(
        self, span: tuple[int, int], held: tuple[int, int], steps: int, *, probed: bool
    ) -> tuple[int, int, _kernel.FlacRangeKind] | None:
        """Take one step, and check that it has not asked for bytes."""
        found = _kernel.search_flac(self.file, *span, *held, steps=steps, probed=probed)
        assert self.store.take() == []
        return found

    def fetch(self, begin: int, end: int) -> list[tuple[int, int]]:
        """Announce a range; return the pieces that have to be given."""
        self.asked.append((begin, end))
        return self.store.expect(self.key, begin, end - begin, 3_000)

    def give(self, offset: int, count: int) -> None:
        """Give a piece."""
        self.store.give(self.key, offset, count, self.data[offset : offset + count])

    def run(self, span: tuple[int, int], chance: np.random.Generator | None = None) -> int:
        """Search until it is said that all bytes are there; return how many steps that took.

        With `chance`, pieces come in any order, and a step is tried too early after each.
        """
        for offset, count in self.fetch(0, min(16_384, len(self.data))):
            self.give(offset, count)
        held, kind = (0, 0), None
        for steps in range(20):
            found = self.step(span, held, steps, probed=kind is KINDS.PROBE)
            if found is None:
                return steps
            begin, end, its_kind = found
            assert 0 <= begin < end <= len(self.data)
            pieces = self.fetch(begin, end)
            if its_kind is not KINDS.HEADER:
                held, kind = (begin, end), its_kind
            if chance is not None:
                chance.shuffle(pieces)
            for number, piece in enumerate(pieces):
                self.give(*piece)
                if chance is not None and number + 1 < len(pieces):
                    self.step(span, held, steps + 1, probed=kind is KINDS.PROBE)
        pytest.fail("the search does not end")

    def holds(self, span: tuple[int, int]) -> bool:
        """Return whether the frames of a span are there, as a walk over all of them tells."""
        offsets = frame_offsets(self.data)
        begin, end = offsets[span[0] // BLOCK], offsets[(span[1] - 1) // BLOCK + 1]
        return self.store.held(self.key, begin, end - begin) == end - begin


def spans_of(frames: int, length: int, count: int) -> list[tuple[int, int]]:
    """Return spans in random order, those at both ends among them."""
    starts = np.random.default_rng(0).integers(0, frames - length, count).tolist()
    return [(start, start + length) for start in (*starts, 0, frames - length)]


@pytest.mark.parametrize("length", [100, 3 * RATE])
@pytest.mark.parametrize("in_pieces", [False, True])
def test_a_search_ends_when_the_frames_are_there(
    tmp_path: Path, length: int, *, in_pieces: bool
) -> None:
    """In whatever pieces bytes come, with landmarks and without; and it waits for none."""
    data = write_uneven(tmp_path / "a.flac", 90, RATE)
    frames = 90 * RATE
    known = Search(data, frames)
    for number, span in enumerate(spans_of(frames, length, 12)):
        for search in (Search(data, frames), known):
            chance = np.random.default_rng(number) if in_pieces else None
            assert search.run(span, chance) <= 8
            assert search.holds(span)


def test_what_was_found_is_known(tmp_path: Path) -> None:
    """A span whose first and last frames were found is fetched at once, and exactly."""
    data = write_uneven(tmp_path / "a.flac", 90, RATE)
    search = Search(data, 90 * RATE)
    span = (40 * BLOCK + 7, 60 * BLOCK + 9)
    offsets = frame_offsets(data)
    for frame in (40, 60):
        for piece in search.fetch(offsets[frame], offsets[frame + 1]):
            search.give(*piece)
        for piece in search.fetch(0, 16_384):
            search.give(*piece)
        held = offsets[frame], offsets[frame + 1]
        assert search.step(span, held, 1, probed=True) is not None

    assert search.step(span, (0, 0), 0, probed=False) == (offsets[40], offsets[61], KINDS.EXACT)


def test_metadata_of_any_size_is_stepped_over(tmp_path: Path) -> None:
    """Where the first frame is behind the head, a little more is asked for, and no picture."""
    plain = write_uneven(tmp_path / "a.flac", 30, RATE)
    first = frame_offsets(plain)[0]
    info = plain[4:42]
    picture = bytes([0x80 | 6]) + (900_000).to_bytes(3, "big") + bytes(900_000)
    data = b"fLaC" + bytes([0]) + info[1:] + picture + plain[first:]
    search = Search(data, 30 * RATE)
    span = (20 * RATE, 23 * RATE)

    assert search.run(span) <= 8
    assert search.holds(span)
    assert sum(end - begin for begin, end in search.asked) < len(data) - 900_000


def test_what_is_no_flac_is_left_to_the_reader() -> None:
    """Nothing more is asked for if the header is not understood."""
    assert Search(bytes(1 << 20), 1 << 20).run((0, 5_000)) == 1


def test_false_headers_lead_nowhere(tmp_path: Path) -> None:
    """Only frames that are whole and undamaged tell where others are."""
    data = bytearray(write_uneven(tmp_path / "a.flac", 30, RATE))
    offsets = frame_offsets(bytes(data))
    for frame in range(20, 110, 2):  # in the samples of these, headers of frames far away
        false = header(number=frame + 30, count=BLOCK, assignment=0, bits=16, rate=RATE)
        data[offsets[frame] + 30 : offsets[frame] + 30 + len(false)] = false
    search = Search(bytes(data), 30 * RATE)
    begin, end = 60, 66

    assert search.run((begin * BLOCK, end * BLOCK)) <= 8
    nbytes = offsets[end] - offsets[begin]
    assert search.store.held(search.key, offsets[begin], nbytes) == nbytes


def with_seek_table(data: bytes, offsets: list[int], shift: int) -> tuple[bytes, list[int]]:
    """Return the file with a point for each tenth frame, and where its frames are then."""
    first = offsets[0]
    points = b"".join(
        (frame * BLOCK).to_bytes(8, "big")
        + (max(0, offsets[frame] - first + shift)).to_bytes(8, "big")
        + BLOCK.to_bytes(2, "big")
        for frame in range(0, len(offsets) - 1, 10)
    )
    points += 2 * (bytes([255]) * 8 + bytes(10))  # room for more
    block = bytes([0x80 | 3]) + len(points).to_bytes(3, "big") + points
    more = 42 + len(block) - first
    return (
        data[:4] + bytes([0]) + data[5:42] + block + data[first:],
        [offset + more for offset in offsets],
    )


def test_a_seek_table_tells_where_frames_are(tmp_path: Path) -> None:
    """Behind the first search of a recording, a span costs one request and few bytes in vain."""
    plain = write_uneven(tmp_path / "a.flac", 90, RATE)
    data, offsets = with_seek_table(plain, frame_offsets(plain), 0)
    search = Search(data, 90 * RATE)
    search.run((0, 5_000))
    for span in (
        (300 * BLOCK, 330 * BLOCK),
        (100 * BLOCK + 9, 140 * BLOCK),
        (200 * BLOCK, 240 * BLOCK),
    ):
        search.asked.clear()
        assert search.run(span) == 1
        assert search.holds(span)
        begin, end = search.asked[-1]
        needed = offsets[(span[1] - 1) // BLOCK + 1] - offsets[span[0] // BLOCK]
        assert end - begin <= 1.5 * needed


@pytest.mark.parametrize("shift", [400_000, -400_000, 1 << 40])
def test_a_seek_table_that_is_wrong_changes_nothing(tmp_path: Path, shift: int) -> None:
    """What it claims is compared with the frames that are found."""
    plain = write_uneven(tmp_path / "a.flac", 90, RATE)
    data, _ = with_seek_table(plain, frame_offsets(plain), shift)
    search = Search(data, 90 * RATE)
    for span in spans_of(90 * RATE, 3 * RATE, 6):
        assert search.run(span) <= 8
        assert search.holds(span)


@pytest.mark.parametrize(("low", "high"), [(-1, 5), (5, 5), (0, 90 * RATE + 1)])
def test_frames_that_do_not_exist_are_refused(tmp_path: Path, low: int, high: int) -> None:
    """A span has to be a part of the recording."""
    search = Search(write_uneven(tmp_path / "a.flac", 90, RATE), 90 * RATE)
    with pytest.raises(ValueError, match="frames must be some of the recording's"):
        search.step((low, high), (0, 0), 0, probed=False)
