"""A small FLAC encoder (RFC 9639) that also writes features that common encoders seldom use."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["Frame", "Residual", "Subframe", "crc8", "crc16", "header", "random_stream", "stream"]

_FIXED = ((), (1,), (2, -1), (3, -3, 1), (4, -6, 4, -1))
_BITS = {8: 1, 12: 2, 16: 4, 20: 5, 24: 6}
_RATES = {88200: 1, 176400: 2, 192000: 3, 8000: 4, 16000: 5, 22050: 6, 24000: 7, 32000: 8}
_BLOCKS = {192: 1, 576: 2, 1152: 3, 2304: 4, 4608: 5} | {256 << n: 8 + n for n in range(8)}


def _table(bits: int, polynomial: int) -> list[int]:
    table = []
    for byte in range(256):
        crc = byte << (bits - 8)
        for _ in range(8):
            crc = crc << 1 ^ (polynomial if crc >> (bits - 1) & 1 else 0)
        table.append(crc & ((1 << bits) - 1))
    return table


_CRC8: Final = _table(8, 0x107)
_CRC16: Final = _table(16, 0x18005)


def crc8(data: bytes) -> int:
    """Return the checksum of a frame's header."""
    crc = 0
    for byte in data:
        crc = _CRC8[crc ^ byte]
    return crc


def crc16(data: bytes) -> int:
    """Return the checksum of a frame."""
    crc = 0
    for byte in data:
        crc = (crc << 8 & 0xFFFF) ^ _CRC16[crc >> 8 ^ byte]
    return crc


