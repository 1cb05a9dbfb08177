"""Images that are too small for a network, made larger."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import default_collate

from bnn.errors import DataError
from bnn.training.data.arrays import ArrayData
from bnn.training.data.augment import ShiftAndFlip
from bnn.training.data.registry import DataSplits, ImageData

MOST_PIXELS = 1024


def enlarged(splits: DataSplits, least: int) -> DataSplits:
    """Return the data with images whose shorter side has at least ``least`` pixels.

    Larger images stay as they are, smaller ones are interpolated (bilinear), and shifted by as much
    more in augmentation. They are interpolated when they are taken, so that a data set needs as
    much memory as before: CIFAR-10 at 224 pixels would need 36 GB.

    Raises:
        DataError: If that is more than :data:`MOST_PIXELS`.

    Example:
        >>> from bnn.training import load_data
        >>> enlarged(load_data("digits"), 32).input_shape
        (1, 32, 32)
    """
    if least > MOST_PIXELS:
        raise DataError(f"enlarge_to is {least}; images can be enlarged to {MOST_PIXELS} at most.")
    channels, height, width = splits.input_shape
    scale = least / min(height, width)
    if scale <= 1:
        return splits
    size = (round(height * scale), round(width * scale))
    augment = splits.augment
    if isinstance(augment, ShiftAndFlip):
        augment = replace(augment, shift=round(augment.shift * scale))
    return replace(
        splits,
        train=EnlargedData(splits.train, size),
        test=EnlargedData(splits.test, size),
        input_shape=(channels, *size),
        augment=augment,
    )


@dataclass(frozen=True)
class EnlargedData:
    """Images of another data set, interpolated when they are taken.

    Args:
        data: Where they come from.
        size: Their new (height, width).
    """

    data: ImageData
    size: tuple[int, int]

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int, /) -> tuple[Tensor, Any]:
        image, label = self.data[index]
        return self._interpolated(image[None])[0], label

    def batch(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Return (images, labels) of many items."""
        images, labels = take_batch(self.data, indices)
        return self._interpolated(images), labels

    def _interpolated(self, images: Tensor) -> Tensor:
        return F.interpolate(images, self.size, mode="bilinear", align_corners=False)


def take_batch(data: ImageData, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Return (images, labels) of many items, at once where the data set can."""
    if isinstance(data, (ArrayData, EnlargedData)):
        return data.batch(indices)
    images, labels = default_collate([data[index] for index in indices])
    return images, labels
