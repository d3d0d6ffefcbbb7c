"""The most fused multiply-adds per second that one core of this processor can do.

python benchmarks/resampler_peak.py
"""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

# Twelve sums that do not wait for each other, in the widest registers.
_SOURCE = """
#include <time.h>
#if defined(__AVX512F__)
typedef float vec __attribute__((vector_size(64)));
#elif defined(__AVX__)
typedef float vec __attribute__((vector_size(32)));
#else
typedef float vec __attribute__((vector_size(16)));
#endif
double peak(void) {
  struct timespec begin, end;
  const long rounds = 200000;
  volatile float half = 0.5f;  /* not known when this is compiled */
  vec k = {0}, a = k + 1, b = k + 2, c = k + 3, d = k + 4, e = k + 5, f = k + 6;
  vec g = k + 7, h = k + 8, i = k + 9, j = k + 10, l = k + 11, m = k + 12;
  k += half;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &begin);
  for (long r = 0; r < rounds; ++r) {
    a = a * k + k; b = b * k + k; c = c * k + k; d = d * k + k;
    e = e * k + k; f = f * k + k; g = g * k + k; h = h * k + k;
    i = i * k + k; j = j * k + k; l = l * k + k; m = m * k + k;
  }
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &end);
  volatile vec sum = a + b + c + d + e + f + g + h + i + j + l + m;
  (void)sum;
  return 12.0 * rounds * (sizeof(vec) / sizeof(float)) /
         ((end.tv_sec - begin.tv_sec) + 1e-9 * (end.tv_nsec - begin.tv_nsec));
}
"""


@cache
def _compiled() -> ctypes.CDLL | None:
    compiler = shutil.which("cc")
    if compiler is None:
        print("no C compiler here: the peak is not measured")
        return None
    with tempfile.TemporaryDirectory() as folder:
        source, library = Path(folder, "peak.c"), Path(folder, "peak.so")
        source.write_text(_SOURCE)
        options = ["-O2", "-march=native", "-ffp-contract=fast", "-shared", "-fPIC"]
        subprocess.run([compiler, *options, "-o", library, source], check=True)
        loaded = ctypes.CDLL(str(library))
    loaded.peak.restype = ctypes.c_double
    return loaded


def peak() -> float:
    """Return fused multiply-adds per second of one thread; 0 if they cannot be measured."""
    loaded = _compiled()
    return float(loaded.peak()) if loaded else 0.0


if __name__ == "__main__":
    print(f"{max(peak() for _ in range(20)) / 1e9:.1f} thousand million a second")
