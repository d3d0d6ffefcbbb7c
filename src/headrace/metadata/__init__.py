"""When, where and with what a recording was made: what recorders write into headers and names.

`read_facts` (`_reading`) finds the places in a file that may hold such facts, in the chunks of WAV
(`_riff`) and the blocks of FLAC (`_flac`). A module for each format parses them: `_guano`, `_wamd`,
`_audiomoth`, `_bext`, and `_names` for file names. Each is a pure function of bytes or text, and
its docstring names the source of the format. `combine` (`_combining`) chooses among the facts of
one recording, converts times to UTC (`_zones`), and says which facts disagree.

Headers only: no sample is read, and of a chunk at most a mebibyte. What cannot be parsed is no
fact, and never an error. May import `storage` and what is below it; knows nothing of catalogs.
"""

from headrace._lazy import attach_names

__getattr__, __dir__, __all__ = attach_names(__name__, __file__)
