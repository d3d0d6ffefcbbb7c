"""Label files -> events in recordings, matched to a catalog; and back.

`Annotations` (`_annotations`) is the immutable table of events. `_files` parses one format each,
`_birdnet` BirdNET's; `_columns` finds and validates the columns of tables; `_matching` decides
which recording a file name in a label file means; `_thresholds` compares scores. A new label format
is a parser in `_files` and a reader in `Annotations`. `_export_files` writes events, also those of
`detections`.

A malformed line never affects its neighbours: it is reported, and the file still counts as
annotated. May import `catalog` and what is below it.
"""

from headrace._lazy import attach_names

__getattr__, __dir__, __all__ = attach_names(__name__, __file__)