class _Bits:
    """A string of bits, most significant bit first."""

    def __init__(self) -> None:
        self._parts: list[str] = []

    def put(self, value: int, count: int) -> None:
        if count:
            self._parts.append(format(value & ((1 << count) - 1), f"0{count}b"))

    def put_unary(self, zeros: int) -> None:
        self._parts.append("0" * zeros + "1")

    @property
    def count(self) -> int:
        return sum(map(len, self._parts))

    def append(self, other: _Bits) -> None:
        self._parts += other._parts

    def data(self) -> bytes:
        text = "".join(self._parts)
        text += "0" * (-len(text) % 8)
        return int(text, 2).to_bytes(len(text) // 8, "big") if text else b""


@dataclass(frozen=True)
class Residual:
    """The coding of a residual: ``2 ** order`` partitions, some of which are not Rice-coded."""

    order: int = 0
    method: int = 0
    escaped: frozenset[int] = frozenset()
    parameter: int | None = None
    """The Rice parameter; None: what suits each partition."""

    def put(self, bits: _Bits, residual: Sequence[int], count: int, predicted: int) -> None:
        """Append the residual of a block of `count` samples, the first `predicted` left out."""
        width = 5 if self.method else 4
        bits.put(self.method, 2)
        bits.put(self.order, 4)
        length, begin = count >> self.order, 0
        for number in range(1 << self.order):
            part = residual[begin : (number + 1) * length - predicted]
            begin += len(part)
            if number in self.escaped:
                raw = max((value.bit_length() for value in (v if v >= 0 else ~v for v in part)),
                          default=0)  # fmt: skip
                raw = raw + 1 if any(part) else 0
                bits.put((1 << width) - 1, width)
                bits.put(raw, 5)
                for value in part:
                    bits.put(value, raw)
                continue
            k = self.parameter
            if k is None:
                mean = sum(map(abs, part)) // max(1, len(part))
                k = min(mean.bit_length(), (1 << width) - 2)
            bits.put(k, width)
            for value in part:
                code = value << 1 if value >= 0 else ~(value << 1)
                bits.put_unary(code >> k)
                bits.put(code, k)


@dataclass(frozen=True)
class Subframe:
    """The coding of one channel: ``constant``, ``verbatim``, ``fixed`` or ``linear``."""

    kind: str = "verbatim"
    order: int = 0
    factors: tuple[int, ...] = ()
    precision: int = 15
    shift: int = 0
    wasted: int = 0
    residual: Residual = field(default_factory=Residual)
    wasteful: bool = False
    """Whether samples are coded even where that takes more than they are."""

    def put(self, bits: _Bits, samples: Sequence[int], width: int) -> None:
        """Append `samples` of `width` bits."""
        coded = _Bits()
        self._put(coded, samples, width)
        if coded.count > len(samples) * width + 64 and not self.wasteful:
            coded = _Bits()
            Subframe("verbatim")._put(coded, samples, width)
        bits.append(coded)

    def _put(self, bits: _Bits, samples: Sequence[int], width: int) -> None:
        order = len(self.factors) if self.kind == "linear" else self.order
        code = {"constant": 0, "verbatim": 1, "fixed": 8 + order, "linear": 31 + order}[self.kind]
        bits.put(code, 7)
        bits.put(1 if self.wasted else 0, 1)
        if self.wasted:
            bits.put_unary(self.wasted - 1)
            assert not any(value & ((1 << self.wasted) - 1) for value in samples)
            samples, width = [value >> self.wasted for value in samples], width - self.wasted
        if self.kind == "constant":
            assert len(set(samples)) == 1
        warm = {"constant": 1, "verbatim": len(samples)}.get(self.kind, order)
        for value in samples[:warm]:
            bits.put(value, width)
        if self.kind not in {"fixed", "linear"}:
            return
        factors, shift = _FIXED[order] if self.kind == "fixed" else self.factors, 0
        if self.kind == "linear":
            shift = self.shift
            bits.put(self.precision - 1, 4)
            bits.put(shift, 5)
            for factor in factors:
                bits.put(factor, self.precision)
        residual = [
            samples[i] - (sum(f * samples[i - 1 - j] for j, f in enumerate(factors)) >> shift)
            for i in range(order, len(samples))
        ]
        self.residual.put(bits, residual, len(samples), order)


@dataclass(frozen=True)
class Frame:
    """One block of samples, shape ``(count, channels)``, and its coding."""

    samples: NDArray[np.int64]
    subframes: tuple[Subframe, ...]
    assignment: int | None = None
    explicit: bool = True
    """Whether the header says block size, rate and bits as numbers of its own where it can."""

    def data(self, number: int, rate: int, bits: int, *, fixed: bool) -> bytes:
        """Return the frame as bytes."""
        channels = [column.tolist() for column in self.samples.T]
        assignment = len(channels) - 1 if self.assignment is None else self.assignment
        widths = [bits] * len(channels)
        if assignment >= 8:
            left, right = channels
            side = [a - b for a, b in zip(left, right, strict=True)]
            mid = [(a + b) >> 1 for a, b in zip(left, right, strict=True)]
            channels = {8: [left, side], 9: [side, right], 10: [mid, side]}[assignment]
            widths[0 if assignment == 9 else 1] += 1
        out = _Bits()
        for channel, subframe, width in zip(channels, self.subframes, widths, strict=True):
            subframe.put(out, channel, width)
        count = len(self.samples)
        head = header(number, count, rate, bits, assignment, fixed=fixed, explicit=self.explicit)
        data = head + out.data()
        return data + crc16(data).to_bytes(2, "big")


def header(
    number: int,
    count: int,
    rate: int,
    bits: int,
    assignment: int,
    *,
    fixed: bool = True,
    explicit: bool = True,
) -> bytes:
    """Return the header of a frame."""
    block = _BLOCKS.get(count, 7)
    rate_code, tail = 0, b""
    if explicit or block == 7:
        block = 6 if count <= 256 else 7
        tail = (count - 1).to_bytes(block - 5, "big")
    if not explicit:
        rate_code = _RATES.get(rate, 0)
    elif rate % 1000 == 0 and rate < 256_000:
        rate_code, tail = 12, tail + bytes([rate // 1000])
    elif rate < 65_536:
        rate_code, tail = 13, tail + rate.to_bytes(2, "big")
    elif rate % 10 == 0:
        rate_code, tail = 14, tail + (rate // 10).to_bytes(2, "big")
    bits_code = _BITS[bits] if explicit else 0
    start = bytes([0xFF, 0xF8 if fixed else 0xF9, block << 4 | rate_code])
    start += bytes([assignment << 4 | bits_code << 1]) + _coded(number) + tail
    return start + bytes([crc8(start)])


def _coded(number: int) -> bytes:
    if number < 0x80:
        return bytes([number])
    more = 1
    while number >> (6 * more + 6 - more):
        more += 1
    lead = (0xFF00 >> (more + 1)) & 0xFF | number >> (6 * more)
    return bytes([lead, *(0x80 | number >> (6 * i) & 0x3F for i in reversed(range(more)))])


def stream(
    frames: Sequence[Frame],
    *,
    bits: int = 16,
    rate: int = 22_050,
    fixed: bool = True,
    largest_frame: int = 0,
    metadata: Sequence[tuple[int, bytes]] = (),
    block: int | None = None,
) -> bytes:
    """Return a FLAC file; `metadata` are further blocks of (type, bytes)."""
    counts = [len(frame.samples) for frame in frames]
    total, channels = sum(counts), frames[0].samples.shape[1]
    most = block or max(counts)
    least = most if fixed else min([16, *counts])
    audio = np.concatenate([frame.samples for frame in frames])
    width = -(-bits // 8)
    raw = audio.astype("<i4").tobytes()
    plain = b"".join(raw[i : i + width] for i in range(0, len(raw), 4))
    info = least.to_bytes(2, "big") + most.to_bytes(2, "big") + bytes(3)
    info += largest_frame.to_bytes(3, "big")
    packed = rate << 44 | (channels - 1) << 41 | (bits - 1) << 36 | total
    info += packed.to_bytes(8, "big") + hashlib.md5(plain).digest()
    blocks = [(0, info), *metadata]
    out = b"fLaC"
    for number, (kind, content) in enumerate(blocks):
        last = 0x80 if number == len(blocks) - 1 else 0
        out += bytes([kind | last]) + len(content).to_bytes(3, "big") + content
    first = 0
    for number, frame in enumerate(frames):
        out += frame.data(number if fixed else first, rate, bits, fixed=fixed)
        first += len(frame.samples)
    return out


def random_stream(seed: int, **given: Any) -> bytes:
    """Return a file of some short blocks; the seed makes every choice."""
    rng = np.random.default_rng(seed)
    bits = int(given.get("bits", rng.choice([8, 16, 24])))
    channels = int(given.get("channels", rng.choice([1, 2, 2, 3, 8])))
    fixed = bool(given.get("fixed", rng.integers(2)))
    rate = int(rng.choice([8_000, 22_050, 44_100, 96_000, 655_350, 11_025]))
    block = int(rng.choice([16, 192, 256, 300, 576]))
    counts = [block] * int(rng.integers(1, 12)) + [int(rng.integers(1, block + 1))]
    if not fixed:
        counts = rng.integers(16, 600, size=int(rng.integers(1, 12))).tolist()
    frames = [_random_frame(rng, count, channels, bits) for count in counts]
    metadata = [(4, b"\0" * 8), (1, bytes(int(rng.integers(0, 300))))][: int(rng.integers(0, 3))]
    metadata += given.get("metadata", [])
    return stream(frames, bits=bits, rate=rate, fixed=fixed, metadata=metadata, block=max(counts))


def _random_frame(rng: np.random.Generator, count: int, channels: int, bits: int) -> Frame:
    top = 1 << (bits - 1)
    steps = np.arange(count)[:, None]
    kind = rng.integers(6)
    scale = float(2.0 ** rng.uniform(0, bits - 1))
    audio = {
        0: np.zeros((count, channels)) + rng.integers(-top, top),
        1: rng.normal(scale=scale, size=(count, channels)),
        2: scale * np.sin(steps * rng.uniform(0.001, 3, channels)),
        3: np.where(steps // 7 % 2, top - 1, -top) + np.zeros((1, channels)),
        4: np.cumsum(rng.normal(scale=scale / 30, size=(count, channels)), axis=0),
        5: rng.normal(scale=3, size=(count, channels)) + (steps == count // 2) * scale,
    }[int(kind)]
    samples = audio.round().astype(np.int64).clip(-top, top - 1)
    assignment = int(rng.choice([1, 8, 9, 10])) if channels == 2 else None
    wasted = int(rng.choice([0, 0, 0, 1, 3]))
    samples = samples >> wasted << wasted
    shared = wasted if assignment in {None, 1} else 0  # a mean can be odd where both are even
    plain = kind == 0
    subframes = tuple(_random_subframe(rng, one, shared, plain=plain) for one in samples.T)
    if plain:
        subframes = tuple(replace(one, wasted=0) for one in subframes)
    return Frame(samples, subframes, assignment, explicit=bool(rng.integers(2)))


def _random_subframe(
    rng: np.random.Generator, samples: NDArray[np.int64], wasted: int, *, plain: bool
) -> Subframe:
    count = len(samples)
    kinds = ["verbatim", "fixed", "fixed", "linear", "linear", "linear"]
    kind = str(rng.choice([*kinds, "constant"] if plain else kinds))
    splits = [n for n in range(7) if count % (1 << n) == 0]
    split = int(rng.choice(splits))
    room = count >> split
    escaped = frozenset(np.flatnonzero(rng.random(1 << split) < 0.15).tolist())
    residual = Residual(split, int(rng.integers(2)), escaped)
    if kind == "fixed":
        return Subframe(kind, int(rng.integers(0, min(4, room) + 1)), wasted=wasted,
                        residual=residual)  # fmt: skip
    if kind == "linear" and count > 1:
        order = int(rng.integers(1, min(32, room, count - 1) + 1))
        precision = int(rng.integers(5, 16))
        factors, shift = _predictor(samples, order, precision)
        return Subframe(kind, 0, factors, precision, shift, wasted, residual)
    return Subframe("constant" if kind == "constant" else "verbatim", wasted=wasted)


def _predictor(
    samples: NDArray[np.int64], order: int, precision: int
) -> tuple[tuple[int, ...], int]:
    """Return factors of this many bits that predict `samples` well, and their shift."""
    rows = np.lib.stride_tricks.sliding_window_view(samples, order + 1)
    best = np.linalg.lstsq(rows[:, order - 1 :: -1], rows[:, order], rcond=None)[0]
    top = 1 << (precision - 1)
    shift = int(np.clip(np.floor(np.log2((top - 1) / max(1e-9, np.abs(best).max()))), 0, 15))
    factors = (best * 2.0**shift).round().clip(-top, top - 1).astype(int)
    return tuple(factors.tolist()), shift
