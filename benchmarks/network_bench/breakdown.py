"""Where the time of a packed network goes, operation by operation."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from bnn import PackedNetwork

RUNS = 20  # at least
STEM, BINARY, SHORTCUT, HEAD, OTHER = (
    "float stem",
    "binary convolutions",
    "shortcuts",
    "head",
    "other",
)
GROUPS = (STEM, BINARY, SHORTCUT, HEAD, OTHER)


def breakdown(network: PackedNetwork, x: Tensor, seconds: float) -> list[dict[str, Any]]:
    """Return each operation with its group and the minimum of its times."""
    end = time.perf_counter() + seconds
    least = network.profile(x)
    runs = 1
    while runs < RUNS or time.perf_counter() < end:
        again = network.profile(x)
        least = [min(pair, key=lambda t: t.microseconds) for pair in zip(least, again, strict=True)]
        runs += 1
    groups = group([(timing.name, timing.operation) for timing in least])
    return [
        {"name": t.name, "operation": t.operation, "group": name, "us": t.microseconds}
        for t, name in zip(least, groups, strict=True)
    ]


def group(operations: Sequence[tuple[str, str]]) -> list[str]:
    """Return the group of each (layer, operation), in the order in which they run.

    What runs before the first binary convolution and the packing for it is the stem; what runs
    after the last one is the head. Only shortcuts average or pad in between.
    """
    binary = [i for i, (_, operation) in enumerate(operations) if _is_binary(operation)]
    begin = binary[0] if binary else len(operations)
    if begin and operations[begin - 1][1] == "pack":
        begin -= 1
    found = []
    for i, (name, operation) in enumerate(operations):
        if i < begin:
            found.append(STEM)
        elif _is_binary(operation):
            found.append(BINARY)
        elif "downsample" in name:
            found.append(SHORTCUT)
        elif i > binary[-1]:
            found.append(HEAD)
        else:
            found.append(SHORTCUT if operation in ("avgpool2d", "torch pad") else OTHER)
    return found


def _is_binary(operation: str) -> bool:
    return operation.startswith(("bconv", "torch binary_conv"))


def totals(operations: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return the microseconds of each group that occurs, in the order of GROUPS."""
    found = {name: [o["us"] for o in operations if o["group"] == name] for name in GROUPS}
    return {name: sum(times) for name, times in found.items() if times}
