"""Operands with levels of their own: what padding means, and sums that are exact."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from bnn import BConfig, Identity
from bnn.errors import ConfigError
from bnn.layers import Conv2d
from bnn.ops import (
    AdaBinInputBinarizer,
    AdaBinWeightBinarizer,
    BasicInputBinarizer,
    DoReFaInputBinarizer,
    IRNetWeightBinarizer,
)

INPUT = AdaBinInputBinarizer.with_args(alpha=0.7, beta=0.3)


@pytest.mark.parametrize("padding_value", [-1, 1])
@pytest.mark.parametrize("weight", [BasicInputBinarizer, AdaBinWeightBinarizer])
@pytest.mark.parametrize("groups", [1, 2])
def test_a_padding_of_one_is_the_level_of_that_sign(padding_value, weight, groups):
    config = BConfig(INPUT, Identity, weight)
    layer = Conv2d(
        4, 6, 3, padding=1, groups=groups, padding_value=padding_value, bconfig=config
    ).double()
    x = torch.randn(2, 4, 5, 6, dtype=torch.double)
    padded = F.pad(layer.activation_pre_process(x), (1, 1, 1, 1), value=0.7 * padding_value + 0.3)
    expected = F.conv2d(padded, layer.weight_pre_process(layer.weight), layer.bias, groups=groups)
    torch.testing.assert_close(layer(x), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("weight", [AdaBinWeightBinarizer, IRNetWeightBinarizer])
@pytest.mark.parametrize("given", [INPUT, DoReFaInputBinarizer])
@torch.no_grad()
def test_the_order_of_adding_does_not_matter(given, weight):
    layer = Conv2d(64, 8, 3, padding=1, bconfig=BConfig(given, Identity, weight)).eval()
    x = torch.randn(2, 64, 6, 6)
    parts = layer._factors()  # of the same filters, whose statistics are rounded sums too
    order = torch.randperm(64)
    other = Conv2d(64, 8, 3, padding=1, bconfig=BConfig(given, Identity, weight)).eval()
    other.bias.copy_(layer.bias)
    other._factors = lambda: parts._replace(integers=parts.integers[:, order])
    layer._factors = lambda: parts
    assert torch.equal(layer(x), other(x[:, order]))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_other_types(dtype):
    config = BConfig(INPUT, Identity, AdaBinWeightBinarizer)
    layer = Conv2d(4, 6, 3, padding=1, bconfig=config).to(dtype)
    x = torch.randn(2, 4, 5, 6, dtype=dtype, requires_grad=True)
    y = layer(x)
    assert y.dtype == dtype
    y.sum().backward()
    for name, parameter in layer.named_parameters():
        assert parameter.grad.isfinite().all(), name
    assert x.grad.abs().sum() > 0


def test_under_autocast():
    config = BConfig(INPUT, Identity, AdaBinWeightBinarizer)
    layer = Conv2d(4, 6, 3, padding=1, bconfig=config)
    x = torch.randn(2, 4, 5, 6)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = layer(x)
    torch.testing.assert_close(y.float(), layer(x), rtol=0.05, atol=0.1)
    y.float().square().sum().backward()
    assert all(parameter.grad is not None for parameter in layer.parameters())


@pytest.mark.parametrize("batch", [(), (3,)], ids=["unbatched", "batched"])
def test_trains_and_compiles_with_the_same_values(batch):
    torch.compiler.reset()
    config = BConfig(INPUT, Identity, AdaBinWeightBinarizer)
    layer = nn.Sequential(Conv2d(4, 6, 3, padding=1, bconfig=config))
    x = torch.randn(*batch, 4, 5, 6)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x), layer(x))


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        (
            {"weight_pre_process": INPUT},
            r"weight_pre_process: AdaBinInputBinarizer.* binarizes the layer's activation; give it "
            "as activation_pre_process",
        ),
        (
            {"activation_pre_process": IRNetWeightBinarizer},
            "activation_pre_process: IRNetWeightBinarizer binarizes the layer's weight",
        ),
    ],
)
def test_a_binarizer_in_the_wrong_place_is_named(stages, message):
    with pytest.raises(ConfigError, match=message):
        Conv2d(4, 6, 3, bconfig=BConfig(**stages))
