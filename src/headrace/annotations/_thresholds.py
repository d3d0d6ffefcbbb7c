"""The least score that counts, for all labels or for each."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np

from headrace._formatting import brief
from headrace.errors import AnnotationError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa
    from numpy.typing import NDArray

    from headrace.errors import HeadraceError

__all__ = ["at_least", "class_thresholds"]


def class_thresholds(
    threshold: float | Mapping[str, float],
    classes: Sequence[str],
    error: type[HeadraceError] = AnnotationError,
) -> NDArray[np.float32]:
    """Return the least score that counts for each class: infinity for classes not in a mapping.

    Raises
    ------
    HeadraceError
        Of the type `error`: a threshold is not a number, or a mapping names something else than a
        class.
    """
    if isinstance(threshold, Mapping):
        known = set(classes)
        if unknown := [name for name in threshold if name not in known]:
            raise error(
                f"threshold= has {brief(unknown[0])}, which is not one of the {len(classes)} "
                f"classes, such as {classes[0] if classes else None!r}: name classes as they are "
                "written."
            )
        values = [threshold.get(name, np.inf) for name in classes]
    else:
        values = [threshold] * len(classes)
    for value in values:
        if not isinstance(value, Real) or isinstance(value, bool) or np.isnan(float(value)):
            raise error(f"A threshold must be a number, not {brief(value)}.")
    return np.array(values, np.float32)


def at_least(
    threshold: float | Mapping[str, float],
    labels: pa.Array,
    scores: pa.Array,
    classes: Sequence[str] | None = None,
    *,
    error: type[HeadraceError] = AnnotationError,
) -> Any:  # noqa: ANN401  an ndarray of bool
    """Return for each event whether its score reaches the threshold of its label; null: no.

    Parameters
    ----------
    threshold : float or mapping of str to float
        For all labels, or for each that counts.
    labels, scores : Arrow array
        Of the events.
    classes : sequence of str, optional
        All labels that may occur. Default: those in `labels` and `threshold`.
    error : type
        The exception to raise.

    Raises
    ------
    HeadraceError
        Of the type `error`: a threshold is not a number, or is for a label that is not in
        `classes`.
    """
    encoded = labels.dictionary_encode(null_encoding="encode")
    present = encoded.dictionary.to_pylist()
    named = [*threshold] if isinstance(threshold, Mapping) else []
    known = list(classes) if classes is not None else [*present, *named]
    limits = dict(zip(known, class_thresholds(threshold, known, error).tolist(), strict=True))
    limit_of_code = np.array([limits.get(label, np.inf) for label in present], np.float32)
    codes = encoded.indices.to_numpy(zero_copy_only=False)
    return scores.cast("double").to_numpy(zero_copy_only=False) >= limit_of_code[codes]
