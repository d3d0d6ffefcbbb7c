from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

import headrace
from headrace import _kernel
from headrace.dsp._resampler import resampler

SETS = _kernel.instruction_sets()
VARIABLE = "HEADRACE_INSTRUCTION_SET"


@pytest.fixture(autouse=True)
def _nothing_forced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)


def _windows(pattern: str) -> headrace.Windows:
    return headrace.scan(pattern).windows(sample_rate=12_000, window_s=0.5, hop_s=0.3)


def test_the_best_is_used_unless_another_is_forced(monkeypatch: pytest.MonkeyPatch) -> None:
    """The best set comes first, "portable" last, and an empty variable selects nothing."""
    info = headrace.kernel_info()
    monkeypatch.setenv(VARIABLE, "")

    assert headrace.kernel_info() == info
    assert info.instruction_set == info.available[0]
    assert info.available == tuple(SETS)
    assert info.available[-1] == "portable"
    assert info.lanes == _kernel.LANES


def test_the_answer_is_a_value() -> None:
    """The result is immutable: changing it cannot change what runs."""
    info = headrace.kernel_info()

    with pytest.raises(dataclasses.FrozenInstanceError):
        info.instruction_set = "portable"  # type: ignore[misc]


@pytest.mark.parametrize("name", SETS)
def test_what_is_forced_is_what_readers_use(
    name: str, archive: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A loader and indexing both use the instruction set that the variable names."""
    used = []

    class Spy(_kernel.Reader):
        def __init__(self, **arguments: Any) -> None:
            used.append(arguments["instruction_set"])
            super().__init__(**arguments)

    monkeypatch.setattr(_kernel, "Reader", Spy)
    monkeypatch.setenv(VARIABLE, name)
    windows = _windows(archive)

    assert headrace.kernel_info().instruction_set == name
    assert len(windows[0].audio) == 6_000
    with windows.loader(batch_size=4, workers=1) as loader:
        next(iter(loader))
    assert used == [name, name]


@pytest.mark.parametrize("name", SETS)
def test_windows_are_the_same_bits_on_every_set(
    name: str, archive: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every set gives the same bits, for one window, in a loader, and in a batch."""
    windows = _windows(archive)
    expected = [example.audio.tobytes() for example in windows.loader(workers=1)]
    monkeypatch.setenv(VARIABLE, name)

    alone = [windows[i].audio.tobytes() for i in range(len(windows))]
    with windows.loader(workers=2) as loader:
        single = [example.audio.tobytes() for example in loader]
    with windows.loader(batch_size=4, workers=2) as loader:
        batched = [row.tobytes() for batch in loader for row in batch.audio]

    assert alone == expected
    assert single == expected
    assert batched == expected


@pytest.mark.parametrize("name", SETS)
def test_the_resampler_uses_what_is_forced_or_given(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The caller's instruction set takes precedence over the variable; the bits are the same."""
    table = resampler(22_050, 16_000)
    begin, end = table.span(0, 1_000)
    x = np.linspace(-1, 1, end - begin, dtype=np.float32)
    expected, forced, given = np.empty((3, 1_000), np.float32)
    table(x, begin, expected, 0)

    monkeypatch.setenv(VARIABLE, name)
    table(x, begin, forced, 0)
    monkeypatch.setenv(VARIABLE, "sse9")
    table(x, begin, given, 0, instruction_set=name)

    assert forced.tobytes() == expected.tobytes()
    assert given.tobytes() == expected.tobytes()
    with pytest.raises(ValueError, match=f"^{VARIABLE}=sse9 is not usable here"):
        table(x, begin, given, 0)


def test_a_name_that_is_none_of_this_machines_is_refused_in_a_sentence(
    archive: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message names the variable and the available sets; without the variable it works."""
    windows = _windows(archive)
    loader = windows.loader(batch_size=2, workers=1)
    monkeypatch.setenv(VARIABLE, "AVX9")
    sentence = f"^{VARIABLE}=AVX9 is not usable here: set it to .*portable, or unset it .*\\.$"

    for read in (headrace.kernel_info, lambda: windows[0], lambda: next(iter(loader))):
        with pytest.raises(ValueError, match=sentence):
            read()

    monkeypatch.delenv(VARIABLE)
    assert len(list(loader)) == len(loader)
