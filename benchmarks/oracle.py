"""`Decoder`, which is the tests': what decoding alone takes, and what it has to give."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))

from tests.support.reference_decoder import Decoder

__all__ = ["Decoder"]
