"""The table of data sets, and what each gives."""

from __future__ import annotations

from collections.abc import Callable, Sized
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from bnn.errors import DataError
from bnn.registry import Registry

Augment = Callable[[Tensor], Tensor]
"""Changes a batch of images (N, C, H, W) at random, with torch's generator."""

IGNORED = -1
"""Label of the items that only fill a batch up: neither loss nor accuracy counts them."""


class ImageData(Sized, Protocol):
    """A torch data set whose items are (image, class index)."""

    def __getitem__(self, index: int, /) -> Any:
        """Return one item."""


@dataclass(frozen=True, kw_only=True)
class DataSplits:
    """A data set that has been read.

    Args:
        train: What is trained on; items are (image of ``input_shape``, class index).
        test: What is held out, never seen in training and never used to choose anything.
        input_shape: (channels, height, width).
        num_classes: Number of classes.
        augment: Applied to each training batch, on the device. None for none.
        mean: Of each channel, which was taken from pixels of 0 to 1. None if that is not known.
        std: Of each channel; what was left was divided by it.

    Example:
        >>> splits = load_data("digits")
        >>> len(splits.train), len(splits.test), splits.input_shape
        (1437, 360, (1, 8, 8))
    """

    train: ImageData
    test: ImageData
    input_shape: tuple[int, int, int]
    num_classes: int
    augment: Augment | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class DataEntry:
    """What is known of a data set before it is read.

    Args:
        load: Gets (data_dir, split_seed); reads the data.
        summary: One line for listings.
        needs_dir: Whether ``data_dir`` must be given.
        epochs: Default number of epochs of a run, all steps together.
        batch_size: Default batch size.
        learning_rate: Default learning rate at the start of a step.

    Example:
        >>> DATASETS["digits"].summary
        '1,797 handwritten digits of 8x8, bundled with scikit-learn; 360 held out'
    """

    load: Callable[[str | None, int], DataSplits]
    summary: str
    needs_dir: bool
    epochs: int
    batch_size: int
    learning_rate: float = 1e-3


DATASETS: Registry[DataEntry] = Registry("data set")
"""Every data set, by name."""


def load_data(
    name: str,
    data_dir: str | None = None,
    split_seed: int = 0,
    *,
    enlarge_to: int | None = None,
) -> DataSplits:
    """Read a data set.

    Args:
        name: A name in :data:`DATASETS`.
        data_dir: Where it lies, for those that are read from a folder.
        split_seed: Which images are held out, where the data set does not say it.
        enlarge_to: Interpolate images whose shorter side has fewer pixels, when they are taken.

    Raises:
        UnknownNameError: If there is no such data set.
        DataError: If the folder is missing, empty or of another layout.
        MissingExtraError: If a library that reads it is not installed.

    Example:
        >>> splits = load_data("digits")
        >>> len(splits.train), len(splits.test), splits.input_shape, splits.num_classes
        (1437, 360, (1, 8, 8), 10)
    """
    entry = DATASETS[name]
    if entry.needs_dir and data_dir is None:
        raise DataError(
            f"{name} is read from a folder: give data_dir (--data-dir). It holds {entry.summary}."
        )
    splits = entry.load(data_dir, split_seed)
    if enlarge_to is None:
        return splits
    from bnn.training.data.enlarge import enlarged

    return enlarged(splits, enlarge_to)
