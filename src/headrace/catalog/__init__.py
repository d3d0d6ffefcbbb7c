"""Which recordings there are, and what their headers say.

`scan` finds files and reads their headers in threads; `Catalog` is the immutable table of the
results. A bad file never costs its neighbours anything. May import `codecs` and what stands below
it; `Catalog.windows` and `Catalog.windows_at` are its only way up.
"""

from headrace._lazy import attach_names

__getattr__, __dir__, __all__ = attach_names(__name__, __file__)
