"""An amount of memory, as people write it."""

from __future__ import annotations

import re
from numbers import Real

__all__ = ["format_bytes", "parse_bytes"]

_UNITS = {
    "b": 1,
    "": 1,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "tb": 10**12,
    "kib": 1 << 10,
    "mib": 1 << 20,
    "gib": 1 << 30,
    "tib": 1 << 40,
}


def parse_bytes(memory: str | float) -> int:
    """Return the number of bytes in ``"1 GiB"``, ``"500MB"`` or ``1 << 30``.

    Raises
    ------
    ValueError
        It is not a positive amount of memory.
    """
    if isinstance(memory, str):
        match = re.fullmatch(r"\s*([0-9]*\.?[0-9]+)\s*([a-zA-Z]*)\s*", memory)
        amount = float(match[1]) * _UNITS.get(match[2].lower(), 0) if match else 0.0
    else:
        amount = float(memory) if isinstance(memory, Real) else 0.0
    if not 1 <= amount < 1 << 63:
        raise ValueError(
            f'memory={memory!r} is not an amount of memory: write "1 GiB", "500 MB", or bytes.'
        )
    return int(amount)


def format_bytes(count: int) -> str:
    """Return `count` bytes to three or four digits, as ``"1.21 GiB"``."""
    amount = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024:  # noqa: PLR2004  the next unit's size
            return f"{amount:.4g} {unit}"
        amount /= 1024
    return f"{amount:.4g} TiB"
