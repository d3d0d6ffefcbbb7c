"""What a loader has done: statistics, the verdict, the timeline, the live view.

Observers only read what others count; the consumer and the workers never wait for them. May import
the modules beside the packages.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
