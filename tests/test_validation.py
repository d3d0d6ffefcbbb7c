from __future__ import annotations

import datetime as dt
from decimal import Decimal
from functools import partial
from math import inf, nan
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from headrace import Annotations, Catalog, LogMel, concat, scan
from headrace._validation import (
    arrow_errors_explained,
    check_output_file,
    parse_bytes,
)
from headrace.errors import AnnotationError, CatalogError, HeadraceError, InvalidWindowsError
from tests.support.catalogs import fake_catalog

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

DAYS = [dt.date(2020, 1, 1), dt.date(2021, 1, 1)]

BAD: dict[str, Any] = {
    "words": pa.array(["one", "two"]),
    "lists": pa.array([[1], [2, 3]]),
    "structs": pa.array([{"a": 1}, {"a": 2}]),
    "maps": pa.array([[("a", 1)], []], pa.map_(pa.string(), pa.int64())),
    "categories": pa.array(["one", "two"]).dictionary_encode(),
    "bytes": pa.array([b"\xff", b"\xfe"]),
}
"""For each kind, two values that are neither numbers nor names."""

DATES = pa.array(DAYS)

WIDE = {
    "uint64": pa.array([2**64 - 1, 2**63], pa.uint64()),
    "decimals": pa.array([Decimal(10**30), Decimal("0.5")]),
    "infinite": pa.array([float("inf"), float("nan")]),
    "half": pa.array([0.5, 1.0]),
}
"""Numbers that int64 cannot hold."""


def _recordings(**changed: Any) -> dict[str, Any]:
    plain = fake_catalog([1_000] * 2).to_arrow().replace_schema_metadata(None)
    return {name: plain[name] for name in plain.column_names} | changed


def _catalog(**changed: Any) -> object:
    return Catalog.from_table(pa.table(_recordings(**changed)))


def _events(**changed: Any) -> object:
    events = {"file": ["r0", "r1"], "label": ["A", "B"], "start_s": [0, 0], "end_s": [1, 1]}
    return Annotations.from_table(pa.table(events | changed))


def _times(**changed: Any) -> object:
    table = {"id": ["r0", "r1"], "at_s": [0.1, 0.2]} | changed
    return fake_catalog([1_000] * 2).windows_at(table, 1_000, 0.1)


def _split(column: Any) -> object:
    return fake_catalog([1_000] * 2, site=column).split({"a": 0.5, "b": 0.5}, by="site")


def _masked(mask: Any) -> object:
    return fake_catalog([1_000] * 2).filter(mask)


class _Stream:
    """An object with an Arrow stream that is not a table."""

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return pa.chunked_array([[1, 2]]).__arrow_c_stream__()


