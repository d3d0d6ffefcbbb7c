"""What a random window costs with the kernel's readers of containers, and with FFmpeg's demuxers.

    python benchmarks/container_cost.py FOLDER [--formats WORD ...] [--seconds 3600] [--rounds 7]

The same recordings are loaded by the same anchors, once with the index as a scan makes it, and once
without the part that the kernel's readers need: then FFmpeg's demuxer seeks, as for catalogs of
earlier versions. "At random" and "in order" are windows of 5 s at 16 kHz of one open file; "opened"
are random windows by a new loader each, as where an archive has more files than may be open. The
two take turns, in this thread; the smallest processor time of all rounds counts. Requests and bytes
are those that a random window is fetched by from a store, as they are planned.

The encoders are those of the `ffmpeg` command, which has to be there.
"""

from __future__ import annotations

import argparse
import subprocess
import time
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import soundfile
from compare import named
from every_codec import sound

import headrace
from headrace import _kernel
from headrace.codecs import byte_ranges

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

RATE, RATE_OUT, WINDOW_S, WINDOWS = 48_000, 16_000, 5, 24

FORMATS = {  # extension, and arguments for ffmpeg
    "Opus, WebM": ("webm", "-c:a libopus -b:a 64k"),
    "AAC, Matroska": ("aac.mka", "-c:a aac -b:a 64k"),
    "FLAC, Matroska": ("flac.mka", "-c:a flac"),
    "MP3, AVI": ("mp3.avi", "-c:a libmp3lame -b:a 128k"),
    "AAC, ADTS": ("aac", "-c:a aac -b:a 64k"),
    "ALAC, CAF": ("alac.caf", "-c:a alac"),
    "IMA4, CAF": ("ima.caf", "-c:a adpcm_ima_qt"),
    "WMA 2, ASF": ("wma", "-c:a wmav2 -b:a 64k"),
}


def make(folder: Path, kind: str, seconds: int) -> Path:
    """Return a recording in mono at 48 kHz, encoded when it is first asked for."""
    extension, arguments = FORMATS[kind]
    path = folder / f"{seconds}.{extension}"
    if not path.exists():
        source, part = folder / f"{seconds}.wav", folder / f"part-{path.name}"
        if not source.exists():
            soundfile.write(source, sound(seconds, 0), RATE)
        command = ["ffmpeg", "-nostdin", "-v", "error", "-y", "-i", str(source)]
        subprocess.run([*command, *arguments.split(), str(part)], check=True)
        part.rename(path)
    return path


def without_layout(catalog: headrace.Catalog) -> headrace.Catalog:
    """Return a catalog whose recordings are read by FFmpeg's demuxers."""
    table = catalog.to_arrow()
    packed = []
    for seek_points in table["seek_points"].to_pylist():
        index = _kernel.unpack_packet_index(seek_points)
        assert index is not None
        assert index.has_layout
        plain = _kernel.PacketIndex(
            decoder_major=index.decoder_major,
            pre_roll=index.pre_roll,
            forgets=index.forgets,
            frames=index.frames,
            anchors=index.anchors,
            continuous=index.continuous,
        )
        packed.append(plain.pack())
    column = pa.array(packed, pa.large_binary())
    place = table.column_names.index("seek_points")
    return headrace.Catalog.from_table(table.set_column(place, "seek_points", column))


def batches(windows: headrace.Windows) -> Iterator[object]:
    """Yield batches of `WINDOWS` for ever."""
    while True:
        yield from windows.loader(batch_size=WINDOWS, workers=0)


def parts(catalog: headrace.Catalog) -> dict[str, Callable[[], object]]:
    """Return what is measured, by name; each call is of `WINDOWS` windows."""
    windows = catalog.windows(RATE_OUT, WINDOW_S, tail="drop")
    in_order, kept = batches(windows), batches(windows.shuffle(seed=0))
    chosen = np.random.default_rng(0).integers(0, len(windows), WINDOWS).tolist()

    def opened() -> None:
        for number in chosen:
            next(iter(windows[number : number + 1].loader(workers=0)))

    return {
        "in order": lambda: next(in_order),
        "at random": lambda: next(kept),
        "opened": opened,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="of the recordings; made if missing")
    parser.add_argument("--formats", nargs="+", metavar="WORD", default=list(FORMATS))
    parser.add_argument("--seconds", type=int, default=3_600)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    for kind in named(FORMATS, options.formats):
        path = make(options.folder, kind, options.seconds)
        catalog = headrace.scan(path, progress=False)
        readers = {"kernel": parts(catalog), "demuxer": parts(without_layout(catalog))}
        spent: dict[tuple[str, str], list[float]] = defaultdict(list)
        for _ in range(options.rounds):
            for reader, measured in readers.items():
                for name, run in measured.items():
                    began = time.process_time()
                    run()
                    spent[reader, name].append((time.process_time() - began) / WINDOWS)
        for (reader, name), seconds in spent.items():
            print(f"{kind:12} {reader:8} {name:10} {1e3 * min(seconds):6.2f} ms")
        (one,) = catalog
        starts = np.random.default_rng(0).integers(0, options.seconds - WINDOW_S, 200)
        plans = [byte_ranges(one, s * RATE, (s + WINDOW_S) * RATE) for s in starts.tolist()]
        requests = sum(map(len, plans)) / len(plans)
        fetched = sum(each.stop - each.start for plan in plans for each in plan) / len(plans)
        print(f"{kind:12} requests {requests:.2f}, {fetched / 1e3:.0f} kB a window")
        print(f"{kind:12} index    {len(one.seek_points or b'') * 3600 / options.seconds:.0f} B/h")


if __name__ == "__main__":
    main()
