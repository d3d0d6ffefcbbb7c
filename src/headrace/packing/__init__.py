"""Recordings decoded and resampled once, and stored in tar shards with a catalog.

`_pack` decides what goes into which shard, and resumes. `_encode` decodes one recording and writes
it as WAV or FLAC. `_shards` writes tars.

May import `loading` and what is below it. Only `Catalog.pack` calls upwards.
"""

from headrace._lazy import attach_names

__getattr__, __dir__, __all__ = attach_names(__name__, __file__)
