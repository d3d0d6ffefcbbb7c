"""`AudioExample` and `Batch`: what a loader delivers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from headrace._formatting import format_count

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import numpy as np
    from numpy.typing import NDArray

__all__ = ["AudioExample", "Batch", "MaybeNone"]

MaybeNone: TypeAlias = Any
"""For type checkers: None, where a program nearly always knows that it is not, as with labels of
windows that it has labelled itself. (typeshed uses the same alias.)"""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class AudioExample:
    """One window of audio; unpacks to exactly ``audio, file_id, offset``.

    Attributes
    ----------
    audio : ndarray of float32, shape ``(samples,)``
        With ``channel="all"``, of shape ``(channels, samples)``. In [-1, 1] for PCM (a resampler
        may overshoot slightly). Zeros after the end of the recording.
    file_id : str
        The recording's id; in the course functions, its path.
    offset : float
        Seconds from the start of the recording to the window's first sample.
    sample_rate : int
        Sample rate of the audio in Hz.
    path : str
        Path of the recording's file.
    index : int
        Index of the window in the unshuffled `Windows`; -1 for a row that a shard adds.
    end_s : float
        Seconds from the start of the recording to the window's end, padding included.
    valid_samples : int
        Number of samples before the padding. 0 for a failed window with
        ``on_error="mask"``, and for a row that a shard adds.
    source : int
        Index of the `Windows` given to `concat` or `mix` that the window is from; else 0.
    labels : ndarray of float32, shape ``(classes,)``, or None
        1 for each of the windows' ``classes`` that is present, else 0; None without labels.
    label_mask : ndarray of bool, shape ``(classes,)``, or None
        True for the classes whose presence is known; all False for a failed window.
    columns : mapping of str to object
        The recording's values of the columns that `Windows.loader` was given, by name.
    """

    audio: NDArray[np.float32]
    file_id: str
    offset: float
    sample_rate: int
    path: str
    index: int
    end_s: float
    valid_samples: int
    source: int = 0
    labels: NDArray[np.float32] | MaybeNone = None
    label_mask: NDArray[np.bool_] | MaybeNone = None
    columns: Mapping[str, Any] = field(default_factory=dict)

    def __iter__(self) -> Iterator[Any]:
        return iter((self.audio, self.file_id, self.offset))

    def __repr__(self) -> str:
        return (
            f"<AudioExample: {self.file_id} from {self.offset:g} s to {self.end_s:g} s at "
            f"{self.sample_rate} Hz, audio of shape {self.audio.shape}, "
            f"{self.valid_samples:,} samples valid, index {self.index}>"
        )

    def _repr_html_(self) -> str:
        from headrace.display import example_card

        return example_card(self)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Batch:
    """Several windows in one array; unpacks to exactly ``audio, file_id, offset``.

    Attributes
    ----------
    audio : ndarray of float32, shape ``(batch, samples)`` or ``(batch, channels, samples)``
        The array belongs to the loader, which reuses it only when nothing refers to it.
    file_id, path : tuple of str
        As in `AudioExample`; ``""`` in the rows that ``last="pad"`` or a shard's
        ``remainder="mask"`` adds.
    offset, end_s : ndarray of float64, shape ``(batch,)``
        As in `AudioExample`, in seconds.
    index, valid_samples : ndarray of int64, shape ``(batch,)``
        As in `AudioExample`; -1 and 0 in added rows.
    source : ndarray of int64, shape ``(batch,)``
        As in `AudioExample`; 0 in added rows.
    valid : ndarray of bool, shape ``(batch,)``
        False for rows without a window: failed (``on_error="mask"``) or added.
    sample_rate : int
        Sample rate of the audio in Hz.
    state : mapping
        The state from which a loader resumes after this batch: see `Loader.load_state_dict`.
    labels, label_mask : ndarray of float32 and of bool, shape ``(batch, classes)``, or None
        As in `AudioExample`: multi-hot rows, and which of their values are known.
    columns : mapping of str to ndarray of shape ``(batch,)``
        The values of the columns that `Windows.loader` was given, by name, for each row. Numbers
        have the column's dtype, or float64 with NaN if it has nulls; times are datetime64, in UTC;
        texts and others are objects, and null is None. Added rows have 0, NaN, False, ``""`` or
        None.
    """

    audio: NDArray[np.float32]
    file_id: tuple[str, ...]
    offset: NDArray[np.float64]
    sample_rate: int
    path: tuple[str, ...]
    index: NDArray[np.int64]
    end_s: NDArray[np.float64]
    valid_samples: NDArray[np.int64]
    source: NDArray[np.int64]
    valid: NDArray[np.bool_]
    state: Mapping[str, Any]
    labels: NDArray[np.float32] | MaybeNone = None
    label_mask: NDArray[np.bool_] | MaybeNone = None
    columns: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    def __iter__(self) -> Iterator[Any]:
        return iter((self.audio, self.file_id, self.offset))

    def __len__(self) -> int:
        return len(self.audio)

    def __repr__(self) -> str:
        recordings = len({*self.file_id} - {""})
        return (
            f"<Batch: {format_count(len(self), 'window')} at {self.sample_rate} Hz of "
            f"{format_count(recordings, 'recording')}, audio of shape {self.audio.shape}, "
            f"{int(self.valid.sum())} valid>"
        )
