"""What is loaded: windows of recordings, in which order, with which labels.

`Windows` is a pure, lazy, immutable sequence: no threads, no open files. May import `annotations`,
`catalog` and what stands below them; `Windows.loader` and indexing are its only way up.
"""

from headrace._lazy import attach_names

__getattr__, __dir__, __all__ = attach_names(__name__, __file__)
