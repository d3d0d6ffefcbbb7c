from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

import headrace
from headrace.inference import _apply
from headrace.inference._owner import Owner
from headrace.inference._result_folder import LocalFolder
from tests.support.models import all_kinds, expected_loudness, loudness, sorted_rows
from tests.support.sounds import noise, write

if TYPE_CHECKING:
    from pathlib import Path

    from headrace import Batch, Catalog, Run, Windows


def apply(windows: Windows, output: Any, function: Any = loudness, **options: Any) -> Run:
    """Apply a model in small parts."""
    arguments: dict[str, Any] = {"batch_size": 4, "name": "loudness", "part_size": 6}
    return windows.apply(function, output, **{**arguments, **options})


def test_every_window_has_one_row(windows: Windows, tmp_path: Path) -> None:
    """The results are those of the model on each window alone, whatever the order."""
    run = apply(windows, tmp_path / "results")

    assert sorted_rows(run.to_arrow()) == expected_loudness(windows)
    assert run.complete
    assert run.progress.ranges == run.progress.parts == -(-len(windows) // 6)
    assert not list((tmp_path / "results" / "leases").iterdir())


def test_order_and_shards_are_ignored(windows: Windows, tmp_path: Path) -> None:
    """A shard of shuffled windows is of the same run as the windows themselves."""
    apply(windows.shard(1, 3), tmp_path / "results")
    again = apply(windows.unordered, tmp_path / "results", _never)

    assert sorted_rows(again.to_arrow()) == expected_loudness(windows)


def _never(batch: Batch) -> object:
    raise AssertionError(f"nothing is left, and a batch of {len(batch)} windows came")


def test_the_ledger_counts_every_window(windows: Windows, tmp_path: Path) -> None:
    """For each recording, expected = written + failed + open."""
    ledger = apply(windows, tmp_path / "results").ledger()

    expected = pc.sum(ledger["expected"]).as_py()
    assert expected == len(windows)
    assert ledger["expected"] == ledger["written"]
    assert pc.sum(ledger["open"]).as_py() == 0


def test_columns_of_every_kind(windows: Windows, tmp_path: Path) -> None:
    """Numbers, texts, vectors, arrays and detections become columns of their type."""
    run = apply(windows, tmp_path / "results", all_kinds, float16=("vector",))
    table = run.to_arrow()
    types = {field.name: str(field.type) for field in table.schema}

    assert types["peak"] == "float"
    assert types["loud"] == "bool"
    assert types["name"] == "string"
    assert types["half"] == types["vector"] == "fixed_size_list<item: halffloat>[8]"
    assert types["map"] == "fixed_size_list<item: float>[6]"
    assert table["name"].to_pylist() == [f"{one:.2f}" for one in table["start_s"].to_pylist()]
    found = [one for row in table["found"].to_pylist() for one in row]
    assert {one["label"] for one in found} == {"7"}
    assert {one["low_hz"] for one in found} == {None}
    assert 0 < run.float16_loss["vector"] < 1e-3
    metadata = run.schema.field("map").metadata
    assert json.loads(metadata[b"shape"]) == [2, 3]


def test_an_array_is_one_column(windows: Windows, tmp_path: Path) -> None:
    """A model that returns an array has the column `output`."""
    run = apply(windows, tmp_path / "results", lambda batch: batch.audio[:, 0])

    assert run.to_arrow(["output"])["output"].type == pa.float32()


@pytest.mark.parametrize("text", [None, "1970-01-01T00:00:0{}", "1970-01-01T02:00:0{}+02:00"])
def test_columns_of_the_catalog(archive: str, tmp_path: Path, text: str | None) -> None:
    """Columns of the catalog are copied, and `recorded_at` gives the time in UTC."""
    catalog = headrace.scan(archive)
    times = pa.array([1_000_000 * i for i in range(len(catalog))], pa.timestamp("us"))
    if text is not None:
        times = pa.array([text.format(i) for i in range(len(catalog))])
    catalog = catalog.with_columns(site=["A", "B", "A", "B", "A"], recorded_at=times)
    windows = catalog.windows(8_000, 0.25, channel=0)
    table = apply(windows, tmp_path / "results", columns=("site",)).to_arrow()

    by_id = dict(zip(catalog.ids.to_pylist(), catalog.column("site"), strict=True))
    assert table["site"].to_pylist() == [by_id[one] for one in table["id"].to_pylist()]
    assert {*table["channel"].to_pylist()} == {0}
    number = {one: i for i, one in enumerate(catalog.ids.to_pylist())}
    assert table["start_utc"].cast("int64").to_pylist() == [
        round(1e6 * (number[one] + start))
        for one, start in zip(table["id"].to_pylist(), table["start_s"].to_pylist(), strict=True)
    ]


def test_a_factory_is_called_once_and_only_if_something_is_left(
    windows: Windows, tmp_path: Path
) -> None:
    """A model that takes long to load is not loaded for a run that is complete."""
    made = []

    def factory() -> Any:
        made.append(1)
        return loudness

    for _ in range(2):
        windows.apply(
            output=tmp_path / "results", model=factory, batch_size=4, name="x", part_size=6
        )

    assert made == [1]


# Refusals


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "other"}, "the model's name was 'loudness', and is 'other' now"),
        ({"part_size": 7}, "part_size was 6, and is 7 now"),
        ({"columns": ("path",)}, r"columns was \[\], and is \['path'\] now"),
        ({"float16": ("first",)}, r"float16 was \[\], and is \['first'\] now"),
    ],
)
def test_another_call_is_refused(
    windows: Windows, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    """Results of another model are not mixed: the error says what differs."""
    apply(windows, tmp_path / "results")

    with pytest.raises(headrace.ResultsError, match=message):
        apply(windows, tmp_path / "results", **options)


def test_other_windows_are_refused(archive: str, tmp_path: Path) -> None:
    """Another cut, or other windows of a recording, need another output."""
    catalog = headrace.scan(archive)
    windows = catalog.windows(8_000, 0.25)
    apply(windows, tmp_path / "results")

    with pytest.raises(headrace.ResultsError, match="the windows' hop was 2000, and is 1000 now"):
        apply(catalog.windows(8_000, 0.25, 0.125), tmp_path / "results")
    with pytest.raises(headrace.ResultsError, match=r"'0\.wav' has 3 windows here, and 10 in"):
        apply(windows[:3], tmp_path / "results")
    with pytest.raises(headrace.ResultsError, match="has windows at other times than"):
        apply(windows.take(np.arange(len(windows))[::-1]), tmp_path / "results")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": " "}, "name must say which model"),
        ({"batch_size": 0}, "batch_size must be a whole number from 1 up"),
        ({"part_size": 0}, "part_size must be a whole number from 1 up"),
        ({"columns": "site"}, "columns must be names"),
        ({"columns": ("site",)}, "the catalog has no column 'site'"),
        ({"columns": ("id",)}, "the results have a column 'id' anyway"),
        ({"on_error": "skip"}, "on_error must be one of raise, mask"),
        ({"model": lambda: loudness}, "give either a function of a batch, or model="),
        ({"float16": ("emb",)}, "float16 names the column 'emb', and the model returns rms, first"),
        ({"memory": 1 << 10}, r"loading needs at least \d+ bytes, and the results take \d+\."),
    ],
)
def test_wrong_arguments(
    windows: Windows, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    """A wrong argument is one sentence."""
    with pytest.raises((ValueError, headrace.ModelError), match=message):
        apply(windows, tmp_path / "results", **options)


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("ftp://host/folder", "results cannot be written to ftp://"),
        (3, "results cannot be written to int"),
        (None, "results cannot be written to NoneType"),
    ],
)
def test_wrong_outputs(windows: Windows, output: Any, message: str) -> None:
    """An output that cannot hold results is refused before the model runs."""
    with pytest.raises(headrace.ResultsError, match=message):
        apply(windows, output, _never)


