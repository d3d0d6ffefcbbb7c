"""The adapters, one module for each framework."""

from . import jax as jax
from . import ray as ray
from . import torch as torch

__all__: list[str]
