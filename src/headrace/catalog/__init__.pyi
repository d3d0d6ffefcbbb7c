"""The names that the other packages may use."""

from ._catalog import Catalog as Catalog
from ._catalog import Split as Split
from ._catalog import load_catalog as load_catalog
from ._damage import check_any_usable as check_any_usable
from ._damage import check_failure_file as check_failure_file
from ._damage import describe_codes as describe_codes
from ._damage import describe_damage as describe_damage
from ._damage import write_failures as write_failures
from ._find import find as find
from ._from_table import from_table as from_table
from ._headers import worker_count as worker_count
from ._parquet import check_catalog_file as check_catalog_file
from ._recordings import Recordings as Recordings
from ._scan import check_metadata_options as check_metadata_options
from ._scan import scan as scan
from ._split import group_rows as group_rows
from ._summary import Kind as Kind
from ._summary import Recorded as Recorded
from ._summary import Summary as Summary
from ._summary import summarise as summarise
from ._table import BUILT_IN as BUILT_IN
from ._table import as_table as as_table
from ._table import filter_rows as filter_rows
from ._table import from_recordings as from_recordings
