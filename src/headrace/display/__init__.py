"""What people look at and listen to: the preview page and the notebook cards.

May import `loading` and what stands below it. (Not
called ``preview``, because ``headrace.preview`` is a function.)
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
