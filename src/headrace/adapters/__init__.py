"""Faces of a `Loader` to the frameworks that people train with: `torch` and `jax`.

Each framework is imported only by the module that is named like it, when that is first used::

    batches = headrace.adapters.torch.TorchLoader(loader)
"""

from headrace._lazy import attach_names

__getattr__, __dir__, __all__ = attach_names(__name__, __file__)
