"""What passes between Python and the kernel: types with names, and a stub that tells the truth."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import headrace
from headrace import _kernel
from headrace._kernel import testing

if TYPE_CHECKING:
    from types import ModuleType

ROOT = Path(__file__).parents[2]
KERNEL = ROOT / "src" / "kernel"
STUBS = Path(headrace.__file__).with_name("_kernel")

needs_checkout = pytest.mark.skipif(not KERNEL.is_dir(), reason="needs the checkout")


def names(body: list[ast.stmt]) -> set[str]:
    """Return the names that statements of a stub define."""
    found = set()
    for statement in body:
        if isinstance(statement, ast.ClassDef | ast.FunctionDef):
            found.add(statement.name)
        elif isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            found.add(statement.target.id)
        elif isinstance(statement, ast.Assign):
            found |= {target.id for target in statement.targets if isinstance(target, ast.Name)}
    return {name for name in found if not name.startswith("_")}


def public(values: Any) -> set[str]:
    """Return the names without an underscore before them."""
    return {name for name in values if not name.startswith("_")}


@pytest.mark.parametrize(("module", "stub"), [(_kernel, "__init__"), (testing, "testing")])
def test_the_stub_has_the_names_that_the_module_has(module: ModuleType, stub: str) -> None:
    """Nothing is typed that does not exist, and nothing exists that is not typed."""
    tree = ast.parse((STUBS / f"{stub}.pyi").read_text("utf-8"))

    assert names(tree.body) == public(vars(module)) - {"testing"}
    for statement in tree.body:
        if isinstance(statement, ast.ClassDef) and not statement.name.startswith("_"):
            assert names(statement.body) == public(vars(getattr(module, statement.name)))


FORMAT = {
    "sample_rate": 8_000,
    "channels": 2,
    "sample_type": _kernel.SampleType.INT16,
    "exact_seek": True,
    "sndfile_format": 0x10002,
    "wav_encoding": _kernel.WavEncoding.INT16,
    "opener": None,
    "ffmpeg": None,
}
ANCHOR = {"start": 9, "packets": 2, "offset": 700, "ordinal": 1, "time": -5, "check": 65_535}
ADDRESSES = "open close seek readf_short readf_int readf_float readf_double error strerror"
EXAMPLES: list[tuple[Any, dict[str, Any]]] = [
    (_kernel.SourceFormat, FORMAT),
    (
        _kernel.LibsndfileFunctions,
        dict.fromkeys([*ADDRESSES.split(), "open_virtual", "open_fd"], 64),
    ),
    (_kernel.ScratchSize, {"pcm_bytes": 1, "planes": 2, "inputs": 3, "outputs": 4}),
    (
        _kernel.RecordingFormat,
        {
            "source": _kernel.SourceFormat(**FORMAT),  # type: ignore[arg-type]
            "filter": _kernel.Filter([]),
            "output_up": 2,
            "output_down": 3,
            "chunk": 4,
            "history": 5,
        },
    ),
    (
        _kernel.RecordingFile,
        {
            "id": 7,
            "format": 1,
            "frames": 1 << 44,
            "file_bytes": 9,
            "place": _kernel.Place(path=b"\xff/a.mp3"),
            "seek_points": b"\x00\x01",
        },
    ),
    (
        _kernel.VerifyResult,
        {
            "frames": 9,
            "lost": [(2, 3), (5, 7)],
            "non_finite_samples": 3,
            "first_non_finite": 1,
            "last_non_finite": 8,
            "code": "IO",
            "message": "why",
            "seek_points_exact": False,
            "cancelled": True,
        },
    ),
]
EXAMPLES += [
    (
        _kernel.Place,
        {"path": b"key", "offset": 3, "length": 5, "store": _kernel.MemoryStore({b"key": b"1"})},
    ),
    (_kernel.Anchor, ANCHOR),
    (
        _kernel.FfmpegFormat,
        {
            "functions": _kernel.FfmpegFunctions(dict.fromkeys(_kernel.FFMPEG_FUNCTIONS, 64)),
            "demuxer": "mov",
            "codec": "aac",
            "byte_seek": True,
        },
    ),
]


@pytest.mark.parametrize(
    ("type_", "values"), EXAMPLES, ids=lambda one: getattr(one, "__name__", "")
)
def test_values_are_named_and_read_only(type_: Any, values: dict[str, Any]) -> None:
    """What goes in by its name comes out by its name; by position nothing goes in."""
    one = type_(**values)

    assert {name: getattr(one, name) for name in values} == values
    assert public(dir(one)) == set(values)
    with pytest.raises(TypeError):
        type_(*values.values())
    for name, value in values.items():
        with pytest.raises(AttributeError):
            setattr(one, name, value)


def test_a_stage_shows_its_tables() -> None:
    """Its arrays are views that cannot be written, and outlive it."""
    coefficients, first = np.arange(16, dtype=np.float32), np.array([-3])
    stage = _kernel.FilterStage(coefficients=coefficients, first=first, up=1, down=2, reach=4)

    assert (stage.up, stage.down, stage.reach, stage.phases) == (1, 2, 4, 0)
    views = stage.coefficients, stage.first
    del stage
    assert not any(view.flags.writeable for view in views)
    assert views[0].tolist() == coefficients.tolist()
    assert views[1].tolist() == [-3]


@pytest.mark.parametrize(
    ("type_", "changes", "message"),
    [
        (_kernel.SourceFormat, {"channels": 0}, "channels must be at least 1"),
        (_kernel.SourceFormat, {"opener": print}, "of float32, and does not seek"),
        (_kernel.LibsndfileFunctions, {"seek": 0}, "must not be 0"),
        (
            _kernel.FfmpegFunctions,
            {"addresses": dict.fromkeys(_kernel.FFMPEG_FUNCTIONS, 0)},
            "must not be 0",
        ),
        (_kernel.RecordingFormat, {"chunk": 0}, "chunk must be at least 1"),
        (_kernel.RecordingFile, {"frames": -1}, r"from 0 to 2\^44, not -1"),
        (_kernel.RecordingFile, {"frames": (1 << 44) + 1}, r"from 0 to 2\^44"),
        (_kernel.Place, {"offset": -1}, "from 0 on"),
        (_kernel.Place, {"length": -2}, "from 0 on"),
    ],
)
def test_values_check_themselves(type_: Any, changes: dict[str, Any], message: str) -> None:
    """What cannot be is refused where it is made, not where it is used."""
    values = next((values for one, values in EXAMPLES if one is type_), {})

    with pytest.raises(ValueError, match=message):
        type_(**values | changes)


@needs_checkout
def test_no_two_units_of_the_kernel_include_each_other() -> None:
    """Not in a circle either; and only `python` knows of Python."""
    includes: dict[str, set[str]] = {}
    for path in KERNEL.rglob("*.[ch]*"):
        text = path.read_text("utf-8")
        unit = path.relative_to(KERNEL).with_suffix("").as_posix()
        found = {name.removesuffix(".h") for name in re.findall(r'#include "(.+)"', text)}
        includes.setdefault(unit, set()).update(found - {unit})
        assert unit.startswith("python/") or not re.search("nanobind|Python.h", text), unit

    layers = ["python", "reader", "sources", "arithmetic"]
    below = {"python": layers, "reader": layers[1:], "sources": ["sources"]}
    for unit, found in includes.items():
        folder = unit.partition("/")[0]
        assert {name.partition("/")[0] for name in found} <= {*below.get(folder, [folder])}, unit
    while leaves := {unit for unit, found in includes.items() if not found & includes.keys()}:
        includes = {unit: found - leaves for unit, found in includes.items() if unit not in leaves}
    assert not includes
