"""The names that the other packages may use."""

from ._places import Place as Place
from ._places import Store as Store
from ._places import as_place as as_place
