"""Counting leaves no trace in the model."""

import copy

import pytest
import torch
from torch import nn

from bnn import BConfig
from bnn.inspect import count_ops
from bnn.layers import Conv2d
from bnn.ops import BasicInputBinarizer, StochasticInputBinarizer, XNORWeightBinarizer


class Restless(nn.Module):
    """Changes its buffers and draws numbers, also in evaluation."""

    def __init__(self):
        super().__init__()
        self.register_buffer("seen", torch.zeros(1))
        self.register_buffer("last", torch.zeros(1))
        self.fails = False

    def forward(self, x):
        self.seen += 1
        self.last = torch.rand(1)
        if self.fails:
            raise RuntimeError("broken")
        return x


@pytest.fixture
def model():
    config = BConfig(StochasticInputBinarizer, weight_pre_process=XNORWeightBinarizer)
    net = nn.Sequential(
        nn.Conv2d(1, 4, 3),
        nn.BatchNorm2d(4),
        nn.Dropout(),
        Conv2d(4, 4, 3, bconfig=config),
        Restless(),
    )
    net.train()
    net[1].eval()  # a frozen norm
    net[0].register_forward_hook(lambda *_: None)
    return net


def state(net):
    hooks = [(list(m._forward_hooks), list(m._forward_pre_hooks)) for m in net.modules()]
    return (
        [m.training for m in net.modules()],
        hooks,
        [set(m.__dict__) for m in net.modules()],
        [id(b) for b in net.buffers()],
        [p.requires_grad for p in net.parameters()],
        torch.get_rng_state().tolist(),
        torch.is_grad_enabled(),
    )


@pytest.mark.parametrize("fails", [False, True])
def test_everything_is_as_before(model, fails):
    model[4].fails = fails
    x = torch.randn(2, 1, 9, 9)
    before, values = state(model), copy.deepcopy(model.state_dict())
    if fails:
        with pytest.raises(RuntimeError, match="broken"):
            count_ops(model, x)
    else:
        count_ops(model, x)
    assert state(model) == before
    for name, value in model.state_dict().items():
        assert torch.equal(value, values[name]), name


def test_the_model_is_evaluated(model):
    seen = []
    model[2].register_forward_hook(lambda m, _, out: seen.append((m.training, out.requires_grad)))
    count_ops(model, torch.randn(2, 1, 9, 9))
    assert seen == [(False, False)]


def test_counting_in_inference_mode(model):
    with torch.inference_mode():
        inside = count_ops(model, torch.randn(2, 1, 9, 9))
    assert inside.binary_macs == count_ops(model, torch.randn(2, 1, 9, 9)).binary_macs > 0


def test_counting_twice_gives_the_same(model):
    x = torch.randn(2, 1, 9, 9)
    assert count_ops(model, x) == count_ops(model, x)


def test_the_model_trains_afterwards(model):
    count_ops(model, torch.randn(2, 1, 9, 9))
    model(torch.randn(2, 1, 9, 9)).sum().backward()
    assert model[3].weight.grad is not None


def test_an_exception_caught_in_the_model_does_no_harm():
    class Careful(nn.Module):
        def __init__(self):
            super().__init__()
            self.fails = nn.Sequential(Restless())
            self.fails[0].fails = True
            self.conv = nn.Conv2d(1, 2, 1)

        def forward(self, x):
            try:
                return self.fails(x)
            except RuntimeError:
                return self.conv(x)

    count = count_ops(nn.Sequential(Careful(), nn.Conv2d(2, 1, 1)), torch.randn(1, 1, 3, 3))
    assert [entry.float_macs for entry in count.per_layer if entry.params] == [18, 18]


def test_a_layer_whose_forward_is_called_directly_still_counts():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            config = BConfig(BasicInputBinarizer, weight_pre_process=XNORWeightBinarizer)
            self.binary = Conv2d(2, 3, 3, bconfig=config)
            self.plain = nn.Conv2d(3, 2, 1)

        def forward(self, x):
            return self.plain.forward(self.binary.forward(x))

    count = count_ops(Net(), torch.randn(1, 2, 5, 5))
    assert (count.binary_macs, count.float_macs) == (9 * 3 * 18, 9 * 6)
