"""Show windows, catalogs and statistics: the preview page and the notebook cards.

All HTML is rendered from the templates in ``headrace/templates``. Pages and cards are
self-contained: they load nothing from a network.

May import `loading` and the packages below it. (The package is not called ``preview``, because
``headrace.preview`` is a function.)
"""

from headrace._lazy import attach_names

__getattr__, __dir__, __all__ = attach_names(__name__, __file__)
