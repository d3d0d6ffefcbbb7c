"""Where bytes are: a file, a part of one, an object in a store, a value in a table.

- `_places`: `Place`, which says where the bytes of one recording are, and reading them.
- `_tables`: recordings that are values of a table's column, in memory or in Parquet files.
- `_tar`: the members of a tar, from its headers or from an index beside it.
- `_urls`, `_stores`: URLs of objects, and the clients that reach them: obstore's, or fsspec's.
- `_loop`: the event loop, and what the interpreter's exit waits for.
- `_calls`: functions that block, called in threads that nobody waits for.
- `_listing`: the objects of a store.
- `_fetcher`: byte ranges of objects, fetched on one event loop in one thread, for native readers
  that wait (`_kernel.FetchedStore`). `_errors` says what errors of clients mean.
- `_cache`: a folder of a local disk that keeps what was fetched.

No audio format is known here. Credentials and signed queries stay in the clients: they are in no
URL, message or representation that leaves this package.

May import `concurrency` and what is below it.
"""

from headrace._lazy import attach_names

__getattr__, __dir__, __all__ = attach_names(__name__, __file__)
