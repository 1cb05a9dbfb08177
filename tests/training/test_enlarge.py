"""Images that are too small for a network are enlarged: in training, measuring and packing."""

import dataclasses

import pytest
import torch
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from bnn.errors import ConfigError, DataError, RecipeError
from bnn.executor import load_recipe
from bnn.training import TrainConfig, evaluate, fit, load_checkpoint, load_data
from bnn.training.checkpoint import build_model
from bnn.training.data.augment import ShiftAndFlip
from bnn.training.data.enlarge import MOST_PIXELS, enlarged, take_batch
from bnn.training.data.module import TrainingData
from bnn.training.data.registry import DataSplits


class Items:
    """A data set that is no array."""

    def __init__(self, size):
        self.size = size

    def __len__(self):
        return 2

    def __getitem__(self, index):
        return item(self.size, index)


def splits_of(size):
    return DataSplits(train=Items(size), test=Items(size), input_shape=(1, *size), num_classes=2)


def item(size, index):
    return torch.arange(float(size[0] * size[1])).view(1, *size), index


def test_digits_are_interpolated_and_shifted_by_as_much_more():
    small, large = load_data("digits"), load_data("digits", enlarge_to=32)
    assert large.input_shape == (1, 32, 32)
    assert large.augment == ShiftAndFlip(4)
    assert (large.mean, large.std) == (small.mean, small.std)
    expected = F.interpolate(small.test.images, (32, 32), mode="bilinear", align_corners=False)
    images, labels = take_batch(large.test, range(360))
    assert torch.equal(images, expected)
    assert torch.equal(labels, small.test.labels)
    image, label = large.test[7]
    assert torch.equal(image, expected[7])
    assert label == small.test.labels[7]


class Largest(TorchDispatchMode):
    """Notes how many bytes the largest tensor has that is made."""

    bytes = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        sizes = [t.nbytes for t in tree_leaves(out) if isinstance(t, torch.Tensor)]
        self.bytes = max(self.bytes, *sizes, 0)
        return out


def test_no_more_than_a_batch_is_large_at_a_time():
    small = load_data("digits")
    with Largest() as largest:
        splits = enlarged(small, 96)
        data = TrainingData(splits, batch_size=8, num_workers=0, seed=0, step=0)
        images, _ = next(iter(data.train_dataloader()))
    assert images.shape == (8, 1, 96, 96)
    assert largest.bytes == images.nbytes


def test_large_images_stay_as_they_are():
    splits = load_data("digits")
    assert enlarged(splits, 8) is splits
    assert enlarged(splits, 1) is splits


def test_images_one_by_one_keep_their_proportions():
    splits = enlarged(splits_of((4, 6)), 8)
    assert splits.input_shape == (1, 8, 12)
    image, label = splits.test[1]
    assert image.shape == (1, 8, 12)
    assert label == 1
    assert len(splits.train) == 2
    expected = F.interpolate(item((4, 6), 0)[0][None], (8, 12), mode="bilinear")[0]
    assert torch.equal(image, expected)


def test_too_many_pixels_are_refused():
    with pytest.raises(DataError, match=f"is 100000; .* {MOST_PIXELS} at most"):
        load_data("digits", enlarge_to=100_000)


@pytest.mark.parametrize("value", [0, -1, 1.5, True, "32"])
def test_the_setting_is_a_number_of_pixels(value):
    with pytest.raises(ConfigError, match="enlarge_to must be an integer of at least 1"):
        TrainConfig(enlarge_to=value)


@pytest.mark.parametrize("value", ["many", 0, 1.5])
def test_the_key_is_a_number_of_pixels(value):
    with pytest.raises(RecipeError, match="enlarge_to"):
        load_recipe({"enlarge_to": value, "step0": {}})


def test_a_run_measures_what_it_was_trained_on(tiny):
    config = tiny(enlarge_to=12, recipe="xnor-net")
    result = fit(config, progress=False)
    loaded = load_checkpoint(result.checkpoint)
    assert loaded.input_shape == (1, 12, 12)
    assert loaded.enlarge_to == 12
    assert evaluate(result.checkpoint).accuracy == pytest.approx(result.test_accuracy, abs=1e-6)


def test_the_setting_wins_over_the_recipe(tiny, tmp_path):
    recipe = tmp_path / "mine.yaml"
    recipe.write_text("enlarge_to: 10\nstep0:\n  ignore_layer_names: [$.$]\n")
    asked = tiny(recipe=str(recipe))
    assert load_checkpoint(fit(asked, progress=False).checkpoint).input_shape == (1, 10, 10)
    asked = dataclasses.replace(asked, enlarge_to=9, out=str(tmp_path / "other"))
    assert load_checkpoint(fit(asked, progress=False).checkpoint).input_shape == (1, 9, 9)


def test_a_network_that_needs_larger_images_says_how(tiny):
    with pytest.raises(ConfigError, match=r"--enlarge-to"):
        fit(tiny(model="quicknet", model_args={}), progress=False)


def test_a_network_is_told_the_size_it_asks_for(tiny):
    """AlexNet's first dense layer depends on it."""
    config = tiny(model="binary_alexnet", model_args={"width": 24, "hidden": 64})
    model = build_model(config, (1, 72, 72), 10).eval()
    assert model(torch.zeros(1, 1, 72, 72)).shape == (1, 10)
