"""Parse the texts of command-line options. Each error names the option."""

from __future__ import annotations

import inspect
import math
import re
import sys
from enum import StrEnum
from functools import reduce
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

import headrace
from headrace import inference, storage

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import ModuleType

    from headrace.annotations import Annotations

_LABELLED_BY_COLUMN = ("csv", "parquet", "raven")

__all__ = [
    "Decoder",
    "ExportTo",
    "MatchBy",
    "OnError",
    "PackedAs",
    "PreviewAudio",
    "ShuffleBy",
    "Tail",
    "Verify",
    "find_detections",
    "load_model",
    "parse_channel",
    "parse_file_and_second",
    "parse_local_path",
    "parse_store_options",
    "parse_thresholds",
    "parse_worker_counts",
    "place_of_results",
    "read_annotations",
    "read_names",
    "refuse_options_about",
]


class Verify(StrEnum):
    """How `scan --verify` checks files."""

    HEADERS = "headers"
    DECODE = "decode"


class Decoder(StrEnum):
    """What decodes Vorbis and Opus in Ogg."""

    AUTO = "auto"
    FFMPEG = "ffmpeg"
    LIBSNDFILE = "libsndfile"


class PackedAs(StrEnum):
    """How `pack --format` stores recordings."""

    FLAC = "flac"
    WAV = "wav"


class ShuffleBy(StrEnum):
    """What `bench --shuffle` shuffles."""

    WINDOW = "window"
    FILE = "file"


class Tail(StrEnum):
    """What `apply --tail` does with the audio after the last full window."""

    PAD = "pad"
    SHIFT = "shift"
    DROP = "drop"


class OnError(StrEnum):
    """What `apply --on-error` does if the model raises."""

    RAISE = "raise"
    MASK = "mask"


class PreviewAudio(StrEnum):
    """Audio format of the players that `preview` writes."""

    FLAC = "flac"
    MP3 = "mp3"
    NONE = "none"


def load_model(text: str) -> tuple[Callable[..., Any], bool]:
    """Return the function that ``FILE.py:NAME`` or ``MODULE:NAME`` names, and if it is a factory.

    A factory returns the function of a batch. ``NAME()`` is one; so is a class, and a function that
    takes no batch. One that can be called either way is refused, unless it takes ``*args``, as a
    module of PyTorch does: that is a function of a batch.
    """
    place, _, name = text.rpartition(":")
    if not place or not name:
        raise _wrong_model(f"{text!r} is not FILE.py:NAME, such as birds.py:model.")
    try:
        module = _load_file(Path(place)) if place.endswith(".py") else import_module(place)
    except Exception as error:
        raise _wrong_model(
            f"{place} cannot be imported: {type(error).__name__}: {error}"
        ) from error
    is_called, name = name.endswith("()"), name.removesuffix("()")
    function = getattr(module, name, None)
    if not callable(function):
        raise _wrong_model(f"{place} has no function {name!r}.")
    takes_nothing, takes_batch, takes_any = _what_it_takes(function)
    if is_called or isinstance(function, type):
        if not takes_nothing:
            raise _wrong_model(
                f"{name} in {place} cannot be called without arguments: write a function without "
                "parameters that returns the model, and name that."
            )
        return function, True
    if not (takes_nothing or takes_batch):
        raise _wrong_model(
            f"{name} in {place} cannot be called with one argument, the batch: write a function "
            "that takes a batch, and name that."
        )
    if takes_nothing and takes_batch and not takes_any:
        raise _wrong_model(
            f"{name} in {place} can be called with a batch and without: name {name}() if it "
            "returns the model, or give its parameter no default if it is the model."
        )
    return function, not takes_batch


def _what_it_takes(function: Callable[..., Any]) -> tuple[bool, bool, bool]:
    """Return whether it can be called without arguments, with one, and with any number of them."""
    try:
        signature = inspect.signature(function)
    except ValueError:  # of a compiled function that does not say
        return isinstance(function, type), True, False
    takes: list[bool] = []
    for arguments in ((), (None,)):
        try:
            signature.bind(*arguments)
        except TypeError:
            takes.append(False)
        else:
            takes.append(True)
    kinds = {parameter.kind for parameter in signature.parameters.values()}
    return takes[0], takes[1], inspect.Parameter.VAR_POSITIONAL in kinds


def _wrong_model(message: str) -> typer.BadParameter:
    return typer.BadParameter(message, param_hint="--model")


def _load_file(file: Path) -> ModuleType:
    """Import a file, as if Python had been started with it: its neighbours can be imported."""
    if not file.is_file():
        raise FileNotFoundError(f"there is no file {str(file)!r}")
    sys.path.insert(0, str(file.resolve().parent))
    spec = spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[file.stem] = module  # pickle and dataclasses look it up there
    spec.loader.exec_module(module)
    return module


class ExportTo(StrEnum):
    """What `export --to` writes."""

    RAVEN = "raven"
    AUDACITY = "audacity"
    CSV = "csv"
    BIRDNET_CSV = "birdnet-csv"
    PARQUET = "parquet"


def parse_thresholds(texts: list[str]) -> tuple[float | None, dict[str, float]]:
    """Return the number in ``0.5``, or None, and those in ``LABEL=0.7`` by label."""
    default: float | None = None
    by_label: dict[str, float] = {}
    for text in texts:
        label, mark, number = text.rpartition("=")
        try:
            value = float(number)
        except ValueError:
            value = math.nan
        if math.isnan(value) or bool(label) != bool(mark):
            raise typer.BadParameter(
                f"{text!r} is neither a number, such as 0.5, nor LABEL=NUMBER.",
                param_hint="--threshold",
            )
        if label:
            by_label[label] = value
        else:
            default = value
    return default, by_label


