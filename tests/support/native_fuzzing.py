"""Programs that feed mutated files to the kernel's own readers, built with sanitizers."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

__all__ = ["fuzz"]

HERE = Path(__file__).parent
SOURCES = HERE.parents[1] / "src" / "kernel" / "sources"
"""The part of the kernel that reads files. It needs no Python."""


def fuzz(program: str, folder: Path, *arguments: object) -> list[int]:
    """Build ``native/PROGRAM.cpp`` in `folder`, unless it is there, and run it.

    Returns
    -------
    list of int
        The numbers that it prints.
    """
    if not (folder / program).exists():
        _build(program, folder)
    run = subprocess.run(
        [folder / program, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert run.returncode == 0, run.stderr
    return [int(word) for word in run.stdout.split() if word.isdigit()]


def _build(program: str, folder: Path) -> None:
    compiler = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
    assert compiler is not None, "headrace itself is built with a C++ compiler"
    subprocess.run(
        [
            compiler, "-std=c++17", "-O1", "-g", "-fsanitize=address,undefined",
            "-fno-sanitize-recover=all", HERE.parent / "kernel" / "native" / f"{program}.cpp",
            "-I", SOURCES.parent, *sorted(SOURCES.glob("*.cpp")), "-o", folder / program,
        ],
        check=True,
    )  # fmt: skip
