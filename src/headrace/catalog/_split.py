"""Split recordings into parts that share no group: `Catalog.split`.

A group is the recordings that have one value of a column. Everything here is about groups, so that
no group can be in two parts.
"""

from __future__ import annotations

import hashlib
import math
import warnings
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from headrace._apportion import apportion
from headrace._formatting import brief, brief_list, format_count
from headrace._validation import arrow_errors_explained, check_choice
from headrace.catalog._table import as_table
from headrace.errors import CatalogError, HeadraceWarning

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

__all__ = [
    "Balance",
    "Groups",
    "PartRows",
    "describe_parts",
    "group_rows",
    "split_by_shares",
    "split_by_time",
    "table_of_parts",
]

Balance = Literal["groups", "duration"]

_REST = "rest"
_LISTED = 8
"""Values or labels that a sentence or a printed table lists: what fits on a line or two."""


@dataclass(frozen=True, eq=False)
class Groups:
    """The rows of a table by their value of a column.

    Attributes
    ----------
    distinct : Arrow array
        The distinct values, in the order of their first rows.
    numbers : ndarray of int64, shape ``(rows,)``
        Index of each row's value in `distinct`.
    """

    distinct: pa.Array
    numbers: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.distinct)


@dataclass(frozen=True, eq=False)
class PartRows:
    """Which part each row of a catalog belongs to.

    Attributes
    ----------
    names : tuple of str
        The parts.
    shares : tuple of (float or None)
        The share that each part was given.
    of_row : ndarray of int64, shape ``(rows,)``
        Index of each row's part.
    groups : Groups
        The groups that stay together.
    labels : Groups or None
        With `stratify`: the labels, and the label of each of `label_rows`.
    label_rows : ndarray of int64
        A row of the catalog for each label that it has.
    """

    names: tuple[str, ...]
    shares: tuple[float | None, ...]
    of_row: NDArray[np.int64]
    groups: Groups
    labels: Groups | None
    label_rows: NDArray[np.int64]