def parse_worker_counts(text: str | None) -> tuple[int, ...] | None:
    """Return the numbers of workers in ``0,1,2``, or None for the default."""
    if text is None:
        return None
    words = text.replace(",", " ").split()
    if not words or not all(word.isascii() and word.isdigit() for word in words):
        raise typer.BadParameter(
            f"{text!r} is not a list of whole numbers, such as 0,1,2,4.", param_hint="--workers"
        )
    return tuple(int(word) for word in words)


def parse_channel(text: str) -> str | int:
    """Return ``mix`` or ``all``, or the number of a channel."""
    return int(text) if text.isascii() and text.isdigit() else text


def parse_file_and_second(text: str) -> tuple[str, float]:
    """Return the file and the second in ``FILE@SECONDS``."""
    name, _, seconds = text.rpartition("@")
    try:
        return name, float(seconds)
    except ValueError:
        raise typer.BadParameter(
            f"{text!r} is not FILE@SECONDS, such as a.wav@12.5.", param_hint="--at"
        ) from None


def parse_local_path(text: str | Path) -> Path:
    """Return the path of a file or folder on this machine, which a URL is not."""
    if storage.is_url(str(text)):
        raise typer.BadParameter(
            f"{storage.redacted(str(text))!r} is a URL, and this is read and written on this "
            "machine: give a path."
        )
    return Path(text)


_SECRET = re.compile("key|secret|token|password|sas|credential", re.IGNORECASE)
"""In names of options whose values may be secret. A few of the values are not, such as that of
``sse_kms_key_id``; all have an environment variable."""


def parse_store_options(texts: list[str] | None, option: str = "--store") -> dict[str, str] | None:
    """Return the options in some ``KEY=VALUE`` by name, or None if there are none."""
    options: dict[str, str] = {}
    for text in texts or ():
        name, mark, value = text.partition("=")
        if not (name and mark and value):
            raise typer.BadParameter(
                f"{text!r} is not KEY=VALUE, such as endpoint=http://minio:9000.", param_hint=option
            )
        if _SECRET.search(name):
            raise typer.BadParameter(
                f"{name} is not taken from the command line, which others on this machine can "
                "read: set the environment variable of the store, such as AWS_SECRET_ACCESS_KEY.",
                param_hint=option,
            )
        options[name] = value
    return options or None


def place_of_results(output: str, options: list[str] | None, option: str = "--store") -> object:
    """Return the folder or URL of results, or a store made of the URL and options."""
    parsed = parse_store_options(options, option)
    if parsed is None:
        return output
    if not storage.is_url(output):
        raise typer.BadParameter(
            f"{output!r} is no URL of a bucket: leave {option} out.", param_hint=option
        )
    return inference.open_bucket(output, parsed)


def refuse_options_about(option: str, others: Mapping[str, object]) -> None:
    """Refuse options that are about `option`, which is not given.

    Parameters
    ----------
    option : str
        Such as ``--results``.
    others : mapping of str to object
        Their values by name; one that is false is not given.
    """
    for name, value in others.items():
        if value:
            raise typer.BadParameter(
                f"it is about {option}: give that, too, or leave it out.", param_hint=name
            )


class MatchBy(StrEnum):
    """How `preview --match` finds the recording of a label file."""

    PATH = "path"
    STEM = "stem"


def read_annotations(texts: list[str], label_column: str | None = None) -> Annotations | None:
    """Return the annotations of all files in ``KIND:FILES``, or None if `texts` is empty.

    `label_column` is the column of labels, where it can be chosen.
    """
    if not texts:
        return None
    annotations = headrace.Annotations
    readers: dict[str, Callable[..., Annotations]] = {
        "anuraset": annotations.read_anuraset,
        "audacity": annotations.read_audacity,
        "birdnet": annotations.read_birdnet,
        "csv": annotations.read_csv,
        "parquet": annotations.read_parquet,
        "raven": annotations.read_raven,
    }
    parts: list[Annotations] = []
    for text in texts:
        kind, _, files = text.partition(":")
        if kind not in readers or not files:
            raise typer.BadParameter(
                f"{text!r} is not KIND:FILES, where KIND is one of {', '.join(readers)}.",
                param_hint="--annotations",
            )
        if label_column is None:
            parts.append(readers[kind](files))
        elif kind in _LABELLED_BY_COLUMN:
            parts.append(readers[kind](files, label=label_column))
        else:
            raise typer.BadParameter(
                f"labels of {kind} are in no column that could be chosen: leave it out.",
                param_hint="--label-column",
            )
    return reduce(annotations.__add__, parts)


def find_detections(
    run: headrace.Run,
    thresholds: tuple[float | None, dict[str, float]],
    classes: Path | None,
    column: str | None,
    smooth: int = 1,
) -> headrace.Detections:
    """Return the detections of a run, as the options of `export` choose them.

    `thresholds` are what `parse_thresholds` returns.
    """
    default, by_label = thresholds
    limits: float | dict[str, float] | None = by_label or None
    if default is not None:
        limits = min([default, *by_label.values()])
    names = None if classes is None else read_names(classes)
    found = run.detections(threshold=limits, classes=names, column=column, smooth=smooth)
    if default is not None and by_label:
        found = found.above(dict.fromkeys(found.labels, default) | by_label)
    return found


def read_names(file: Path) -> list[str]:
    """Return the lines of a text file, without empty ones at its end."""
    try:
        return file.read_text("utf-8-sig").rstrip().splitlines()
    except UnicodeDecodeError:
        raise typer.BadParameter(
            f"{str(file)!r} is not text in UTF-8: save it as such.", param_hint="--classes"
        ) from None
