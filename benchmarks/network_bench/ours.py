"""What packing a network costs, and what it gives."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from torch import Tensor, nn

import bnn

PACKINGS = 3
LOADS = 5
LOAD = """
import gc, sys, time, torch, bnn
load = bnn.load
gc.collect()  # of what the imports left: else the first to allocate anything pays 50 ms for it
start = time.perf_counter()
load(sys.argv[1])
print((time.perf_counter() - start) * 1e3)
"""


class DifferentSumsError(Exception):
    """The packed network's integer sums are not the model's."""


def pack(model: nn.Module, x: Tensor) -> tuple[bnn.PackedNetwork, dict[str, Any]]:
    """Return the packed network, and what is known of it and of its making."""
    seconds = []
    for _ in range(PACKINGS):
        start = time.perf_counter()
        network = bnn.pack(model, x)
        seconds.append(time.perf_counter() - start)
    report = network.report
    facts: dict[str, Any] = {
        "how": report.how,
        "binary": len(report.binary),
        "emulated": dict(report.emulated),
        "opaque": dict(report.opaque),
        "float_bytes": report.float_bytes,
        "packed_bytes": report.packed_bytes,
        "pack_seconds": min(seconds),
        "first_pack_seconds": seconds[0],
    }
    return network, facts | _file(network)


def verify(model: nn.Module, network: bnn.PackedNetwork, images: Tensor) -> dict[str, int]:
    """Return how many signs and labels differ from the emulated model's.

    Raises:
        DifferentSumsError: If an integer sum differs, which no rounding can explain.
    """
    found = bnn.verify(model, network, images)
    if not found.identical:
        wrong = ", ".join(layer.name for layer in found.layers if not layer.identical)
        raise DifferentSumsError(f"integer sums differ in {wrong}")
    return {
        "verified_sums": sum(layer.sums for layer in found.layers),
        "signs": sum(layer.signs or 0 for layer in found.layers),
        "different_signs": sum(layer.different_signs or 0 for layer in found.layers),
        "images": found.samples,
        "same_labels": found.top1 or 0,
    }


def _file(network: bnn.PackedNetwork) -> dict[str, float]:
    """Return size and loading time of the network's file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net.bnn"
        network.save(path)
        least = min(_load_ms(path) for _ in range(LOADS))
        return {"file_bytes": path.stat().st_size, "load_ms": least}


def _load_ms(path: Path) -> float:
    """Load it in a process of its own, after the imports."""
    command = [sys.executable, "-c", LOAD, str(path)]
    done = subprocess.run(command, capture_output=True, check=True)  # noqa: S603 - our own code
    return float(json.loads(done.stdout))
