"""`KernelInfo`: the instruction set that the compiled kernel uses on this machine."""

from __future__ import annotations

import os
from dataclasses import dataclass

from headrace import _kernel

__all__ = ["KernelInfo", "kernel_info"]

_VARIABLE = "HEADRACE_INSTRUCTION_SET"


@dataclass(frozen=True, slots=True)
class KernelInfo:
    """The instruction sets of the compiled kernel; see `kernel_info`.

    Attributes
    ----------
    instruction_set : str
        The one in use: the best, or the value of ``HEADRACE_INSTRUCTION_SET``.
    available : tuple of str
        Those that this machine can run, best first; the last is always "portable". All of them give
        the same bits.
    lanes : int
        Outputs that are computed together; the same for all instruction sets.
    """

    instruction_set: str
    available: tuple[str, ...]
    lanes: int


def kernel_info() -> KernelInfo:
    """Return the instruction set that the kernel uses, and those that it could use.

    The environment variable ``HEADRACE_INSTRUCTION_SET`` selects one. It is read here, and whenever
    an iteration over a loader begins. If it is unset or empty, the best is used.

    Returns
    -------
    KernelInfo

    Raises
    ------
    ValueError
        ``HEADRACE_INSTRUCTION_SET`` is an instruction set that this machine does not have.

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
