"""The names that the other packages may use."""

from ._annotations import Annotations as Annotations
from ._matching import first_few as first_few
from ._matching import match as match
from ._matching import told as told
