"""Where bytes are: a file, a part of one, an object in a store, a value in a table.

- `_places`: `Place`, which says where the bytes of one recording are, and reading them.
- `_tables`: recordings that are values of a table's column, in memory or in Parquet files.
- `_tar`: the members of a tar, from its headers or from an index beside it.

May import `concurrency` and the modules beside the packages.
"""

from headrace._lazy import attach_names

__getattr__, __dir__, __all__ = attach_names(__name__, __file__)