def group_rows(table: pa.Table, by: str) -> Groups:
    """Return the groups of a catalog's rows that have one value of a column.

    Parameters
    ----------
    table : Arrow table
        A catalog's table.
    by : str
        A column, or ``"recording"`` for groups of one recording each.

    Raises
    ------
    CatalogError
        There is no such column, its type cannot be grouped, a value is missing, or `by` is
        ambiguous.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    if by == "recording" and by in table.column_names:
        raise CatalogError(
            'by="recording" is ambiguous, because there is a column "recording": use by="id" '
            "to keep each recording together, or rename the column to split by it."
        )
    column = table["id"] if by == "recording" else _column(table, by)
    with _grouping_explained(by, column):
        if pa.types.is_dictionary(column.type):  # may contain values that no row has
            column = column.cast(column.type.value_type)
        column = column.combine_chunks()
    if column.null_count:
        row = pc.index(pc.is_null(column), value=True).as_py()
        raise CatalogError(
            f"The column {by!r} has no value for {table['id'][row].as_py()}: fill it, or filter."
        )
    with _grouping_explained(by, column):
        return _groups(column)


def _groups(column: pa.Array) -> Groups:
    encoded = column.dictionary_encode()
    return Groups(encoded.dictionary, encoded.indices.to_numpy().astype(np.int64))


def _column(table: pa.Table, name: str) -> pa.ChunkedArray:
    if name not in table.column_names:
        raise CatalogError(
            f"There is no column {name!r}: there are {brief_list(table.column_names)}."
        )
    return table[name]


def _grouping_explained(by: str, column: pa.ChunkedArray) -> Any:  # noqa: ANN401  a context
    return arrow_errors_explained(
        f"The recordings cannot be split by {by!r}, which is {column.type}",
        "Give a column of texts or numbers.",
    )


def split_by_shares(
    table: pa.Table,
    parts: Mapping[str, Any],
    by: str,
    *,
    balance: Balance,
    stratify: object,
    seed: int,
) -> PartRows:
    """Return the parts of a catalog's rows by shares and named values: see `Catalog.split`."""
    check_choice("balance", balance, ("groups", "duration"))
    if not isinstance(parts, Mapping):
        raise CatalogError(
            "parts must be a mapping of names to shares or to lists of values; a list of names is "
            "only for a split by time, with before=."
        )
    named = {
        name: list(values)
        for name, values in parts.items()
        if isinstance(values, Iterable) and not isinstance(values, str | bytes | Mapping)
    }
    shares = _check_shares({name: parts[name] for name in parts if name not in named}, parts)
    if balance == "duration" and not shares:
        raise CatalogError(
            'balance="duration" is about the parts that have a share, and none has: leave it out.'
        )
    groups = group_rows(table, by)
    labels, label_rows = _labels(table, stratify)
    names = [*parts]
    with _grouping_explained(by, groups.distinct):
        keys = np.empty(len(groups), object)  # of Python's values, also where they are lists
        keys[:] = groups.distinct.to_pylist()
    part_of_group = _named_groups(by, keys.tolist(), named, names)
    rest = np.flatnonzero(part_of_group < 0)
    given: list[float | None] = [shares.get(name) for name in names]
    if shares:
        if len(rest) < len(shares):
            others = f" that {'is' if len(rest) == 1 else 'are'} not named" if named else ""
            raise CatalogError(
                f"{format_count(len(rest), 'value')} of {by!r}{others} cannot be split into "
                f"{len(shares)} parts, because groups stay together: give fewer parts, or "
                "split by a column with more values."
            )
        fractions = np.array([*shares.values()])
        if balance == "groups" and labels is None:
            chosen = _by_hash(keys[rest].tolist(), fractions, seed)
        else:
            sizes = _sizes(table, groups, balance, labels, label_rows)[rest]
            chosen = _by_size(keys[rest].tolist(), sizes, fractions, seed)
        part_of_group[rest] = np.array([names.index(name) for name in shares])[chosen]
    elif len(rest):
        if _REST in names:
            raise CatalogError(
                f'the part "{_REST}" would also get the {format_count(len(rest), "value")} of '
                f"{by!r} that {'is' if len(rest) == 1 else 'are'} not named: give it another name, "
                "or all values."
            )
        part_of_group[rest] = len(names)
        names.append(_REST)
        given.append(None)
    result = PartRows(
        tuple(names), tuple(given), part_of_group[groups.numbers], groups, labels, label_rows
    )
    _warn_of_small_parts(table, result, balance)
    return result


def _check_shares(shares: Mapping[str, Any], parts: Mapping[str, Any]) -> dict[str, float]:
    try:
        values = {name: float(share) for name, share in shares.items()}
    except (TypeError, ValueError):
        values = {"": math.nan}
    total = math.fsum(values.values())
    some = len(values) or not len(parts)
    if some and (
        not all(share > 0 for share in values.values())
        or not math.isclose(total, 1.0, abs_tol=1e-9)
    ):
        texts = any(isinstance(share, str) for share in shares.values())
        lists = " Values of the column stand in a list." if texts else ""
        raise CatalogError(
            f"The shares must be positive numbers that sum to 1, not {brief(dict(shares))}: to "
            f"leave recordings out, give them a part of their own.{lists}"
        )
    return values


def _named_groups(
    by: str, keys: list[Any], named: Mapping[str, list[Any]], names: list[str]
) -> NDArray[np.int64]:
    """Return the index of each group's part, -1 for groups that no part names."""
    part_of_group = np.full(len(keys), -1, np.int64)
    numbers = {value: number for number, value in enumerate(keys)} if named else {}
    for name, values in named.items():
        if not values:
            raise CatalogError(f"The part {name!r} names no value: name some, or leave it out.")
        for value in values:
            plain = value.item() if isinstance(value, np.generic) else value
            plain = plain.as_py() if hasattr(plain, "as_py") else plain  # Arrow's scalars
            number = numbers.get(plain) if isinstance(plain, Hashable) else None
            if number is None:
                raise CatalogError(
                    f"No recording has {by}={brief(plain)}, which the part {name!r} names: "
                    f"there are {_listed([*numbers]) or 'none'}."
                )
            if part_of_group[number] >= 0:
                raise CatalogError(
                    f"{by}={brief(plain)} is named twice, and can be in one part only: "
                    "leave one out."
                )
            part_of_group[number] = names.index(name)
    return part_of_group


