import copy
import io

import pytest
import torch
from torch import nn

from bnn.errors import ConfigError, LayerNotFoundError
from bnn.training import FeatureTap


def net():
    return nn.Sequential(
        nn.Sequential(nn.Linear(4, 3), nn.ReLU()), nn.Linear(3, 3), nn.Linear(3, 2)
    )


def test_outputs_carry_gradients():
    model = net()
    tap = FeatureTap(model, ["0.1", "1"])
    x = torch.randn(5, 4)
    out = model(x)
    features = tap.take()
    assert list(features) == ["0.1", "1"]
    assert torch.equal(model[2](features["1"]), out)
    assert torch.equal(features["0.1"], model[0](x))
    features["1"].sum().backward()
    assert model[1].weight.grad is not None


def test_taking_forgets():
    model = net()
    tap = FeatureTap(model, ["1"])
    model(torch.zeros(1, 4))
    tap.take()
    with pytest.raises(ConfigError, match="'1' did not run"):
        tap.take()


def test_removed_hooks_are_gone():
    model = net()
    with FeatureTap(model, ["1"]) as tap:
        model(torch.zeros(1, 4))
    assert not model[1]._forward_hooks
    with pytest.raises(ConfigError, match="did not run"):
        tap.take()


def test_copies_and_pickles_are_not_tapped():
    model = net()
    tap = FeatureTap(model, ["1"])
    model(torch.zeros(1, 4))  # the tap holds a tensor that is no leaf: it cannot be copied
    other = copy.deepcopy(model)
    buffer = io.BytesIO()
    torch.save(model, buffer)
    buffer.seek(0)
    loaded = torch.load(buffer, weights_only=False)
    taken = tap.take()["1"]
    for one in (other, loaded):
        assert torch.equal(one(torch.zeros(1, 4)), model[2](taken))
        with pytest.raises(ConfigError, match="did not run"):
            tap.take()


def test_a_module_that_runs_twice_gives_its_last_output():
    layer = nn.Linear(2, 2)
    model = nn.Sequential(layer, layer)
    tap = FeatureTap(model, ["0"])
    out = model(torch.ones(1, 2))
    assert torch.equal(tap.take()["0"], out)


def test_what_is_no_tensor_is_said():
    model = nn.Sequential(nn.LSTM(2, 2))
    tap = FeatureTap(model, ["0"])
    model(torch.zeros(1, 1, 2))
    with pytest.raises(ConfigError, match="'0' gave a tuple"):
        tap.take()


@pytest.mark.parametrize("name", ["0.2", "", "model.1"])
def test_unknown_names(name):
    with pytest.raises(LayerNotFoundError, match=r"Did you mean|Modules are"):
        FeatureTap(net(), [name])


@pytest.mark.parametrize("names", ["0.1", [3], [None]])
def test_names_must_be_a_list_of_names(names):
    with pytest.raises(ConfigError, match="names"):
        FeatureTap(net(), names)


def test_no_hook_stays_behind_after_an_unknown_name():
    model = net()
    with pytest.raises(LayerNotFoundError):
        FeatureTap(model, ["1", "nope"])
    assert not model[1]._forward_hooks
