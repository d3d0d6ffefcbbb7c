"""Faces of a `Loader` to the frameworks that people train with: `torch` and `jax`.

Each framework is imported only by the module that is named like it, when that is first used::

    batches = headrace.adapters.torch.TorchLoader(loader)
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headrace.adapters import jax, torch

__all__ = ["jax", "torch"]


if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        if name not in __all__:
            raise AttributeError(f"module 'headrace.adapters' has no attribute {name!r}")
        return import_module(f"headrace.adapters.{name}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
