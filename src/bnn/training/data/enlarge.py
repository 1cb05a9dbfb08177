"""Images that are too small for a network, made larger."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor
from torch.nn import functional as F

from bnn.errors import DataError
from bnn.training.data.arrays import ArrayData
from bnn.training.data.augment import ShiftAndFlip
from bnn.training.data.registry import DataSplits, ImageData

MOST_PIXELS = 1024


def enlarged(splits: DataSplits, least: int) -> DataSplits:
    """Return the data with images whose shorter side has at least ``least`` pixels.

    Larger images stay as they are, smaller ones are interpolated (bilinear), and shifted by as much
    more in augmentation.

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
        train=_resized(splits.train, size),
        test=_resized(splits.test, size),
        input_shape=(channels, *size),
        augment=augment,
    )


def _resized(data: ImageData, size: tuple[int, int]) -> ImageData:
    if isinstance(data, ArrayData):
        return ArrayData(_interpolated(data.images, size), data.labels)
    return _Resized(data, size)


def _interpolated(images: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(images, size, mode="bilinear", align_corners=False)


@dataclass(frozen=True)
class _Resized:
    """Images of another data set, resized when they are asked for."""

    data: ImageData
    size: tuple[int, int]

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int, /) -> tuple[Tensor, int]:
        image, label = self.data[index]
        return _interpolated(image[None], self.size)[0], label
