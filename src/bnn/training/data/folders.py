"""Data sets that are read image by image from folders, through torchvision."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bnn.errors import DataError
from bnn.training.data.registry import DATASETS, DataEntry, DataSplits
from bnn.training.extras import needs_extra

# Mean and deviation of ImageNet's training images, by channel: what published weights expect.
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_SIZE = 224


def _folder(data_dir: str | None, split_seed: int) -> DataSplits:  # noqa: ARG001 - it has a split
    root = Path(str(data_dir))
    held_out = _checked_layout(root)
    with needs_extra("vision", "image folders"):
        from torchvision import datasets, transforms
    last = [transforms.ToTensor(), transforms.Normalize(_MEAN, _STD)]
    for_training = transforms.Compose(
        [transforms.RandomResizedCrop(_SIZE), transforms.RandomHorizontalFlip(), *last]
    )
    for_test = transforms.Compose([transforms.Resize(256), transforms.CenterCrop(_SIZE), *last])
    train = _image_folder(datasets, root / "train", for_training)
    test = _image_folder(datasets, root / held_out, for_test)
    if train.classes != test.classes:
        differ = sorted(set(train.classes) ^ set(test.classes))
        raise DataError(
            f"{root}: train and {held_out} have different classes; only one has {differ[0]!r}."
        )
    return DataSplits(
        train=train,
        test=test,
        input_shape=(3, _SIZE, _SIZE),
        num_classes=len(train.classes),
        mean=_MEAN,
        std=_STD,
    )


def _checked_layout(root: Path) -> str:
    """Return the name of the held-out folder."""
    expected = "expected train/<class>/*.jpg and val/<class>/*.jpg (or test/)"
    if not root.is_dir():
        raise DataError(f"data_dir (--data-dir) {str(root)!r} is not a folder; {expected} in it.")
    held_out = next((name for name in ("val", "test") if (root / name).is_dir()), None)
    if held_out is None or not (root / "train").is_dir():
        found = ", ".join(sorted(entry.name for entry in root.iterdir())[:5]) or "nothing"
        raise DataError(f"{root}: {expected}; found {found}.")
    for part in ("train", held_out):
        if not any(entry.is_dir() for entry in (root / part).iterdir()):
            raise DataError(f"{root / part} has no folder of a class; {expected}.")
    return held_out


def _image_folder(datasets: Any, folder: Path, transform: Any) -> Any:
    try:
        return datasets.ImageFolder(str(folder), transform=transform)
    except FileNotFoundError as error:  # torchvision's word for a class without images
        raise DataError(f"{folder}: {str(error).splitlines()[0]}") from error


DATASETS.register("imagenet")(
    DataEntry(
        load=_folder,
        summary="ImageNet in train/<class>/*.JPEG and val/<class>/*.JPEG",
        needs_dir=True,
        epochs=120,
        batch_size=256,
    )
)
DATASETS.register("folder")(
    DataEntry(
        load=_folder,
        summary="your images in train/<class>/*.jpg and val/<class>/*.jpg",
        needs_dir=True,
        epochs=60,
        batch_size=64,
    )
)
