"""Label files -> events in recordings, matched to a catalog.

`Annotations` (`_annotations`) is the immutable table of events. `_files` parses one format each;
`_columns` finds and validates the columns of tables; `_matching` decides which recording a file
name in a label file means. A new label format is a parser in `_files` and a reader in
`Annotations`.

A malformed line never affects its neighbours: it is reported, and the file still counts as
annotated. May import `catalog` and what is below it.
"""

from headrace._lazy import attach_names

__getattr__, __dir__, __all__ = attach_names(__name__, __file__)
