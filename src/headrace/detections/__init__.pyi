"""The names that the other packages may use."""

from ._detections import Detections as Detections
from ._hoplite import write_to_hoplite as write_to_hoplite

__all__: list[str]
