"""One network: its competitors, checked, timed by turns, and compared."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from benchmarks.kernel_bench.openvino_peer import UnfitError, installed
from benchmarks.kernel_bench.timing import interleave
from benchmarks.network_bench import breakdown, openvino_nets, ours
from benchmarks.network_bench.competitors import (
    EXACT,
    QUANTIZED,
    Competitor,
    check,
    compiled,
    first_line,
    in_torch,
    packed,
)
from benchmarks.network_bench.memory import torch_peak_bytes
from benchmarks.network_bench.nets import Network, negative_share

CHECKED_IMAGES = 8
PROFILE_SHARE = 0.1  # of the seconds
DISTURBED = 1.5  # a median of so many minima

NCHW, NHWC = torch.contiguous_format, torch.channels_last
TORCH, TORCH_LAST = "torch fp32", "torch fp32 channels_last"
COMPILED, OPENVINO, INT8 = "torch.compile", "OpenVINO fp32", "OpenVINO int8"
EMULATED, EMULATED_LAST, PACKED = "emulated", "emulated channels_last", "packed"
COMPETITORS = (TORCH, TORCH_LAST, COMPILED, OPENVINO, INT8, EMULATED, EMULATED_LAST, PACKED)


class Bench:
    """A network with its models, for any batch.

    Args:
        network: The network.
        threads: What torch and bnn are set to.
        without: Names of competitors that take no part.

    Attributes:
        facts: What packing it cost and gave.

    Raises:
        DifferentSumsError: If the packed network does not compute the model's integers.
    """

    def __init__(self, network: Network, threads: int, without: Collection[str]) -> None:
        self.network, self.threads, self.without = network, threads, without
        self.float_model, self.binary_model = network.models()
        images = network.images(CHECKED_IMAGES)
        self.packed, facts = ours.pack(self.binary_model, images[:1])
        self.facts: dict[str, Any] = {
            "network": network.name,
            "large": network.large,
            "size": network.size,
            "negative_share": negative_share(self.binary_model, images),
            **facts,
            **ours.verify(self.binary_model, self.packed, images),
        }

    @torch.inference_mode()
    def measure(self, batch: int, seconds: float) -> dict[str, Any]:
        """Return the times for one batch size, with memory and the packed network's breakdown.

        Raises:
            WrongResultError: If torch's or our result is wrong.
        """
        images = self.network.images(whole_batches(CHECKED_IMAGES, batch))
        x = images[:batch].clone()
        run, distances, absent = self._checked(x, images)
        times = interleave({name: competitor.run for name, competitor in run.items()}, seconds)
        row: dict[str, Any] = {
            "network": self.network.name,
            "large": self.network.large,
            "batch": batch,
            "times": {name: asdict(time) for name, time in times.items()},
            "distances": distances,
            "absent": absent,
            "memory": {
                "float": torch_peak_bytes(self.float_model, x.clone()),
                "packed": self.packed.peak_bytes(tuple(x.shape)),
            },
            "operations": breakdown.breakdown(self.packed, x, seconds * PROFILE_SHARE),
        }
        compare(row)
        return row

    def _checked(
        self, x: Tensor, images: Tensor
    ) -> tuple[dict[str, Competitor], dict[str, float], dict[str, str]]:
        """Return who takes part, how far off each is, and why others do not."""
        floats, binary = self.float_model(images), self.binary_model(images)
        run: dict[str, Competitor] = {}
        distances: dict[str, float] = {}
        absent: dict[str, str] = {}

        def add(name: str, competitor: Competitor, expected: Tensor, most: float) -> None:
            distances[name] = check(name, competitor, images, len(x), expected, most)
            run[name] = competitor

        add(TORCH, in_torch(self.float_model, x, NCHW), floats, EXACT)
        add(TORCH_LAST, in_torch(self.float_model, x, NHWC), floats, EXACT)
        for name, make in self._peers(x).items():
            if name in self.without:
                absent[name] = "not asked for"
                continue
            try:
                add(name, make(), floats, QUANTIZED if name == INT8 else EXACT)
            except UnfitError as error:
                absent[name] = str(error)
            except Exception as error:  # whatever a compiler may raise; it must not end the run
                absent[name] = f"{type(error).__name__}: {first_line(error)}"
        add(EMULATED, in_torch(self.binary_model, x, NCHW), binary, EXACT)
        add(EMULATED_LAST, in_torch(self.binary_model, x, NHWC), binary, EXACT)
        add(PACKED, packed(self.packed, x), binary, EXACT)
        return run, distances, absent

    def _peers(self, x: Tensor) -> Mapping[str, Any]:
        converted: list[Any] = []

        def convert() -> Any:
            if installed() is None:
                raise UnfitError("OpenVINO is absent")
            if not converted:
                converted.append(openvino_nets.convert(self.float_model, x))
            return converted[0]

        def int8() -> Competitor:
            count = whole_batches(openvino_nets.CALIBRATION_IMAGES, len(x))
            images = self.network.images(count, seed=3)
            model = openvino_nets.quantize(convert(), images)
            return openvino_nets.openvino(model, x, self.threads, floats=False)

        return {
            COMPILED: lambda: compiled(self.float_model, x),
            OPENVINO: lambda: openvino_nets.openvino(convert(), x, self.threads, floats=True),
            INT8: int8,
        }


def whole_batches(least: int, batch: int) -> int:
    """Return the smallest number of images, at least so many, that makes whole batches."""
    return -(-least // batch) * batch


def compare(row: dict[str, Any]) -> None:
    """Add the ratios to a row."""
    times = row["times"]
    least = {name: time["minimum_us"] for name, time in times.items()}
    torch_us = min(least[TORCH], least[TORCH_LAST])
    row["x_torch"] = torch_us / least[PACKED]
    row["x_compiled"] = least[COMPILED] / least[PACKED] if COMPILED in least else None
    row["x_openvino"] = least[OPENVINO] / least[PACKED] if OPENVINO in least else None
    row["x_int8"] = least[INT8] / least[PACKED] if INT8 in least else None
    row["emulated_ratio"] = min(least[EMULATED], least[EMULATED_LAST]) / torch_us
    row["memory_ratio"] = row["memory"]["packed"] / row["memory"]["float"]
    row["groups"] = breakdown.totals(row["operations"])
    row["around_us"] = least[PACKED] - sum(row["groups"].values())
    spread = [time["median_us"] / time["minimum_us"] for time in times.values()]
    row["disturbed"] = max(spread) > DISTURBED
