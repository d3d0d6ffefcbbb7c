"""Threads: an ordered map over jobs that is bounded in memory and can be closed at any time.

`Prefetcher` runs jobs ahead of their consumer, `CancellationToken` asks a running task to stop,
and `register_fork_listener` handles forks. Nothing here depends on audio. May import only
`errors`.
"""

from headrace._lazy import attach_names

__getattr__, __dir__, __all__ = attach_names(__name__, __file__)
