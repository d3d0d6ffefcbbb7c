"""Files that FFmpeg reads, encoded by PyAV; and what they hold, decoded by PyAV alone."""

from __future__ import annotations

import struct
import subprocess
from typing import TYPE_CHECKING, Any

import numpy as np
import soundfile

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from headrace import _kernel

__all__ = [
    "KINDS",
    "PROGRAM_KINDS",
    "RARE_KINDS",
    "in_caf",
    "plain_decode",
    "uninterrupted_decode",
    "with_shared_payloads",
    "write",
    "write_by_program",
]

KINDS = {  # muxer, encoder, bits a second
    "a.m4a": ("ipod", "aac", 64_000),
    "low.m4a": ("ipod", "aac", 24_000),
    "alac.m4a": ("ipod", "alac", 0),
    "pcm.mov": ("mov", "pcm_s24le", 0),
    "ac3.mov": ("mov", "ac3", 128_000),
    "a.mkv": ("matroska", "aac", 256_000),
    "opus.webm": ("webm", "libopus", 48_000),
    "low.webm": ("webm", "libopus", 8_000),
    "flac.mka": ("matroska", "flac", 0),
    "mp3.mka": ("matroska", "libmp3lame", 64_000),
    "eac3.mka": ("matroska", "eac3", 96_000),
    "a.wma": ("asf", "wmav2", 64_000),
    "one.wma": ("asf", "wmav1", 96_000),
    "mp3.avi": ("avi", "libmp3lame", 96_000),
    "adpcm.avi": ("avi", "adpcm_ima_wav", 0),
    "u8.avi": ("avi", "pcm_u8", 0),
    "a.aac": ("adts", "aac", 64_000),
    "a.wv": ("wv", "wavpack", 0),
}

RARE_KINDS = {  # muxer, encoder, bits a second; rate
    "alac.caf": ("caf", "alac", 0, 48_000),
    "a.tta": ("tta", "tta", 0, 48_000),
    "aac.ts": ("mpegts", "aac", 64_000, 48_000),
    "a.latm": ("latm", "aac", 64_000, 48_000),
    "a.flv": ("flv", "aac", 64_000, 48_000),
    "a.3gp": ("3gp", "aac", 64_000, 48_000),
    "opus.mp4": ("mp4", "libopus", 48_000, 48_000),
    "flac.mp4": ("mp4", "flac", 0, 48_000),
    "mp2.mpg": ("mpeg", "mp2", 128_000, 48_000),
    "mp2.wav": ("wav", "mp2", 128_000, 48_000),
    "wma.wav": ("wav", "wmav2", 64_000, 48_000),
    "g722.wav": ("wav", "g722", 64_000, 16_000),
    "a.ac3": ("ac3", "ac3", 128_000, 48_000),
    "a.eac3": ("eac3", "eac3", 96_000, 48_000),
    "a.amr": ("amr", "libopencore_amrnb", 12_200, 8_000),
    "a.rm": ("rm", "real_144", 0, 8_000),
    "ms.avi": ("avi", "adpcm_ms", 0, 48_000),
    "g726.wav": ("wav", "g726", 0, 8_000),
    "nelly.flv": ("flv", "nellymoser", 0, 22_050),
}

PROGRAM_KINDS = {  # sample rate, channels, seconds; the program, and what stands before its output
    "a.dts": (48_000, 2, 11, "ffmpeg -v error -i {wav} -c:a dca -strict -2 -b:a 768k"),
    "mlp.mka": (48_000, 1, 7, "ffmpeg -v error -i {wav} -c:a mlp -strict -2"),
    "g723.mka": (8_000, 1, 11, "ffmpeg -v error -i {wav} -c:a g723_1 -b:a 6300"),
    "a.spx": (16_000, 1, 11, "ffmpeg -v error -i {wav} -c:a libspeex"),
    "a.mpc": (48_000, 2, 21, "mpcenc --silent --quality 5 {wav}"),
    "he.m4a": (48_000, 1, 46, "fdkaac -S -p 5 -b 32000 {wav} -o"),
    "two.m4a": (48_000, 2, 46, "fdkaac -S -p 29 -b 32000 {wav} -o"),
    "he.aac": (48_000, 1, 46, "fdkaac -S -p 5 -b 32000 -f 2 {wav} -o"),
    "he.latm": (48_000, 1, 46, "fdkaac -S -p 5 -b 32000 -f 10 {wav} -o"),
    "eld.m4a": (48_000, 2, 11, "fdkaac -S -p 39 -b 64000 {wav} -o"),
}
"""What PyAV has no encoder for. The last six need Debian's packages musepack-tools and, of its
section non-free, fdkaac."""


