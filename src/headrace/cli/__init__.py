"""The command line: arguments -> one library call -> a printed table.

May import everything.
"""

from headrace._lazy import attach_names

__getattr__, __dir__, __all__ = attach_names(__name__, __file__)
