"""The names that the other packages may use."""

from ._apply import Application as Application
from ._apply import OnModelError as OnModelError
from ._assigned_parts import AssignedParts as AssignedParts
from ._assigned_parts import PartCounts as PartCounts
from ._parts import PartName as PartName
from ._result_folder import open_bucket as open_bucket
from ._run import Run as Run
from ._run import RunProgress as RunProgress
from ._run import load_run as load_run
