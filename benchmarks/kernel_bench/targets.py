"""What was to be reached, and whether it was."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.kernel_bench.layers import SIX

OPENVINO = {"avx512vpopcntdq": 1.3, "avx2": 3.0}
ROOF_SHARE = 0.85
ROOF_LAYERS = ("3x3 128@28", "3x3 256@14", "3x3 256@56")
TORCH = "times torch fp32"
THREADS = 1.7  # for two
THREADED_US = 200.0  # layers that take longer on one thread


@dataclass(frozen=True)
class Target:
    """One number that was wanted of one layer or network."""

    what: str
    layer: str
    wanted: float
    measured: float
    at_most: bool = False

    @property
    def reached(self) -> bool:
        """Whether it was."""
        if self.at_most:
            return self.measured <= self.wanted
        return self.measured >= self.wanted

    def line(self) -> str:
        """Return it as a line of text."""
        word = "reached" if self.reached else "MISSED "
        wanted = f"at most {self.wanted:.2f}" if self.at_most else f"{self.wanted:.2f}"
        text = f"{word}  {self.what}, {self.layer}: {self.measured:.2f}, wanted {wanted}"
        return text if self.reached else f"{text} ({self.measured / self.wanted - 1:+.0%})"


def lines(found: Sequence[Target]) -> list[str]:
    """Return all targets as text; those of torch, which are many, only where missed, and the least.

    They keep their order.
    """
    shown = []
    for what in dict.fromkeys(target.what for target in found):
        group = [target for target in found if target.what == what]
        reached = [target for target in group if target.reached]
        if TORCH in what and reached:
            group = [target for target in group if not target.reached]
            least = min(reached, key=lambda target: target.measured)
            shown.append(f"{least.line()}, the least of {len(reached)} layers")
        shown += [target.line() for target in group]
    return shown


def targets(report: Mapping[str, Any]) -> list[Target]:
    """Return the targets that this run could measure."""
    rows = report["layers"]
    found = list(_against_torch(rows, report["weight_only"]))
    if report["threads"] == 1:
        return [*_against_openvino(rows, report["isa"]), *_against_roof(rows), *found]
    return [*_against_one_thread(rows, report["threads"]), *found]


def _against_openvino(rows: Sequence[Mapping[str, Any]], isa: str) -> Iterator[Target]:
    six = {layer.name for layer in SIX}
    for row in rows:
        if isa in OPENVINO and row["layer"] in six and row["x_openvino"]:
            wanted, layer = OPENVINO[isa], row["layer"]
            yield Target("times OpenVINO", layer, wanted, row["x_openvino"])
            yield Target("times OpenVINO, both pad -1", layer, wanted, row["x_openvino_pad"])


def _against_roof(rows: Sequence[Mapping[str, Any]]) -> Iterator[Target]:
    for row in rows:
        if row["layer"] in ROOF_LAYERS:
            yield Target("share of the roof", row["layer"], ROOF_SHARE, row["roof_share"])


def _against_torch(
    rows: Sequence[Mapping[str, Any]], weight_only: Sequence[Mapping[str, Any]]
) -> Iterator[Target]:
    for row in rows:
        yield Target(TORCH, row["layer"], 1.0, row["x_torch"])
        yield Target(f"functional, {TORCH}", row["layer"], 1.0, row["functional_x_torch"])
    for row in weight_only:
        yield Target(f"weight-only, {TORCH}", row["layer"], 1.0, row["x_torch"])


def _against_one_thread(rows: Sequence[Mapping[str, Any]], threads: int) -> Iterator[Target]:
    for row in rows:
        if threads == 2 and row["times"]["1 thread"]["minimum_us"] > THREADED_US:
            yield Target("2 threads, times 1", row["layer"], THREADS, row["x_one_thread"])
