"""PReLU against torch's: the same values and input gradients, the slopes' to rounding."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from bnn import pack
from bnn.layers import PReLU, RPReLU, set_compact
from bnn.layers.prelu import prelu

SHAPES = [(7,), (3, 5), (2, 5, 11), (2, 17, 9, 8), (2, 5, 3, 4, 6), (1, 64, 40, 40), (128, 16)]


def edgy(*shape):
    x = torch.randn(*shape)
    flat = x.view(-1)
    edges = torch.tensor([0.0, -0.0, 1e-40, -1e-40, float("inf")])
    flat[: len(edges)] = edges
    return x


def gradients(function, x, slope):
    x = x.detach().clone(memory_format=torch.preserve_format).requires_grad_()
    slope = slope.detach().clone().requires_grad_()
    y = function(x, slope)
    torch.manual_seed(3)
    y.backward(torch.randn(y.shape))
    return y, x.grad, slope.grad


def check(x, slope, used=True):
    expected, got = gradients(F.prelu, x, slope), gradients(prelu, x, slope)
    assert ("_PReLU" in type(got[0].grad_fn).__name__) == used
    assert torch.equal(got[0], expected[0])
    assert got[0].stride() == expected[0].stride()
    assert torch.equal(got[1], expected[1])
    torch.testing.assert_close(got[2], expected[2], rtol=1e-4, atol=1e-3, equal_nan=True)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("single", [True, False])
def test_equals_torch(shape, single):
    if len(shape) == 1 and not single:
        return check(edgy(*shape), torch.tensor([0.25]))
    slopes = torch.randn(1 if single else shape[1])
    return check(edgy(*shape), slopes)


@pytest.mark.parametrize("channels", [1, 16, 17, 40])
def test_channels_last(channels):
    x = edgy(3, channels, 9, 8).contiguous(memory_format=torch.channels_last)
    check(x, torch.randn(channels))
    check(x, torch.randn(1))


def test_a_transposed_input_is_torchs():
    check(edgy(2, 5, 6, 7).transpose(2, 3), torch.randn(5), used=False)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_dtypes_are_torchs(dtype):
    layer, x = PReLU(5, dtype=dtype), torch.randn(2, 5, dtype=dtype)
    assert "_PReLU" not in type(layer(x).grad_fn).__name__
    assert torch.equal(layer(x), F.prelu(x, layer.weight))


def test_a_wrong_number_of_slopes_is_torchs_error():
    with pytest.raises(RuntimeError):
        PReLU(4)(torch.randn(2, 5))


def test_the_setting_turns_it_off():
    layer, x = PReLU(5), torch.randn(2, 5)
    with set_compact(False):
        assert "_PReLU" not in type(layer(x).grad_fn).__name__


@pytest.mark.parametrize("frozen", ["slope", "x"])
def test_second_derivatives(frozen):
    x, slope = edgy(2, 5, 3).clamp(-3, 3), torch.rand(5)
    results = []
    for function in (F.prelu, prelu):
        a = x.clone().requires_grad_(frozen != "x")
        b = slope.clone().requires_grad_(frozen != "slope")
        leaf = b if frozen == "x" else a
        (grad,) = torch.autograd.grad(function(a, b).pow(3).sum(), leaf, create_graph=True)
        results.append(torch.autograd.grad(grad.square().sum(), leaf)[0])
    torch.testing.assert_close(results[1], results[0])


def test_it_has_the_state_of_torchs():
    layer, other = PReLU(3), nn.PReLU(3, init=0.5)
    layer.load_state_dict(other.state_dict())
    assert repr(layer) == repr(other)
    assert torch.equal(copy.deepcopy(layer).weight, other.weight)


def test_rprelu_uses_it():
    layer = RPReLU(4)
    y = layer(torch.randn(2, 4, 3, 3))
    y.sum().backward()
    assert layer.weight.grad is not None
    assert layer.shift_in.grad is not None


def test_it_packs():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), PReLU(4)).eval()
    x = torch.randn(1, 3, 8, 8)
    packed = pack(model, x)
    with torch.no_grad():
        torch.testing.assert_close(packed(x), model(x), rtol=1e-4, atol=1e-5)
    assert packed.report.how == "graph"
    assert not packed.report.opaque
