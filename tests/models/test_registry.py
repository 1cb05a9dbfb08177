"""create and list: names, strings, keywords; what an entry says is true."""

from __future__ import annotations

import inspect

import pytest
import torch
from torch import nn

import bnn.models
from bnn.errors import ConfigError, UnknownNameError
from bnn.models import MODELS, HBlock, PreBasicBlock, registry
from bnn.models.registry import ACTIVATIONS, BLOCKS, NORM_LAYERS, create, register_model
from bnn.models.registry import list as list_models


def test_list_filters_and_sorts():
    assert list_models() == sorted(MODELS)
    assert list_models("resnet?") == ["resnet8"]
    assert list_models("quicknet*") == ["quicknet", "quicknet_large", "quicknet_small"]
    assert list_models("bats_*") == ["bats_cifar", "bats_imagenet"]
    assert list_models("nothing*") == []
    assert bnn.models.list is list_models


def test_star_import_leaves_builtins_alone():
    assert "list" not in bnn.models.__all__
    assert all(hasattr(bnn.models, name) for name in bnn.models.__all__)
    assert len(set(bnn.models.__all__)) == len(bnn.models.__all__)


def test_every_factory_is_public():
    assert set(MODELS) <= set(bnn.models.__all__)


def test_unknown_model_names_the_closest():
    with pytest.raises(UnknownNameError, match="Did you mean 'resnet18'"):
        create("resnet_18")


@pytest.mark.parametrize("name", list(MODELS))
def test_unknown_keyword_names_the_closest_and_all(name):
    with pytest.raises(ConfigError, match=r"no argument 'num_clases'\. Did you mean 'num_classes'"):
        create(name, num_clases=3)
    with pytest.raises(ConfigError, match=r"Allowed: .*in_channels.*num_classes"):
        create(name, zzz=3)


@pytest.mark.parametrize("name", list(MODELS))
def test_keywords_are_true(name):
    """Every keyword that an entry announces is one that the factory takes."""
    entry = MODELS[name]
    assert {"num_classes", "in_channels"} <= set(entry.keywords)
    assert set(entry.tiny) <= set(entry.keywords)
    assert "self" not in entry.keywords
    assert "kwargs" not in entry.keywords
    assert "args" not in entry.keywords


@pytest.mark.parametrize(
    ("name", "keyword"),
    [
        (name, keyword)
        for name in {MODELS[name].network: name for name in MODELS}.values()
        for keyword in MODELS[name].keywords
    ],
)
def test_each_keyword_is_taken(name, keyword):
    """What an entry announces, the factory takes: with the class's default, or the value here."""
    values = {
        "pretrained": False,
        "block_type": "PreBottleneck",
        "layers": (1, 1, 1),
        "auxiliary": True,
        "genotype": "BATS_IMAGENET_DEFAULT",
        **{
            parameter.name: parameter.default
            for parameter in inspect.signature(MODELS[name].network).parameters.values()
            if parameter.default is not inspect.Parameter.empty
        },
        **MODELS[name].tiny,
    }
    create(name, **{**MODELS[name].tiny, keyword: values[keyword]})


@pytest.mark.parametrize("name", list(MODELS))
def test_entry_is_filled_in(name):
    entry = MODELS[name]
    assert entry.paper.startswith("https://")
    assert entry.summary
    assert "\n" not in entry.summary
    assert entry.factory.__name__ == name


@pytest.mark.parametrize("name", list(MODELS))
def test_defaults_are_those_of_the_entry(name):
    entry = MODELS[name]
    with torch.device("meta"):
        model = create(name).eval()
        assert model(torch.zeros(1, *entry.input_shape)).shape == (1, entry.num_classes)


@pytest.mark.parametrize("activation", list(ACTIVATIONS))
def test_every_named_activation(activation):
    model = create("resnet8", activation=activation, stem_activation=activation, width=4)
    assert sum(isinstance(m, ACTIVATIONS[activation]) for m in model.modules()) == 7
    assert model.eval()(torch.randn(1, 3, 8, 8)).shape == (1, 10)


@pytest.mark.parametrize("block_type", list(BLOCKS))
@pytest.mark.parametrize("name", ["resnet18", "resnet50", "resnet8"])
def test_every_named_block(block_type, name):
    tiny = MODELS[name].tiny
    model = create(name, **{**tiny, "width": 8, "block_type": block_type})
    assert any(type(m) is BLOCKS[block_type] for m in model.modules())


@pytest.mark.parametrize("norm_layer", list(NORM_LAYERS))
def test_every_named_norm(norm_layer):
    model = create("resnet8", norm_layer=norm_layer, width=4)
    assert any(type(m) is NORM_LAYERS[norm_layer] for m in model.modules())


def test_strings_and_objects_make_the_same_network():
    torch.manual_seed(0)
    one = create("resnet8", block_type="HBlock", activation="PReLU", width=8)
    torch.manual_seed(0)
    other = create("resnet8", block_type=HBlock, activation=nn.PReLU, width=8)
    assert str(one) == str(other)
    for a, b in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)


def test_genotype_by_name():
    tiny = MODELS["bats_cifar"].tiny
    one = create("bats_cifar", **tiny, genotype="BATS_IMAGENET_DEFAULT")
    other = create("bats_cifar", **tiny, genotype=bnn.models.BATS_IMAGENET_DEFAULT)
    assert str(one) == str(other)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"block_type": "PreBasicBlok"}, "no block type .*Did you mean 'PreBasicBlock'"),
        ({"activation": "prelu"}, "no activation named 'prelu'.*PReLU"),
        ({"activation": "__import__('os')"}, "no activation"),
        ({"norm_layer": "BatchNorm"}, "Did you mean 'BatchNorm2d'"),
    ],
)
def test_strings_are_looked_up_in_closed_tables(kwargs, message):
    with pytest.raises(UnknownNameError, match=message):
        create("resnet8", **kwargs)


def test_create_does_not_change_what_it_is_given():
    kwargs = {"block_type": "PreBasicBlock", "layers": [1, 1]}
    create("resnet8", **kwargs)
    assert kwargs == {"block_type": "PreBasicBlock", "layers": [1, 1]}
    assert MODELS["resnet8"].tiny == {"width": 4, "num_classes": 5}


def test_a_new_model_is_one_decorator(monkeypatch):
    monkeypatch.setattr(registry.MODELS, "_items", dict(registry.MODELS._items))

    @register_model(
        network=bnn.models.ResNet,
        input_shape=(3, 8, 8),
        num_classes=2,
        paper="https://example.org",
        summary="one block",
        tiny={},
        tiny_shape=(3, 8, 8),
    )
    def one_block(**kwargs):
        return bnn.models.ResNet(**{"block_type": PreBasicBlock, "layers": (1,), **kwargs})

    assert "one_block" in list_models()
    assert create("one_block", num_classes=2, width=4).fc.out_features == 2
    with pytest.raises(ConfigError, match="registered twice"):
        register_model(
            network=bnn.models.ResNet,
            input_shape=(3, 8, 8),
            num_classes=2,
            paper="https://example.org",
            summary="one block",
            tiny={},
            tiny_shape=(3, 8, 8),
        )(one_block)
