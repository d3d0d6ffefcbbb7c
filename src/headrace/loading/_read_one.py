"""Read a single window in the calling thread: `windows[i]`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from headrace.concurrency import CancellationToken
from headrace.errors import ReadError
from headrace.loading._collate import make_examples
from headrace.loading._fetching import make_fetcher
from headrace.loading._plan import Plan
from headrace.loading._reader import Reader
from headrace.loading._transforming_reader import read_function
from headrace.loading._work_items import ReadGroup

if TYPE_CHECKING:
    from headrace.loading._catalog_columns import CatalogColumns
    from headrace.windows import AudioExample, Windows

__all__ = ["read_one"]


def read_one(
    windows: Windows, position: int, epoch: int = 0, columns: CatalogColumns | None = None
) -> AudioExample:
    """Return the window at a position of the shard's first epoch, read in this thread.

    Parameters
    ----------
    windows : Windows
        The windows.
    position : int
        From 0; the order is that of epoch 0.
    epoch : int
        The epoch of the random numbers: those of jitter and of transforms.
    columns : CatalogColumns, optional
        The catalog's columns that the example has.

    Raises
    ------
    ReadError
        The window cannot be read.
    """
    share = windows.share
    places = share.positions(position * share.step, 1, windows.positions)
    rows = windows.first_epoch_rows(places, epoch)
    audio = np.empty(windows.shape, windows.dtype)
    if not len(places):  # a row of padding
        return next(make_examples(windows, rows, [audio], columns=columns))
    plan = Plan(windows, batch_size=None, workers=0, prefetch="auto", memory=None, last="keep")
    fetcher = make_fetcher(windows.recordings, plan)
    reader = Reader(plan, fetcher=fetcher)
    try:
        group = ReadGroup(rows, 0, 1, windows.spec.size, None, epoch)
        reader.announce(group)
        read = read_function(reader, windows, tolerant=False)
        result = read(group, [audio], CancellationToken())
    finally:
        reader.close()
        if fetcher is not None:
            fetcher.close()
    if result.failures:
        raise ReadError(replace(result.failures[0], index=int(rows.index[0])))
    return next(make_examples(windows, rows, [audio], columns=columns))
