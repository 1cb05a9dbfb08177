import math

import pytest
from torch import nn

from bnn import BConfig, prepare_binary_model
from bnn.ops import BasicInputBinarizer, BasicScaleBinarizer, XNORWeightBinarizer
from bnn.training.optim import factor, make_optimizer, parameter_groups


def test_only_the_weights_of_layers_decay():
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.PReLU(4), nn.Conv2d(4, 4, 3), nn.Linear(4, 2)
    )
    config = BConfig(BasicInputBinarizer, BasicScaleBinarizer, XNORWeightBinarizer)
    prepare_binary_model(model, config, ignore_layers_name=["_first_"])
    decay, rest = parameter_groups(model, 1e-4)
    names = {id(p): name for name, p in model.named_parameters()}
    assert {names[id(p)] for p in decay["params"]} == {"0.weight", "3.weight", "4.weight"}
    assert decay["weight_decay"] == 1e-4
    assert rest["weight_decay"] == 0
    assert len(decay["params"]) + len(rest["params"]) == len(list(model.parameters()))


def test_parametrized_weights_decay_and_frozen_ones_are_left_out():
    layer = nn.utils.parametrizations.weight_norm(nn.Linear(3, 2))
    layer.bias.requires_grad_(False)
    (group,) = parameter_groups(layer, 0.1)
    assert len(group["params"]) == 2
    assert group["weight_decay"] == 0.1


@pytest.mark.parametrize("schedule", ["cosine", "linear"])
def test_rates_fall_from_the_start_to_zero(schedule):
    rates = [factor(schedule, 10, i) for i in range(12)]
    assert rates[0] == 1
    assert rates[10] == rates[11] == 0
    assert rates == sorted(rates, reverse=True)


def test_formulas():
    assert factor("linear", 8, 2) == 0.75
    assert factor("cosine", 8, 2) == pytest.approx((1 + math.cos(math.pi / 4)) / 2)
    assert factor("constant", 8, 7) == 1


def test_schedule_drives_the_optimizer():
    optimizer, scheduler = make_optimizer(
        nn.Linear(2, 2), learning_rate=0.1, weight_decay=0.0, schedule="linear", total=4
    )
    rates = []
    for _ in range(4):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert rates == pytest.approx([0.1, 0.075, 0.05, 0.025])
