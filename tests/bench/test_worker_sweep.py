import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from headrace._cpu_count import available_processors
from headrace.bench._demo import StandInModel, demo
from headrace.bench._synthetic import write_archive
from headrace.bench._worker_sweep import SweepResult, WorkerResult, default_workers, sweep
from headrace.catalog._scan import scan
from headrace.errors import MemoryBudgetError, ReadError
from headrace.observe._stats import Stats
from headrace.windows._windows import Windows


@pytest.fixture(scope="module")
def windows(tmp_path_factory: pytest.TempPathFactory) -> Windows:
    """Return 24 windows of half a second."""
    archive = write_archive(tmp_path_factory.mktemp("archive"), recordings=3, seconds=4)
    return scan(archive.pattern).windows(sample_rate=16_000, window_s=0.5)


def _stats(workers: int, windows_per_s: float) -> Stats:
    return Stats(
        windows=1_000,
        failed=0,
        audio_s=5_000.0,
        wall_s=1_000 / windows_per_s,
        wait_s=0.0,
        first_wait_s=0.0,
        decode_s=0.0,
        resample_s=0.0,
        other_s=0.0,
        workers=workers,
        memory_bound=1_000_000 * (workers + 1),
        peak_bytes=0,
        kept_bytes=0,
    )


def _sweep(**rates: list[float]) -> SweepResult:
    """Return a sweep with these windows per second: ``w2=[10, 11]`` is 2 workers, two rounds."""
    rows = tuple(
        WorkerResult(int(name[1:]), tuple(_stats(int(name[1:]), rate) for rate in own))
        for name, own in rates.items()
    )
    return SweepResult(
        rows=rows,
        windows=1_000,
        epochs=1,
        window_s=5.0,
        sample_rate=16_000,
        batch_size=32,
        processors=2,
        failed=0,
    )


def test_the_fewest_workers_close_to_the_best_are_recommended() -> None:
    """Four workers that are 3 % faster than two are not worth the memory."""
    measured = _sweep(w0=[100.0], w1=[100.0], w2=[195.0], w4=[201.0], w8=[190.0])

    assert measured.recommended == 2
    assert measured.best.workers == 4
    assert "workers=2: within 3.0% of the fastest, which has 4" in measured.reason
    assert "1.95 times as fast as the plain loader" in measured.reason


def test_a_clear_win_is_recommended() -> None:
    """A gain above the margin is recommended; if the largest number wins, more may be faster."""
    measured = _sweep(w0=[100.0], w1=[100.0], w2=[190.0])

    assert measured.recommended == 2
    assert "more may be faster still" in measured.reason
    assert "2 processors" in replace(measured, rows=_sweep(w1=[1.0], w4=[2.0]).rows).reason


def test_the_plain_loader_is_never_recommended_over_a_thread() -> None:
    """One worker that is no faster still loads while a model runs."""
    assert _sweep(w0=[110.0], w1=[100.0], w2=[100.0]).recommended == 1
    assert _sweep(w0=[110.0]).recommended == 0
    assert "Only the plain loader" in _sweep(w0=[110.0]).reason


@given(
    st.integers(1, 4).flatmap(
        lambda rounds: st.dictionaries(
            st.integers(0, 64),
            st.lists(st.floats(1, 1_000), min_size=rounds, max_size=rounds),
            min_size=1,
            max_size=6,
        )
    )
)
def test_the_recommendation_was_measured_and_is_close_to_the_best(
    rates: dict[int, list[float]],
) -> None:
    """Whatever was measured, a recommended number is within 5 % of the fastest in every round."""
    rows = tuple(
        WorkerResult(count, tuple(_stats(count, rate) for rate in rates[count]))
        for count in sorted(rates)
    )
    measured = replace(_sweep(w0=[1.0]), rows=rows)

    threaded = {workers: own for workers, own in rates.items() if workers} or rates
    fastest = [max(in_round) for in_round in zip(*threaded.values(), strict=True)]
    fast = {
        workers: [rate >= 0.95 * best for rate, best in zip(own, fastest, strict=True)]
        for workers, own in threaded.items()
    }
    smallest = min(workers for workers, rounds in fast.items() if any(rounds))
    assert measured.recommended == (smallest if all(fast[smallest]) else None)
    assert ("within the noise" in measured.reason) == (measured.recommended is None)
    assert measured.verdict
    assert measured.reason.endswith(".")
    assert json.loads(json.dumps(measured.as_json()))["recommended"] == measured.recommended


def test_nothing_is_recommended_where_the_noise_decides() -> None:
    """If rounds disagree on whether a number is fast enough, none is recommended."""
    noisy = _sweep(w0=[100.0] * 3, w1=[100.0, 140.0, 96.0], w2=[120.0, 110.0, 100.0])

    assert noisy.recommended is None
    assert noisy.reason == (
        "No number of workers is recommended, because the differences are within the noise: 1 "
        "worker came within 5% of the fastest in 2 of 3 rounds. Stop other programs, or measure "
        "more rounds."
    )
    assert noisy.as_json()["recommended"] is None
    # A machine that slows down from round to round does not matter: numbers are compared in each.
    slowing = _sweep(w1=[100.0, 70.0, 40.0], w2=[190.0, 140.0, 79.0], w4=[188.0, 141.0, 80.0])
    assert slowing.recommended == 2
    assert "One round does not show the noise" in _sweep(w1=[9.0], w2=[10.0]).noise_warning


def test_rows_are_medians_and_different_rounds_give_a_warning() -> None:
    """One slow round does not change a median, but gives a warning."""
    measured = _sweep(w1=[100.0, 50.0, 102.0])

    assert math.isclose(measured.rows[0].windows_per_s, 100)
    assert math.isclose(measured.rows[0].times_real_time, 500)
    assert math.isclose(measured.rows[0].spread, 0.52)
    assert "52%" in measured.noise_warning
    assert not _sweep(w1=[100.0, 101.0]).noise_warning