def in_caf(path: Path, audio: NDArray[np.float32], codec: str, rate: int = 48_000) -> None:
    """Encode AAC or Opus into a Core Audio file: shape ``(frames, channels)``.

    FFmpeg does not write them. Each chunk is as Apple's specification of the format says; the
    cookie of AAC is the ``esds`` atom.
    """
    import av

    source = path.with_suffix(".m4a" if codec == "aac" else ".opus")
    muxer, encoder, frames = {
        "aac": ("ipod", "aac", 1024),
        "opus": ("ogg", "libopus", 960),
    }[codec]
    write(source, audio, muxer, encoder, 64_000, rate)
    with av.open(str(source)) as file:
        packets = [bytes(packet) for packet in file.demux(audio=0) if packet.size]
        cookie = file.streams.audio[0].codec_context.extradata or b""
    data = source.read_bytes()
    source.unlink()
    if codec == "aac":
        at = data.index(b"esds")
        cookie = data[at + 4 : at - 4 + int.from_bytes(data[at - 4 : at], "big")]
    sizes = b"".join(
        bytes([0x80 | len(one) >> 7, len(one) & 0x7F]) if len(one) > 0x7F else bytes([len(one)])
        for one in packets
    )
    name = codec.ljust(4).encode()
    chunks = {
        b"desc": struct.pack(">d4sIIIII", rate, name, 0, 0, frames, audio.shape[1], 0),
        b"kuki": cookie,
        b"pakt": struct.pack(">qqii", len(packets), frames * len(packets), 0, 0) + sizes,
        b"data": bytes(4) + b"".join(packets),
    }
    body = b"".join(struct.pack(">4sq", name, len(one)) + one for name, one in chunks.items())
    path.write_bytes(b"caff\0\1\0\0" + body)


def write(
    path: Path,
    audio: NDArray[np.float32],
    container: str,
    codec: str,
    bitrate: int,
    rate: int = 48_000,
    options: dict[str, str] | None = None,
    muxer_options: dict[str, str] | None = None,
) -> None:
    """Encode audio of shape ``(frames, channels)``."""
    import av

    if codec == "vorbis":  # FFmpeg's own encoder is an experiment
        with soundfile.SoundFile(path, "w", rate, audio.shape[1], "VORBIS", format="OGG") as file:
            for begin in range(0, len(audio), rate):  # libsndfile cannot take much at once
                file.write(audio[begin : begin + rate])
        return
    layout = "mono" if audio.shape[1] == 1 else "stereo"
    with av.open(str(path), "w", format=container, options=muxer_options or {}) as out:
        track: Any = out.add_stream(codec, rate=rate, options=options or {})
        track.codec_context.layout = layout
        if bitrate:
            track.codec_context.bit_rate = bitrate
        turned = av.AudioResampler(track.codec_context.format, layout, rate)
        for begin in range(0, len(audio), rate):
            piece = np.ascontiguousarray(audio[begin : begin + rate].T)
            given = av.AudioFrame.from_ndarray(piece, "fltp", layout)
            given.sample_rate, given.pts = rate, begin
            for frame in turned.resample(given):
                out.mux(track.encode(frame))
        for frame in turned.resample(None):
            out.mux(track.encode(frame))
        out.mux(track.encode(None))


def write_by_program(path: Path, audio: NDArray[np.float32], command: str, rate: int) -> None:
    """Encode audio of shape ``(frames, channels)`` by one of `PROGRAM_KINDS`."""
    wav = path.with_name(f"{path.name}-source.wav")
    soundfile.write(wav, audio, rate, subtype="PCM_16")
    arguments = [one.format(wav=wav) for one in command.split()]
    subprocess.run([*arguments, str(path)], check=True, stdin=subprocess.DEVNULL)
    wav.unlink()


