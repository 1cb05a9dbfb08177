import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize

from bnn import BConfig, prepare_binary_model
from bnn.errors import ConfigError
from bnn.layers import Linear
from bnn.ops import BasicInputBinarizer, StochasticInputBinarizer, XNORWeightBinarizer
from bnn.training import binary_weight_signs, clamp_latent_weights_, flip_rate

BINARY = BConfig(BasicInputBinarizer, weight_pre_process=XNORWeightBinarizer)


def net():
    model = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 3), nn.Linear(3, 2))
    return prepare_binary_model(model, BINARY, ignore_layers_name=["_first_", "_last_"])


def test_clamps_only_binary_weights():
    model = net()
    for parameter in model.parameters():
        parameter.data.fill_(7.0)
    assert clamp_latent_weights_(model, 1.5) is model
    assert model[1].weight.eq(1.5).all()
    assert model[1].bias.eq(7).all()
    assert model[0].weight.eq(7).all()
    assert model[2].weight.eq(7).all()


def test_clamp_keeps_parameter_and_what_is_inside():
    model = net()
    parameter, before = model[1].weight, model[1].weight.detach().clone()
    clamp_latent_weights_(model, 100.0)
    assert model[1].weight is parameter
    assert torch.equal(parameter, before)
    assert parameter.requires_grad


def test_a_layer_with_binary_activations_only_is_left_alone():
    layer = Linear(2, 2, bconfig=BConfig(BasicInputBinarizer))
    layer.weight.data.fill_(3.0)
    assert clamp_latent_weights_(layer).weight.eq(3).all()
    assert binary_weight_signs(layer) == {}


@pytest.mark.parametrize("limit", [0, -1, float("nan")])
def test_clamp_limit_must_be_positive(limit):
    with pytest.raises(ConfigError, match="limit"):
        clamp_latent_weights_(net(), limit)


def test_clamp_goes_through_parametrizations():
    class Double(nn.Module):
        def forward(self, x):
            return 2 * x

        def right_inverse(self, x):
            return x / 2

    layer = Linear(2, 2, bconfig=BINARY)
    parametrize.register_parametrization(layer, "weight", Double())
    layer.weight = torch.full((2, 2), 6.0)
    clamp_latent_weights_(layer)
    assert layer.weight.eq(1).all()


def test_clamp_says_which_parametrization_has_no_inverse():
    class Halve(nn.Module):
        def forward(self, x):
            return x / 2

    model = net()
    parametrize.register_parametrization(model[1], "weight", Halve())
    with pytest.raises(ConfigError, match="'1' has a parametrization"):
        clamp_latent_weights_(model)


def test_weight_norm_still_has_signs():
    layer = parametrizations.weight_norm(Linear(2, 2, bconfig=BINARY))
    assert binary_weight_signs(layer)[""].shape == (2, 2)


def test_signs_see_the_centring():
    config = BConfig(weight_pre_process=XNORWeightBinarizer.with_args(center_weights=True))
    layer = Linear(2, 1, bias=False, bconfig=config)
    layer.weight.data.copy_(torch.tensor([[1.0, 3.0]]))  # both positive, mean 2
    assert binary_weight_signs(layer)[""].tolist() == [[True, False]]


def test_signs_of_a_random_binarizer_draw_nothing_and_keep_its_mode():
    layer = Linear(50, 50, bconfig=BConfig(weight_pre_process=StochasticInputBinarizer)).train()
    state = torch.get_rng_state()
    first, second = binary_weight_signs(layer), binary_weight_signs(layer)
    assert torch.equal(first[""], second[""])
    assert torch.equal(state, torch.get_rng_state())
    assert layer.weight_pre_process.training


def test_zero_counts_as_positive():
    layer = Linear(2, 1, bias=False, bconfig=BConfig(weight_pre_process=BasicInputBinarizer))
    layer.weight.data.copy_(torch.tensor([[0.0, -0.0]]))
    assert not binary_weight_signs(layer)[""].any()


def test_flip_rate_counts_every_weight_the_same():
    big, small = torch.zeros(8, dtype=torch.bool), torch.zeros(2, dtype=torch.bool)
    assert flip_rate({"a": big, "b": small}, {"a": big, "b": ~small}) == 0.2


def test_flip_rate_without_binary_weights_is_none():
    assert flip_rate({}, {}) is None
    assert flip_rate({"a": torch.ones(2, dtype=torch.bool)}, {}) is None


def test_flip_rate_of_a_real_optimizer_step():
    model = net()
    before = binary_weight_signs(model)
    old = model[1].weight.detach().clone()
    with torch.no_grad():
        model[1].weight[0].neg_()  # three of nine weights
    assert flip_rate(before, binary_weight_signs(model)) == pytest.approx(3 / 9)
    assert (old != 0).all()
