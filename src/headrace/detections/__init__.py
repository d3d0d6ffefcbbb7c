"""What a model found in recordings: `Detections`, one table of events.

`_result_batches` reads results in bounded memory, `_scores` and `_events` make `Detections`
(`_detections`) of them, `_merging` joins neighbours, `_hoplite` writes to a perch-hoplite database.
Files for other programs are written by `annotations`.

May import `annotations` and what stands below it.
"""

from headrace._lazy import attach_names

__getattr__, __dir__, __all__ = attach_names(__name__, __file__)
