"""A `Loader`'s batches as the arrays of a framework: `torch` and `jax`.

Promises that each framework is imported only by the module of its name, when that is first used::

    batches = headrace.adapters.torch.TorchLoader(loader)

May import `loading`, `windows` and what stands below them.
"""

from headrace._lazy import attach_names

__getattr__, __dir__, __all__ = attach_names(__name__, __file__)
