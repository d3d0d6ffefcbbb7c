"""The names that the other packages may use."""

from ._buffers import Allocate as Allocate
from ._buffers import BufferPool as BufferPool
from ._catalog_columns import CatalogColumns as CatalogColumns
from ._ledger import Ledger as Ledger
from ._loader import Loader as Loader
from ._plan import Plan as Plan
from ._read_one import read_one as read_one
from ._reader import GroupResult as GroupResult
from ._reader import Reader as Reader
from ._state import make_state as make_state
from ._state import read_state as read_state
from ._work_results import WorkResult as WorkResult
