"""Threads: an ordered map over jobs that is bounded in memory and can be closed at any time.

`Prefetcher` runs jobs ahead of their consumer, `CancellationToken` asks a running task to stop,
and `register_fork_listener` handles forks. Nothing here knows about audio. May import only
`errors`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
