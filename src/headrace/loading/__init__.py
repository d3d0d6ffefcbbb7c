"""How windows are loaded: plan -> read -> transform -> collate -> deliver, in threads.

`Loader` is the only class that users see. It keeps the memory bound, the order, the state and the
ledger. May import `observe`, `windows` and what stands below them.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
