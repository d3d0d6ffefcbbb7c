"""The command line: arguments -> one library call -> a printed table.

May import everything.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
