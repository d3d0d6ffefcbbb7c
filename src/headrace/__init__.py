"""headrace: fixed-length audio windows from recordings to models.

Threaded, bounded in memory, exact, and reproducible::

    import headrace

    windows = headrace.scan("raw_data/**/*.wav").windows(sample_rate=16_000, window_s=5.0)
    for audio, file_id, offset in windows.loader(workers=8):
        ...

Each name is imported when it is first used, so that ``import headrace`` costs next to nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headrace import adapters
    from headrace.annotations import Annotations
    from headrace.catalog import Catalog, load_catalog, scan
    from headrace.course import audio_chunk_dataloader, audio_chunk_dataloader_threaded
    from headrace.errors import (
        AnnotationError,
        CatalogError,
        ClosedError,
        HeadraceError,
        HeadraceWarning,
        MemoryBudgetError,
        NoRecordingsError,
        ReadError,
        StateError,
        TooManyFailuresError,
        TransformError,
        WindowsError,
    )
    from headrace.gallery import Preview, preview
    from headrace.kernel import KernelInfo, kernel_info
    from headrace.loader import Loader
    from headrace.logmel import LogMel
    from headrace.mixtures import concat, mix
    from headrace.records import (
        AudioExample,
        Batch,
        Code,
        Coverage,
        Failure,
        Recording,
        WindowSpec,
    )
    from headrace.stats import Stats
    from headrace.windows import Windows

__version__ = "0.1.0"

__all__ = [
    "AnnotationError",
    "Annotations",
    "AudioExample",
    "Batch",
    "Catalog",
    "CatalogError",
    "ClosedError",
    "Code",
    "Coverage",
    "Failure",
    "HeadraceError",
    "HeadraceWarning",
    "KernelInfo",
    "Loader",
    "LogMel",
    "MemoryBudgetError",
    "NoRecordingsError",
    "Preview",
    "ReadError",
    "Recording",
    "StateError",
    "Stats",
    "TooManyFailuresError",
    "TransformError",
    "WindowSpec",
    "Windows",
    "WindowsError",
    "adapters",
    "audio_chunk_dataloader",
    "audio_chunk_dataloader_threaded",
    "concat",
    "kernel_info",
    "load_catalog",
    "mix",
    "preview",
    "scan",
]

_HOMES = {
    "annotations": ("Annotations",),
    "catalog": ("Catalog", "load_catalog", "scan"),
    "course": ("audio_chunk_dataloader", "audio_chunk_dataloader_threaded"),
    "gallery": ("Preview", "preview"),
    "kernel": ("KernelInfo", "kernel_info"),
    "loader": ("Loader",),
    "logmel": ("LogMel",),
    "mixtures": ("concat", "mix"),
    "records": (
        "AudioExample",
        "Batch",
        "Code",
        "Coverage",
        "Failure",
        "Recording",
        "WindowSpec",
    ),
    "stats": ("Stats",),
    "windows": ("Windows",),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}


if not TYPE_CHECKING:  # or a type checker would believe every name to be there

    def __getattr__(name: str) -> object:
        if name not in __all__:
            raise AttributeError(f"module 'headrace' has no attribute {name!r}")
        if name == "adapters":
            return import_module("headrace.adapters")
        value: object = getattr(import_module(f"headrace.{_HOME.get(name, 'errors')}"), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
