"""Loads windows in threads: plan -> read -> transform -> collate -> deliver.

`Loader` is the only class that users see. It guarantees the memory bound, the order, the resumable
state, and a ledger in which every window is either delivered or failed. May import `observe`,
`windows` and the packages below them.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
