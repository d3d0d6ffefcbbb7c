"""A wheel for x86-64 runs on any x86-64: checks the object files in ``build``."""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
from pathlib import Path

import pytest

OBJECTS = sorted((Path(__file__).parents[2] / "build").glob("*/CMakeFiles/**/*.cpp.o"))
NEWER = [path for path in OBJECTS if re.search(r"avx\d+\.cpp", path.name)]

pytestmark = pytest.mark.skipif(
    not NEWER or platform.machine() not in {"x86_64", "AMD64"} or shutil.which("objdump") is None,
    reason="needs objdump, and a build for x86-64 in the checkout (pip install .)",
)

_AVX = re.compile(r"\tv(?!err|erw|mcall|mlaunch|mresume)[a-z]\w+")


def _output(*command: str | Path) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


def _avx_instructions(path: Path) -> list[str]:
    return _AVX.findall(_output("objdump", "-d", "--no-show-raw-insn", path))


def test_only_the_units_for_newer_machines_hold_their_instructions() -> None:
    """Only the files for AVX2 and AVX-512 contain AVX instructions; others do not."""
    older = [path for path in OBJECTS if path not in NEWER]

    assert {"convert.cpp.o", "reader.cpp.o", "nb_ndarray.cpp.o"} <= {path.name for path in older}
    assert all(_avx_instructions(path) for path in NEWER)
    assert [path.name for path in older if _avx_instructions(path)] == []


@pytest.mark.parametrize("path", NEWER, ids=lambda path: path.name)
def test_a_unit_for_newer_machines_offers_the_linker_nothing_else(path: Path) -> None:
    """The linker cannot replace an inline function of another file by one that needs AVX."""
    symbols = _output("nm", "--demangle", "--extern-only", "--defined-only", path).splitlines()
    space = path.name.partition(".")[0].removeprefix("resample_")

    assert len(symbols) == 1
    assert f" T headrace::{space}::resample(" in symbols[0]
