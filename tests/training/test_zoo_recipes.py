"""The recipes of published networks: they end as the network is made, and keep what it keeps float.

tests/training/test_packaged_recipes.py runs them, as it does all recipes.
"""

import copy
import json
import subprocess
import sys

import pytest
import torch

from bnn import BConfig, BinaryChef
from bnn.errors import RecipeError
from bnn.executor import load_recipe, packaged_recipes
from bnn.layers import BinaryLayer
from bnn.models import MODELS, create, resnet8
from bnn.models import list as list_models
from bnn.training import TrainConfig, make_optimizer
from bnn.training.plan import plan_steps

ZOO = [name for name in packaged_recipes() if load_recipe(name).needs_binary]
FAMILIES = {
    "quicknet": ("quicknet*",),
    "birealnet": ("birealnet*",),
    "binary-densenet": ("binary_densenet*",),
    "reactnet-a": ("reactnet_*", "react_resnet18"),
    "real-to-binary-net": ("real_to_binary_net",),
    "bnext": ("bnext_*",),
}
MEMBERS = [
    (recipe, name)
    for recipe, patterns in FAMILIES.items()
    for pattern in patterns
    for name in list_models(pattern)
]


def binary_layers(model):
    return {name: m for name, m in model.named_modules() if isinstance(m, BinaryLayer)}


def test_each_zoo_recipe_has_its_family():
    assert set(ZOO) == set(FAMILIES)


@pytest.mark.parametrize(("recipe", "name"), MEMBERS)
def test_it_ends_with_the_network_as_published(recipe, name):
    model = create(name, **MODELS[name].tiny)
    made = {place: m.bconfig for place, m in binary_layers(model).items()}
    classes = {place: type(m) for place, m in model.named_modules()}
    shapes = {key: value.shape for key, value in model.state_dict().items()}
    chef = BinaryChef(recipe)
    for _ in range(len(chef)):
        model = chef.next(model)
        assert set(binary_layers(model)) == set(made), "other layers are binary"
    assert {place: m.bconfig for place, m in binary_layers(model).items()} == made
    assert {p: type(m) for p, m in model.named_modules() if p in classes}.items() == classes.items()
    assert {key: value.shape for key, value in model.state_dict().items()} == shapes


def test_a_step_without_stages_is_float():
    """Real-to-Binary's first: the network computes with its weights, and with no sign."""
    model = create("real_to_binary_net", **MODELS["real_to_binary_net"].tiny)
    model = BinaryChef("real-to-binary-net").next(model)
    assert {layer.bconfig for layer in binary_layers(model).values()} == {BConfig()}
    layer = next(iter(binary_layers(model).values()))
    x = torch.randn(1, layer.in_channels, 5, 5)
    expected = torch.nn.functional.conv2d(x, layer.weight, None, layer.stride, layer.padding)
    torch.testing.assert_close(layer(x), expected)


def test_reactnet_has_float_weights_in_its_first_step():
    model = create("reactnet_b", **MODELS["reactnet_b"].tiny)
    chef = BinaryChef("reactnet-a")
    layer = next(iter(binary_layers(chef.next(model)).values()))
    weight = layer.weight_pre_process(layer.weight)
    assert torch.equal(weight, layer.weight)
    layer = next(iter(binary_layers(chef.next(model)).values()))
    weight = layer.weight_pre_process(layer.weight)
    assert len(weight[0].abs().unique()) == 1


@pytest.mark.parametrize("recipe", ZOO)
def test_a_float_network_is_refused(recipe):
    before = resnet8()
    model = copy.deepcopy(before)
    with pytest.raises(RecipeError, match=r"no layer of this ResNet is binary\. Take a network"):
        BinaryChef(recipe).next(model)
    assert str(model) == str(before)


@pytest.mark.parametrize("value", [1, "yes", ["conv1"]])
def test_only_binary_is_true_or_false(value):
    with pytest.raises(RecipeError, match=r"step0\.only_binary: must be true or false"):
        load_recipe({"step0": {"only_binary": value}})


def test_quicknet_has_an_optimizer_for_each_kind_of_weight():
    config = TrainConfig(model="quicknet", recipe="quicknet", data="imagenet", data_dir="/nowhere")
    (plan,) = plan_steps(config)
    model = create("quicknet", **MODELS["quicknet"].tiny)
    optimizer = make_optimizer(model, plan.optimizer, learning_rate=plan.learning_rate)
    with_adam = {
        id(p) for group in optimizer.param_groups if "betas" in group for p in group["params"]
    }
    assert with_adam == {id(layer.weight) for layer in binary_layers(model).values()}


def test_on_the_command_line(tmp_path):
    """Trains, is not trained again, measures, packs and verifies, with images of 32x32."""

    def bnn(*words):
        done = subprocess.run(
            [sys.executable, "-m", "bnn.cli", *words], cwd=tmp_path, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    asked = ("--recipe", "quicknet", "--data", "digits", "--smoke", "--epochs", "1", "--json")
    small = ("--model-arg", "blocks=[1,1]", "--model-arg", "filters=[8,16]")
    run = ("train", "--model", "quicknet", *small, *asked, "--out", "run")
    first = json.loads(bnn(*run))
    assert json.loads(bnn(*run, "--resume"))["test_accuracy"] == first["test_accuracy"]
    measured = json.loads(bnn("eval", "run", "--json"))
    assert measured["accuracy"] == pytest.approx(first["test_accuracy"], abs=1e-6)
    bnn("pack", "run", "-o", "net.bnn")
    verified = json.loads(bnn("verify", "run", "net.bnn", "--json"))
    assert verified["images"] == "256 held-out images of digits"
    assert verified["top1"] == verified["samples"]