def _listed(values: Sequence[object]) -> str:
    more = f" and {len(values) - _LISTED} more" if len(values) > _LISTED else ""
    return ", ".join(map(repr, values[:_LISTED])) + more


def _hashes(keys: list[Any], seed: int) -> NDArray[np.uint64]:
    hashes = b"".join(
        hashlib.blake2b(f"headrace:split:{seed}:{key}".encode(), digest_size=8).digest()
        for key in keys
    )
    return np.frombuffer(hashes, "<u8")


def _by_hash(keys: list[Any], shares: NDArray[np.float64], seed: int) -> NDArray[np.int64]:
    """Return the part of each group: the groups are sorted by a hash, and cut by their number."""
    counts = apportion(shares, len(keys))
    while (counts == 0).any():
        counts[counts.argmax()] -= 1
        counts[(counts == 0).argmax()] += 1
    part = np.empty(len(keys), np.int64)
    part[np.argsort(_hashes(keys, seed), kind="stable")] = np.repeat(np.arange(len(shares)), counts)
    return part


def _sizes(
    table: pa.Table,
    groups: Groups,
    balance: Balance,
    labels: Groups | None,
    label_rows: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Return what is balanced: for each group its size, and its number of each label.

    Each column sums to 1, or to 0. The labels together weigh as much as the size.
    """
    size = np.ones(len(groups))
    if balance == "duration":
        size[:] = np.bincount(groups.numbers, _seconds(table), minlength=len(groups))
    columns = [size[:, None] / size.sum()]
    if labels is not None:
        of_label = groups.numbers[label_rows]
        by_label = _count_labels(of_label, len(groups), labels).astype(np.float64)
        columns.append(by_label / np.maximum(by_label.sum(axis=0), 1))
    return np.hstack(columns)


def _by_size(
    keys: list[Any], sizes: NDArray[np.float64], shares: NDArray[np.float64], seed: int
) -> NDArray[np.int64]:
    """Return the part of each group, so that each part has its share of each column of `sizes`.

    Groups are assigned from the largest to the smallest, measured by the column of which they have
    most, so that groups with a rare label come early. Each goes where it lowers the sum of
    (part - share)^2 / share most. Of groups of one size, the order is that of a hash.
    """
    totals = sizes.sum(axis=0)
    sizes = sizes / np.where(totals > 0, totals, 1)
    weights = np.full(sizes.shape[1], 1 / max(1, sizes.shape[1] - 1))
    weights[0] = 1
    filled = np.zeros((len(shares), sizes.shape[1]))
    empty = np.ones(len(shares), bool)
    part = np.empty(len(keys), np.int64)
    order = np.lexsort((_hashes(keys, seed), -np.round(sizes.max(axis=1), 12)))
    for left, group in zip(range(len(order), 0, -1), order.tolist(), strict=True):
        size = sizes[group]
        change = ((2 * (filled - shares[:, None]) + size) * size) @ weights / shares
        if left <= np.count_nonzero(empty):  # the last groups go where there is none yet
            change = np.where(empty, change, np.inf)
        chosen = int(np.argmin(change))
        part[group] = chosen
        filled[chosen] += size
        empty[chosen] = False
    return part


def split_by_time(
    table: pa.Table,
    parts: Sequence[str] | Mapping[str, Any],
    by: str,
    *,
    before: object,
    stratify: object,
) -> PartRows:
    """Return the parts of a catalog's rows by a column of times: see `Catalog.split`."""
    limits = (
        list(before) if isinstance(before, Sequence) and not isinstance(before, str) else [before]
    )
    if by == "recording" and by not in table.column_names:
        raise CatalogError(
            f"before={brief(before)} needs the column of times or numbers that it is compared "
            'with: give by=, such as by="recorded_at", or by="id".'
        )
    is_list = isinstance(parts, Sequence) and not isinstance(parts, str)
    if not is_list or len(parts) != len(limits) + 1:
        raise CatalogError(
            f"before= needs a list of names of parts, one more than its "
            f"{format_count(len(limits), 'limit')}, not {brief(parts)}: as in "
            'catalog.split(["train", "test"], by="recorded_at", before="2024-05-01T00:00Z").'
        )
    names = tuple(parts)
    if len(set(names)) < len(names):
        raise CatalogError(f"The parts need different names, not {', '.join(names)}.")
    groups = group_rows(table, by)
    times = groups.distinct
    cuts = [_as_limit(one, times.type, by) for one in limits]
    if any(_is_before(late, early) for early, late in pairwise(cuts)):
        raise CatalogError(f"The limits of before= must rise, unlike {brief(limits)}: sort them.")
    import pyarrow.compute as pc

    part_of_group = np.zeros(len(groups), np.int64)
    for cut in cuts:
        part_of_group += pc.greater_equal(times, cut).to_numpy(zero_copy_only=False)
    result = PartRows(
        names,
        (None,) * len(names),
        part_of_group[groups.numbers],
        groups,
        *_labels(table, stratify),
    )
    for number, name in enumerate(names):
        if not (result.of_row == number).any():
            span = pc.min_max(times)
            raise CatalogError(
                f"The part {name!r} would be empty: {by!r} is from {span['min']} to "
                f"{span['max']}. Give other limits."
            )
    return result


def _is_before(one: pa.Scalar, other: pa.Scalar) -> bool:
    import pyarrow.compute as pc

    return bool(pc.less(one, other).as_py())


def _as_limit(limit: object, type_: pa.DataType, by: str) -> pa.Scalar:
    """Return a limit as a value of the column's type.

    Raises
    ------
    CatalogError
        It is none; or the column has time zones and the limit has none, or the other way round.
    """
    import pyarrow as pa

    if pa.types.is_timestamp(type_):
        moment = limit
        if isinstance(limit, str):
            try:
                moment = datetime.fromisoformat(limit)
            except ValueError:
                raise CatalogError(
                    f"before={brief(limit)} is not a time: give one as 2024-05-01T00:00Z."
                ) from None
        elif isinstance(limit, date) and not isinstance(limit, datetime):
            moment = datetime(limit.year, limit.month, limit.day)  # noqa: DTZ001  checked below
        if isinstance(moment, datetime) and (moment.tzinfo is None) != (type_.tz is None):
            has, lacks = ("no", "with one") if type_.tz is None else ("a", "without one")
            raise CatalogError(
                f"The times of {by!r} have {has} time zone, and before={brief(limit)} is {lacks}: "
                f"give {'a time without zone' if type_.tz is None else 'one as 2024-05-01T00:00Z'}."
            )
        if not isinstance(moment, datetime):
            raise CatalogError(
                f"before={brief(limit)} cannot be compared with {by!r}, which holds times: "
                "give one as 2024-05-01T00:00Z."
            )
        limit = moment
    with arrow_errors_explained(
        f"before={brief(limit)} cannot be compared with {by!r}, which is {type_}",
        "Give a limit of that type.",
    ):
        return pa.scalar(limit, type_)


def _labels(table: pa.Table, stratify: object) -> tuple[Groups | None, NDArray[np.int64]]:
    """Return the labels, and the row of the catalog of each.

    Raises
    ------
    CatalogError
        There is no such column, it holds no labels, or the table has no columns of them.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    if stratify is None:
        return None, np.zeros(0, np.int64)
    if isinstance(stratify, str):
        column = _column(table, stratify).combine_chunks()
        name = stratify
        rows = np.arange(len(column), dtype=np.int64)
        if pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
            rows = pc.list_parent_indices(column).to_numpy().astype(np.int64)
            column = pc.list_flatten(column)
    else:
        to_arrow = getattr(stratify, "to_arrow", None)  # annotations have it, and are above
        given = as_table(stratify if to_arrow is None else to_arrow())
        key = "id" if "id" in given.column_names else "file"
        if missing := [one for one in (key, "label") if one not in given.column_names]:
            raise CatalogError(
                f"The table given as stratify= has no column {', '.join(missing)}: it needs id (or "
                f"file, with ids) and label. It has {brief_list(given.column_names)}."
            )
        name = "label"
        found = pc.index_in(given[key].cast("string"), value_set=table["id"])
        known = pc.is_valid(found)
        if not pc.any(known).as_py():
            raise CatalogError(
                f"The table given as stratify= has no {key} that is an id of the catalog: match "
                "annotations first, as in stratify=annotations.match(catalog)."
            )
        rows = found.filter(known).to_numpy().astype(np.int64)
        column = given["label"].filter(known).combine_chunks()
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    present = pc.is_valid(column)
    with _grouping_explained(name, column):
        labels = _groups(column.filter(present))
    return labels, rows[present.to_numpy(zero_copy_only=False)]


def _count_labels(of_label: NDArray[np.int64], count: int, labels: Groups) -> NDArray[np.int64]:
    """Return how often each of `count` things has each label, given the thing of each label."""
    counts = np.bincount(of_label * len(labels) + labels.numbers, minlength=count * len(labels))
    return counts.reshape(count, len(labels))


def _seconds(table: pa.Table) -> NDArray[np.float64]:
    seconds: NDArray[np.float64] = table["frames"].to_numpy() / table["sample_rate"].to_numpy()
    return seconds


def _warn_of_small_parts(table: pa.Table, parts: PartRows, balance: Balance) -> None:
    """Warn of parts with less than half of their share of the audio."""
    hours = np.bincount(parts.of_row, _seconds(table), minlength=len(parts.names)) / 3600
    shared = np.array([share is not None for share in parts.shares])
    total = hours[shared].sum()
    small = [
        f"{name!r} has {had:.3g} h ({had / total:.1%}) for a share of {share:.1%}"
        for name, share, had in zip(parts.names, parts.shares, hours.tolist(), strict=True)
        if share is not None and had < share / 2 * total
    ]
    if small:
        advice = (
            'give balance="duration" to balance the audio and not the number of groups'
            if balance == "groups"
            else "its groups cannot be divided: split by a column with more values"
        )
        warnings.warn(
            f"{'; '.join(small)}, less than half of it: {advice}.", HeadraceWarning, stacklevel=4
        )


def table_of_parts(table: pa.Table, parts: PartRows) -> pa.Table:
    """Return a row for each part: see `Split.table`."""
    import pyarrow as pa

    count = len(parts.names)
    seconds = np.bincount(parts.of_row, _seconds(table), minlength=count)
    first_row = np.unique(parts.groups.numbers, return_index=True)[1]
    columns: dict[str, Any] = {
        "part": pa.array(parts.names, pa.string()),
        "share": pa.array(parts.shares, pa.float64()),
        "recordings": np.bincount(parts.of_row, minlength=count),
        "groups": np.bincount(parts.of_row[first_row], minlength=count),
        "hours": seconds / 3600,
    }
    if parts.labels is not None:
        by_label = _count_labels(parts.of_row[parts.label_rows], count, parts.labels)
        names = list(map(str, parts.labels.distinct.to_pylist()))
        for number in sorted(range(len(names)), key=names.__getitem__):
            columns[f"label {names[number]}"] = by_label[:, number]
    return pa.table(columns)


def describe_parts(table: pa.Table) -> str:
    """Return the table of parts as text, one line for each part."""
    names = table.column_names
    shown = [name for name in names if name != "share" or table["share"].null_count < len(table)]
    hidden = [name for name in shown if name.startswith("label ")][_LISTED:]
    shown = [name for name in shown if name not in hidden]
    rows = [[name.removeprefix("label ") for name in shown]]
    rows += [[_cell(name, row[name]) for name in shown] for row in table.to_pylist()]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            cell.ljust(width) if not number else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    if hidden:
        lines.append(f"and {format_count(len(hidden), 'more label')}: see table()")
    return "\n".join(lines)


def _cell(name: str, value: Any) -> str:  # noqa: ANN401  a name, a number or None
    if value is None:
        return "-"
    if name == "share":
        return f"{value:.0%}"
    return f"{value:,.2f}" if name == "hours" else f"{value:,}" if name != "part" else value
