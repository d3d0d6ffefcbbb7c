"""`Stats`: where the time went, and whether the consumer or the loader waited."""

from __future__ import annotations

from dataclasses import dataclass

from headrace._formatting import format_bytes, format_count

__all__ = ["GIL_WAITS_OFTEN", "MIN_WAIT_SHARE", "Stats", "separate_blocked"]

MIN_WAIT_SHARE = 0.01
"""A smaller share of the run does not count as waiting: law 5 in docs/architecture.md."""

_MOSTLY = 0.5
"""From this share of the run on, the consumer waited for longer than it worked."""

_BUSY = 0.8
"""From this share of the run on, workers count as busy all the time."""

_BLOCKED = "waiting for files or a processor"
_STORE = "waiting for the store"

_ADVICE = {
    _BLOCKED: "the disk or network is slow (more workers may help), or there are more threads "
    "than processors (more workers do not help)",
    _STORE: "raise prefetch, so that more is fetched ahead, or fetches; if the network is the "
    "limit, give cache= for later epochs",
}

GIL_WAITS_OFTEN = 0.1
"""From this share of the groups of reads on, waits for the GIL mean that some code holds it. With
two workers and a transform that holds the GIL it was 0.15 to 0.88 in short runs; with a transform
that sleeps it was 0.00."""

_QUEUED_OFTEN = 0.2
"""From this share of the time in transforms on, waits for a processor mean that the machine is
short of them. With ten times as many busy threads as processors it was 0.3 to 0.9, and waits for
the GIL were as frequent with transforms that release it as with those that hold it. 0.2 is a
guess."""

_CHAINED_OFTEN = 0.5
"""From this share of the groups of reads on, waits for another group of the same recording explain
why workers were idle. With one long recording at a time it was 0.9 and more; 0.5 is a guess."""


def separate_blocked(blocked_s: float, *parts_s: float) -> tuple[float, ...]:
    """Return the blocked seconds of some work, then its parts without them.

    The blocked time of each part is not known, so it is subtracted in proportion. Where there is
    much of it, it is nearly all of every part.
    """
    total_s = sum(parts_s)
    share = min(1.0, max(0.0, blocked_s) / total_s) if total_s else 0.0
    return share * total_s, *((1 - share) * part for part in parts_s)


