"""A `Loader`'s batches as arrays of a framework: `torch`, `jax`; a model on a cluster: `ray`.

Promises that each framework is imported only by the module of its name, when that is first used::

    batches = headrace.adapters.torch.TorchLoader(loader)

May import `loading`, `windows` and what stands below them. Only `ray` may import `inference`, which
uses the others.
"""

from headrace._lazy import attach_names

__getattr__, __dir__, __all__ = attach_names(__name__, __file__)
