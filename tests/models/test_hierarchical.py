"""HBlock: weights, widths, and what enters the concatenation."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from bnn.errors import ConfigError
from bnn.models import HBlock, ResNet


@pytest.mark.parametrize("channels", [4, 8, 64, 256])
def test_convolution_weights(channels):
    with torch.device("meta"):
        block = HBlock(channels, channels)
    weights = sum(m.weight.numel() for m in block.modules() if isinstance(m, nn.Conv2d))
    assert weights == 9 * channels**2 * (8 + 2 + 1) // 16


def test_stride_is_in_the_first_convolution_only():
    block = HBlock(8, 16, 3)
    assert [c.stride[0] for c in (block.conv1, block.conv2, block.conv3)] == [3, 1, 1]


def test_output_is_the_three_convolutions_side_by_side():
    block = HBlock(8, 8, activation=nn.PReLU).eval()
    kept = {}
    for name in ("act1", "act2", "act3"):
        getattr(block, name).register_forward_hook(
            lambda _m, _i, out, name=name: kept.__setitem__(name, out)
        )
    x = torch.randn(2, 8, 5, 5)
    y = block(x) - x
    torch.testing.assert_close(y[:, :4], kept["act1"])
    torch.testing.assert_close(y[:, 4:6], kept["act2"])
    torch.testing.assert_close(y[:, 6:], kept["act3"])


def test_receptive_field_grows_along_the_channels():
    """Three 3x3 convolutions in a row see 3, 5 and 7 pixels."""
    block = HBlock(4, 4, activation=nn.Identity, norm_layer=nn.Identity)
    for first, last, field in [(0, 2, 3), (2, 3, 5), (3, 4, 7)]:
        x = torch.zeros(1, 4, 11, 11, requires_grad=True)
        (block(x) - x)[:, first:last, 5, 5].sum().backward()
        touched = (x.grad.abs().sum((0, 1)) > 0).any(0).sum().item()
        assert touched == field


def test_as_a_network_of_any_stride_and_size():
    net = ResNet(HBlock, (2, 1, 1), 3, width=8, activation=nn.PReLU, shortcut="pool")
    assert net(torch.randn(2, 3, 37, 33)).shape == (2, 3)


@pytest.mark.parametrize("planes", [1, 2, 6, 9])
def test_channels_that_cannot_be_split_are_refused(planes):
    with pytest.raises(ConfigError, match=f"multiple of 4, not {planes}"):
        HBlock(8, planes)


def test_base_width_is_refused():
    with pytest.raises(ConfigError, match="no inner width"):
        HBlock(8, 8, base_width=32)
