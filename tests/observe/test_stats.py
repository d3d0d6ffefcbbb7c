from dataclasses import replace

import pytest

from headrace.observe._stats import Stats

STATS = Stats(
    windows=1_200,
    failed=3,
    audio_s=6_000.0,
    wall_s=20.0,
    wait_s=0.1,
    first_wait_s=0.0,
    decode_s=11.0,
    resample_s=7.0,
    other_s=2.0,
    workers=2,
    memory_bound=300 << 20,
    peak_bytes=200 << 20,
    kept_bytes=10 << 20,
)


def test_rates_and_shares_are_of_the_run() -> None:
    """Windows, audio and waiting are each divided by the wall clock; busy seconds are summed."""
    assert STATS.windows_per_s == 60
    assert STATS.times_real_time == 300
    assert STATS.wait_share == 0.005
    assert STATS.busy_s == 20


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("windows", [0, 7])
def test_a_run_of_zero_seconds_has_rates_of_zero(workers: int, windows: int) -> None:
    """Before the clock's first tick, rates are 0, and the verdict and the table still exist."""
    none = replace(STATS, workers=workers, windows=windows, wall_s=0.0, wait_s=0.0)

    assert (none.windows_per_s, none.times_real_time, none.wait_share) == (0, 0, 0)
    assert none.verdict.endswith(".")
    assert none.verdict in str(none)


@pytest.mark.parametrize(
    ("changed", "verdict"),
    [
        ({"windows": 0}, "Nothing has been delivered yet."),
        ({}, "The loader waited for the consumer, which waited 0.5% of the run."),
        (
            {"workers": 0, "wait_s": 15.0},
            """The consumer did the loading itself, 75.0% of the run: set workers=1 or more to load
            while it works.""",
        ),
        (
            {"wait_s": 8.0, "decode_s": 30.0},
            """The consumer waited for the loader 40.0% of the run; the 2 workers were busy 98% of
            it, mostly with decoding: more workers help if processors are free.""",
        ),
        (
            {"wait_s": 8.0, "resample_s": 30.0, "decode_s": 2.0},
            """The consumer waited for the loader 40.0% of the run; the 2 workers were busy 85% of
            it, mostly with resampling: more workers help if processors are free.""",
        ),
        (
            {"wait_s": 8.0, "other_s": 30.0, "decode_s": 3.0},
            """The consumer waited for the loader 40.0% of the run; the 2 workers were busy 100% of
            it, mostly with the rest: more workers help if processors are free.""",
        ),
        (
            {"wait_s": 8.0},
            """The consumer waited for the loader 40.0% of the run although the 2 workers were busy
            only 50% of it: raise prefetch, or run fewer other threads.""",
        ),
        (
            {"wait_s": 8.0, "chained": 0.9},
            """The consumer waited for the loader 40.0% of the run although the 2 workers were busy
            only 50% of it: workers waited for each other, because a recording of this format is
            decoded from its start, by one worker at a time. Convert long recordings to FLAC or WAV,
            or raise prefetch so that it reaches the next recordings.""",
        ),
        (
            {"wait_s": 8.0, "gil_waits": 0.5, "chained": 0.9},
            """The consumer waited for the loader 40.0% of the run although the 2 workers were busy
            only 50% of it: after 50% of the reads a worker waited for the GIL, or for a processor.
            Most likely the consumer holds the GIL in a Python loop: work on whole arrays, or move
            that work to another process.""",
        ),
        (  # the consumer did not work for long enough to be the cause
            {"wait_s": 18.0, "gil_waits": 0.5},
            """The consumer waited for the loader 90.0% of the run although the 2 workers were busy
            only 50% of it: raise prefetch, or run fewer other threads.""",
        ),
        (
            {"wait_s": 15.0, "transform_s": 18.0, "decode_s": 1.0, "resample_s": 0.5, "workers": 1},
            """The consumer waited for the loader 75.0% of the run; the one worker was busy 108% of
            it, mostly with transforms: more workers help if processors are free and the transform
            releases the GIL.""",
        ),
        (
            {"wait_s": 19.8, "first_wait_s": 19.7},
            """The consumer waited 99.0% of the run, nearly all of it for the first delivery of an
            iteration, before which nothing can be ready: use longer epochs or loader.steps(n) to
            have fewer first deliveries, or a faster disk.""",
        ),
    ],
)
def test_the_verdict_says_who_waited_for_whom(changed: dict[str, float], verdict: str) -> None:
    """Each kind of run has its own verdict, with its figures and what to do."""
    assert replace(STATS, **changed).verdict == " ".join(verdict.split())  # type: ignore[arg-type]


