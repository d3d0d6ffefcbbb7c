"""The names that the other packages may use."""

from ._annotations import Annotations as Annotations
from ._export_files import check_new_file as check_new_file
from ._export_files import write_audacity as write_audacity
from ._export_files import write_birdnet as write_birdnet
from ._export_files import write_csv as write_csv
from ._export_files import write_parquet as write_parquet
from ._export_files import write_raven as write_raven
from ._matching import format_first as format_first
from ._matching import match as match
from ._matching import report_unmatched as report_unmatched
from ._thresholds import at_least as at_least
from ._thresholds import class_thresholds as class_thresholds
