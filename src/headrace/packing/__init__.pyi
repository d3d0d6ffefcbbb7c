"""The names that the other packages may use."""

from ._encode import PackFormat as PackFormat
from ._pack import pack as pack