@pytest.mark.parametrize(("wait_s", "who"), [(0.1999, "loader"), (0.2, "consumer")])
def test_a_wait_of_one_percent_is_a_wait(wait_s: float, who: str) -> None:
    """The verdict changes at a wait of 1% of the run, law 5's figure."""
    assert replace(STATS, wait_s=wait_s).verdict.startswith(f"The {who} waited")


def test_printed_stats_have_every_figure() -> None:
    """`str` is a table of every figure, with the verdict as its last line."""
    assert str(STATS).splitlines() == [
        "windows    1,203 expected = 1,200 delivered (6,000.0 s of audio) + 3 failed",
        "speed      60.0 windows/s, 300 x real time",
        "run        20.00 s, of which the consumer waited 0.10 s",
        "2 workers  decode 11.00 s, resample 7.00 s, other 2.00 s",
        "memory     peak 200 MiB of at most 300 MiB, kept by the consumer 10 MiB",
        STATS.verdict,
    ]


@pytest.mark.parametrize(
    ("transform_s", "gil_waits", "workers", "named"),
    [
        (38.0, 0.9, 2, True),
        (38.0, 0.1, 2, False),  # transforms run in parallel, or sleep
        (38.0, 0.9, 1, False),  # the consumer holds the GIL
        (0.5, 0.9, 2, False),  # transforms take little time
    ],
)
def test_a_transform_that_holds_the_gil_is_named(
    transform_s: float, gil_waits: float, workers: int, *, named: bool
) -> None:
    """The cause is named if transforms take most time and workers wait for the GIL after reads."""
    stats = replace(
        STATS,
        decode_s=1.0,
        resample_s=0.5,
        other_s=0.1,
        wait_s=15.0,
        workers=workers,
        transform_s=transform_s,
        gil_waits=gil_waits,
    )

    assert ("holds the GIL" in stats.verdict) == named
    assert f"transforms {transform_s:.2f} s" in str(stats)


@pytest.mark.parametrize(
    ("queued", "known", "unless"),
    [(0.0, True, False), (0.2, True, False), (0.21, False, False), (None, True, True)],
)
def test_a_machine_short_of_processors_is_not_a_transform_that_holds_the_gil(
    queued: float | None, *, known: bool, unless: bool
) -> None:
    """If transforms waited for a processor, the verdict says that, and blames no transform."""
    stats = replace(
        STATS,
        decode_s=1.0,
        resample_s=0.5,
        other_s=0.1,
        wait_s=15.0,
        transform_s=38.0,
        gil_waits=0.9,
        queued=queued,
    )

    assert ("mostly with a transform that holds the GIL" in stats.verdict) == known
    assert ("unless the machine lacks processors" in stats.verdict) == unless
    if not known:
        assert stats.verdict.endswith(
            "mostly with transforms, and waited for a processor 21% of that time: the machine is "
            "short of processors, so that it is not known whether a transform holds the GIL. Stop "
            "other programs, or use fewer workers."
        )


def test_a_wait_for_the_first_delivery_names_no_cause() -> None:
    """Nothing can be ready before the first delivery, whatever the number of workers."""
    begun = replace(STATS, wait_s=1.0, first_wait_s=0.9)

    assert begun.verdict.startswith("The loader waited for the consumer, which waited 5.0%")
    assert begun.verdict.endswith("nearly all of it for the first delivery.")


def test_the_workers_row_lists_all_parts() -> None:
    """The row includes blocked time and transforms, and its parts sum up to the busy time."""
    assert STATS.work == "decode 11.00 s, resample 7.00 s, other 2.00 s"

    stats = replace(STATS, blocked_s=10.0, transform_s=3.0)

    assert stats.work == (
        "decode 5.50 s, resample 3.50 s, other 1.00 s, waiting for files or a processor 10.00 s, "
        "transforms 3.00 s"
    )
    assert f"2 workers  {stats.work}" in str(stats)
    assert stats.work in stats._repr_html_()
