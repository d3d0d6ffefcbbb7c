"""The names that the other packages may use."""

from ._places import Place as Place
from ._places import Store as Store
from ._places import as_place as as_place
from ._tables import Cells as Cells
from ._tables import ParquetStore as ParquetStore
from ._tables import TableStore as TableStore
from ._tables import is_parquet_part as is_parquet_part
from ._tables import read_cells as read_cells
from ._tables import read_parquet_cells as read_parquet_cells
from ._tar import INDEX_ENDING as INDEX_ENDING
from ._tar import TarMember as TarMember
from ._tar import has_header as has_header
from ._tar import index_text as index_text
from ._tar import parse_index as parse_index
from ._tar import read_tar as read_tar
