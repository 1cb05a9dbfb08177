"""Learnt output scales on every kind of layer."""

import pytest
import torch
from torch import nn

from bnn.errors import ConfigError
from bnn.ops import BasicScaleBinarizer

LAYERS = [
    (nn.Linear(3, 4), (3,)),
    (nn.Conv1d(3, 4, 3), (3, 9)),
    (nn.Conv2d(3, 4, 3), (3, 9, 9)),
    (nn.Conv3d(3, 4, 3), (3, 5, 5, 5)),
    (nn.ConvTranspose1d(3, 4, 3), (3, 9)),
    (nn.ConvTranspose2d(3, 4, 3), (3, 9, 9)),
    (nn.ConvTranspose3d(3, 4, 3), (3, 5, 5, 5)),
]


@pytest.mark.parametrize(("layer", "shape"), LAYERS, ids=lambda value: type(value).__name__)
@pytest.mark.parametrize("batch", [(), (2,)], ids=["unbatched", "batched"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_scales_each_channel(layer, shape, batch, dtype):
    layer = layer.to(dtype)
    scale = BasicScaleBinarizer(layer)
    with torch.no_grad():
        scale.alpha.copy_(torch.arange(1.0, 5.0).view_as(scale.alpha))
    x = torch.randn(*batch, *shape).to(dtype)
    out = layer(x)
    before = out.detach().clone()
    got = scale(out, x)
    channel = len(batch)
    for c in range(4):
        assert torch.equal(got.select(channel, c), before.select(channel, c) * (c + 1))
    assert got.dtype == dtype
    assert got.shape == out.shape
    assert torch.equal(out, before), "the layer's output was changed in place"


def test_linear_with_extra_axes():
    layer = nn.Linear(3, 4)
    scale = BasicScaleBinarizer(layer)
    with torch.no_grad():
        scale.alpha.copy_(torch.tensor([[1.0, 2.0, 3.0, 4.0]]))
    out = torch.ones(2, 5, 7, 4)
    assert torch.equal(scale(out, out), out * torch.tensor([1.0, 2.0, 3.0, 4.0]))


def test_shape_of_ones_own():
    layer = nn.Conv2d(3, 4, 3)
    scale = BasicScaleBinarizer(layer, shape=(1, 4, 7, 7))
    assert scale.alpha.shape == (1, 4, 7, 7)
    assert scale(layer(torch.randn(2, 3, 9, 9)), None).shape == (2, 4, 7, 7)
    assert scale(layer(torch.randn(3, 9, 9)), None).shape == (4, 7, 7)


def test_both_factors_get_gradients():
    layer = nn.Conv2d(3, 4, 3).double()
    scale = BasicScaleBinarizer(layer)
    out = torch.randn(2, 4, 5, 5, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda o, a: torch.func.functional_call(scale, {"alpha": a}, (o, o)),
        (out, torch.randn(1, 4, 1, 1, dtype=torch.double, requires_grad=True)),
    )


def test_keeps_the_dtype_of_the_output_under_autocast():
    scale = BasicScaleBinarizer(nn.Conv2d(3, 4, 3))
    assert scale(torch.ones(1, 4, 2, 2, dtype=torch.bfloat16), None).dtype == torch.bfloat16


def test_needs_a_layer_with_channels():
    module = nn.Module()
    module.weight = torch.ones(2, 2)
    with pytest.raises(ConfigError, match="out_channels nor out_features"):
        BasicScaleBinarizer(module)
