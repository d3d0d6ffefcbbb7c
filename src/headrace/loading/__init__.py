"""Loads windows in threads: plan -> read -> transform -> collate -> deliver.

`Loader` is the only class that users see. It guarantees the memory bound, the order, the resumable
state, and a ledger in which every window is either delivered or failed. May import `observe`,
`windows` and the packages below them.
"""

from headrace._lazy import attach_names

__getattr__, __dir__, __all__ = attach_names(__name__, __file__)
