"""The names that the other packages may use."""

from ._demo import Demo as Demo
from ._demo import demo as demo
from ._plot import check_plot_file as check_plot_file
from ._plot import plot as plot
from ._sweep import CLOSE_ENOUGH as CLOSE_ENOUGH
from ._sweep import SweepResult as SweepResult
from ._sweep import WorkerResult as WorkerResult
from ._sweep import sweep as sweep
from ._synthetic import write_archive as write_archive
