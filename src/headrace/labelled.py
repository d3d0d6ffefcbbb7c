"""`Labelled`: what `Windows` can do with labels."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, cast

from headrace.errors import WindowsError
from headrace.labels import Labels

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Self

    import numpy as np
    from numpy.typing import NDArray

    from headrace.annotations import Annotations
    from headrace.labels import Unannotated
    from headrace.windows import Windows

__all__ = ["Labelled"]


class Labelled:
    """The part of `Windows` that is about labels.

    Attributes
    ----------
    labels : Labels or None
        From where batches and examples get theirs; views of labelled windows keep it.
    """

    labels: Labels | None = None

    def label(
        self,
        annotations: Annotations,
        classes: Iterable[str] | None = None,
        *,
        min_overlap_s: float | None = None,
        min_fraction: float | None = None,
        unannotated: Unannotated = "error",
        ignore: Iterable[str] = (),
    ) -> Self:
        """Return the same windows, whose batches and examples have labels.

        An event counts in a window if they share a sample: [start_s, end_s), rounded to samples,
        and [start, start + size). With `min_overlap_s` or `min_fraction` they must share so much;
        with both, one of the two is enough. A label of a whole recording counts in all its windows.

        Parameters
        ----------
        annotations : Annotations
            Matched to the recordings by path, unless `Annotations.match` has done it already.
        classes : iterable of str, optional
            The classes, in the order of the columns; default all labels of `annotations`, sorted.
            Events of other labels are as if they were not there.
        min_overlap_s : float, optional
            Seconds; at most those of a window.
        min_fraction : float, optional
            Between 0 and 1: of the event, or of the window where that is shorter.
        unannotated : {"error", "negative", "mask"}
            What recordings are of which `annotations` says nothing: refused, silent, or not known.
        ignore : iterable of str
            Labels that are no class. Where one counts, or an event without a label does, it is not
            known which classes are heard, beside those labelled.

        Raises
        ------
        AnnotationError
            An argument is none of the above; a recording is not annotated; a file may be two
            recordings, or none is any.

        Warns
        -----
        HeadraceWarning
            Annotated files are no recording; events lie behind the end of theirs; a class is no
            event's label, while other labels are no class.
        """
        view = copy.copy(self)
        view.labels = Labels.of(
            cast("Windows", self),
            annotations,
            classes,
            min_overlap_s=min_overlap_s,
            min_fraction=min_fraction,
            unannotated=unannotated,
            ignore=ignore,
        )
        return view

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the columns of labels; none without labels."""
        return () if self.labels is None else self.labels.classes

    @property
    def label_row_bytes(self) -> int:
        """Bytes of one window's labels and mask."""
        return 0 if self.labels is None else self.labels.row_bytes

    @property
    def label_bytes(self) -> int:
        """Bytes of what labels are made from."""
        return 0 if self.labels is None else self.labels.nbytes

    def label_counts(self) -> dict[str, int]:
        """Return in how many of these windows each class is, counted without a matrix.

        Of the unshuffled set, whatever the order and the shard: of windows that are sampled or
        mixed, not how often they are drawn; on a shard, those of all ranks.

        Raises
        ------
        WindowsError
            The windows have no labels.
        """
        return self._need_labels().counts(cast("Windows", self))

    def balanced_weights(self) -> NDArray[np.float64]:
        """Return weights by which windows may be drawn so that rare classes are drawn as often.

        A window's weight is the sum, over its classes, of 1 / the number of windows of that class:
        where no window has two classes, all are drawn equally often. Windows in which nothing is
        labelled are weighed like one more class; those of which nothing is known have 0.

        Returns
        -------
        ndarray of float64, one for each window
            In the order of the unshuffled set, as `sample` wants them; their sum is 1.

        Raises
        ------
        WindowsError
            The windows have no labels.
        """
        return self._need_labels().balanced_weights(cast("Windows", self))

    def _need_labels(self) -> Labels:
        if self.labels is None:
            raise WindowsError("these windows have no labels: say windows.label(annotations).")
        return self.labels
