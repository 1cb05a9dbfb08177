"""The first usage of the original README, on the model it uses, and other torchvision models."""

import pytest
import torch
from torchvision import models

import bnn.models
from bnn import BConfig, conversion_report, prepare_binary_model
from bnn.executor.engine import BinaryChef
from bnn.ops import BasicInputBinarizer, BasicScaleBinarizer, XNORWeightBinarizer

CONFIG = BConfig(
    activation_pre_process=BasicInputBinarizer,
    activation_post_process=BasicScaleBinarizer,
    weight_pre_process=XNORWeightBinarizer.with_args(center_weights=True),
)
IMAGES = torch.randn(2, 3, 64, 64)


def train_a_step(model):
    model.train()
    loss = model(IMAGES).square().mean()
    loss.backward()
    torch.optim.SGD(model.parameters(), 1e-3).step()
    assert loss.isfinite()
    assert all(p.grad is not None for p in model.parameters())


@pytest.mark.filterwarnings("ignore:The parameter 'pretrained' is deprecated")
@pytest.mark.filterwarnings("ignore:Arguments other than a weight enum")
def test_explicit_usage_as_the_readme_shows():
    model = models.resnet18(pretrained=False)
    bmodel = prepare_binary_model(model, CONFIG, custom_config_layers_name={"conv1": BConfig()})
    assert bmodel is model
    assert bmodel.conv1.bconfig == BConfig()
    train_a_step(bmodel)


def test_recipe_as_the_readme_shows():
    model = models.resnet18(weights=None)
    chef = BinaryChef("xnor-net")
    for _ in range(len(chef)):
        model = chef.next(model)
        train_a_step(model)


@pytest.mark.parametrize("name", ["mobilenet_v2", "shufflenet_v2_x0_5", "squeezenet1_1"])
def test_other_families(name):
    model = models.get_model(name, weights=None)
    prepare_binary_model(model, CONFIG, ignore_layers_name=["_first_", "_last_"])
    report = conversion_report(model)
    assert len(report.converted) >= 8
    assert not report.skipped
    model.train()
    model(IMAGES).mean().backward()


def test_vision_transformer_says_what_it_leaves_float():
    model = models.VisionTransformer(32, 16, num_layers=1, num_heads=2, hidden_dim=32, mlp_dim=64)
    with pytest.warns(UserWarning, match="out_proj"):
        prepare_binary_model(model, CONFIG, ignore_layers_name=["_first_", "_last_"])
    assert set(conversion_report(model).converted) == {
        "encoder.layers.encoder_layer_0.mlp.0",
        "encoder.layers.encoder_layer_0.mlp.3",
    }


@pytest.mark.parametrize("name", ["resnet18", "resnet34", "resnet50"])
def test_torchvision_weights_load_into_our_networks(name):
    theirs = models.get_model(name, weights=None).eval()
    ours = getattr(bnn.models, name)().eval()
    ours.load_state_dict(theirs.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(ours(IMAGES), theirs(IMAGES))


@pytest.mark.parametrize("name", ["resnet18", "resnet34", "resnet50", "resnet101", "resnet152"])
def test_parameter_counts_are_torchvisions(name):
    with torch.device("meta"):
        theirs, ours = models.get_model(name, weights=None), getattr(bnn.models, name)()
    assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in theirs.parameters())
