import copy

import pytest
import torch
from torch import nn

from bnn import BConfig, prepare_binary_model
from bnn.errors import ConfigError
from bnn.ops import (
    AdaBinInputBinarizer,
    BasicInputBinarizer,
    DoReFaInputBinarizer,
    XNORWeightBinarizer,
    binarizers,
)
from bnn.training import SignBalance, saturated_share

BINARY = BConfig(BasicInputBinarizer, weight_pre_process=XNORWeightBinarizer)


def net():
    model = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2), nn.Linear(2, 2), nn.Linear(2, 1))
    return prepare_binary_model(model, BINARY, ignore_layers_name=["_first_", "_last_"])


def test_saturated_share_counts_weights_at_the_limit_and_beyond():
    model = net()
    with torch.no_grad():
        model[0].weight.fill_(9)  # float: not counted
        model[1].weight.copy_(torch.tensor([[1.0, -1.0, 1.0001], [-2.0, 0.0, 0.5]]))
        model[2].weight.zero_()
    assert saturated_share(model) == pytest.approx(4 / 10)
    assert saturated_share(model[1]) == pytest.approx(4 / 6)
    assert saturated_share(model, limit=1.5) == pytest.approx(1 / 10)
    assert saturated_share(model, limit=0.25) == pytest.approx(5 / 10)
    assert saturated_share(nn.Linear(2, 2)) is None


@pytest.mark.parametrize(("clip", "expected"), [(1.0, 3 / 4), (1.25, 2 / 4), (None, 0)])
def test_the_limit_is_the_clip_of_the_binarizer(clip, expected):
    config = BConfig(weight_pre_process=BasicInputBinarizer.with_args(clip=clip))
    layer = prepare_binary_model(nn.Sequential(nn.Linear(4, 1)), config)
    with torch.no_grad():
        layer[0].weight.copy_(torch.tensor([[0.5, 1.0, -1.25, 2.0]]))
    assert saturated_share(layer) == pytest.approx(expected)


@pytest.mark.parametrize("limit", [0, -1, float("nan")])
def test_limit_must_be_positive(limit):
    with pytest.raises(ConfigError, match="limit"):
        saturated_share(net(), limit)


def test_balance_counts_over_passes_until_reset():
    model = net()
    seen = []
    model[1].register_forward_pre_hook(lambda _, x: seen.append(x[0].detach()))
    with SignBalance(model) as balance:
        assert balance.shares() == {}
        for _ in range(3):
            model(torch.randn(8, 4))
        expected = (torch.cat(seen) < 0).float().mean().item()
        assert balance.shares()["1"] == pytest.approx(expected)
        assert set(balance.shares()) == {"1", "2"}
        balance.reset()
        model(torch.randn(2, 4))
        assert balance.shares()["1"] == pytest.approx((seen[-1] < 0).float().mean().item())


def test_zero_is_positive_and_pausing_pauses():
    layer = nn.Sequential(net()[1])
    with SignBalance(layer) as balance:
        layer(torch.tensor([[0.0, -0.0, -1.0]]))
        balance.enabled = False
        layer(torch.tensor([[-1.0, -1.0, -1.0]]))
        assert balance.shares()["0"] == pytest.approx(1 / 3)


def test_copies_are_not_counted_and_nothing_stays():
    model = net()
    with SignBalance(model) as balance:
        copy.deepcopy(model)(torch.randn(8, 4))
        assert balance.shares() == {}
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


class Shifted(BasicInputBinarizer):
    """Another forward than its base: what it takes the sign of is not what the base says."""

    def forward(self, x):
        return super().forward(x - 1)


def test_a_stage_of_ones_own_is_counted_by_its_results_from_the_first_pass_on():
    config = BConfig(Shifted, weight_pre_process=XNORWeightBinarizer)
    model = prepare_binary_model(nn.Sequential(nn.Linear(3, 2)), config)
    with SignBalance(model) as balance:
        for _ in range(2):
            model(torch.tensor([[0.5, 2.0, 3.0]]))
            assert balance.shares()["0"] == pytest.approx(1 / 3)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


INPUT_BINARIZERS = [
    name
    for name in binarizers
    if binarizers[name].stage == "value" and binarizers[name].operand != "weight"
]


@pytest.mark.parametrize("name", INPUT_BINARIZERS)
def test_every_binarizers_share_is_that_of_its_results(name):
    torch.manual_seed(0)
    config = BConfig(binarizers[name])
    model = prepare_binary_model(nn.Sequential(nn.Conv2d(4, 2, 3)), config).eval()
    x = torch.randn(2, 4, 6, 6)
    with torch.no_grad():
        results = model[0].activation_pre_process(x)
        with SignBalance(model) as balance:
            model(x)
    middle = {"HeavisideInputBinarizer": 0.5, "DoReFaInputBinarizer": 0.5}.get(name, 0)
    share = (results < middle).float().mean().item()
    assert balance.shares()["0"] == pytest.approx(share)
    assert 0 < share < 1


@pytest.mark.parametrize("bits", [1, 2, 3])
def test_levels_from_0_to_1_are_balanced_around_their_middle(bits):
    config = BConfig(DoReFaInputBinarizer.with_args(bits=bits))
    model = prepare_binary_model(nn.Sequential(nn.Linear(5, 2)), config)
    with SignBalance(model) as balance:
        model(torch.tensor([[-1.0, 0.1, 0.49, 0.51, 3.0]]))
    assert balance.shares()["0"] == pytest.approx(3 / 5)


def test_levels_below_and_above_0_are_balanced_around_0_whatever_the_offset():
    config = BConfig(AdaBinInputBinarizer.with_args(alpha=0.5, beta=3.0))
    model = prepare_binary_model(nn.Sequential(nn.Linear(4, 2)), config)
    with SignBalance(model) as balance:
        model(torch.tensor([[2.0, 2.5, 2.9, 4.0]]))
    assert balance.shares()["0"] == pytest.approx(3 / 4)


def test_counting_changes_no_value_and_no_gradient():
    torch.manual_seed(0)
    model, x = net(), torch.randn(8, 4)
    plain = model(x)
    plain.sum().backward()
    grad = model[1].weight.grad.clone()
    model.zero_grad()
    with SignBalance(model):
        counted = model(x)
        counted.sum().backward()
    assert torch.equal(plain, counted)
    assert torch.equal(grad, model[1].weight.grad)
