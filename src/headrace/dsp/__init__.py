"""Arithmetic on arrays of samples: resampling, log-mel spectrograms, levels.

Pure functions of their input. `Resampler` gives the same bits on every machine, `LogMel` the same
up to rounding. May import the kernel and the modules beside the packages.
"""

from headrace._lazy import attach_names

__getattr__, __dir__, __all__ = attach_names(__name__, __file__)
