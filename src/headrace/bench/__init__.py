"""A synthetic archive, the demo, the sweep over numbers of workers, and its plot.

May import `loading` and what stands below it.
"""

from headrace._lazy import attach_names

__getattr__, __dir__, __all__ = attach_names(__name__, __file__)
