"""The names that the other packages may use."""

from ._commands import app as app
from ._commands import main as main
from ._report import bench_report as bench_report
from ._report import demo_report as demo_report
from ._report import export_report as export_report
from ._report import results_report as results_report
from ._report import scan_report as scan_report
from ._watch import watch_results as watch_results

__all__: list[str]