def test_the_default_workers_exceed_the_processors() -> None:
    """The numbers double from 1 up to the first that exceeds the processors."""
    assert default_workers(1) == (0, 1, 2)
    assert default_workers(2) == (0, 1, 2, 4)
    assert default_workers(6) == (0, 1, 2, 4, 8)
    assert default_workers() == default_workers(available_processors())


def test_every_round_streams_everything_to_the_consumer(windows: Windows) -> None:
    """Two rounds and the uncounted one, with 0 and 2 workers each, stream all windows six times."""
    seen: list[int] = []
    calls: list[tuple[int, int]] = []

    measured = sweep(
        windows,
        (2, 0, 2),
        rounds=2,
        batch_size=5,
        consume=lambda batch: seen.extend(batch.index.tolist()),
        least_s=0,
        progress=lambda done, total: calls.append((done, total)),
    )

    assert seen == 6 * list(range(24))
    assert calls == [(done, 6) for done in range(7)]
    assert [row.workers for row in measured.rows] == [0, 2]
    assert [[run.windows for run in row.runs] for row in measured.rows] == [[24, 24], [24, 24]]
    assert [[run.workers for run in row.runs] for row in measured.rows] == [[0, 0], [2, 2]]
    assert (measured.windows, measured.window_s, measured.batch_size) == (24, 0.5, 5)
    assert measured.failed == 0


def test_short_runs_have_more_epochs(windows: Windows) -> None:
    """All counted runs have the same number of epochs, chosen after the uncounted round."""
    measured = sweep(windows, (0, 1), rounds=2, least_s=0.05)

    assert measured.epochs > 1
    assert {run.windows for row in measured.rows for run in row.runs} == {24 * measured.epochs}


@pytest.mark.parametrize(
    ("arguments", "named"),
    [({"workers": ()}, "workers"), ({"workers": (-1, 2)}, "workers"), ({"rounds": 0}, "rounds")],
)
def test_arguments_out_of_range_are_errors(
    windows: Windows, arguments: dict[str, int], named: str
) -> None:
    """The error names the argument."""
    with pytest.raises(ValueError, match=named):
        sweep(windows, **arguments)  # type: ignore[arg-type]


def test_a_memory_limit_too_small_for_one_loader_is_reported_before_any_run(
    windows: Windows,
) -> None:
    """All loaders are checked first, not after minutes of measuring."""
    ran: list[object] = []

    with pytest.raises(MemoryBudgetError):
        sweep(windows, (0, 64), memory=200_000, batch_size=1, consume=ran.append)

    assert not ran


def test_damaged_windows_are_left_out_and_counted(tmp_path: Path) -> None:
    """A window with NaN fails alone; the other windows of its file are streamed."""
    archive = write_archive(tmp_path, recordings=2, seconds=2)
    audio = np.zeros(44_100, np.float32)
    audio[33_075] = np.nan  # in its second window
    soundfile.write(archive.audio[0], audio, 22_050, subtype="FLOAT")
    cut = scan(archive.pattern).windows(sample_rate=16_000, window_s=1.0)

    measured = sweep(cut, (0, 1), rounds=1, batch_size=4, least_s=0)

    assert measured.failed == 1
    assert [run.windows for row in measured.rows for run in row.runs] == [3, 3]


def test_a_file_that_changed_costs_its_own_windows(tmp_path: Path) -> None:
    """All windows of the file fail, because it differs from the scanned one; the sweep goes on."""
    archive = write_archive(tmp_path, recordings=2, seconds=2)
    cut = scan(archive.pattern).windows(sample_rate=16_000, window_s=1.0)
    soundfile.write(archive.audio[0], [0.0] * 33_075, 22_050, subtype="PCM_16")

    measured = sweep(cut, (0, 1), rounds=1, batch_size=4, least_s=0)

    assert measured.failed == 2
    assert [run.windows for row in measured.rows for run in row.runs] == [2, 2]


def test_a_sweep_without_readable_windows_is_an_error(tmp_path: Path) -> None:
    """The error of a sweep or demo over only damaged windows names the first one."""
    archive = write_archive(tmp_path, recordings=1, seconds=2)
    cut = scan(archive.pattern).windows(sample_rate=16_000, window_s=1.0)
    archive.audio[0].unlink()

    with pytest.raises(ReadError, match="MISSING"):
        sweep(cut, (1,), rounds=1)
    with pytest.raises(ReadError, match="MISSING"):
        demo(cut, rounds=1)


def test_the_model_works_on_every_sample_and_more_layers_change_the_result(
    windows: Windows,
) -> None:
    """The model's output depends on its depth and on the last sample of the batch."""
    with windows.loader(batch_size=3, workers=0) as loader:
        batch = next(iter(loader))
    model = StandInModel(2)
    audio = batch.audio.copy()
    audio[-1, -1] += 1

    first = model(batch)

    assert model(batch) == first
    assert model(replace(batch, audio=audio)) != first
    assert StandInModel(3)(batch) != first


def test_the_demo_measures_plain_and_threaded_on_the_same_windows(windows: Windows) -> None:
    """Every row streams the same windows to a model of at least one layer."""
    result = demo(windows, (0, 1), rounds=1, batch_size=4, budget_s=0)

    assert [row.workers for row in result.sweep.rows] == [0, 1]
    assert result.sweep.windows == 16
    assert all(run.windows == 16 for row in result.sweep.rows for run in row.runs)
    assert result.depth >= 1
    assert result.verdict == result.sweep.rows[1].runs[-1].verdict
    assert json.loads(json.dumps(result.as_json()))["model"]["depth"] == result.depth
