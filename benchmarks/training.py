"""A training step of a binary network beside that of the float network: time and memory.

python -m benchmarks.training [--threads N] [--seconds S] [--networks REGEX] [--json FILE]

One step is forward, backward and Adam. All ways are measured in turns within one run, in both
memory formats; the reference is the float network in its faster one. Then what each method of the
accuracy benchmark keeps for the backward pass, trained as fit trains.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import re
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import graph
from torch.nn.parameter import is_lazy

from benchmarks.machine import describe
from benchmarks.training_bench.methods import method_configs
from benchmarks.training_bench.report import FIT, FIT_PRELU, page
from bnn import BConfig, Identity, prepare_binary_model
from bnn.layers import PReLU, recompute_outputs, set_compact
from bnn.models import resnet18, resnet20
from bnn.models.resnet import PreBasicBlock
from bnn.ops import BasicInputBinarizer, XNORWeightBinarizer
from bnn.packed import runtime

FORMATS = {"NCHW": torch.contiguous_format, "NHWC": torch.channels_last}


@dataclass(frozen=True)
class Network:
    """A network and what it is trained on."""

    name: str
    make: Callable[[], nn.Module]
    image: tuple[int, ...]
    batch: int
    classes: int


NETWORKS = (
    Network(
        "resnet18, 64x64, batch 16",
        lambda: resnet18(block_type=PreBasicBlock, activation=nn.PReLU),
        (3, 64, 64),
        16,
        1000,
    ),
    Network("resnet20, 32x32, batch 128", resnet20, (3, 32, 32), 128, 10),
)


class _Sign(torch.autograd.Function):
    """The straight-through estimator as the original library has it: its input is kept."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.sign()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return grad.masked_fill(x.abs() > 1, 0)


