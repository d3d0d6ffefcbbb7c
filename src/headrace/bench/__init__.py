"""Measure the loader: a synthetic archive, the demo, and the sweep over numbers of workers.

`write_archive` writes the same bytes on every machine. `sweep` and `demo` measure with interleaved
rounds; `plot` writes their result as a page or a picture.

May import `loading` and the packages below it.
"""

from headrace._lazy import attach_names

__getattr__, __dir__, __all__ = attach_names(__name__, __file__)
