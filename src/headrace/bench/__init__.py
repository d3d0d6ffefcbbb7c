"""A synthetic archive, the demo, the sweep over numbers of workers, and its plot.

May import `loading` and what stands below it.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
