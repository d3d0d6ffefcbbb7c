"""The names that the other packages may use."""

from ._detections import Detections as Detections
from ._export_files import check_new_file as check_new_file
from ._hoplite import write_to_hoplite as write_to_hoplite

__all__: list[str]
