"""What a file is, how long it is, and how its sample n is reached exactly.

The kernel decodes; this package tells it which decoder to use and where seeking is exact. May
import `dsp`, `concurrency` and the modules beside the packages.
"""

from headrace._lazy import attach_names

__getattr__, __dir__, __all__ = attach_names(__name__, __file__)