CASES: dict[str, tuple[type[HeadraceError], str, Callable[[], object]]] = {
    **{
        f"an event's {name} of {kind}": (
            AnnotationError,
            (
                f"The column '{name}' cannot be {name}, a .*: .*"
                f"Convert it, or give the name of another column as {name}="
            ),
            partial(_events, **{name: values}),
        )
        for name in ("start_s", "end_s", "low_hz")
        for kind, values in {**BAD, "dates": DATES}.items()
    },
    **{
        f"an event's {name} of {kind}": (
            AnnotationError,
            f"The column '{name}' cannot be {name}, a string",
            partial(_events, **{name: values}),
        )
        for name in ("file", "label", "quality")
        for kind, values in BAD.items()
        if kind not in ("words", "categories")
    },
    **{
        f"a recording's {name} of {kind}": (
            CatalogError,
            f"The column {name} cannot be of type int.*: .*Convert it",
            partial(_catalog, **{name: values}),
        )
        for name in ("frames", "sample_rate", "size")
        for kind, values in {**BAD, **WIDE}.items()
    },
    **{
        f"ids of {kind}": (
            CatalogError,
            "The column id cannot be of type string",
            partial(_catalog, id=values),
        )
        for kind, values in BAD.items()
        if kind not in ("words", "categories")
    },
    **{
        f"times of {kind}": (
            CatalogError,
            "The column at_s is not a number of seconds: .*Give numbers",
            partial(_times, at_s=values),
        )
        for kind, values in {**BAD, "dates": DATES}.items()
    },
    **{
        f"ids of times of {kind}": (
            CatalogError,
            "The column id does not hold ids: ",
            partial(_times, id=values),
        )
        for kind, values in BAD.items()
        if kind not in ("words", "categories")
    },
    "times of two lengths": (
        CatalogError,
        "The table of times cannot be read: .*Give columns",
        lambda: _times(at_s=[0.1]),
    ),
    "times of numbers and words": (
        CatalogError,
        "The table of times cannot be read",
        lambda: _times(at_s=[0.1, "x"]),
    ),
    "times that are a scalar": (
        CatalogError,
        "The table of times cannot be read",
        lambda: _times(at_s=0.1),
    ),
    **{
        f"groups of {kind}": (
            CatalogError,
            "The recordings cannot be split by 'site', which is .*Give a column",
            partial(_split, BAD[kind]),
        )
        for kind in ("lists", "structs", "maps")
    },
    "groups of days before there were any": (
        CatalogError,
        "The recordings cannot be split by 'site', which is date32",
        lambda: _split(pa.array([2**31 - 1, -(2**31)], pa.int32()).cast(pa.date32())),
    ),
    **{
        f"a column of {kind}": (
            CatalogError,
            "The values of 'new' cannot be one column: .*Give values of one type",
            partial(fake_catalog([1_000] * 2).with_columns, new=values),
        )
        for kind, values in {
            "words and numbers": [1, "one"],
            "wide integers": [2**70, 1],
            "objects": [object(), object()],
            "rows": np.zeros((2, 2)),
            "complex numbers": np.zeros(2, complex),
        }.items()
    },
    **{
        f"a mask of {kind}": (
            CatalogError,
            "The mask cannot be read: .*Give a bool for each row",
            partial(_masked, values),
        )
        for kind, values in {
            "bools and words": [True, "x"],
            "wide integers": [2**70, 1],
            "rows": np.zeros((2, 2), bool),
            "no values": 7,
        }.items()
    },
    "a mask of events": (
        AnnotationError,
        "The mask cannot be read",
        lambda: Annotations.from_table(pa.table({"file": ["a"], "label": ["A"]})).filter(
            [True, "x"]
        ),
    ),
    "a DataFrame of all kinds": (
        CatalogError,
        "The pandas DataFrame cannot be an Arrow table: .*Give a table",
        lambda: Catalog.from_table(pd.DataFrame({"id": ["a", 1]})),
    ),
    "a DataFrame with a name twice": (
        AnnotationError,
        "The pandas DataFrame cannot be an Arrow table: .*Give a table",
        lambda: Annotations.from_table(pd.DataFrame([["a", "b"]], columns=["file", "file"])),
    ),
    "a stream that is no table": (
        CatalogError,
        "A _Stream cannot be an Arrow table: .*Give a table",
        lambda: Catalog.from_table(_Stream()),
    ),
    "further files that are numbers": (
        AnnotationError,
        "files= must contain names: .*Give strings",
        lambda: Annotations.from_table(pa.table({"file": ["a"], "label": ["A"]}), files=[3]),  # type: ignore[list-item]
    ),
    "further files that are one string": (
        AnnotationError,
        r"files= takes several names: for one, use files=\['r1'\]",
        lambda: Annotations.from_table(pa.table({"file": ["a"], "label": ["A"]}), files="r1"),
    ),
    "matching to what is no id": (
        AnnotationError,
        "by= must return an id: .*Return a string or None",
        lambda: Annotations.from_table(pa.table({"file": ["a"], "label": ["A"]})).match(
            fake_catalog([1_000]),
            by=lambda _: 3,  # type: ignore[arg-type,return-value]
        ),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_values_that_arrow_rejects_are_one_sentence(case: str) -> None:
    """Whatever the values are, an error of headrace names the argument and says what to do."""
    kind, sentence, act = CASES[case]

    with pytest.raises(HeadraceError, match=sentence) as refusal:
        act()

    assert type(refusal.value) is kind
    assert len(str(refusal.value).splitlines()) == 1
    assert str(refusal.value).endswith(".")


def test_labels_that_are_not_a_parquet_file_are_one_sentence(tmp_path: Path) -> None:
    """The error names the file; a missing file is the usual FileNotFoundError."""
    (tmp_path / "labels.parquet").write_text("file,label")

    with pytest.raises(AnnotationError, match=r"labels\.parquet' cannot be read: .*Give a Parquet"):
        Annotations.read_parquet(tmp_path / "labels.parquet")
    with pytest.raises(FileNotFoundError):
        Annotations.read_parquet(tmp_path / "none.parquet")


@pytest.mark.parametrize(
    "error",
    [
        pa.ArrowInvalid("why.\nDetails"),
        pa.ArrowTypeError("why"),
        pa.ArrowNotImplementedError("why"),
        pa.ArrowKeyError("why"),
        OverflowError("why"),
    ],
)
def test_only_the_first_line_of_an_arrow_error_is_shown(error: Exception) -> None:
    """The lines after it are for Arrow's developers."""
    with (
        pytest.raises(InvalidWindowsError) as refusal,
        arrow_errors_explained("It cannot be", "Do that.", InvalidWindowsError),
    ):
        raise error

    assert str(refusal.value).replace("'", "") == "It cannot be: why. Do that."


@pytest.mark.parametrize(
    "error", [CatalogError("ours"), pa.ArrowMemoryError("no room"), OSError(5)]
)
def test_other_errors_pass_unchanged(error: Exception) -> None:
    """An error of headrace keeps its sentence, and so does one that no value has caused."""
    with (
        pytest.raises(type(error)) as raised,
        arrow_errors_explained("It cannot be", "Do that.", InvalidWindowsError),
    ):
        raise error

    assert raised.value is error


@pytest.mark.parametrize(
    ("memory", "count"),
    [
        ("1 GiB", 1 << 30),
        ("1GiB", 1 << 30),
        ("  1.5 gib ", 3 << 29),
        ("500 MB", 500_000_000),
        ("500MB", 500_000_000),
        ("64 MiB", 64 << 20),
        (".5 KiB", 512),
        ("2 TiB", 2 << 40),
        ("3 kB", 3_000),
        ("12 b", 12),
        ("4096", 4_096),
        (4_096, 4_096),
        (1.9e3, 1_900),
        (np.int64(1 << 40), 1 << 40),
    ],
)
def test_an_amount_of_memory_is_parsed(memory: Any, count: int) -> None:
    """Decimal and binary units, with and without a space, in any case; or a number of bytes."""
    assert parse_bytes(memory) == count
    assert type(parse_bytes(memory)) is int


@pytest.mark.parametrize(
    "memory",
    ["", " ", "GiB", "1 GiBi", "1 gigabyte", "-1 GiB", "1 2 GiB", "1,5 GiB", "1e9", "nan", "1.",
     "0", "0 MiB", "0.5", "9e99 GiB", "9" * 30, 0, -1, 0.5, nan, inf, -inf, 1 << 63, [1], b"1 GiB"],
)  # fmt: skip
def test_anything_else_is_not_an_amount_of_memory(memory: Any) -> None:
    """The error shows the value and examples of what to write."""
    with pytest.raises(
        ValueError, match='is not an amount of bytes: write "1 GiB", "500 MB", or a number'
    ) as e:
        parse_bytes(memory)
    assert repr(memory) in str(e.value)


@pytest.mark.parametrize("error", [None, CatalogError], ids=["builtin", "ours"])
@pytest.mark.parametrize(
    ("file", "builtin", "sentence"),
    [
        ("x.txt", ValueError, r"'.*x\.txt' must end in \.csv or \.parquet\."),
        ("folder.csv", IsADirectoryError, r"'.*folder\.csv' is a folder: name a file in it\."),
        (
            "none/x.csv",
            FileNotFoundError,
            r"'.*x\.csv' cannot be written: there is no folder '.*none'; create it first\.",
        ),
        (
            "link.csv",
            FileNotFoundError,
            r"'.*link\.csv' cannot be written: there is no folder '.*gone'; create it first\.",
        ),
    ],
)
def test_an_output_file_is_checked_before_the_work(
    tmp_path: Path,
    error: type[HeadraceError] | None,
    file: str,
    builtin: type[Exception],
    sentence: str,
) -> None:
    """The error is of the natural builtin, or of the type that the caller wants."""
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "link.csv").symlink_to(tmp_path / "gone" / "x.csv")

    with pytest.raises(error or builtin, match=sentence):
        check_output_file(tmp_path / file, endings=(".csv", ".parquet"), error=error)


@pytest.mark.parametrize("file", ["new.csv", "NEW.CSV", "old.csv", "link.csv"])
def test_a_file_that_can_be_written_passes(tmp_path: Path, file: str) -> None:
    """The file may exist or not, and may be a link; the check leaves it as it is."""
    (tmp_path / "old.csv").write_text("kept")
    (tmp_path / "link.csv").symlink_to(tmp_path / "behind.csv")

    check_output_file(tmp_path / file, endings=(".csv", ".parquet"))

    assert (tmp_path / "old.csv").read_text() == "kept"
    assert not (tmp_path / "behind.csv").exists()


def test_the_argument_with_a_wrong_number_of_bytes_is_named() -> None:
    """Who gives a wrong size of the cache is not told of memory."""
    with pytest.raises(ValueError, match=r"^cache_size='much' is not an amount"):
        parse_bytes("much", "cache_size")


MANY: Any = list(range(100_000))
COLUMNS: Any = {f"c{number}": [0] for number in range(5_000)}
CATALOG = fake_catalog([10_000] * 2)
WINDOWS = CATALOG.windows(1_000, 1.0)


@pytest.mark.parametrize(
    "call",
    [
        partial(CATALOG.windows, MANY),
        partial(CATALOG.windows, 1_000, MANY),
        partial(CATALOG.windows, 1_000, 1.0, tail=MANY),
        partial(CATALOG.windows, 1_000, 1.0, channel=MANY),
        partial(CATALOG.split, dict.fromkeys(MANY, 1)),
        partial(WINDOWS.shuffle, MANY),
        partial(WINDOWS.shuffle, 0, MANY),
        partial(WINDOWS.shard, MANY, 2),
        partial(WINDOWS.shard, 0, 1, remainder=MANY),
        partial(WINDOWS.map, lambda audio: audio, out=MANY),
        partial(WINDOWS.loader, batch_size=MANY),
        partial(WINDOWS.loader, memory=MANY),
        partial(WINDOWS.loader, last=MANY),
        partial(WINDOWS.loader, columns=["x" * 10_000]),
        partial(WINDOWS.loader, columns=["x"] * 10_000),
        partial(fake_catalog([9], **COLUMNS).windows(None, 0.001).loader, columns=["site"]),
        partial(WINDOWS.loader, workers=1, stall_timeout_s=MANY),
        partial(WINDOWS.loader, on_error="skip", max_failures=MANY),
        partial(WINDOWS.loader(batch_size=2).load_state_dict, {"version": MANY}),
        partial(concat, [WINDOWS, MANY]),
        partial(scan, MANY),
        partial(scan, "*.wav", verify=MANY),
        partial(scan, "*.wav", workers=MANY),
        partial(LogMel, MANY),
        partial(fake_catalog([9], **COLUMNS).column, "site"),
    ],
)
def test_an_error_shows_a_line_of_an_argument(call: Callable[[], object]) -> None:
    """A huge argument is refused with a short sentence, not with all that it holds."""
    with pytest.raises((ValueError, TypeError)) as caught:
        call()

    message = str(caught.value)
    assert message.endswith(".")
    assert "\n" not in message
    assert len(message) < 350
