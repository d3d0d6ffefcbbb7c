"""Measure the loader: a synthetic archive, the demo, and the sweep over numbers of workers.

`write_archive` writes the same bytes on every machine. `sweep` and `demo` measure with interleaved
rounds; `plot` writes their result as a page or a picture.

May import `loading` and the packages below it.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
