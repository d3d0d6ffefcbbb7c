"""Embeddings of windows -> a perch-hoplite database, which people search by example."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from headrace.detections._result_batches import each_batch, find_column, results_schema
from headrace.detections._scores import score_matrix
from headrace.errors import ResultsError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["write_to_hoplite"]

_DECIMALS: Final = 6
"""Windows whose times agree to a microsecond are one, as in hoplite itself."""


def write_to_hoplite(
    results: Any,  # noqa: ANN401  tables and datasets of several libraries
    db: Any,  # noqa: ANN401  perch-hoplite is optional
    *,
    column: str | None = None,
) -> int:
    """Add the embeddings in results to a perch-hoplite database.

    Recordings are named by their ids. Windows that the database has are not added again. All are
    committed together at the end.

    Parameters
    ----------
    results : Arrow table or dataset, pandas DataFrame
        A row for each window: ``id``, ``start_s``, ``end_s`` and a column of embeddings.
    db : perch_hoplite.db.interface.HopliteDBInterface
        The open database, such as a ``SQLiteUSearchDB``.
    column : str, optional
        The column of embeddings: lists of numbers. Default: the only one of the right length.

    Returns
    -------
    int
        The number of windows added.

    Raises
    ------
    ResultsError
        There is no such column, or its embeddings are not as long as those of the database.
    """
    results, schema = results_schema(results)
    size = int(db.get_embedding_dim())
    column = find_column(schema, column, size, detections=False)
    recordings = {recording.filename: recording.id for recording in db.get_all_recordings()}
    known = {_key(window.recording_id, window.offsets[0]) for window in db.get_all_windows()}
    added = 0
    try:
        for batch in each_batch(results, column):
            embeddings = _matrix(batch.values, size, column)
            rows, windows = [], []
            times = zip(batch.start_s.tolist(), batch.end_s.tolist(), strict=True)
            for row, (name, (start, end)) in enumerate(
                zip(batch.ids.to_pylist(), times, strict=True)
            ):
                if name not in recordings:
                    recordings[name] = db.insert_recording(filename=name)
                key = _key(recordings[name], start)
                if key not in known:
                    known.add(key)
                    rows.append(row)
                    windows.append({"recording_id": key[0], "offsets": [start, end]})
            if windows:
                db.insert_windows_batch(windows, embeddings[rows], handle_duplicates="allow")
            added += len(windows)
    except BaseException:
        db.rollback()
        raise
    db.commit()
    return added


def _key(recording: int, start_s: float) -> tuple[int, float]:
    return recording, round(float(start_s), _DECIMALS)


def _matrix(values: Any, size: int, column: str) -> NDArray[np.float32]:  # noqa: ANN401
    try:
        return score_matrix(values, size, column)
    except ResultsError:
        raise ResultsError(
            f"The column {column!r} holds {values.type}, but the embeddings of the database have "
            f"{size} numbers: give another column=, or create the database with this size."
        ) from None
