"""Rows of audio -> the `AudioExample` or `Batch` that a consumer gets."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from headrace.windows import AudioExample, Batch

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from numpy.typing import NDArray

    from headrace.windows import WindowRows, Windows

__all__ = ["collate", "examples_of"]


def examples_of(
    windows: Windows,
    rows: WindowRows,
    names: tuple[list[str], list[str]],
    audio: Iterable[NDArray[Any]],
    failed: Collection[int] = (),
    *,
    labelled: bool = True,
) -> Iterator[AudioExample]:
    """Yield an example for each row; those in `failed` have no valid samples.

    Audio beyond the rows is filled with zeros. Labels are worked out where `labelled`.
    """
    ids, paths = names
    spec = windows.spec
    labels, mask = _labels(windows, rows, list(failed)) if labelled else (None, None)
    for row, samples in enumerate(audio):
        if row >= len(ids):
            samples[:] = 0
            nothing = AudioExample(samples, "", 0.0, spec.sample_rate, "", -1, 0.0, 0)
            yield (
                nothing
                if windows.labels is None
                else replace(
                    nothing,
                    labels=np.zeros(len(windows.classes), np.float32),
                    label_mask=np.zeros(len(windows.classes), bool),
                )
            )
            continue
        start = int(rows.start[row])
        yield AudioExample(
            audio=samples,
            file_id=ids[row],
            offset=start / spec.sample_rate,
            sample_rate=spec.sample_rate,
            path=paths[row],
            index=int(rows.index[row]),
            end_s=(start + spec.size) / spec.sample_rate,
            valid_samples=0 if row in failed else int(rows.valid[row]),
            source=int(rows.source[row]),
            labels=None if labels is None else labels[row],
            label_mask=None if mask is None else mask[row],
        )


def collate(
    windows: Windows,
    rows: WindowRows,
    names: tuple[list[str], list[str]],
    slab: NDArray[Any],
    failed: Collection[int],
    state: Mapping[str, Any],
    *,
    skip: bool,
    added: int,
) -> Batch:
    """Return the batch of `rows`, whose audio is in the first rows of `slab`.

    Parameters
    ----------
    windows : Windows
        Whose rows they are.
    rows : Rows
        As many as the slab has, or fewer.
    names : pair of list of str
        The ids and the paths of their recordings.
    slab : ndarray, shape ``(batch, *windows.shape)``
        Becomes the batch's audio.
    failed : collection of int
        Rows of zeros, whose window could not be read.
    state : mapping
        The batch's `state`.
    skip : bool
        Leave failed rows out, moving the others up, rather than marking them not valid.
    added : int
        Rows of zeros to follow.
    """
    rate = windows.spec.sample_rate
    ids, paths = names
    index, source, start, samples = rows.index, rows.source, rows.start, rows.valid.copy()
    valid = np.ones(len(index), bool)
    bad = sorted(failed)
    valid[bad], samples[bad] = False, 0
    labels, mask = _labels(windows, rows, bad)
    if bad and skip:
        good = np.flatnonzero(valid)
        for to, row in enumerate(good):  # rising, so that no row is overwritten before it moves
            slab[to] = slab[row]
        index, source, start, samples, valid = (
            a[good] for a in (index, source, start, samples, valid)
        )
        ids, paths = [ids[i] for i in good], [paths[i] for i in good]
        if labels is not None and mask is not None:
            labels, mask = labels[good], mask[good]
    end_s = (start + windows.spec.size) / rate
    offset = start / rate
    if added:
        slab[len(index) : len(index) + added] = 0
        ids, paths = ids + [""] * added, paths + [""] * added
        index = np.pad(index, (0, added), constant_values=-1)
        source, samples, valid, offset, end_s = (
            np.pad(a, (0, added)) for a in (source, samples, valid, offset, end_s)
        )
        if labels is not None and mask is not None:
            labels = np.pad(labels, ((0, added), (0, 0)))
            mask = np.pad(mask, ((0, added), (0, 0)))
    return Batch(
        audio=slab[: len(index)],
        file_id=tuple(ids),
        offset=offset,
        sample_rate=rate,
        path=tuple(paths),
        index=index,
        end_s=end_s,
        valid_samples=samples,
        source=source,
        valid=valid,
        state=state,
        labels=labels,
        label_mask=mask,
    )


def _labels(
    windows: Windows, rows: WindowRows, failed: list[int]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]] | tuple[None, None]:
    """Return the labels of some windows and where they are known; nowhere in rows of zeros."""
    if windows.labels is None:
        return None, None
    labels, mask = windows.labels.rows(rows.recording, rows.start)
    labels[failed], mask[failed] = 0, False
    return labels, mask
