"""`Stats`: where the time went, and who waited for whom."""

from __future__ import annotations

from dataclasses import dataclass

from headrace._formatting import format_bytes

__all__ = ["OFTEN", "Stats", "unblocked"]

_NOTHING = 0.01
"""A wait below this share of the run is none: law 5's figure."""

_BUSY = 0.8
"""Share of the run from which workers count as busy all the time."""

_BLOCKED = "waiting for files or a processor"

OFTEN = 0.1
"""Share of the groups that wait for the GIL from which somebody holds it: with two workers and a
function that does, it was 0.15 to 0.88 in short runs, and 0.00 with one that sleeps."""

_CHAINED = 0.5
"""Share of the groups that wait for another of their recording where that is what workers are idle
for: with one long recording at a time it was 0.9 and more; out of the air."""


def unblocked(blocked_s: float, *parts_s: float) -> tuple[float, ...]:
    """Return the blocked seconds of some work, and its parts without them.

    They are taken off all in proportion: off which is not known, and where they are many they are
    nearly all of each.
    """
    whole = sum(parts_s)
    share = min(1.0, max(0.0, blocked_s) / whole) if whole else 0.0
    return share * whole, *((1 - share) * part for part in parts_s)


@dataclass(frozen=True, slots=True, repr=False)
class Stats:
    """What a loader has done since it was made.

    Attributes
    ----------
    windows : int
        Windows delivered.
    failed : int
        Windows that could not be read; `expected` is both together.
    audio_s : float
        Seconds of audio in the windows delivered.
    wall_s : float
        Seconds during which an iteration was under way.
    wait_s : float
        Seconds of it that the consumer waited for the loader.
    first_wait_s : float
        Seconds of that before the first delivery of each iteration, when nothing could be ready.
    decode_s, resample_s, transform_s, other_s : float
        Busy seconds of all workers together: reading, decoding and mixing; resampling; what
        `Windows.map` and ``batch_map`` added; the rest.
    blocked_s : float
        Seconds of all but transforms in which a worker was on no processor: it waited for the disk
        (opening a file, or reading it), or for a processor.
    gil_waits : float
        Share of the groups of reads after which a worker waited for the GIL for a millisecond.
    chained : float
        Share of the groups of reads that a worker was free for while another of their recording,
        whose format is decoded from its start on, had not ended.
    workers : int
        Threads; 0: the consumer's own.
    memory_bound, peak_bytes : int
        Bytes that loading may take, and the most that it has taken.
    kept_bytes : int
        Bytes of batches that the consumer keeps beyond those that the bound has for it; they are
        its own.
    """

    windows: int
    failed: int
    audio_s: float
    wall_s: float
    wait_s: float
    first_wait_s: float
    decode_s: float
    resample_s: float
    other_s: float
    workers: int
    memory_bound: int
    peak_bytes: int
    kept_bytes: int
    transform_s: float = 0.0
    gil_waits: float = 0.0
    blocked_s: float = 0.0
    chained: float = 0.0

    @property
    def delivered(self) -> int:
        """Windows delivered: the same as `windows`."""
        return self.windows

    @property
    def expected(self) -> int:
        """Windows whose turn has come: delivered and failed."""
        return self.windows + self.failed

    @property
    def windows_per_s(self) -> float:
        """Windows delivered per second of the run."""
        return self.windows / self.wall_s if self.wall_s else 0.0

    @property
    def times_real_time(self) -> float:
        """Seconds of audio delivered per second of the run."""
        return self.audio_s / self.wall_s if self.wall_s else 0.0

    @property
    def wait_share(self) -> float:
        """Share of the run that the consumer waited, 0 to 1."""
        return self.wait_s / self.wall_s if self.wall_s else 0.0

    @property
    def busy_s(self) -> float:
        """Busy seconds of all workers together."""
        return self.decode_s + self.resample_s + self.transform_s + self.other_s

    @property
    def parts(self) -> dict[str, float]:
        """What `busy_s` is made of, seconds by name.

        `blocked_s` is one, taken off those that are native work: see `unblocked`.
        """
        native = unblocked(self.blocked_s, self.decode_s, self.resample_s, self.other_s)
        names = (_BLOCKED, "decoding", "resampling", "the rest")
        return {**dict(zip(names, native, strict=True)), "transforms": self.transform_s}

    @property
    def work(self) -> str:
        """`parts` in a line; what is rare only where it was."""
        short = {"decoding": "decode", "resampling": "resample", "the rest": "other"}
        parts = self.parts
        shown = (*short, *(name for name in parts if name not in short and parts[name]))
        return ", ".join(f"{short.get(name, name)} {parts[name]:.2f} s" for name in shown)

    @property
    def verdict(self) -> str:
        """One line: who waited for whom, and what to do about it."""
        if not self.windows:
            return "Nothing has been delivered yet."
        share = f"{self.wait_share:.1%}"
        if self.workers == 0:
            return (
                f"The consumer did the loading itself, {share} of the run: "
                "workers=1 or more would load while it works."
            )
        if self.wait_share < _NOTHING:
            return f"The loader waited for the consumer, which waited {share} of the run."
        if self.wait_s - self.first_wait_s < _NOTHING * self.wall_s:
            if self.wait_share > 0.5:  # noqa: PLR2004  it waited for longer than it worked
                return (
                    f"The consumer waited {share} of the run, nearly all of it for the first "
                    "delivery of an iteration, before which nothing can be ready: longer epochs, "
                    "or loader.steps(n) across them, have fewer; a faster disk makes it shorter."
                )
            return (
                f"The loader waited for the consumer, which waited {share} of the run, nearly all "
                "of it for the first delivery."
            )
        return self._slow(share)

    def _slow(self, share: str) -> str:
        """Say why the consumer waited."""
        loaded = self.busy_s / (self.workers * self.wall_s)
        its = "its one worker was" if self.workers == 1 else f"its {self.workers} workers were"
        parts = self.parts
        where = max(parts, key=lambda name: parts[name])
        if where == "transforms" and self.workers > 1 and self.gil_waits > OFTEN:
            return (
                f"The consumer waited for the loader {share} of the run; {its} busy {loaded:.0%} "
                "of it, mostly with a transform that holds the GIL, so that one runs while the "
                "others wait: more workers do not help; work on whole arrays, or on whole batches "
                "(batch_map)."
            )
        if loaded > _BUSY and where == _BLOCKED:
            idle = parts[_BLOCKED] / self.busy_s
            return (
                f"The consumer waited for the loader {share} of the run; {its} under way "
                f"{loaded:.0%} of it, but {idle:.0%} of that waiting for files or a processor: the "
                "disk or network is slow, which more workers may help, or there are fewer "
                "processors than threads, where they do not."
            )
        if loaded > _BUSY:
            so = ", if it lets go of the GIL" if where == "transforms" else ""
            return (
                f"The consumer waited for the loader {share} of the run; "
                f"{its} busy {loaded:.0%} of it, mostly with {where}: more workers help "
                f"where there are processors for them{so}."
            )
        why = "more prefetch helps, or fewer threads beside it."
        if self.gil_waits > OFTEN and self.wait_share < 0.5:  # noqa: PLR2004  as it worked so long
            why = (
                f"after {self.gil_waits:.0%} of the reads they waited for the GIL, or a processor. "
                "Most likely the consumer holds it, in a loop in Python: let it work on whole "
                "arrays, or in a process of its own."
            )
        elif self.chained > _CHAINED:
            why = (
                "they waited for each other, since a recording of this format is decoded from its "
                "start on, by one of them: convert long ones to FLAC or WAV, or let prefetch reach "
                "beyond them."
            )
        return (
            f"The consumer waited for the loader {share} of the run although "
            f"{its} busy only {loaded:.0%} of it: {why}"
        )

    def __str__(self) -> str:
        audio = f"({self.audio_s:,.1f} s of audio)"
        speed = f"{self.times_real_time:,.0f} x real time"
        peak = f"peak {format_bytes(self.peak_bytes)} of at most {format_bytes(self.memory_bound)}"
        workers = f"{self.workers} worker{'' if self.workers == 1 else 's'}"
        rows = {
            "windows": f"{self.expected:,} expected = {self.windows:,} delivered {audio} + "
            f"{self.failed:,} failed",
            "speed": f"{self.windows_per_s:,.1f} windows/s, {speed}",
            "run": f"{self.wall_s:.2f} s, of which the consumer waited {self.wait_s:.2f} s",
            workers: self.work,
            "memory": f"{peak}, kept by the consumer {format_bytes(self.kept_bytes)}",
        }
        return "\n".join([*(f"{name:<10} {text}" for name, text in rows.items()), self.verdict])

    def __repr__(self) -> str:
        return (
            f"<Stats: {self.windows:,} windows in {self.wall_s:.2f} s, {self.failed:,} failed, "
            f"{self.times_real_time:,.0f} x real time. {self.verdict}>"
        )

    def _repr_html_(self) -> str:
        from headrace.display import stats_card

        return stats_card(self)
