"""How windows are loaded: plan -> read -> transform -> collate -> deliver, in threads.

`Loader` is the only class that users see. It keeps the memory bound, the order, the state and the
ledger. May import `observe`, `windows` and what stands below them.
"""

from headrace._lazy import attach_names

__getattr__, __dir__, __all__ = attach_names(__name__, __file__)
