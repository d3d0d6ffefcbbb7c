"""The names that the other packages may use."""

from ._annotations import Annotations as Annotations
from ._matching import format_first as format_first
from ._matching import match as match
from ._matching import report_unmatched as report_unmatched
