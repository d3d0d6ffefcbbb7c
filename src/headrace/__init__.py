"""headrace: fixed-length audio windows from recordings to models.

Threaded, bounded in memory, exact, and reproducible::

    import headrace

    windows = headrace.scan("raw_data/**/*.wav").windows(sample_rate=16_000, window_s=5.0)
    for audio, file_id, offset in windows.loader(workers=8):
        ...

The public names are listed once, in ``__init__.pyi``. Each is imported when it is first used, so
that ``import headrace`` costs next to nothing.
"""

from headrace._lazy import attach_names

__version__ = "0.2.0"

_import_public, __dir__, __all__ = attach_names(__name__, __file__)


def __getattr__(name: str) -> object:
    if name == "WindowsError":  # not in __all__, so that a star import does not warn
        from headrace.errors import renamed_windows_error

        return renamed_windows_error()
    return _import_public(name)