def test_a_function_and_a_factory_are_told_apart(windows: Windows, tmp_path: Path) -> None:
    """A class is no function of a batch, and a function of a batch is no factory."""

    class Birds:
        def __init__(self, least: float = 0.5) -> None:
            self.least = least

        def __call__(self, batch: Batch) -> Any:
            return loudness(batch)

    with pytest.raises(ValueError, match="is the class Birds: give model=Birds, which is called"):
        apply(windows, tmp_path / "results", Birds)
    with pytest.raises(ValueError, match="the factory needs arguments, but is called without"):
        apply(windows, tmp_path / "results", None, model=Birds())
    run = apply(windows, tmp_path / "results", None, model=Birds)
    assert run.progress == apply(windows, tmp_path / "results", Birds()).progress


def test_a_file_as_output(windows: Windows, tmp_path: Path) -> None:
    """A file is not a folder of results."""
    (tmp_path / "file").write_text("x")

    with pytest.raises(headrace.ResultsError, match="is a file"):
        apply(windows, tmp_path / "file", _never)


def test_no_results(tmp_path: Path) -> None:
    """A folder without results is one sentence."""
    with pytest.raises(headrace.ResultsError, match="there are no results in"):
        headrace.load_run(tmp_path)


def test_a_file_system_without_hard_links(
    windows: Windows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a file cannot be created exactly once, the call ends before the model runs."""

    def link(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("os.link", link)
    with pytest.raises(headrace.ResultsError, match="has no hard links"):
        apply(windows, tmp_path / "results", _never)


# A model that fails


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (lambda _: None, "as NoneType: return an array"),
        (lambda _: {}, "empty dict"),
        (lambda batch: batch.audio[1:], "1 rows of 'output' for 2 windows"),
        (lambda batch: {"id": batch.audio}, "a column 'id', which the results have already"),
        (lambda batch: {3: batch.audio}, "a dict with the key 3"),
        (lambda batch: batch.audio.astype(complex), "as complex128"),
        (lambda batch: batch.audio[:, :0], "a vector needs a number"),
        (lambda _: [[1.0], [1.0, 2.0]], "rows of different lengths"),
        (lambda _: [[{"start_s": 0}], []], "a detection without end_s"),
        (lambda _: [[{"when": 0}], []], "a detection with 'when'"),
    ],
)
def test_a_wrong_return_value(
    windows: Windows, tmp_path: Path, returned: Any, message: str
) -> None:
    """What is not a row for each window is refused on noise, before anything is loaded."""
    with pytest.raises(headrace.ModelError, match=message):
        apply(windows, tmp_path / "results", returned)

    assert not (tmp_path / "results" / "run.json").exists()


def test_a_model_that_raises_names_the_windows(windows: Windows, tmp_path: Path) -> None:
    """The error names recordings and seconds; the parts before are kept, and the run goes on."""
    with pytest.raises(headrace.ModelError, match="ValueError: no on a batch of 2 windows: 3") as e:
        apply(windows, tmp_path / "results", _FailsAt("3.wav", 0.25))

    assert {one.file_id for one in e.value.failures} >= {"3.wav"}
    assert "3.wav from" in str(e.value)
    before = headrace.load_run(tmp_path / "results").progress
    assert before.written == 24
    run = apply(windows, tmp_path / "results")
    assert sorted_rows(run.to_arrow()) == expected_loudness(windows)


class _FailsAt:
    """A model that raises on one window."""

    def __init__(self, file_id: str, offset: float) -> None:
        self._window = file_id, offset

    def __call__(self, batch: Batch) -> object:
        if self._window in zip(batch.file_id, batch.offset.tolist(), strict=True):
            raise ValueError("no")
        return loudness(batch)


def test_mask_finds_the_window_on_which_a_model_raises(windows: Windows, tmp_path: Path) -> None:
    """With on_error="mask", only the windows on which it raises alone are left out."""
    run = apply(windows, tmp_path / "results", _FailsAt("3.wav", 0.25), on_error="mask")

    (failure,) = run.failures
    assert (failure.file_id, failure.start_s, failure.code) == ("3.wav", 0.25, headrace.Code.MODEL)
    assert failure.message == "ValueError: no"
    assert sorted_rows(run.to_arrow()) == [
        row for row in expected_loudness(windows) if row[:2] != ("3.wav", 0.25)
    ]
    ledger = run.ledger()
    assert ledger["MODEL"].to_pylist() == [0, 0, 0, 1, 0]
    assert run.complete
    again = apply(windows, tmp_path / "results", _never)
    assert again.progress.failed == 1
    mended = apply(windows, tmp_path / "results", retry_failed=True)
    assert sorted_rows(mended.to_arrow()) == expected_loudness(windows)
    assert not mended.failures


def test_a_model_for_one_batch_size_gets_full_batches(archive: str, tmp_path: Path) -> None:
    """With `pad_batches`, every batch has all its rows, also where windows are lost or retried."""
    windows = headrace.scan(archive).windows(8_000, 0.25)
    expected = expected_loudness(windows)
    (tmp_path / "1.wav").unlink()

    def model(batch: Batch) -> dict[str, Any]:
        assert batch.audio.shape == (5, 2_000)
        assert len(batch.file_id) == len(batch.offset) == 5
        if ("3.wav", 0.25) in zip(batch.file_id, batch.offset, strict=True):
            raise RuntimeError("bad")
        batch.audio[:] *= 1  # may be written to
        return loudness(batch) | {"found": [[] for _ in range(5)]}

    options: dict[str, Any] = {"batch_size": 5, "part_size": 7}
    with pytest.raises(headrace.ModelError, match="on a batch of noise"):
        apply(windows, tmp_path / "refused", model, **options)
    run = apply(windows, tmp_path / "run", model, on_error="mask", pad_batches=True, **options)

    assert sorted_rows(run.to_arrow()) == [
        row for row in expected if row[0] != "1.wav" and row[:2] != ("3.wav", 0.25)
    ]
    assert {str(one.code) for one in run.failures} == {"MISSING", "MODEL"}
    assert run.complete


def test_a_model_that_is_broken_marks_no_window(windows: Windows, tmp_path: Path) -> None:
    """If the model also raises on noise, as after a CUDA error, no window is to blame."""
    calls = []

    def breaks(batch: Batch) -> object:
        calls.append(len(batch))
        if len(calls) > 6:
            raise RuntimeError("CUDA error: device-side assert triggered")
        return loudness(batch)

    with pytest.raises(headrace.ModelError, match="also raised RuntimeError: CUDA error"):
        apply(windows, tmp_path / "results", breaks, on_error="mask")

    assert not headrace.load_run(tmp_path / "results").failures
    run = apply(windows, tmp_path / "results")
    assert sorted_rows(run.to_arrow()) == expected_loudness(windows)


def test_another_model_of_the_same_name(windows: Windows, tmp_path: Path) -> None:
    """A model that returns other columns than the results have is refused at its first batch."""
    with pytest.raises(headrace.ModelError):
        apply(windows, tmp_path / "results", _FailsAt("0.wav", 1.75))
    for other, message in [
        (lambda batch: {"rms": batch.audio[:, 0]}, "returned the columns rms, and"),
        (lambda b: {"rms": b.audio[:, :2], "first": b.audio[:, :4]}, "'rms' as fixed_size_list"),
    ]:
        with pytest.raises(headrace.ModelError, match=message):
            apply(windows, tmp_path / "results", other)


# Recordings that fail


def test_a_damaged_archive(archive: str, tmp_path: Path) -> None:
    """All good windows have results, and each lost one has its reason."""
    catalog = headrace.scan(archive)
    windows = catalog.windows(8_000, 0.25)
    expected = expected_loudness(windows)
    file = tmp_path / "2.wav"
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])  # cut after the scan
    (tmp_path / "4.wav").unlink()

    run = apply(windows, tmp_path / "results")
    lost = {
        (one.file_id, one.start_s + 0.25 * k) for one in run.failures for k in range(one.windows)
    }
    assert {(one.file_id, str(one.code)) for one in run.failures} == {
        ("2.wav", "CHANGED"),
        ("4.wav", "MISSING"),
    }
    assert sorted_rows(run.to_arrow()) == [row for row in expected if row[:2] not in lost]
    ledger = run.ledger()
    assert ledger["written"].to_pylist()[4] == 0
    assert all(row["expected"] == row["written"] + row["failed"] for row in ledger.to_pylist())


def test_causes_that_may_pass_are_tried_again(archive: str, tmp_path: Path) -> None:
    """A file that was away is read by the next call; until then, a call leaves no new part."""
    windows = headrace.scan(archive).windows(8_000, 0.25)
    expected = expected_loudness(windows)
    file, away = tmp_path / "2.wav", tmp_path / "away"
    file.rename(away)
    first = apply(windows, tmp_path / "results")
    names = sorted(one.name for one in (tmp_path / "results" / "parts").iterdir())
    second = apply(windows, tmp_path / "results")

    assert first.progress.failed == second.progress.failed == 12
    assert sorted(one.name for one in (tmp_path / "results" / "parts").iterdir()) == names
    away.rename(file)
    assert apply(windows, tmp_path / "results", retry_failed=False).progress.failed == 12
    third = apply(windows, tmp_path / "results")
    assert third.progress.failed == 0
    assert sorted_rows(third.to_arrow()) == expected
    assert third.ledger()["written"] == third.ledger()["expected"]


def test_scores_are_smoothed_across_retries(archive: str, tmp_path: Path) -> None:
    """Windows that were gained later, in files of their own, are neighbours of the others."""
    windows = headrace.scan(archive).windows(8_000, 0.25)
    undisturbed = apply(windows, tmp_path / "undisturbed", part_size=16)
    file, away = tmp_path / "2.wav", tmp_path / "away"
    file.rename(away)
    apply(windows, tmp_path / "results", part_size=16)
    away.rename(file)
    run = apply(windows, tmp_path / "results", part_size=16)
    arguments: dict[str, Any] = {"column": "rms", "threshold": 0.0, "smooth": 5}

    assert any("-r001" in one.name for one in (tmp_path / "results" / "parts").iterdir())
    found, expected = (one.detections(**arguments).to_arrow() for one in (run, undisturbed))
    keys = [("id", "ascending"), ("start_s", "ascending")]
    assert found.sort_by(keys) == expected.sort_by(keys)


# A growing archive


def _site(folder: Path, names: str) -> Catalog:
    """Write recordings of 1 s, and scan the folder."""
    folder.mkdir(exist_ok=True)
    for name in names:
        write(folder / f"{name}.wav", noise(8_000, seed=ord(name)), 8_000, "WAV", "PCM_16")
    return headrace.scan(folder, root=folder)


def test_new_recordings_are_added(tmp_path: Path) -> None:
    """A catalog with more recordings, sorted between the old ones, adds theirs alone."""
    output = tmp_path / "results"
    apply(_site(tmp_path / "site", "bd").windows(8_000, 0.25), output)
    seen: list[str] = []

    def note(batch: Batch) -> object:
        seen.extend(batch.file_id)
        return loudness(batch)

    windows = _site(tmp_path / "site", "abcde").windows(8_000, 0.25)
    run = apply(windows, output, note)

    assert {*seen} == {"a.wav", "c.wav", "e.wav"}
    assert sorted_rows(run.to_arrow()) == expected_loudness(windows)
    assert run.progress.recordings == 5
    assert not run.vanished


def test_a_model_that_changes_its_batch_and_raises(windows: Windows, tmp_path: Path) -> None:
    """Windows are given to the model one by one as they were before it changed the batch."""

    def model(batch: Batch) -> object:
        if len(batch.file_id) > 2:
            batch.audio[:] = 0
            raise RuntimeError("out of memory")
        return loudness(batch)

    run = apply(windows, tmp_path / "results", model, on_error="mask")

    assert sorted_rows(run.to_arrow()) == expected_loudness(windows)


def test_results_of_vanished_recordings_are_kept_and_marked(tmp_path: Path) -> None:
    """What is no longer in the catalog keeps its results until it comes back."""
    output = tmp_path / "results"
    catalog = _site(tmp_path / "site", "abc")
    windows = catalog.windows(8_000, 0.25)
    apply(windows, output)
    without = apply(catalog.without(["b.wav"]).windows(8_000, 0.25), output, _never)

    assert without.vanished == ("b.wav",)
    assert without.ledger()["vanished"].to_pylist() == [False, True, False]
    assert sorted_rows(without.to_arrow()) == expected_loudness(windows)
    assert not apply(windows, output, _never).vanished


def test_ranges_of_vanished_recordings_are_no_work(tmp_path: Path) -> None:
    """A run ends without the windows that no call can make, and makes them if they come back."""
    output = tmp_path / "results"
    catalog = _site(tmp_path / "site", "abc")
    windows = catalog.windows(8_000, 0.25)
    with pytest.raises(headrace.ModelError):
        apply(windows, output, _FailsAt("b.wav", 0.0), part_size=2)
    run = apply(catalog.without(["b.wav"]).windows(8_000, 0.25), output, part_size=2)

    assert (run.progress.open, run.progress.vanished_open) == (4, 4)
    assert run.complete
    assert headrace.load_run(output).complete
    assert run.ledger()["open"].to_pylist() == [0, 4, 0]
    whole = apply(windows, output, part_size=2)
    assert (whole.progress.open, whole.progress.vanished_open) == (0, 0)
    assert sorted_rows(whole.to_arrow()) == expected_loudness(windows)


def test_a_range_of_which_some_recordings_vanished(tmp_path: Path) -> None:
    """The windows that are left are made; the others are missing, until they come back."""
    output = tmp_path / "results"
    catalog = _site(tmp_path / "site", "abc")
    windows = catalog.windows(8_000, 0.25)
    with pytest.raises(headrace.ModelError):
        apply(windows, output, _FailsAt("a.wav", 0.25))
    some = apply(catalog.without(["b.wav"]).windows(8_000, 0.25), output)

    assert [(one.file_id, one.code, one.windows) for one in some.failures] == [
        ("b.wav", "MISSING", 2),
        ("b.wav", "MISSING", 2),
    ]
    assert some.complete
    whole = apply(windows, output)
    assert sorted_rows(whole.to_arrow()) == expected_loudness(windows)


def test_a_recording_that_changed_is_refused(tmp_path: Path) -> None:
    """A file of the same id with another length needs another id or another output."""
    output = tmp_path / "results"
    apply(_site(tmp_path / "site", "ab").windows(8_000, 0.25), output)
    write(tmp_path / "site" / "b.wav", noise(9_000, seed=1), 8_000, "WAV", "PCM_16")

    with pytest.raises(headrace.ResultsError, match=r"'b\.wav' has frames 9000 here, and 8000 in"):
        apply(_site(tmp_path / "site", "a").windows(8_000, 0.25), output)


def test_windows_that_were_taken(windows: Windows, tmp_path: Path) -> None:
    """Windows in any sequence, also twice, have one row each."""
    taken = windows.unordered.take([9, 3, 3, 20, 1, 30, 20])
    run = apply(taken, tmp_path / "results", part_size=2)

    assert sorted_rows(run.to_arrow()) == expected_loudness(taken)


# Processes


class _Killed(BaseException):
    """What stands for kill -9."""


class _Dying(LocalFolder):
    """A folder whose process is killed before its n-th operation: from then on, none is done."""

    left = 0

    def _count(self) -> None:
        type(self).left -= 1
        if self.left < 0:
            raise _Killed

    def list(self, folder: str) -> dict[str, str]:
        self._count()
        return super().list(folder)

    def create(self, name: str, data: bytes) -> bool:
        self._count()
        return super().create(name, data)

    def replace(self, name: str, data: bytes) -> None:
        self._count()
        super().replace(name, data)

    def exists(self, name: str) -> bool:
        self._count()
        return super().exists(name)

    def delete(self, name: str) -> None:
        self._count()
        super().delete(name)


def test_killed_at_every_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed before any operation on the output, the same call goes on and makes the same."""
    windows = _site(tmp_path / "site", "ab").windows(8_000, 0.25)
    expected = expected_loudness(windows)
    calls: list[int] = []

    def counted(batch: Batch) -> object:
        calls.append(len(batch))
        return loudness(batch)

    for step in range(1_000):
        output = tmp_path / f"results{step}"
        calls.clear()
        with monkeypatch.context() as patch:
            patch.setattr(_apply, "open_folder", _Dying)
            patch.setattr(_Dying, "left", step)
            try:
                apply(windows, output, counted, part_size=3)
                ended = True
            except _Killed:
                ended = False
        # Not of this process any more: its leases must not look like those of a running process.
        with monkeypatch.context() as patch:
            patch.setattr(Owner, "runs", lambda _: False)
            run = apply(windows, output, counted, part_size=3)
        assert run.complete
        assert sorted_rows(run.to_arrow()) == expected
        assert sum(calls) <= len(expected) + 2 * 3 + 2 * 2  # two parts are lost, noise comes twice
        if ended:
            break

    assert step > 20


def test_many_threads_share_one_run(windows: Windows, tmp_path: Path) -> None:
    """Callers at the same time on one output make each window once in the results."""
    runs: list[Run] = []
    barrier = threading.Barrier(4)

    def work() -> None:
        barrier.wait()
        runs.append(apply(windows, tmp_path / "results", part_size=2))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(runs) == 4
    run = headrace.load_run(tmp_path / "results")
    assert sorted_rows(run.to_arrow()) == expected_loudness(windows)


def test_a_full_disk(windows: Windows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The parts before are kept, the error says what to do, and the same call goes on."""
    real = LocalFolder.create
    made = []

    def create(self: LocalFolder, name: str, data: bytes) -> bool:
        if name.startswith("parts/0"):
            made.append(name)
            if len(made) > 3:
                raise OSError(28, "No space left on device")
        return real(self, name, data)

    with monkeypatch.context() as patch:
        patch.setattr(LocalFolder, "create", create)
        with pytest.raises(OSError, match=r"No space left on device\). All parts before it"):
            apply(windows, tmp_path / "results")

    assert headrace.load_run(tmp_path / "results").progress.parts == 3
    run = apply(windows, tmp_path / "results")
    assert sorted_rows(run.to_arrow()) == expected_loudness(windows)


def test_a_lease_that_cannot_be_deleted(
    windows: Windows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Leases are hints: where a store does not delete them, the run is complete all the same."""

    def delete(self: LocalFolder, name: str) -> None:
        if name.startswith("leases/"):
            raise OSError(f"the store of {self.name} reports: 503")

    monkeypatch.setattr(LocalFolder, "delete", delete)
    run = apply(windows, tmp_path / "results")

    assert sorted_rows(run.to_arrow()) == expected_loudness(windows)
    assert run.complete
    assert len(list((tmp_path / "results" / "leases").iterdir())) == run.progress.parts


def test_a_damaged_part(windows: Windows, tmp_path: Path) -> None:
    """A part that cannot be read is named, and is made anew when it is deleted."""
    apply(windows, tmp_path / "results")
    part = min((tmp_path / "results" / "parts").iterdir())
    part.write_bytes(b"PAR1 and something else")

    with pytest.raises(headrace.ResultsError, match="is damaged: delete it, and run again"):
        _ = headrace.load_run(tmp_path / "results").failures
    part.unlink()
    run = apply(windows, tmp_path / "results")
    assert sorted_rows(run.to_arrow()) == expected_loudness(windows)


def test_a_run_that_has_only_begun(windows: Windows, tmp_path: Path) -> None:
    """Before the first part, and even before the first generation, a run is empty."""
    apply(windows, tmp_path / "results")
    for folder, expected in (("parts", len(windows)), ("generations", 0)):
        for file in (tmp_path / "results" / folder).iterdir():
            file.unlink()
        run = headrace.load_run(tmp_path / "results")
        assert (run.progress.expected, run.progress.written) == (expected, 0)
        assert run.to_arrow().num_rows == 0
        assert pc.sum(run.ledger()["open"]).as_py() == (expected or None)
        assert not run.complete
        assert not run.failures
        assert run.as_json()["open"] == expected
    run = apply(windows, tmp_path / "results")
    assert sorted_rows(run.to_arrow()) == expected_loudness(windows)


def test_an_interrupt_keeps_complete_parts(windows: Windows, tmp_path: Path) -> None:
    """Ctrl-C ends the call; complete parts have been written, and no lease is left."""

    def interrupted(batch: Batch) -> object:
        if int(batch.index.min()) >= 18:
            raise KeyboardInterrupt
        return loudness(batch)

    with pytest.raises(KeyboardInterrupt):
        apply(windows, tmp_path / "results", interrupted)

    run = headrace.load_run(tmp_path / "results")
    assert run.progress.written == 18
    assert repr(run).endswith("18 windows written, 0 failed, 20 open>")
    assert not list((tmp_path / "results" / "leases").iterdir())
    assert sorted_rows(apply(windows, tmp_path / "results").to_arrow()) == expected_loudness(
        windows
    )


def test_memory_is_limited(windows: Windows, tmp_path: Path) -> None:
    """The loader gets what the parts leave of `memory`."""
    bounds = [
        apply(windows, tmp_path / memory, memory=memory).stats.memory_bound  # type: ignore[union-attr]
        for memory in ("3 MiB", "6 MiB")
    ]

    assert bounds[0] <= 3 << 20
    assert bounds[0] <= bounds[1] <= 6 << 20


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="limits of a process are those of POSIX")
def test_a_file_that_may_not_grow(archive: str, tmp_path: Path) -> None:
    """Where the system refuses to write a part, one sentence says so, and nothing half is left."""
    code = """
import resource, signal, sys
import headrace
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
windows = headrace.scan(sys.argv[1]).windows(8_000, 0.25)
if sys.argv[3] == "limited":
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
try:
    run = windows.apply(lambda batch: batch.audio, sys.argv[2], batch_size=4, name="x", part_size=8)
except OSError as error:
    sys.exit(str(error))
print(run.to_arrow().num_rows)
"""
    command = [sys.executable, "-c", code, archive, str(tmp_path / "results")]
    limited = subprocess.run([*command, "limited"], capture_output=True, text=True, check=False)
    free = subprocess.run([*command, "free"], capture_output=True, text=True, check=False)

    assert re.match(r"a part of the results cannot be written to .*File too large", limited.stderr)
    assert limited.stderr.count("\n") == 1
    assert free.stdout == "38\n"
    assert not list((tmp_path / "results" / "parts").glob(".*"))
