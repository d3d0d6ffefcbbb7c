"""What is loaded: windows of recordings, in which order and with which labels.

Promises: `Windows` is a pure, lazy, immutable sequence without threads and open files. Its order is
a pure function of the recordings, the cut, the seed and the epoch.

May import `annotations`, `catalog` and the packages below them. `Windows.loader` and indexing are
the only calls upwards, to `loading`.

Start in `_windows` (the class). A `WindowSet` (`_window_sets`) says where each window is: cut by
`_cutting` and `_geometry` as a `WindowSpec` (`_spec`) says, joined by `_mixtures`. An order
(`_orders`, `_draws`, on the hashes of `_permutation`) says which window comes when, and a `Shard`
(`_shards`) which rank reads it. `_times` says when windows begin. `_labels` (on `_intervals`) and
`_transforms` add targets and functions. `_identity` has the fields that a saved state compares, and
`_batch` what a loader delivers.
"""

from headrace._lazy import attach_names

__getattr__, __dir__, __all__ = attach_names(__name__, __file__)
