"""The command line: arguments -> one library call -> a printed report.

May import everything. `_commands` has the commands, `_options` parses their arguments, `_console`
prints, and `_report` lays out what is printed. Commands import reports from this package, so
that rich's tables are imported only to print one.
"""

from headrace._lazy import attach_names

__getattr__, __dir__, __all__ = attach_names(__name__, __file__)
