"""The names that the other packages may use."""

from ._demo import Demo as Demo
from ._demo import demo as demo
from ._plot import check_plot_file as check_plot_file
from ._plot import plot as plot
from ._synthetic import write_archive as write_archive
from ._worker_sweep import CLOSE_ENOUGH as CLOSE_ENOUGH
from ._worker_sweep import SweepResult as SweepResult
from ._worker_sweep import WorkerResult as WorkerResult
from ._worker_sweep import sweep as sweep
