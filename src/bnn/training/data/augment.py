"""Augmentation of whole batches, on whatever device they are."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class ShiftAndFlip:
    """Shift each image by up to ``shift`` pixels, and mirror it with probability 1/2 if ``flip``.

    A shift is a crop after padding: with ``shift=4`` and ``flip`` this is CIFAR's usual
    augmentation. Pixels that come in from outside have the value of the closest edge pixel, so
    that it does not matter how the images were normalised.

    Args:
        shift: Most pixels in each direction.
        flip: Whether to mirror left and right.

    Shape:
        - Input: (N, C, H, W).
        - Output: the same.

    Example:
        >>> ShiftAndFlip(1)(torch.ones(2, 1, 4, 4)).unique()
        tensor([1.])
    """

    shift: int
    flip: bool = False

    def __call__(self, images: Tensor) -> Tensor:
        """Return new images; the argument is not changed."""
        n, _, height, width = images.shape
        padded = F.pad(images, (self.shift,) * 4, mode="replicate")
        offset = torch.randint(2 * self.shift + 1, (2, n, 1), device=images.device)
        rows = offset[0] + torch.arange(height, device=images.device)
        columns = offset[1] + torch.arange(width, device=images.device)
        if self.flip:
            mirrored = torch.rand(n, 1, device=images.device) < 0.5
            columns = torch.where(mirrored, columns.flip(1), columns)
        batch = torch.arange(n, device=images.device)[:, None, None]
        # Indices on both sides of a slice put the channels last.
        return padded[batch, :, rows[:, :, None], columns[:, None, :]].movedim(-1, 1).contiguous()
