"""Images to which a packed network and its model give different answers, and what caused it."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.zoo_bench.signs import NEXT_TO_0
from bnn.layers import BinaryLayer
from bnn.layers.levels import input_factors
from bnn.packed import PackedNetwork
from bnn.packed.onebit import OneBit, bits_of, one_bit_layers
from bnn.packed.planes import input_planes

TIE = 1e-5  # of the largest logit


@dataclass(frozen=True)
class Answers:
    """On how many images a packed network and its model give the same answer.

    Attributes:
        images: How many were compared.
        same: With the same answer.
        double: With the same answer of the model in float64, to compare with.
        flips: Misses where all signs that differ in the first layer that has any lie next to 0,
            or to another threshold.
        ties: Misses without such a layer, where the best two logits are the same but for rounding.
    """

    images: int
    same: int
    double: int
    flips: int = 0
    ties: int = 0

    @property
    def unexplained(self) -> int:
        """Misses that no rounding explains."""
        return self.images - self.same - self.flips - self.ties

    def __str__(self) -> str:
        """Return a cell of the table."""
        causes = (("flips", self.flips), ("ties", self.ties), ("**unexplained**", self.unexplained))
        told = "".join(f", {count} {cause}" for cause, count in causes if count)
        return f"{self.same} of {self.images}{told}; float64 {self.double}"


@torch.no_grad()
def compare(model: nn.Module, packed: PackedNetwork, x: Tensor, batch: int) -> Answers:
    """Compare the answers to images, so many at a time."""
    double = copy.deepcopy(model).double()
    found: Counter[str] = Counter()
    for part in x.split(batch):
        logits = model(part)
        answers = logits.argmax(1)
        found["same in float64"] += int((double(part.double()).argmax(1) == answers).sum())
        missed = (packed(part).argmax(1) != answers).nonzero().flatten().tolist()
        found["same"] += len(part) - len(missed)
        if missed:
            found.update(_causes(model, packed, part, logits, missed))
    return Answers(
        len(x), found["same"], found["same in float64"], flips=found["flip"], ties=found["tie"]
    )


@dataclass(frozen=True)
class _Heard:
    """What reaches a binary layer of the model, in the words of the packed one.

    Attributes:
        use: Where the packed network reads it.
        bits: The signs.
        near: Which of them rounding could change.
    """

    use: OneBit
    bits: Tensor
    near: Tensor


def _causes(
    model: nn.Module, packed: PackedNetwork, x: Tensor, logits: Tensor, missed: list[int]
) -> Iterator[str]:
    heard = _listen(model, packed, x)
    reached = packed.tap([h.use.value for h in heard if h.use.value is not None], x)
    flips = [h.bits ^ bits for h, bits in zip(heard, reached, strict=True)]
    for image in missed:
        first = next((i for i, flip in enumerate(flips) if flip[image].any()), None)
        if first is not None:
            far = flips[first][image] & ~heard[first].near[image]
            yield "unexplained" if far.any() else "flip"
            continue
        best, second = logits[image].topk(2).values
        tie = best - second <= TIE * logits[image].abs().max()
        yield "tie" if tie else "unexplained"


def _listen(model: nn.Module, packed: PackedNetwork, x: Tensor) -> list[_Heard]:
    """Run the model; return what reaches its binary layers, in the order of their calls."""
    heard: list[_Heard] = []
    uses = one_bit_layers(packed)
    names = {module: name for name, module in model.named_modules() if name in uses}

    def hear(layer: BinaryLayer, args: tuple[Any, ...]) -> None:
        given = args[0]
        by = NEXT_TO_0 * given.flatten(1).abs().amax(1).view(-1, *[1] * (given.dim() - 1))
        places = uses[names[layer]]
        own, low, high = (_words(layer, v) for v in (given, given - by, given + by))
        each = len(places) // len(own)  # planes of the weight
        for i, place in enumerate(places):
            plane = i // each
            heard.append(_Heard(place, own[plane], low[plane] ^ high[plane]))

    hooks = [module.register_forward_pre_hook(hear) for module in names]
    try:
        model(x)
    finally:
        for hook in hooks:
            hook.remove()
    return heard


def _words(layer: BinaryLayer, x: Tensor) -> list[Tensor]:
    binarizer = layer.activation_pre_process
    planes = input_planes(binarizer).split(input_factors(binarizer, x).integers)
    return [bits_of(layer, signs) for signs in planes]
