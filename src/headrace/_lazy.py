"""Packages whose names are imported when they are first used.

A package lists the names that others may use once, in its ``__init__.pyi``. Type checkers read that
file, and so does `attach_names`. So importing a package costs next to nothing, and the first use of
a name costs what importing its module costs.
"""

from __future__ import annotations

import sys
from importlib import import_module

TYPE_CHECKING = False  # type checkers treat it as true; importing `typing` would be slow
if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["attach_names"]


def attach_names(
    package: str, file: str
) -> tuple[Callable[[str], object], Callable[[], list[str]], list[str]]:
    """Return ``__getattr__``, ``__dir__`` and ``__all__`` for a package's ``__init__.py``.

    Parameters
    ----------
    package, file : str
        The package's ``__name__`` and ``__file__``. The names are read from the ``.pyi`` beside it,
        from lines ``from ._module import name as name`` and ``from . import module as module``.
    """
    module = sys.modules[package]
    stub = module.__loader__.get_data(f"{file}i").decode()  # type: ignore[union-attr]
    sources: dict[str, str] = {}
    for line in stub.splitlines():
        if line.startswith("from ."):
            _, source, _, name, *_ = line.split()
            sources[name] = source

    def import_name(name: str) -> object:
        if name not in sources:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        source = sources[name]
        if source == ".":
            return import_module(f"{package}.{name}")
        value = getattr(import_module(source, package), name)
        setattr(module, name, value)  # the next use finds it in the module
        return value

    def list_names() -> list[str]:
        return sorted({*vars(module), *sources})

    return import_name, list_names, sorted(sources)
