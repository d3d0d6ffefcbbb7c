"""Programs that run parts of the kernel, built with sanitizers."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

__all__ = ["fuzz", "run_store_threads", "run_threads"]

HERE = Path(__file__).parent
KERNEL = HERE.parents[1] / "src" / "kernel"
SOURCES = KERNEL / "sources"
"""The part of the kernel that reads files. It needs no Python."""


def fuzz(program: str, folder: Path, *arguments: object) -> list[int]:
    """Feed mutated files to the kernel's own readers.

    Builds ``native/PROGRAM.cpp`` in `folder` with the address and undefined behaviour sanitizers,
    unless it is there, runs it, and returns the numbers that it prints.
    """
    executable = folder / program
    if not executable.exists():
        _build(program, folder, "-fsanitize=address,undefined", sorted(SOURCES.glob("*.cpp")))
    return _run([executable, *arguments])


def run_threads(program: str, folder: Path) -> list[int]:
    """Run the kernel's reader in threads; build and return as `fuzz`, with ThreadSanitizer."""
    sources = [KERNEL / "reader" / f"{name}.cpp" for name in ("file_identities", "reader")]
    sources += [
        KERNEL / "arithmetic" / f"{name}.cpp"
        for name in ("convert", "filter", "instruction_sets", "resample_portable")
    ]
    return _run_threads(program, folder, [*sorted(SOURCES.glob("*.cpp")), *sources])


def run_store_threads(program: str, folder: Path) -> list[int]:
    """Run what shares a store in threads; build and return as `run_threads`."""
    names = ("decode_error", "fetched_store")
    return _run_threads(program, folder, [SOURCES / f"{name}.cpp" for name in names])


def _run_threads(program: str, folder: Path, sources: list[Path]) -> list[int]:
    executable = _build(program, folder, "-fsanitize=thread", sources)
    # This sanitizer cannot run where the system puts memory at very random addresses.
    fixed = shutil.which("setarch")
    return _run([*([fixed, "-R"] if fixed else []), executable, folder])


def _build(program: str, folder: Path, sanitizers: str, sources: list[Path]) -> Path:
    compiler = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
    assert compiler is not None, "headrace itself is built with a C++ compiler"
    subprocess.run(
        [
            compiler, "-std=c++17", "-O1", "-g", sanitizers, "-pthread", "-ffp-contract=off",
            "-fno-sanitize-recover=all", HERE.parent / "kernel" / "native" / f"{program}.cpp",
            "-I", KERNEL, *sources, "-o", folder / program,
        ],
        check=True,
    )  # fmt: skip
    return folder / program


def _run(command: list[object]) -> list[int]:
    run = subprocess.run(
        [*map(str, command)], capture_output=True, text=True, check=False, timeout=120
    )
    assert run.returncode == 0, run.stderr
    return [int(word) for word in run.stdout.split() if word.isdigit()]