def _as_float32(frame: Any) -> NDArray[np.float32]:
    """Return shape ``(frames, channels)``."""
    pcm: NDArray[Any] = frame.to_ndarray()
    pcm = pcm.T if frame.format.is_planar else pcm.reshape(-1, frame.layout.nb_channels)
    if pcm.dtype == np.uint8:
        pcm = (pcm.astype(np.float64) - 128) / 128
    elif pcm.dtype.kind == "i":
        pcm = pcm / float(1 << (8 * pcm.itemsize - 1))
    return pcm.astype(np.float32)


def uninterrupted_decode(path: Path) -> NDArray[np.float32]:
    """Decode the first audio track in one go: shape ``(frames, channels)``."""
    import av

    with av.open(str(path)) as file:
        return np.concatenate([_as_float32(frame) for frame in file.decode(audio=0)])


def plain_decode(path: Path, index: _kernel.PacketIndex) -> NDArray[np.float32]:
    """Decode as an index says, each segment by itself from a list of all packets."""
    import av

    with av.open(str(path)) as file:
        packets = [packet for packet in file.demux(audio=0) if packet.size]
    firsts = [0]
    for anchor in index.anchors:
        firsts.append(firsts[-1] + anchor.packets)
    pieces = []
    for number, first in enumerate(firsts):
        last = number + 1 == len(firsts)
        stop = len(packets) if last else firsts[number + 1]
        roll = index.pre_roll if number else 0
        with av.open(str(path)) as file:
            decoder = file.streams.audio[0].codec_context
            decoder.thread_count = 1
            for packet in packets[first - roll : first]:
                bare = av.Packet(packet.size)
                bare.update(bytes(packet))
                bare.pts, bare.dts = packet.pts, packet.dts
                try:
                    decoder.decode(bare)
                except av.FFmpegError:
                    continue
            frames = [frame for packet in packets[first:stop] for frame in decoder.decode(packet)]
            if last:
                frames += decoder.decode(None)
            pieces += [_as_float32(frame) for frame in frames]
    return np.concatenate(pieces)


def with_shared_payloads(path: Path) -> None:
    """Rewrite an ASF file so that packets share payloads, several in each data packet.

    FFmpeg does not write this ("compressed payload data" in Microsoft's specification). Packets of
    up to 255 bytes are needed. Payloads hold up to seven of them.
    """
    import av

    with av.open(str(path)) as file:
        track = file.streams.audio[0]
        packets = [
            (round(1000 * float(one.pts or 0) * float(one.time_base or 0)), bytes(one))
            for one in file.demux(track)
            if one.size
        ]
    data = path.read_bytes()
    begin = int.from_bytes(data[16:24], "little") + 50  # behind the header and that of the data
    properties = data.index(bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365"))
    size = int.from_bytes(data[properties + 92 : properties + 96], "little")
    preroll = int.from_bytes(data[properties + 80 : properties + 88], "little")
    payloads = []
    for first in range(0, len(packets), 7):
        some = packets[first : first + 7]
        step = min(255, max(0, some[-1][0] - some[0][0]) // max(1, len(some) - 1))
        parts = b"".join(bytes([len(one)]) + one for _, one in some)
        payloads.append(
            struct.pack("<BBIBBH", 0x81, first % 256, some[0][0] + preroll, 1, step, len(parts))
            + parts
        )
    blocks = []
    while payloads:
        body, count = b"", 0
        while payloads and count < 63 and 14 + len(body) + len(payloads[0]) <= size:
            body, count = body + payloads.pop(0), count + 1
        padding = size - 14 - len(body)
        head = struct.pack("<3B2BHIHB", 0x82, 0, 0, 0x11, 0x5D, padding, 0, 0, count | 0x80)
        blocks.append(head + body + bytes(padding))
    path.write_bytes(data[:begin] + b"".join(blocks))
