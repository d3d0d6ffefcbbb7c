"""Which recordings there are, and what their headers say.

`scan` (`_scan`) finds files (`_find`), reads their headers in threads (`_headers`), and decodes
them if asked to (`_verify`). `Catalog` (`_catalog`) is the immutable table of the results
(`_table`), saved as Parquet (`_parquet`); `_split` divides it into parts. A bad file never affects
other files: it becomes a failure of the catalog (`_damage`).

May import `codecs` and what is below it. Only `Catalog.windows`, `windows_at` and
`crops` call upwards.
"""

from headrace._lazy import attach_names

__getattr__, __dir__, __all__ = attach_names(__name__, __file__)
