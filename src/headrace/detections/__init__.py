"""A model over an archive: its results, and what becomes of them.

`Detections` (`_detections`) are events found by a model: `_scores` and `_events` make them of
results, `_merging` joins neighbours, `_export_files` and `_hoplite` write them for other programs.

May import `loading`, `annotations` and what stands below them.
"""

from headrace._lazy import attach_names

__getattr__, __dir__, __all__ = attach_names(__name__, __file__)
