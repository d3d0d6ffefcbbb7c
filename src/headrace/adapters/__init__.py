"""A `Loader`'s batches as the arrays of a framework: `torch` and `jax`.

Promises that each framework is imported only by the module of its name, when that is first used::

    batches = headrace.adapters.torch.TorchLoader(loader)

May import `loading`, `windows` and what stands below them.
"""

import lazy_loader

_import_adapter, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'headrace.adapters' has no attribute {name!r}")
    return _import_adapter(name)
