"""The names that the other packages may use."""

from ._live import Live as Live
from ._meter import Meter as Meter
from ._stats import Stats as Stats
from ._trace import traced as traced
