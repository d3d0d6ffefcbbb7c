"""`KernelInfo`: which of the compiled kernel's instruction sets is used here."""

from __future__ import annotations

import os
from dataclasses import dataclass

from headrace import _kernel

__all__ = ["KernelInfo", "kernel_info"]

_VARIABLE = "HEADRACE_INSTRUCTION_SET"


@dataclass(frozen=True, slots=True)
class KernelInfo:
    """What the compiled kernel runs on; see `kernel_info`.

    Attributes
    ----------
    instruction_set : str
        The one in use: the best, or what ``HEADRACE_INSTRUCTION_SET`` says.
    available : tuple of str
        Those that this machine can run, best first; "portable" is always the last. All give the
        same bits.
    lanes : int
        Outputs computed side by side; the same for all instruction sets.
    """

    instruction_set: str
    available: tuple[str, ...]
    lanes: int


def kernel_info() -> KernelInfo:
    """Return which instruction set the kernel uses, and which ones it could use.

    The environment variable ``HEADRACE_INSTRUCTION_SET`` forces one. It is read here, and whenever
    an iteration over a loader begins; unset or empty, the best is used.

    Returns
    -------
    KernelInfo

    Raises
    ------
    ValueError
        ``HEADRACE_INSTRUCTION_SET`` names one that this machine does not have.

    Examples
    --------
    >>> kernel_info()  # doctest: +SKIP
    KernelInfo(instruction_set='avx2', available=('avx2', 'portable'), lanes=16)
    """
    available = tuple(_kernel.instruction_sets())
    chosen = os.environ.get(_VARIABLE) or available[0]
    if chosen not in available:
        raise ValueError(
            f"{_VARIABLE}={chosen} is not usable here: set it to {' or '.join(available)}, or "
            "unset it for the best."
        )
    return KernelInfo(chosen, available, _kernel.LANES)