@dataclass(frozen=True, slots=True, repr=False)
class Stats:
    """What a loader has done since its construction.

    Attributes
    ----------
    windows : int
        Windows delivered.
    failed : int
        Windows that could not be read or transformed. `expected` is delivered plus failed.
    audio_s : float
        Seconds of audio in the windows delivered, without padding.
    wall_s : float
        Seconds during which an iteration was under way: the length of the run.
    wait_s : float
        Seconds of the run that the consumer waited for the loader.
    first_wait_s : float
        Seconds of `wait_s` before the first delivery of each iteration, when nothing can be ready.
    decode_s, resample_s, transform_s, other_s : float
        Busy seconds, summed over the workers: reading, decoding and mixing; resampling; the
        functions of `Windows.map` and ``batch_map``; everything else.
    blocked_s : float
        Busy seconds outside transforms in which a worker was on no processor: it waited for the
        disk (to open or read a file), or for a processor.
    store_s : float
        Busy seconds, summed over the workers, of waiting for bytes of an object store.
    store_requests, store_bytes : int
        Requests sent to object stores, and bytes received from them.
    cache_bytes : int
        Bytes taken from the disk cache instead.
    gil_waits : float
        Share of the groups of reads after which a worker waited for the GIL for more than 1 ms.
    chained : float
        Share of the groups of reads that had to wait, although a worker was free, for another
        group of the same recording, because its format is decoded from the start.
    queued : float or None
        Share of the time in transforms in which a worker waited for a processor, measured in some
        of the groups of reads. None where it is not known: without workers or transforms, and on
        other systems than Linux.
    workers : int
        Threads that load; 0: the consumer's thread loads.
    memory_bound, peak_bytes : int
        Bytes that loading may take at most, and the most that it has taken.
    kept_bytes : int
        Bytes of batches that the consumer keeps beyond those that `memory_bound` counts.
    since : (int, int)
        Epoch, and position in it, from which on windows are counted. Not ``(0, 0)`` after a resume:
        a saved state holds no counts.
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
    store_s: float = 0.0
    store_requests: int = 0
    store_bytes: int = 0
    cache_bytes: int = 0
    since: tuple[int, int] = (0, 0)
    queued: float | None = None

    @property
    def delivered(self) -> int:
        """Windows delivered: the same as `windows`."""
        return self.windows

    @property
    def expected(self) -> int:
        """Windows delivered plus windows failed."""
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
        """Share of the run that the consumer waited, in [0, 1]."""
        return self.wait_s / self.wall_s if self.wall_s else 0.0

    @property
    def busy_s(self) -> float:
        """Busy seconds, summed over the workers."""
        return self.decode_s + self.resample_s + self.transform_s + self.other_s + self.store_s

    @property
    def parts(self) -> dict[str, float]:
        """The parts of `busy_s`, seconds by name.

        `blocked_s` is a part of its own. It is subtracted in proportion from decoding, resampling
        and the rest.
        """
        native = separate_blocked(self.blocked_s, self.decode_s, self.resample_s, self.other_s)
        names = (_BLOCKED, "decoding", "resampling", "the rest")
        parts = {**dict(zip(names, native, strict=True)), "transforms": self.transform_s}
        return {**parts, _STORE: self.store_s}

    @property
    def work(self) -> str:
        """`parts` in one line; blocked time and transforms only if there were any."""
        short = {"decoding": "decode", "resampling": "resample", "the rest": "other"}
        parts = self.parts
        shown = (*short, *(name for name in parts if name not in short and parts[name]))
        return ", ".join(f"{short.get(name, name)} {parts[name]:.2f} s" for name in shown)

    @property
    def verdict(self) -> str:
        """One line: whether the consumer or the loader waited, and what to do about it."""
        if not self.windows:
            return "Nothing has been delivered yet."
        share = f"{self.wait_share:.1%}"
        if self.workers == 0:
            return (
                f"The consumer did the loading itself, {share} of the run: "
                "set workers=1 or more to load while it works."
            )
        if self.wait_share < MIN_WAIT_SHARE:
            return f"The loader waited for the consumer, which waited {share} of the run."
        if self.wait_s - self.first_wait_s < MIN_WAIT_SHARE * self.wall_s:
            if self.wait_share > _MOSTLY:
                return (
                    f"The consumer waited {share} of the run, nearly all of it for the first "
                    "delivery of an iteration, before which nothing can be ready: use longer "
                    "epochs or loader.steps(n) to have fewer first deliveries, or a faster disk."
                )
            return (
                f"The loader waited for the consumer, which waited {share} of the run, nearly all "
                "of it for the first delivery."
            )
        return self._why_the_consumer_waited(share)

    def _why_the_consumer_waited(self, share: str) -> str:
        busy = self.busy_s / (self.workers * self.wall_s)
        workers = "the one worker was" if self.workers == 1 else f"the {self.workers} workers were"
        parts = self.parts
        longest = max(parts, key=lambda name: parts[name])
        waited = f"The consumer waited for the loader {share} of the run"
        if longest == "transforms" and self.workers > 1 and self.gil_waits > GIL_WAITS_OFTEN:
            return f"{waited}; {workers} busy {busy:.0%} of it, mostly with {self._slow_transform}"
        if busy > _BUSY and longest in _ADVICE:
            return (
                f"{waited}; {workers} loading {busy:.0%} of it, but "
                f"{parts[longest] / self.busy_s:.0%} of that time {longest}: {_ADVICE[longest]}."
            )
        if busy > _BUSY:
            condition = " and the transform releases the GIL" if longest == "transforms" else ""
            return (
                f"{waited}; {workers} busy {busy:.0%} of it, mostly with {longest}: "
                f"more workers help if processors are free{condition}."
            )
        idle = f"{waited} although {workers} busy only {busy:.0%} of it"
        if self.gil_waits > GIL_WAITS_OFTEN and self.wait_share < _MOSTLY:
            return (
                f"{idle}: after {self.gil_waits:.0%} of the reads a worker waited for the GIL, or "
                "for a processor. Most likely the consumer holds the GIL in a Python loop: work on "
                "whole arrays, or move that work to another process."
            )
        if self.chained > _CHAINED_OFTEN:
            return (
                f"{idle}: workers waited for each other, because a recording of this format is "
                "decoded from its start, by one worker at a time. Convert long recordings to FLAC "
                "or WAV, or raise prefetch so that it reaches the next recordings."
            )
        return f"{idle}: raise prefetch, or run fewer other threads."

    @property
    def _since_text(self) -> str:
        epoch, position = self.since
        return f", since epoch {epoch}, position {position:,}" if any(self.since) else ""

    @property
    def _slow_transform(self) -> str:
        """What workers wait for that have a slow transform and often wait for the GIL."""
        if self.queued is not None and self.queued > _QUEUED_OFTEN:
            return (
                f"transforms, and waited for a processor {self.queued:.0%} of that time: the "
                "machine is short of processors, so that it is not known whether a transform holds "
                "the GIL. Stop other programs, or use fewer workers."
            )
        unless = ", unless the machine lacks processors" if self.queued is None else ""
        return (
            "a transform that holds the GIL, so that only one worker at a time runs it: more "
            f"workers do not help. Work on whole arrays, or on whole batches (batch_map){unless}."
        )

    def __str__(self) -> str:
        audio = f"({self.audio_s:,.1f} s of audio)"
        speed = f"{self.times_real_time:,.0f} x real time"
        peak = f"peak {format_bytes(self.peak_bytes)} of at most {format_bytes(self.memory_bound)}"
        workers = format_count(self.workers, "worker")
        rows = {
            "windows": f"{self.expected:,} expected = {self.windows:,} delivered {audio} + "
            f"{self.failed:,} failed{self._since_text}",
            "speed": f"{self.windows_per_s:,.1f} windows/s, {speed}",
            "run": f"{self.wall_s:.2f} s, of which the consumer waited {self.wait_s:.2f} s",
            workers: self.work,
            "memory": f"{peak}, kept by the consumer {format_bytes(self.kept_bytes)}",
        }
        if self.store_requests or self.cache_bytes:
            each = self.expected or 1
            rows["store"] = (
                f"{self.store_requests:,} requests ({self.store_requests / each:.2f} a window), "
                f"{format_bytes(self.store_bytes)} ({format_bytes(self.store_bytes // each)} a "
                f"window); from the disk cache {format_bytes(self.cache_bytes)}"
            )
        return "\n".join([*(f"{name:<10} {text}" for name, text in rows.items()), self.verdict])

    def __repr__(self) -> str:
        return (
            f"<Stats: {format_count(self.windows, 'window')} in {self.wall_s:.2f} s, "
            f"{self.failed:,} failed{self._since_text}, {self.times_real_time:,.0f} x real time. "
            f"{self.verdict}>"
        )

    def _repr_html_(self) -> str:
        from headrace.display import stats_card

        return stats_card(self)
