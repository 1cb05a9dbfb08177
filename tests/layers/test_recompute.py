"""Outputs that the backward pass computes again: the same gradients, fewer bytes."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.autograd import graph

from bnn import BConfig, prepare_binary_model
from bnn.layers import Conv2d, Linear, recompute_outputs, set_compact
from bnn.models import resnet8
from bnn.ops import BasicInputBinarizer, BasicScaleBinarizer, Identity, XNORWeightBinarizer

BINARY = BConfig(BasicInputBinarizer, Identity, XNORWeightBinarizer)
FOLLOWERS = {
    "prelu": nn.PReLU,
    "batch norm": lambda: nn.BatchNorm2d(32),
    "in place": lambda: nn.ReLU(inplace=True),
    "twice": lambda: nn.Sequential(nn.PReLU(), nn.PReLU()),
    "square": lambda: _Square(),
}


class _Square(nn.Module):
    def forward(self, x):
        return x * x


def net(follower, post=Identity):
    torch.manual_seed(0)
    config = BConfig(BasicInputBinarizer, post, XNORWeightBinarizer)
    return nn.Sequential(
        nn.BatchNorm2d(64),
        Conv2d(64, 32, 3, padding=1, bconfig=config),
        follower(),
        nn.BatchNorm2d(32),
        Conv2d(32, 8, 3, bias=False, bconfig=config),
        nn.PReLU(8),
    )


def gradients(model, x):
    model.zero_grad()
    x = x.detach().clone(memory_format=torch.preserve_format).requires_grad_()
    loss = model(x).square().sum()
    return loss, x


def finish(model, loss, x):
    loss.backward()
    return [loss.detach(), x.grad, *(p.grad.clone() for p in model.parameters())]


class _Counted(graph.saved_tensors_hooks):
    """Counts the bytes of floats that are put by."""

    bytes = 0

    def __init__(self, pack, unpack):
        def pack_and_count(tensor):
            value = pack(tensor)
            if isinstance(value, torch.Tensor) and value.is_floating_point():
                type(self).bytes += value.nbytes
            return value

        super().__init__(pack_and_count, unpack)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("post", [Identity, BasicScaleBinarizer])
@pytest.mark.parametrize("follower", FOLLOWERS.values(), ids=list(FOLLOWERS))
def test_gradients_are_the_same_to_the_last_bit(follower, post, layout):
    model, x = net(follower, post), torch.randn(2, 64, 9, 8).contiguous(memory_format=layout)
    expected = finish(model, *gradients(model, x))
    with recompute_outputs():
        loss, x = gradients(model, x)
    got = finish(model, loss, x)
    assert all(torch.equal(a, b) for a, b in zip(got, expected, strict=True))


@pytest.mark.parametrize("follower", ["prelu", "batch norm", "square"])
def test_the_output_is_not_kept(follower, monkeypatch):
    monkeypatch.setattr(graph, "saved_tensors_hooks", _Counted)
    model, x = net(FOLLOWERS[follower]), torch.randn(2, 64, 9, 8)

    def kept(enabled):
        _Counted.bytes = 0
        with set_compact(enabled), recompute_outputs():
            gradients(model, x)
        return _Counted.bytes

    outputs = 4 * (2 * 32 * 9 * 8 + 2 * 8 * 7 * 6)
    inputs = 4 * (2 * 64 * 9 * 8 + 2 * 32 * 9 * 8)
    assert kept(False) >= kept(True) + outputs + inputs


def test_an_output_that_was_changed_is_kept_as_it_is():
    layer = Linear(64, 8, bconfig=BINARY)
    x = torch.randn(4, 64)
    expected = layer(x).add(1).square().sum()
    expected.backward()
    grad, layer.weight.grad = layer.weight.grad, None
    with recompute_outputs():
        out = layer(x)
        out.add_(1)
        out.square().sum().backward()
    assert torch.equal(layer.weight.grad, grad)


def test_memory_of_an_output_that_is_gone_belongs_to_others():
    layer = Linear(64, 8, bconfig=BINARY)
    x = torch.randn(4, 64)
    for _ in range(50):
        with recompute_outputs():
            layer(x)  # freed at once; the next tensor of this size lies where it was
            other = torch.randn(4, 8, requires_grad=True)
            slope = torch.rand(1, requires_grad=True)
            y = nn.functional.prelu(other, slope)
        y.sum().backward()
        assert torch.equal(slope.grad, other.detach().clamp_max(0).sum().view(1))


def test_vectors_may_change_before_the_backward_pass():
    layer = Linear(64, 8, bconfig=BINARY)
    x = torch.randn(4, 64)
    y = torch.nn.PReLU()
    y(layer(x)).sum().backward()
    expected = y.weight.grad.clone()
    y.weight.grad = None
    with recompute_outputs():
        out = y(layer(x))
    layer.bias.data.add_(100)
    out.sum().backward()
    assert torch.equal(y.weight.grad, expected)


def test_blocks_nest_and_end():
    layer = Linear(64, 8, bconfig=BINARY)
    with recompute_outputs():
        with recompute_outputs():
            layer(torch.randn(4, 64)).square().sum().backward()
        layer(torch.randn(4, 64)).square().sum().backward()
    with pytest.raises(ZeroDivisionError), recompute_outputs():
        _ = 1 / 0
    layer(torch.randn(4, 64)).square().sum().backward()


@pytest.mark.parametrize("compiled", [False, True])
def test_a_network(compiled):
    torch.manual_seed(0)
    model = prepare_binary_model(
        resnet8(width=32), BINARY, ignore_layers_name=["_first_", "_last_"]
    )
    x = torch.randn(4, 3, 16, 16)
    twin = copy.deepcopy(model)
    with set_compact(False):
        plain = finish(twin, *gradients(twin, x))
    run = torch.compile(model, backend="aot_eager") if compiled else model
    with recompute_outputs():
        loss, inner = gradients(run, x)
    got = finish(model, loss, inner)
    torch.testing.assert_close(got[0], plain[0], rtol=1e-5, atol=0)
    for a, b in zip(got, plain, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-3 * max(b.abs().max().item(), 1e-3))
