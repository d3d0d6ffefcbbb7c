"""The names that the other packages may use."""

from ._commands import app as app
from ._commands import main as main
from ._report import bench_report as bench_report
from ._report import demo_report as demo_report
from ._report import scan_report as scan_report

__all__: list[str]
