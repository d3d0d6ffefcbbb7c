"""A bounded, ordered, closable map over jobs in threads. It knows nothing of audio.

May import only `errors`.
"""

from headrace._lazy import attach_names

__getattr__, __dir__, __all__ = attach_names(__name__, __file__)
