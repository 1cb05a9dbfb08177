import io

import pytest
import torch
from torch import nn

from bnn import BConfig, prepare_binary_model
from bnn.errors import CheckpointError, ConfigError
from bnn.layers import Conv2d
from bnn.ops import (
    BasicInputBinarizer,
    BasicScaleBinarizer,
    XNORPlusPlusScaleBinarizer,
    XNORWeightBinarizer,
)
from bnn.training import WeightAverage, binary_weight_signs


def net():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 4), nn.Linear(4, 2))
    config = BConfig(BasicInputBinarizer, BasicScaleBinarizer, XNORWeightBinarizer)
    return prepare_binary_model(model, config, ignore_layers_name=["_first_", "_last_"])


def wander(model, steps, average=None, seed=1):
    torch.manual_seed(seed)
    for _ in range(steps):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter))
            model[1].running_mean.add_(torch.randn(4))
        if average is not None:
            average.update_()
        yield


def test_formula_of_every_step():
    model = net()
    names = [*dict(model.named_parameters()), "1.running_mean", "1.running_var"]
    expected = {name: model.state_dict()[name].clone() for name in names}
    average = WeightAverage(model, decay=0.3)
    for step, _ in enumerate(wander(model, 9, average)):
        decay = min(0.3, (1 + step) / (10 + step))
        for name in names:
            new = model.state_dict()[name]
            expected[name] = decay * expected[name] + (1 - decay) * new
    with average.applied():
        for name in names:
            assert torch.allclose(model.state_dict()[name], expected[name], atol=1e-6), name


def test_applying_and_restoring_keep_the_parameters_objects_and_bits():
    model = net()
    average = WeightAverage(model, decay=0.9)
    list(wander(model, 3, average))
    parameters, before = list(model.parameters()), {n: t.clone() for n, t in _state(model)}
    average.apply_()
    assert all(a is b for a, b in zip(parameters, model.parameters(), strict=True))
    assert not torch.equal(before["2.weight"], model[2].weight)
    average.restore_()
    assert all(torch.equal(before[name], tensor) for name, tensor in _state(model))
    assert all(p.requires_grad for p in parameters)


def _state(model):
    return model.state_dict().items()


def test_binary_layers_average_latent_weights_not_signs():
    layer = net()[2]
    with torch.no_grad():
        layer.weight.fill_(-0.1)
    average = WeightAverage(nn.Sequential(layer), decay=0.5)
    with torch.no_grad():
        layer.weight.fill_(3.0)
    average.update_()
    with average.applied():
        assert layer.weight[0, 0].item() == pytest.approx(0.1 * -0.1 + 0.9 * 3.0)
        assert not binary_weight_signs(layer)[""].any()


def test_evaluation_sees_the_averages_although_layers_keep_binarized_weights():
    model = net().eval()
    average = WeightAverage(model, decay=0.5)
    x = torch.randn(4, 3)
    with torch.no_grad():
        first = model(x)
        model[2].weight.neg_()
        second = model(x)
        with average.applied():
            applied = model(x)
        assert torch.equal(model(x), second)
    assert torch.equal(applied, first)
    assert not torch.equal(first, second)


def test_state_round_trip():
    model = net()
    average = WeightAverage(model, decay=0.9)
    list(wander(model, 4, average))
    file = io.BytesIO()
    torch.save(average.state_dict(), file)
    state = {name: t.clone() for name, t in _state(model)}
    list(wander(model, 2, average, seed=5))

    again = net()
    again.load_state_dict(state)
    resumed = WeightAverage(again, decay=0.9)
    file.seek(0)
    resumed.load_state_dict(torch.load(file, weights_only=True))
    list(wander(again, 2, resumed, seed=5))
    first, second = average.state_dict(), resumed.state_dict()
    assert first["steps"] == second["steps"] == 6
    for name, tensor in first["average"].items():
        assert torch.equal(tensor, second["average"][name])


def test_the_context_restores_after_an_error():
    model = net()
    average = WeightAverage(model, decay=0.5)
    list(wander(model, 1, average))
    before = model[0].weight.detach().clone()
    with pytest.raises(RuntimeError), average.applied():
        raise RuntimeError
    assert torch.equal(before, model[0].weight)


def test_frozen_parameters_are_left_alone():
    model = net()
    model[0].weight.requires_grad_(False)
    average = WeightAverage(model, decay=0.5)
    list(wander(model, 1, average))
    before = model[0].weight.clone()
    with average.applied():
        assert torch.equal(before, model[0].weight)


def test_wrong_order_of_calls():
    average = WeightAverage(net(), decay=0.5)
    with pytest.raises(ConfigError, match="apply_"):
        average.restore_()
    average.apply_()
    with pytest.raises(ConfigError, match="already"):
        average.apply_()
    with pytest.raises(ConfigError, match=r"restore_\(\) before update_"):
        average.update_()


@pytest.mark.parametrize("decay", [1, 1.5, -0.1, float("nan"), True])
def test_bad_decay(decay):
    with pytest.raises(ConfigError, match="decay"):
        WeightAverage(net(), decay=decay)


@pytest.mark.parametrize(
    "state",
    [
        {},
        {"steps": "3", "average": {}},
        {"steps": 3, "average": {}},
        {"steps": 3, "average": {"0.weight": torch.ones(1)}},
        WeightAverage(nn.Linear(2, 2), 0.5).state_dict(),
    ],
)
def test_a_state_of_something_else(state):
    with pytest.raises(CheckpointError, match="WeightAverage|another network"):
        WeightAverage(net(), decay=0.5).load_state_dict(state)


def test_a_parameter_without_a_size_is_named():
    layer = Conv2d(2, 2, 3, bconfig=BConfig(activation_post_process=XNORPlusPlusScaleBinarizer))
    with pytest.raises(ConfigError, match=r"'0.activation_post_process.alpha' has no size yet"):
        WeightAverage(nn.Sequential(layer), decay=0.9)
    layer(torch.ones(1, 2, 5, 5))
    assert len(WeightAverage(nn.Sequential(layer), decay=0.9).state_dict()["average"]) == 5
