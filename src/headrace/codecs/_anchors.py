"""Where decoding of a recording that FFmpeg reads may begin: rules by codec.

A scan cuts a recording into segments. Each segment is defined as what a decoder gives that is new
a few packets before the segment, the pre-roll, whose output is thrown away. So every way to reach
a sample gives the same bits (src/kernel/sources/packet_index.h).

There are two kinds of codecs:

- It *forgets*: after the pre-roll a decoder gives the same bits as one that has decoded everything
  before. The recording is then one uninterrupted decode.
- Its memory has no provable end. The segments then differ a little from an uninterrupted decode:
  benchmarks/anchors.py measures by how much, and docs/explanation/codecs.md has its table.

A change of a rule changes samples: it needs a new version of the packed index.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = [
    "DECODER",
    "LONG_AAC",
    "MOST_PRE_ROLL",
    "OGG_DECODER",
    "OGG_RULES",
    "OGG_VERSION",
    "VERSION",
    "AnchorRule",
    "anchor_rule",
]


VERSION: Final = 1
"""Of the rules below, as it is in `DECODER`."""

DECODER: Final = "libavcodec {major}, anchors {version}"
"""How a catalog names the decoder of a recording that has anchors."""

OGG_VERSION: Final = 1
"""Of the rules for Vorbis and Opus in Ogg, as it is in `OGG_DECODER`."""

OGG_DECODER: Final = "libavcodec {major}, ogg {version}"
"""How a catalog names the decoder of Vorbis and Opus in Ogg, whose packets the kernel finds."""


@dataclass(frozen=True, slots=True)
class AnchorRule:
    """Where anchors are placed.

    Attributes
    ----------
    spacing_s : float
        Seconds of audio in a segment, at least.
    pre_roll : int
        Packets that are decoded and thrown away before a segment, at least.
    pre_roll_s : float
        Seconds of audio in them, at least: about, by the mean length of the packets before the
        first anchor.
    forgets : bool
        Whether segments are the same bits as an uninterrupted decode.
    """

    spacing_s: float
    pre_roll: int
    pre_roll_s: float = 0.0
    forgets: bool = False


_EACH_PACKET: Final = frozenset({"alac", "flac", "tta", "wavpack"})
"""Codecs whose packets are decoded each by itself. So are those of PCM and of ADPCM in blocks."""

MOST_PRE_ROLL: Final = 200
"""Packets."""

_RULES: Final = {
    "amr_nb": AnchorRule(2.0, 4, 0.3),
    "amr_wb": AnchorRule(2.0, 4, 0.3),
    "ra_144": AnchorRule(4.0, 4, 1.0),
    "aac": AnchorRule(4.0, 4),  # a new decoder costs as much as decoding 1.5 s
    "aac_latm": AnchorRule(4.0, 4),
    # Their predictors forget slowly: after a tenth of a second, steady tones still differ audibly.
    "adpcm_g722": AnchorRule(2.0, 4, 0.5),
    "adpcm_g726": AnchorRule(2.0, 4, 1.0),
    "adpcm_g726le": AnchorRule(2.0, 4, 1.0),
    "g723_1": AnchorRule(4.0, 4, 2.0),
    "speex": AnchorRule(4.0, 4, 2.0),
    "mp3": AnchorRule(5.0, 4, 0.6),  # its reservoir of 511 bytes spans half a second at 8 kbps
    "opus": AnchorRule(4.0, 4, 0.32),
    # A packet may begin with the end of a frame of the one before it, and last a third of a second.
    "wmav1": AnchorRule(4.0, 2, 0.1),
    "wmav2": AnchorRule(4.0, 2, 0.1),
}

OGG_RULES: Final = {
    "vorbis": AnchorRule(2.0, 1, forgets=True),
    "opus": AnchorRule(3.0, 4, 0.32),
}
"""Anchors in Ogg are pages. Those of Vorbis may be sparse: the packets behind them are passed over
without being decoded. Those of Opus are dense, because a random window is decoded from one."""

LONG_AAC: Final = AnchorRule(20.0, 4, 2.0)
"""AAC whose packets have 2,048 frames carries spectral band replication, whose header need not be
in every packet: before it the upper half of the spectrum is missing. An encoder was seen to write
it in every tenth packet."""


def anchor_rule(codec: str) -> AnchorRule:
    """Return the rule for a codec, by FFmpeg's name."""
    if codec in _EACH_PACKET or codec.startswith(("pcm_", "adpcm_ima_wav", "adpcm_ms")):
        return AnchorRule(1.0, 1, forgets=True)
    if codec == "vorbis":  # each packet is overlapped with the one before it, and with no other
        return AnchorRule(1.0, 2, forgets=True)
    return _RULES.get(codec, AnchorRule(2.0, 4, 0.1))
