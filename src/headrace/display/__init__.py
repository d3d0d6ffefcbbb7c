"""Show windows, catalogs and statistics: the preview page and the notebook cards.

All HTML is rendered from the templates in ``headrace/templates``. Pages and cards are
self-contained: they load nothing from a network.

May import `loading` and the packages below it. (The package is not called ``preview``, because
``headrace.preview`` is a function.)
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
