import json

import pytest
import torch

from bnn.inspect import count_ops
from bnn.models import create


def test_registered_model(bnn):
    ran = bnn("summary", "resnet8")
    assert ran.code == 0
    assert "conv1" in ran.stdout
    assert "75,418" in ran.stdout
    assert max(map(len, ran.stdout.splitlines())) <= 80


def test_json_is_what_count_ops_says(bnn):
    got = json.loads(bnn("summary", "resnet8", "--json").stdout)
    torch.manual_seed(0)
    counts = count_ops(create("resnet8"), torch.randn(1, 3, 32, 32)).as_dict()
    assert got.items() >= json.loads(json.dumps(counts)).items()
    assert got["input_shape"] == [3, 32, 32]
    assert got["target"] == "resnet8"
    assert got["recipe"] is None


def test_recipe_runs_all_its_steps(bnn):
    got = json.loads(bnn("summary", "resnet8", "--recipe", "two-step", "--json").stdout)
    assert got["binary_params"] == 73_728
    assert got["binary_share"] > 0.9


def test_own_recipe_file(bnn, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(bnn("recipes", "show", "xnor-net").stdout)
    got = json.loads(bnn("summary", "resnet8", "--recipe", path, "--json").stdout)
    assert got["binary_params"] == 73_728


@pytest.mark.parametrize(
    "options", [("--input", "1x8x8"), ("--model-arg", "in_channels=1"), ("--input", "1x32x32")]
)
def test_input_and_channels_go_together(bnn, options):
    got = json.loads(bnn("summary", "resnet8", *options, "--json").stdout)
    assert got["input_shape"][0] == 1
    assert got["layers"][0]["float_params"] == 16 * 9


def test_checkpoint(bnn, trained):
    got = json.loads(bnn("summary", trained / "final.ckpt", "--json").stdout)
    assert got["input_shape"] == [1, 8, 8]
    assert got["binary_params"] > 0


def test_checkpoint_takes_no_recipe(fails, trained):
    assert "--recipe" in fails("summary", trained / "final.ckpt", "--recipe", "xnor-net", code=2)


def test_unknown_model(fails):
    message = fails("summary", "resnet81", code=2)
    assert "Did you mean 'resnet8'?" in message
    assert "bats_cifar" in message


def test_missing_file(fails, tmp_path):
    assert "none.ckpt" in fails("summary", tmp_path / "none.ckpt", code=1)


def test_folder_in_the_place_of_a_file(fails, tmp_path):
    assert "folder" in fails("summary", tmp_path, code=1)


@pytest.mark.parametrize(
    "shape",
    ["", "3", "3x32", "0x8x8", "3x-1x8", "3x8x8x8", "axbxc", "3x8x8\n", "٣x8x8", "9999x9999x9999"],
)
def test_malformed_input(fails, shape):
    assert "--input" in fails("summary", "resnet8", "--input", shape, code=2)


def test_input_that_the_network_cannot_take(fails):
    message = fails(
        "summary", "resnet8", "--model-arg", "in_channels=4", "--input", "3x8x8", code=2
    )
    assert "cannot take 3x8x8" in message


@pytest.mark.parametrize(
    "argument", ["width", "=3", "width=foo", "width=-1", "wdth=3", "block_type=Foo", "width=[1"]
)
def test_malformed_model_argument(fails, argument):
    fails("summary", "resnet8", "--model-arg", argument, code=2)


def test_unknown_recipe(fails):
    assert "two-step" in fails("summary", "resnet8", "--recipe", "tow-step", code=2)


def test_malformed_recipe(fails, tmp_path):
    path = tmp_path / "bad.yaml"
    path.write_text("step0: [1, 2")
    assert "bad.yaml" in fails("summary", "resnet8", "--recipe", path, code=1)
