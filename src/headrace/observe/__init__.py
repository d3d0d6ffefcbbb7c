"""What a loader has done: statistics, the verdict, the timeline, the live view.

Observers only read what others count; the consumer and the workers never wait for them. May import
the modules beside the packages.
"""

from headrace._lazy import attach_names

__getattr__, __dir__, __all__ = attach_names(__name__, __file__)
