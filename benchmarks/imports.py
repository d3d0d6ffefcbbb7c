"""The time that `import headrace` adds to importing numpy and soundfile, in new interpreters.

python benchmarks/imports.py
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time

import corpus

BASE = "import numpy, soundfile"
OURS = "import headrace"
USED = "import headrace; headrace.scan, headrace.Windows, headrace.Loader"


def seconds(code: str) -> float:
    """Return the wall time of an interpreter that runs `code`."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return time.perf_counter() - began


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=21)
    arguments = parser.parse_args()
    rounds = [
        [seconds(code) for code in ("pass", BASE, OURS, USED)] for _ in range(arguments.rounds + 1)
    ][1:]
    print(corpus.machine())
    for i, code in enumerate(("pass", BASE, OURS, USED)):
        wall = statistics.median(one[i] for one in rounds)
        ratio = statistics.median(one[i] / one[1] for one in rounds)
        print(f"{wall * 1e3:7.1f} ms  {ratio:5.2f} x  {code}")


if __name__ == "__main__":
    main()
