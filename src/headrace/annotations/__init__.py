"""Label files -> events in recordings, matched to a catalog.

A malformed line never costs its neighbours anything: it is reported, and the file still counts as
annotated. May import `catalog` and what stands below it.
"""

from headrace._lazy import attach_names

__getattr__, __dir__, __all__ = attach_names(__name__, __file__)
