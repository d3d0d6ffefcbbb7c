"""Label files -> events in recordings, matched to a catalog.

A malformed line never costs its neighbours anything: it is reported, and the file still counts as
annotated. May import `catalog` and what stands below it.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
