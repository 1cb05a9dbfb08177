"""What an image goes through before a network sees it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from bnn.errors import ConfigError

if TYPE_CHECKING:
    from bnn.packed.preprocessing import Preprocessing as PackedPreprocessing


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """Cut out the middle, resize, and normalise each channel.

    Attributes:
        size: Height and width that the network sees.
        crop: The part of the largest centred rectangle of that shape that is kept: 0.875 is what
            others call "resize to 256, crop 224".
        interpolation: ``"bilinear"`` or ``"bicubic"``.
        antialias: Blur before making an image smaller, as PIL does and TensorFlow does not.
        mean: Of each channel, for pixels of 0 to 1.
        std: Of each channel.

    Example:
        >>> IMAGENET(torch.zeros(1, 3, 300, 400, dtype=torch.uint8)).shape
        torch.Size([1, 3, 224, 224])
    """

    size: tuple[int, int]
    crop: float
    interpolation: str
    antialias: bool
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, images: Tensor) -> Tensor:
        """Return the network's input for images of any size.

        Args:
            images: (N, C, H, W): bytes, or floats of 0 to 1.

        Raises:
            ConfigError: If they are of another shape or type.
        """
        if images.dim() != 4 or images.shape[1] != len(self.mean) or not images.numel():
            raise ConfigError(
                f"images must be (N, {len(self.mean)}, H, W), not {tuple(images.shape)}"
            )
        if images.dtype == torch.uint8:
            images = images.float() / 255
        if not images.is_floating_point():
            raise ConfigError(f"images must be uint8 or floats of 0 to 1, not {images.dtype}")
        height, width = images.shape[2:]
        wanted_height, wanted_width = self.size
        scale = self.crop * min(height / wanted_height, width / wanted_width)
        rows, columns = (max(int(scale * side), 1) for side in self.size)
        top, left = (height - rows + 1) // 2, (width - columns + 1) // 2
        images = images[:, :, top : top + rows, left : left + columns]
        if (rows, columns) != self.size:
            images = F.interpolate(
                images,
                self.size,
                mode=self.interpolation,
                align_corners=False,
                antialias=self.antialias,
            )
        mean, std = (images.new_tensor(x).view(-1, 1, 1) for x in (self.mean, self.std))
        return (images - mean) / std

    def for_packed(self) -> PackedPreprocessing:
        """Return what a packed file can hold of it: size and normalisation."""
        from bnn.packed.preprocessing import Preprocessing as PackedPreprocessing

        return PackedPreprocessing(self.size, len(self.mean), self.mean, self.std)


#: ImageNet as PyTorch's networks see it.
IMAGENET = Preprocessing(
    size=(224, 224),
    crop=0.875,
    interpolation="bilinear",
    antialias=True,
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
)
#: ImageNet as Larq Zoo's networks see it.
IMAGENET_LARQ = replace(IMAGENET, interpolation="bicubic", antialias=False)
#: CIFAR-10.
CIFAR10 = Preprocessing(
    size=(32, 32),
    crop=1.0,
    interpolation="bilinear",
    antialias=True,
    mean=(0.4914, 0.4822, 0.4465),
    std=(0.2470, 0.2435, 0.2616),
)
