"""The names that the other packages may use."""

from ._commands import app as app
from ._commands import main as main
