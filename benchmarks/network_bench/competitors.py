"""What takes part: the float network in torch and OpenVINO, ours emulated and packed.

Each is checked on several images before it is timed.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bnn import PackedNetwork

EXACT = 1e-3
"""For the same computation in another order; it is far above what float32 rounds."""

QUANTIZED = 0.6
"""For int8, whose error depends on random weights; logits of other images would differ by 1.4."""


class WrongResultError(Exception):
    """A competitor does not compute the network."""


@dataclass(frozen=True)
class Competitor:
    """One way to compute a network.

    Attributes:
        compute: Images -> logits.
        run: Computes images that it holds already.
    """

    compute: Callable[[Tensor], Tensor]
    run: Callable[[], object]


def in_torch(
    model: nn.Module,
    x: Tensor,
    memory_format: torch.memory_format,
    change: Callable[[nn.Module], Callable[[Tensor], Tensor]] = nn.Module.eval,
) -> Competitor:
    """Return a model in torch, images and weights in one of the two memory formats."""
    held = x.contiguous(memory_format=memory_format)
    run = change(copy.deepcopy(model).to(memory_format=memory_format))
    return Competitor(
        lambda images: run(images.contiguous(memory_format=memory_format)), lambda: run(held)
    )


def compiled(model: nn.Module, x: Tensor) -> Competitor:
    """Return the model by torch.compile, channels_last, with which its code is faster."""
    torch.compiler.reset()
    return in_torch(model, x, torch.channels_last, torch.compile)


def packed(network: PackedNetwork, x: Tensor) -> Competitor:
    """Return ours, packed."""
    return Competitor(network, lambda: network(x))


def check(
    name: str, competitor: Competitor, images: Tensor, batch: int, expected: Tensor, most: float
) -> float:
    """Return how far the logits are from the expected ones.

    It is the norm of the difference against that of what tells the images' logits apart, so that a
    network which ignores the image is not near. It is taken for each image, and the median counts:
    a binary network of random weights is far off on an image in which a single sign, of a float
    next to 0 that is rounded another way, falls to the other side. ``bnn.verify`` counts those.

    Args:
        name: For the message.
        competitor: What is checked.
        images: Several, more than one.
        batch: How many to give at a time.
        expected: The logits.
        most: What is allowed.

    Raises:
        WrongResultError: If they are further away than that, or not finite.
    """
    found = torch.cat([competitor.compute(part).clone() for part in images.split(batch)])
    distance = float(distances(found, expected).median())
    if not distance <= most:  # NaN is not
        raise WrongResultError(
            f"{name}: its logits are {distance:.3g} of their spread away from the expected ones; "
            f"{most:.3g} is allowed"
        )
    return distance


def distances(found: Tensor, expected: Tensor) -> Tensor:
    """Return how far each image's logits are from the expected ones, relative to their spread."""
    spread = (expected - expected.mean(0)).norm() / len(expected) ** 0.5
    return (found - expected).norm(dim=1) / spread


def first_line(error: Exception) -> str:
    """Return the beginning of a message."""
    return next(iter(str(error).splitlines()), "")[:100]
