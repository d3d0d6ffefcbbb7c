"""Arithmetic on arrays of samples: resampling, log-mel spectrograms, levels.

Pure functions of their input, the same to the bit on every machine (`LogMel` to rounding). May
import the kernel and the modules beside the packages.
"""

from headrace._lazy import attach_names

__getattr__, __dir__, __all__ = attach_names(__name__, __file__)
