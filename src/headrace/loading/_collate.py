"""Make `AudioExample`s and `Batch`es from rows of audio."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from headrace.windows import AudioExample, Batch

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from numpy.typing import NDArray

    from headrace.loading._catalog_columns import CatalogColumns
    from headrace.windows import WindowRows, Windows

__all__ = ["collate", "make_examples"]


def make_examples(
    windows: Windows,
    rows: WindowRows,
    audio: Iterable[NDArray[Any]],
    failed: Collection[int] = (),
    *,
    with_labels: bool = True,
    columns: CatalogColumns | None = None,
) -> Iterator[AudioExample]:
    """Yield an example for each array of `audio`.

    Parameters
    ----------
    windows : Windows
        The windows that the rows belong to.
    rows : WindowRows
        Where each window is.
    audio : iterable of ndarray, each of shape ``windows.shape`` (or ``windows.audio_shape``)
        The audio of each row. Arrays beyond the rows are padding: they are filled with zeros.
    failed : collection of int
        Rows that could not be read. They have no valid samples.
    with_labels : bool
        Whether to look up the labels.
    columns : CatalogColumns, optional
        The columns of the catalog to look up.

    Yields
    ------
    AudioExample
    """
    ids, paths = windows.recordings.native.names(rows.recording)
    spec = windows.spec
    labels, mask = _labels(windows, rows, list(failed)) if with_labels else (None, None)
    starts, indices = rows.start.tolist(), rows.index.tolist()
    sources, valid = rows.source.tolist(), rows.valid.tolist()
    values = {} if columns is None else columns.rows(rows.recording, padding_rows=1)
    for row, samples in enumerate(audio):
        if row >= len(ids):
            samples[:] = 0
            padding = AudioExample(
                *(samples, "", 0.0, spec.sample_rate, "", -1, 0.0, 0),
                columns={name: column[-1] for name, column in values.items()},
            )
            yield (
                padding
                if windows.labels is None
                else replace(
                    padding,
                    labels=np.zeros(len(windows.classes), np.float32),
                    label_mask=np.zeros(len(windows.classes), bool),
                )
            )
            continue
        start = starts[row]
        yield AudioExample(
            audio=samples,
            file_id=ids[row],
            offset=start / spec.sample_rate,
            sample_rate=spec.sample_rate,
            path=paths[row],
            index=indices[row],
            end_s=(start + spec.size) / spec.sample_rate,
            valid_samples=0 if row in failed else valid[row],
            source=sources[row],
            labels=None if labels is None else labels[row],
            label_mask=None if mask is None else mask[row],
            columns={name: column[row] for name, column in values.items()},
        )


def collate(
    windows: Windows,
    rows: WindowRows,
    buffer: NDArray[Any],
    failed: Collection[int],
    state: Mapping[str, Any],
    *,
    drop_failed: bool,
    padding_rows: int,
    columns: CatalogColumns | None = None,
) -> Batch:
    """Return the batch of `rows`, whose audio is in the first rows of `buffer`.

    Parameters
    ----------
    windows : Windows
        The windows that the rows belong to.
    rows : WindowRows
        Where each window is. At most as many rows as `buffer` has.
    buffer : ndarray, shape ``(batch, *windows.shape)``
        The audio. The batch takes it over.
    failed : collection of int
        Rows of zeros, whose windows could not be read.
    state : mapping
        The batch's `state`.
    drop_failed : bool
        Whether failed rows are removed, moving the others up. Otherwise they stay and are marked
        as not valid.
    padding_rows : int
        Rows of zeros to append.
    columns : CatalogColumns, optional
        The columns of the catalog to look up.
    """
    rate = windows.spec.sample_rate
    ids, paths = windows.recordings.native.names(rows.recording)
    index, source, start, samples = rows.index, rows.source, rows.start, rows.valid.copy()
    recording = rows.recording
    valid = np.ones(len(index), bool)
    bad = sorted(failed)
    if bad:
        valid[bad], samples[bad] = False, 0
    labels, mask = _labels(windows, rows, bad)
    if bad and drop_failed:
        good = np.flatnonzero(valid)
        for to, row in enumerate(good):  # in rising order: no row is overwritten before it moves
            buffer[to] = buffer[row]
        index, source, recording, start, samples, valid = (
            a[good] for a in (index, source, recording, start, samples, valid)
        )
        ids, paths = tuple(ids[i] for i in good), tuple(paths[i] for i in good)
        if labels is not None and mask is not None:
            labels, mask = labels[good], mask[good]
    end_s = (start + windows.spec.size) / rate
    offset = start / rate
    if padding_rows:
        buffer[len(index) : len(index) + padding_rows] = 0
        ids, paths = ids + ("",) * padding_rows, paths + ("",) * padding_rows
        index = np.pad(index, (0, padding_rows), constant_values=-1)
        source, samples, valid, offset, end_s = (
            np.pad(a, (0, padding_rows)) for a in (source, samples, valid, offset, end_s)
        )
        if labels is not None and mask is not None:
            labels = np.pad(labels, ((0, padding_rows), (0, 0)))
            mask = np.pad(mask, ((0, padding_rows), (0, 0)))
    return Batch(
        audio=buffer[: len(index)],
        file_id=ids,
        offset=offset,
        sample_rate=rate,
        path=paths,
        index=index,
        end_s=end_s,
        valid_samples=samples,
        source=source,
        valid=valid,
        state=state,
        labels=labels,
        label_mask=mask,
        columns={} if columns is None else columns.rows(recording, padding_rows),
    )


def _labels(
    windows: Windows, rows: WindowRows, failed: list[int]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]] | tuple[None, None]:
    """Return the labels of some windows, and where they are known: nowhere in failed rows."""
    if windows.labels is None:
        return None, None
    labels, mask = windows.labels.rows(rows.recording, rows.start)
    labels[failed], mask[failed] = 0, False
    return labels, mask
