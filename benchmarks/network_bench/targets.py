"""What was to be reached with whole networks, and whether it was."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchmarks.kernel_bench.targets import Target

TORCH = 10.0
INT8 = 3.0
EMULATED = 1.3
LOAD_MS = 50.0
PACK_SECONDS = 3.0
MEMORY = 0.25


def targets(report: Mapping[str, Any]) -> list[Target]:
    """Return the targets that this run could measure; those of speed are for 1 thread, batch 1."""
    rows = [r for r in report["rows"] if report["threads"] == 1 and r["batch"] == 1]
    return [*_speed(rows), *_making(report["networks"]), *_memory(report["rows"])]


def _speed(rows: Sequence[Mapping[str, Any]]) -> Iterator[Target]:
    for row in rows:
        if row["large"]:
            yield Target("times float32 torch", row["network"], TORCH, row["x_torch"])
            if row["x_int8"]:
                yield Target("times OpenVINO int8", row["network"], INT8, row["x_int8"])
    for row in rows:
        what = "emulated against float, time"
        yield Target(what, row["network"], EMULATED, row["emulated_ratio"], at_most=True)


def _making(networks: Sequence[Mapping[str, Any]]) -> Iterator[Target]:
    for found in networks:
        if not found["large"]:
            continue
        name = found["network"]
        yield Target("seconds to pack", name, PACK_SECONDS, found["pack_seconds"], at_most=True)
        if "load_ms" in found:
            yield Target("ms to load", name, LOAD_MS, found["load_ms"], at_most=True)


def _memory(rows: Sequence[Mapping[str, Any]]) -> Iterator[Target]:
    for row in rows:
        where = f"{row['network']} batch {row['batch']}"
        yield Target("peak activations against float", where, MEMORY, row["memory_ratio"], True)
