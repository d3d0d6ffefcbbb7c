"""The names that the other packages may use."""

from ._kernel_info import KernelInfo as KernelInfo
from ._kernel_info import kernel_info as kernel_info
from ._levels import SILENT_DBFS as SILENT_DBFS
from ._levels import Levels as Levels
from ._levels import levels as levels
from ._logmel import LogMel as LogMel
from ._logmel import hz_to_mel as hz_to_mel
from ._resampler import Resampler as Resampler
from ._resampler import Stage as Stage
from ._resampler import resampler as resampler
from ._resampler import stages as stages
from ._resampler import table_bytes as table_bytes
