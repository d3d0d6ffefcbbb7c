"""The comment that AudioMoths write: ``Recorded at 03:13:00 03/05/2025 (UTC+2) by AudioMoth ...``.

The format is that of the function ``setHeaderComment`` in Open Acoustic Devices' firmware,
AudioMoth-Firmware-Basic 1.0 to 1.11. WAV files have it as ``ICMT`` in a chunk ``LIST``, beside the
device as ``IART``.
"""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from typing import Final

from headrace.metadata._facts import Facts, parse_number

__all__ = ["gain_name", "parse_audiomoth"]

_TIME: Final = re.compile(
    r"Recorded at (\d\d):(\d\d):(\d\d)(?:\.\d+)? (\d\d)/(\d\d)/(\d{4})"
    r"(?: \(UTC(?:([+-])(\d{1,2})(?:: ?(\d{1,2}))?)?\))?"
)
_DEVICE: Final = re.compile(r"AudioMoth ([0-9A-Fa-f]{16})")
_GAIN: Final = re.compile(r"\bat (?:gain setting (\d)|([a-z]+(?:-[a-z]+)?) gain\b)")
_TEMPERATURE: Final = re.compile(r"temperature was (-?\d+(?:\.\d+)?)C")

_GAINS: Final = ("low", "low-medium", "medium", "medium-high", "high")
"""What newer firmware calls the settings 0 to 4."""


def gain_name(digit: str) -> str:
    """Return the name of an AudioMoth's gain setting."""
    number = int(digit)
    return _GAINS[number] if number < len(_GAINS) else digit


def parse_audiomoth(comment: str, artist: str = "") -> Facts | None:
    """Return the facts in an AudioMoth's comment, or None if it is another one's.

    Parameters
    ----------
    comment, artist : str
        ``ICMT`` and ``IART``.
    """
    match = _TIME.search(comment)
    device = _DEVICE.search(artist) or _DEVICE.search(comment)
    if match is None or not (device or "during deployment" in comment):
        return None
    time = None
    with suppress(ValueError):
        hour, minute, second, day, month, year = map(int, match.group(1, 2, 3, 4, 5, 6))
        offset = timedelta(hours=int(match[8] or 0), minutes=int(match[9] or 0))
        # Firmware 1.0 names no zone, and writes UTC.
        zone = timezone(-offset if match[7] == "-" else offset) if match[7] else UTC
        time = datetime(year, month, day, hour, minute, second, tzinfo=zone)
    gain = _GAIN.search(comment)
    temperature = _TEMPERATURE.search(comment)
    return Facts(
        "audiomoth",
        time=time,
        device=f"AudioMoth {device[1].upper()}" if device else None,
        gain=(gain_name(gain[1]) if gain[1] else gain[2]) if gain else None,
        temperature_c=parse_number(temperature[1]) if temperature else None,
    )
