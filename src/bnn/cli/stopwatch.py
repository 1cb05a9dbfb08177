"""How long networks take: percentiles of many runs, the networks in turn."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

_ROUNDS = 5
_LEAST = 5  # runs of each


@dataclass(frozen=True)
class Latency:
    """Times of one call, in microseconds.

    Args:
        runs: How many were timed.
        minimum: The shortest.
        median: Half took longer.
        p90: One in ten took longer.
        p99: One in a hundred took longer.
    """

    runs: int
    minimum: float
    median: float
    p90: float
    p99: float

    def as_dict(self, images: int) -> dict[str, Any]:
        """Return the numbers, and images a second for calls of so many images."""
        rounded = {name: round(value, 2) for name, value in asdict(self).items()}
        return {**rounded, "images_per_second": round(self.throughput(images), 1)}

    def throughput(self, images: int) -> float:
        """Return images a second, at the median."""
        return images * 1e6 / self.median


def race(calls: Mapping[str, Callable[[], object]], seconds: float) -> dict[str, Latency]:
    """Time each for about so many seconds, in turns: what slows the machine slows them all.

    Before that, each runs for a fifth of it to warm up.
    """
    times: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        _spend(call, seconds / 5, least=2)
    for _ in range(_ROUNDS):
        for name, call in calls.items():
            times[name] += _spend(call, seconds / _ROUNDS, least=-(-_LEAST // _ROUNDS))
    return {name: _latency(sorted(spent)) for name, spent in times.items()}


def _spend(call: Callable[[], object], seconds: float, least: int) -> list[float]:
    spent: list[float] = []
    end = time.perf_counter() + seconds
    while len(spent) < least or time.perf_counter() < end:
        begin = time.perf_counter()
        call()
        spent.append((time.perf_counter() - begin) * 1e6)
    return spent


def _latency(times: list[float]) -> Latency:
    def at(share: float) -> float:
        return times[min(int(share * len(times)), len(times) - 1)]

    return Latency(len(times), times[0], at(0.5), at(0.9), at(0.99))


@contextlib.contextmanager
def threads(count: int) -> Iterator[None]:
    """Let torch and the 1-bit operations compute with so many threads."""
    import torch

    from bnn.packed import get_num_threads, set_num_threads

    before = torch.get_num_threads(), get_num_threads()
    torch.set_num_threads(count)
    set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        set_num_threads(before[1])
