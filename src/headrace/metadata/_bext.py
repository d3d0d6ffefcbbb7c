"""The chunk ``bext`` of Broadcast Wave files.

The format is that of EBU Tech 3285: fixed fields of ASCII, among them a date and a local time
without a zone.
"""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import datetime
from typing import Final

from headrace.metadata._facts import Facts
from headrace.metadata._riff import decode_text

__all__ = ["parse_bext"]

_ORIGINATOR: Final = slice(256, 288)
_DATE: Final = slice(320, 330)
_TIME: Final = slice(330, 338)
_DATE_AND_TIME: Final = re.compile(
    r"(\d{4})[-_: .](\d\d)[-_: .](\d\d) (\d\d)[-_: .](\d\d)[-_: .](\d\d)"
)
"""The standard recommends the separators ``-`` and ``:``, and allows these."""


def parse_bext(content: bytes) -> Facts | None:
    """Return the facts in the content of a bext chunk, or None if it is too short for one."""
    if len(content) < _TIME.stop:
        return None
    text = f"{decode_text(content[_DATE])} {decode_text(content[_TIME])}"
    time = None
    if match := _DATE_AND_TIME.fullmatch(text):
        with suppress(ValueError):  # 0000-00-00 where the recorder has no clock
            time = datetime(*map(int, match.groups()))  # type: ignore[arg-type]  # noqa: DTZ001
    return Facts("bext", time=time, device=decode_text(content[_ORIGINATOR]) or None)
