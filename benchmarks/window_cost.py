"""What a window of 5 s costs, and what its parts cost: processor time of one thread.

    python benchmarks/window_cost.py FOLDER [--formats WORD ...] [--rounds 7]

FOLDER is that of `every_codec.py`, which makes the recordings: one of an hour is used. In each
round, everything is measured once, and the smallest time of all rounds counts: on a busy machine,
that is the one that was disturbed least. "Alone" is a decoder that has its packets in memory
already, and keeps on with the same file: libsndfile's, and FFmpeg's called through PyAV.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections import defaultdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import every_codec
import numpy as np
from bare_libsndfile import Decoder
from compare import named
from every_codec import FORMATS, LOADERS, RATE, RATE_OUT, WINDOW_S

import headrace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

WINDOWS = 24  # of a turn
LOSSY = ("MP3, 128 kb/s", "MP3, VBR", "AAC, M4A", "WMA 2")


def batches(windows: headrace.Windows) -> Iterator[object]:
    """Yield batches of `WINDOWS`, in this thread, for ever."""
    while True:
        yield from windows.loader(batch_size=WINDOWS, workers=0)


class Alone:
    """FFmpeg's decoder, through PyAV, on the packets of the first five minutes."""

    def __init__(self, path: str) -> None:
        import av

        self._file = av.open(path)
        track = self._file.streams.audio[0]
        seconds = itertools.takewhile(
            lambda packet: packet.size and float(packet.pts * packet.time_base) < 300,
            self._file.demux(track),
        )
        self._packets = itertools.cycle(list(seconds))
        self._decoder: Any = track.codec_context
        self._decoder.thread_count = 1

    def decode(self) -> None:
        """Decode as much as `WINDOWS` windows hold."""
        frames = 0
        while frames < WINDOWS * WINDOW_S * RATE:
            frames += sum(one.samples for one in self._decoder.decode(next(self._packets)))

    def open_decoders(self) -> None:
        """Make `WINDOWS` new decoders."""
        import av

        for _ in range(WINDOWS):
            new: Any = av.CodecContext.create(self._decoder.codec.name, "r")
            for name in ("extradata", "sample_rate", "layout", "bit_rate"):
                setattr(new, name, getattr(self._decoder, name))
            new.open()


def parts(path: str) -> dict[str, Callable[[], object]]:
    """Return what is measured, by name; each call is of `WINDOWS` windows."""
    catalog = headrace.scan(path, progress=False)
    found: dict[str, Callable[[], object]] = {}
    for rate in (RATE_OUT, RATE):
        windows = catalog.windows(rate, WINDOW_S, tail="drop")
        for name, view in (("random", windows.shuffle(seed=0)), ("in order", windows)):
            found[f"headrace, {name}, {rate} Hz"] = partial(next, batches(view))
    starts = np.random.default_rng(0).integers(0, 3_600 // WINDOW_S, WINDOWS) * WINDOW_S
    for name in LOADERS.keys() - {"headrace"}:
        loader = LOADERS[name]()
        spans = [(path, int(start), WINDOW_S) for start in starts]
        found[f"{name}, random, {RATE_OUT} Hz"] = lambda load=loader.load, spans=spans: [
            load(span) for span in spans
        ]
    alone = Alone(path)
    found["FFmpeg's decoder alone"] = alone.decode
    found["FFmpeg: a new decoder"] = alone.open_decoders
    if path.endswith("mp3"):
        decoder, out = Decoder(path), np.empty(RATE // 5, np.float32)  # which stays in the caches
        found["libsndfile's decoder alone"] = lambda: [
            decoder.read_exactly(out) for _ in range(5 * WINDOW_S * WINDOWS)
        ]
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="of the recordings; made if missing")
    parser.add_argument("--formats", nargs="+", metavar="WORD", default=list(LOSSY))
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    every_codec.make(options.folder, 3_600, 16)
    for kind in named(FORMATS, options.formats):
        extension = FORMATS[kind][0]
        path = options.folder / "long" / f"{extension}-3600" / f"000.{extension}"
        seconds: dict[str, list[float]] = defaultdict(list)
        failed: dict[str, str] = {}
        measured = parts(str(path))
        for _, (name, run) in itertools.product(range(options.rounds), measured.items()):
            if name in failed:
                continue
            began = time.process_time()
            try:
                run()
            except Exception as error:  # noqa: BLE001  such as SPDL, which cannot read all formats
                failed[name] = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
                continue
            seconds[name].append((time.process_time() - began) / WINDOWS)
        for name in measured:
            print(f"{kind:14} {name:30}", failed.get(name) or f"{1e3 * min(seconds[name]):.2f} ms")


if __name__ == "__main__":
    main()
