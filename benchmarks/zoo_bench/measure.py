"""One published network, packed and emulated: checked, then timed by turns."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import bnn
from benchmarks.kernel_bench.timing import interleave
from benchmarks.network_bench import breakdown, ours
from benchmarks.network_bench.competitors import (
    EXACT,
    WrongResultError,
    distances,
    in_torch,
    packed,
)
from benchmarks.network_bench.measure import DISTURBED
from benchmarks.network_bench.nets import SETTLING_IMAGES, random_images, settle_
from benchmarks.zoo_bench import lce_peer
from benchmarks.zoo_bench.signs import given_signs_of
from bnn.layers import BinaryLayer
from bnn.models import MODELS, create
from bnn.packed import runtime

CHECKED_IMAGES = 8
PROFILED = ("quicknet", "reactnet_a")
PROFILE_SECONDS = 2.0
PACKED, EMULATED = "packed", "emulated"


def published() -> list[str]:
    """Return the names of the binary networks whose accuracy somebody has published."""
    return [name for name in MODELS if MODELS[name].published is not None]


class Bench:
    """A network of random weights, with the norms of a trained one, and its packed form.

    Args:
        name: As ``bnn.models.create`` takes it.
        options: Arguments of the network.
        shape: Channels, height and width of its images. Default: the registry's.

    Attributes:
        facts: What packing it gave.

    Raises:
        DifferentSumsError: If the packed network does not compute the model's integers.
        WrongResultError: If its logits are not the model's for the same signs, or a sign is none
            that rounding could give.
    """

    def __init__(
        self,
        name: str,
        options: dict[str, Any] | None = None,
        shape: tuple[int, int, int] | None = None,
    ) -> None:
        self.name = name
        torch.manual_seed(0)
        _, size, _ = shape or MODELS[name].input_shape
        model = create(name, **(options or {}))
        self.model = settle_(model, random_images(size, SETTLING_IMAGES, seed=1))
        images = random_images(size, CHECKED_IMAGES)
        self.x = images[:1].clone()
        self.packed = bnn.pack(self.model, self.x)
        report = self.packed.report
        signs = ours.verify(self.model, self.packed, images)
        self.facts: dict[str, Any] = {
            "network": name,
            "size": size,
            "binary": len(report.binary),
            "layers": sum(isinstance(module, BinaryLayer) for module in self.model.modules()),
            "emulated": dict(report.emulated),
            "opaque": dict(report.opaque),
            "float_bytes": report.float_bytes,
            "file_bytes": _file_bytes(self.packed),
            **signs,
            **self._check(images),
        }

    @torch.inference_mode()
    def _check(self, images: Tensor) -> dict[str, Any]:
        """Return how many images have the model's logits, and how far the others' are at most.

        Those of every image must be the ones that the model computes of the packed network's signs,
        none of which may differ from the model's own by more than rounding.
        """
        parts = images.split(1)
        found = torch.cat([self.packed(image) for image in parts])
        given = torch.cat([given_signs_of(self.model, self.packed, image) for image in parts])
        most = float(distances(found, given).max())
        if not most <= EXACT:  # NaN is not
            raise WrongResultError(
                f"{self.name}: its logits are {most:.3g} of their spread away from those that the "
                f"model computes of the same signs; {EXACT:.3g} is allowed"
            )
        apart = distances(found, torch.cat([self.model(image) for image in parts]))
        return {"same_logits": int((apart <= EXACT).sum()), "distance": float(apart.max())}

    @torch.inference_mode()
    def measure(self, threads: int, seconds: float, lce: Path | None = None) -> dict[str, Any]:
        """Return the times with so many threads, each on a CPU of its own.

        Args:
            threads: How many.
            seconds: For all competitors together.
            lce: The same network's file for Larq Compute Engine.
        """
        with _pinned(threads), contextlib.ExitStack() as stack:
            emulated = in_torch(self.model, self.x, torch.channels_last)
            run = {PACKED: packed(self.packed, self.x).run, EMULATED: emulated.run}
            elsewhere = {}
            for name, xnnpack in lce_peer.XNNPACK.items():
                if lce is None:
                    break
                server = lce_peer.Server(lce, threads, xnnpack)
                stack.callback(server.close)
                elsewhere[name] = server.measure
            times = interleave(run, seconds, elsewhere=elsewhere)
            row = {
                "network": self.name,
                "threads": threads,
                "times": {name: asdict(time) for name, time in times.items()},
            }
            if self.name in PROFILED and threads == 1:
                row["operations"] = breakdown.breakdown(self.packed, self.x, PROFILE_SECONDS)
        compare(row)
        return row


def compare(row: dict[str, Any]) -> None:
    """Add the ratios to a row."""
    least = {name: time["minimum_us"] for name, time in row["times"].items()}
    row["x_emulated"] = least[EMULATED] / least[PACKED]
    theirs = [least[name] for name in lce_peer.XNNPACK if name in least]
    row["x_lce"] = min(theirs) / least[PACKED] if theirs else None
    row["disturbed"] = any(
        time["median_us"] > DISTURBED * time["minimum_us"] for time in row["times"].values()
    )


@contextlib.contextmanager
def _pinned(threads: int) -> Iterator[None]:
    """Set how many threads torch and bnn use, and the CPUs of this one and of those it starts."""
    before = torch.get_num_threads(), runtime.get_num_threads()
    torch.set_num_threads(threads)
    runtime.set_num_threads(threads)
    allowed: Sequence[int] = ()
    if hasattr(os, "sched_setaffinity"):
        allowed = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, allowed[-threads:])
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        runtime.set_num_threads(before[1])
        if allowed:
            os.sched_setaffinity(0, allowed)


def _file_bytes(network: bnn.PackedNetwork) -> int:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net.bnn"
        bnn.save(network, path)
        return path.stat().st_size
