"""Folders of images, read by torchvision itself."""

import numpy as np
import pytest
import torch
from PIL import Image

from bnn.errors import DataError
from bnn.training import load_data


def write_folder(root, classes=("cat", "dog"), size=(40, 30)):
    random = np.random.default_rng(0)
    for part, count in (("train", 3), ("val", 2)):
        for name in classes:
            folder = root / part / name
            folder.mkdir(parents=True)
            for index in range(count):
                pixels = random.integers(0, 256, (*size, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{index}.jpg")


@pytest.mark.parametrize("name", ["folder", "imagenet"])
def test_reads_images(tmp_path, name):
    write_folder(tmp_path)
    splits = load_data(name, str(tmp_path))
    assert (len(splits.train), len(splits.test), splits.num_classes) == (6, 4, 2)
    for part in (splits.train, splits.test):
        image, label = part[0]
        assert tuple(image.shape) == splits.input_shape == (3, 224, 224)
        assert image.dtype == torch.float32
        assert label == 0
    held_out = splits.test[0][0]
    assert torch.equal(held_out, splits.test[0][0]), "held-out images are not augmented"
    assert not torch.equal(splits.train[0][0], splits.train[0][0]), "training images are"


def test_empty_and_incomplete_folders_are_named(tmp_path):
    with pytest.raises(DataError, match="train"):
        load_data("folder", str(tmp_path))
    write_folder(tmp_path, classes=("cat",))
    for image in (tmp_path / "val" / "cat").iterdir():
        image.unlink()
    with pytest.raises(DataError, match="val"):
        load_data("folder", str(tmp_path))