class _Signs(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return _Sign.apply(x)


class _ScaledSigns(nn.Module):
    """Signs times the mean magnitude, as one float weight that the convolution keeps."""

    def forward(self, weight: Tensor) -> Tensor:
        axes = tuple(range(1, weight.dim()))
        return _Sign.apply(weight) * weight.abs().mean(axes, keepdim=True)


@dataclass(frozen=True)
class Way:
    """A way to train."""

    name: str
    config: BConfig | None
    within: Callable[[], Any]
    prelu: type[nn.PReLU] = nn.PReLU

    def prepare(self, model: nn.Module) -> nn.Module:
        """Return a copy of a float network for this way; the latent weights are the same."""
        model = copy.deepcopy(model)
        for module in model.modules():
            if isinstance(module, nn.PReLU):  # of the models it is ours, the reference has torch's
                module.__class__ = self.prelu
        if self.config is None:
            return model
        return prepare_binary_model(model, self.config, ignore_layers_name=["_first_", "_last_"])


@contextlib.contextmanager
def _as_in_fit() -> Iterator[None]:
    with set_compact(True), recompute_outputs():
        yield


BINARY = BConfig(BasicInputBinarizer, Identity, XNORWeightBinarizer)
PLAIN = "bnn, plain operations"
WAYS = (
    Way("float", None, contextlib.nullcontext),
    Way("float, PReLU of bnn", None, contextlib.nullcontext, PReLU),
    Way("original library", BConfig(_Signs, Identity, _ScaledSigns), lambda: set_compact(False)),
    Way(PLAIN, BINARY, lambda: set_compact(False)),
    Way("bnn, compact", BINARY, lambda: set_compact(True)),
    Way(FIT, BINARY, _as_in_fit),
    Way(FIT_PRELU, BINARY, _as_in_fit, PReLU),
)


@dataclass
class Run:
    """One way in one memory format."""

    way: Way
    layout: str
    model: nn.Module
    x: Tensor
    target: Tensor
    times: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        if any(is_lazy(p) for p in self.model.parameters()):  # they take an output's size
            with torch.no_grad():
                self.model.eval()(self.x)
                self.model.train()
        self.model = self.model.to(memory_format=FORMATS[self.layout])
        self.x = self.x.contiguous(memory_format=FORMATS[self.layout])
        self.optimizer = torch.optim.Adam(self.model.parameters())

    def loss(self) -> Tensor:
        """Run the forward pass."""
        with self.way.within():
            return F.cross_entropy(self.model(self.x), self.target)

    def step(self) -> float:
        """Train one step and return the seconds it took."""
        begin = time.perf_counter()
        self.optimizer.zero_grad()
        self.loss().backward()
        self.optimizer.step()
        return time.perf_counter() - begin

    def gradients(self) -> dict[str, Tensor]:
        """Return the gradients of the first step; the network stays as it was."""
        state = copy.deepcopy(self.model.state_dict())
        self.loss().backward()
        found = {n: p.grad for n, p in self.model.named_parameters() if p.grad is not None}
        self.model.load_state_dict(state)
        self.optimizer.zero_grad()
        return found


def saved_bytes(run: Run) -> int:
    """Return the bytes of all tensors kept for the backward pass, but parameters and the input."""
    own = {p.untyped_storage().data_ptr() for p in (*run.model.parameters(), run.x, run.target)}
    kept: dict[int, Any] = {}

    def count(value: Any) -> None:
        for tensor in (value,) if isinstance(value, Tensor) else value.operands:
            if tensor is not None and tensor.untyped_storage().data_ptr() not in own:
                kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()

    class Counted(graph.saved_tensors_hooks):
        """Hooks that count what they put by; recompute_outputs() makes some of its own."""

        def __init__(self, pack: Callable[[Tensor], Any], unpack: Callable[[Any], Tensor]) -> None:
            def pack_and_count(tensor: Tensor) -> Any:
                value = pack(tensor)
                count(value)
                return value

            super().__init__(pack_and_count, unpack)

    original = graph.saved_tensors_hooks
    graph.saved_tensors_hooks = Counted  # type: ignore[misc]
    try:
        with Counted(lambda tensor: tensor, lambda tensor: tensor):
            loss = run.loss()  # what is kept lives as long as its graph
    finally:
        graph.saved_tensors_hooks = original  # type: ignore[misc]
    loss.backward()
    run.optimizer.zero_grad()
    return sum(storage.nbytes() for storage in kept.values())


def peak_bytes(run: Run) -> int:
    """Return how much more memory torch has at the height of a step than before it."""
    run.optimizer.zero_grad()
    with torch.profiler.profile(profile_memory=True) as profile:
        run.loss().backward()
    run.optimizer.zero_grad()
    assert profile.profiler is not None  # noqa: S101 - it has just run
    now = peak = 0
    events = profile.profiler.kineto_results.events()  # type: ignore[union-attr]
    memory = [e for e in events if e.name() == "[memory]" and e.device_index() == -1]
    for event in sorted(memory, key=lambda e: e.start_ns()):
        now += event.nbytes()
        peak = max(peak, now)
    return peak


def check_gradients(runs: Sequence[Run]) -> None:
    """Raise RuntimeError unless the compact ways have the plain ones' gradients."""
    for layout in FORMATS:
        here = {run.way.name: run for run in runs if run.layout == layout}
        expected = here[PLAIN].gradients()
        for name in ("bnn, compact", FIT):
            for parameter, grad in here[name].gradients().items():
                error = (grad - expected[parameter]).norm() / expected[parameter].norm()
                if not error <= 1e-3:  # rounding that a batch norm of few values has enlarged
                    raise RuntimeError(f"{name}, {layout}: gradient of {parameter} off by {error}")


def measure(network: Network, seconds: float) -> list[dict[str, Any]]:
    """Return a row for each way and memory format."""
    torch.manual_seed(0)
    model = network.make()
    x = torch.randn(network.batch, *network.image)
    target = torch.randint(network.classes, (network.batch,))
    runs = [Run(way, layout, way.prepare(model), x, target) for way in WAYS for layout in FORMATS]
    check_gradients(runs)
    for run in runs:
        run.step()
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(runs[0].times) < 3:
        for run in runs:
            run.step()  # with its own tensors in the caches
            run.times.append(run.step())
    fastest = min(min(run.times) for run in runs if run.way.name == "float")
    float_saved = min(saved_bytes(run) for run in runs if run.way.name == "float")
    float_peak = min(peak_bytes(run) for run in runs if run.way.name == "float")
    return [
        {
            "network": network.name,
            "way": run.way.name,
            "format": run.layout,
            "minimum_ms": 1e3 * min(run.times),
            "median_ms": 1e3 * statistics.median(run.times),
            "runs": len(run.times),
            "time_ratio": min(run.times) / fastest,
            "saved_mb": (saved := saved_bytes(run)) / 1e6,
            "saved_ratio": saved / float_saved,
            "peak_mb": (peak := peak_bytes(run)) / 1e6,
            "peak_ratio": peak / float_peak,
        }
        for run in runs
    ]


def measure_methods(network: Network) -> list[dict[str, Any]]:
    """Return a row for each method: what it keeps, beside the float network."""
    torch.manual_seed(0)
    model = network.make()
    x = torch.randn(network.batch, *network.image)
    target = torch.randint(network.classes, (network.batch,))

    def saved(way: Way) -> int:
        return saved_bytes(Run(way, "NHWC", way.prepare(model), x, target))

    of_float = saved(WAYS[0])
    rows = []
    for name, config in method_configs().items():
        kept = saved(Way(name, config, _as_in_fit))
        rows.append(
            {
                "network": network.name,
                "method": name,
                "saved_mb": kept / 1e6,
                "saved_ratio": kept / of_float,
            }
        )
    return rows


def main(given: Sequence[str] | None = None) -> int:
    """Measure, print and, where asked, write; 0 if all targets were reached."""
    given = sys.argv[1:] if given is None else given
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=60.0, help="for each network")
    parser.add_argument("--networks", default="", help="a regular expression on their names")
    parser.add_argument("--json", type=Path, help="write the report here, and beside it as .md")
    arguments = parser.parse_args(given)
    torch.set_num_threads(arguments.threads)
    runtime.set_num_threads(arguments.threads)
    chosen = [n for n in NETWORKS if re.search(arguments.networks, n.name)]
    rows = [row for network in chosen for row in measure(network, arguments.seconds)]
    methods = [row for network in chosen for row in measure_methods(network)]
    report = {
        "command": " ".join(["python -m benchmarks.training", *given]),
        "machine": describe(),
        "threads": arguments.threads,
        "results": rows,
        "methods": methods,
    }
    return page(report).publish(report, arguments.json)


if __name__ == "__main__":
    sys.exit(main())
