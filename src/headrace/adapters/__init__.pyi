"""The modules of this package that are public; each needs its framework."""

from . import jax as jax
from . import torch as torch
