"""The names that the other packages may use."""

from ._apply import apply as apply
from ._run import Run as Run
from ._run import RunProgress as RunProgress
from ._run import load_run as load_run
