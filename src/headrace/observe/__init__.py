"""What a loader has done: statistics and their verdict, the trace, the live view.

Promises that observing never makes the consumer or a worker wait: observers only read counters
and timings. May import `concurrency` and the modules beside the packages; a notebook's card of
`Stats` is the only way up, to `display`.
"""

from headrace._lazy import attach_names

__getattr__, __dir__, __all__ = attach_names(__name__, __file__)
