"""Programs that run parts of the kernel, built with sanitizers."""

from __future__ import annotations

import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

__all__ = ["fuzz", "run_store_threads", "run_threads"]

HERE = Path(__file__).parent
KERNEL = HERE.parents[1] / "src" / "kernel"
SOURCES = KERNEL / "sources"
"""The part of the kernel that reads files. It needs no Python."""

FLAGS = ("-std=c++17", "-O1", "-g", "-pthread", "-ffp-contract=off", "-fno-sanitize-recover=all")


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
    names = ("block_files", "crc32", "decode_error", "fetched_store")
    return _run_threads(program, folder, [SOURCES / f"{name}.cpp" for name in names])


def _run_threads(program: str, folder: Path, sources: list[Path]) -> list[int]:
    executable = _build(program, folder, "-fsanitize=thread", sources)
    # This sanitizer cannot run where the system puts memory at very random addresses.
    fixed = shutil.which("setarch")
    return _run([*([fixed, "-R"] if fixed else []), executable, folder])


def _build(program: str, folder: Path, sanitizers: str, sources: list[Path]) -> Path:
    main = HERE.parent / "kernel" / "native" / f"{program}.cpp"
    objects = _compile(
        sources, _shared(folder) / sanitizers.replace(",", "-").strip("-"), sanitizers
    )
    _call(sanitizers, main, "-I", KERNEL, *objects, "-o", folder / program)
    return folder / program


def _shared(folder: Path) -> Path:
    """Return the folder of this run of pytest, which its processes share."""
    return next(one for one in folder.parents if re.fullmatch(r"pytest-\d+", one.name))


def _compile(sources: list[Path], objects: Path, sanitizers: str) -> list[Path]:
    """Compile what no other test of this run has compiled; one process at a time."""
    import fcntl  # Windows has none, and runs none of these programs

    objects.mkdir(exist_ok=True)
    made = {source: objects / f"{source.parent.name}-{source.stem}.o" for source in sources}
    with (objects / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        missing = [source for source in sources if not made[source].exists()]
        with ThreadPoolExecutor(2) as pool:
            for _ in pool.map(lambda one: _compile_one(one, made[one], sanitizers), missing):
                pass
    return [*made.values()]


def _compile_one(source: Path, made: Path, sanitizers: str) -> None:
    part = made.with_suffix(".part")
    _call(sanitizers, "-I", KERNEL, "-c", source, "-o", part)
    part.rename(made)


def _call(*arguments: object) -> None:
    compiler = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
    assert compiler is not None, "headrace itself is built with a C++ compiler"
    subprocess.run([compiler, *FLAGS, *map(str, arguments)], check=True)


def _run(command: list[object]) -> list[int]:
    run = subprocess.run(
        [*map(str, command)], capture_output=True, text=True, check=False, timeout=120
    )
    assert run.returncode == 0, run.stderr
    return [int(word) for word in run.stdout.split() if word.isdigit()]
