"""What people look at and listen to: the preview page and the notebook cards.

May import `loading` and what stands below it. (Not
called ``preview``, because ``headrace.preview`` is a function.)
"""

from headrace._lazy import attach_names

__getattr__, __dir__, __all__ = attach_names(__name__, __file__)
