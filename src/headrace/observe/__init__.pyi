"""The names that the other packages may use."""

from ._counters import Meter as Meter
from ._live import Live as Live
from ._processor_wait import seconds_queued as seconds_queued
from ._read_timing import ReadTiming as ReadTiming
from ._read_timing import ReadTotals as ReadTotals
from ._stats import Stats as Stats
from ._trace import record_trace as record_trace
