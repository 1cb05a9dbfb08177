"""Times several competitors in turn, so that what disturbs the machine disturbs all of them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch

ROUNDS = 5  # at least
SLICE_SECONDS = 4e-3  # of one competitor in one round
BLOCK_SECONDS = 20e-6  # calls shorter than that are timed several at once


@dataclass(frozen=True)
class Time:
    """Of one call."""

    minimum_us: float
    median_us: float
    samples: int


@torch.inference_mode()
def interleave(
    competitors: Mapping[str, Callable[[], object]],
    seconds: float,
    prepare: Mapping[str, Callable[[], object]] | None = None,
    elsewhere: Mapping[str, Callable[[float], Sequence[float]]] | None = None,
) -> dict[str, Time]:
    """Time all of them for ``seconds`` together, in short slices by turns.

    Args:
        competitors: Name -> what is timed.
        seconds: For all of them; a round is always ended, and there are at least 5.
        prepare: Name -> what runs before each of the competitor's slices, untimed.
        elsewhere: Name -> what times calls of its own, in another process: as many as fit into the
            seconds that it is given.
    """
    prepare, elsewhere = prepare or {}, elsewhere or {}
    samples: dict[str, list[float]] = {name: [] for name in (*competitors, *elsewhere)}
    end = time.perf_counter() + seconds
    done = 0
    while done < ROUNDS or time.perf_counter() < end:
        for name, run in competitors.items():
            prepare.get(name, int)()
            run()  # the others' data were in the caches, and their threads may be spinning
            samples[name] += _slice(run)
        for name, measure in elsewhere.items():
            samples[name] += measure(SLICE_SECONDS)
        done += 1
    return {
        name: Time(min(times) * 1e6, statistics.median(times) * 1e6, len(times))
        for name, times in samples.items()
    }


def _slice(run: Callable[[], object]) -> list[float]:
    times = [_seconds(run, 1)]
    calls = max(1, round(BLOCK_SECONDS / times[0]))
    if calls > 1:
        times = []  # the clock's own time would show
    end = time.perf_counter() + SLICE_SECONDS
    while not times or time.perf_counter() < end:
        times.append(_seconds(run, calls))
    return times


def _seconds(run: Callable[[], object], calls: int) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        run()
    return (time.perf_counter() - start) / calls
