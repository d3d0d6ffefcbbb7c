"""A bounded, ordered, closable map over jobs in threads. It knows nothing of audio.

May import only `errors`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
