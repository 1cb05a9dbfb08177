""" "Same" padding as TensorFlow and as PyTorch's networks have it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from bnn import BConfig
from bnn.errors import ConfigError
from bnn.models.blur_pool import BlurPool2d
from bnn.models.grid import Grid
from bnn.models.norms import batch_norm
from bnn.ops import BasicInputBinarizer, sign

SIZES = st.integers(1, 23)
SIGNS = BConfig(BasicInputBinarizer, weight_pre_process=BasicInputBinarizer)


def tensorflow_same(x, kernel, stride, dilation, fill):
    """Return all windows of the image, padded as TensorFlow documents it: (H', W', k, k)."""
    padded = x
    for axis in (0, 1):
        size = x.shape[axis]
        # tf.nn's notes: if size % stride == 0: max(extent - stride, 0), else
        # max(extent - size % stride, 0); the smaller half before.
        extent = (kernel - 1) * dilation + 1
        rest = size % stride
        total = max(extent - (stride if rest == 0 else rest), 0)
        widths = [(0, 0), (0, 0)]
        widths[axis] = (total // 2, total - total // 2)
        padded = np.pad(padded, widths, constant_values=fill)
    out = [-(-size // stride) for size in x.shape]
    return np.array(
        [
            [
                padded[i * stride :, j * stride :][
                    : kernel * dilation : dilation, : kernel * dilation : dilation
                ][:kernel, :kernel]
                for j in range(out[1])
            ]
            for i in range(out[0])
        ]
    )


@given(
    height=SIZES,
    width=SIZES,
    kernel=st.sampled_from([1, 2, 3, 5, 7, 11]),
    stride=st.integers(1, 4),
    seed=st.integers(0, 99),
)
def test_float_convolution_is_tensorflows(height, width, kernel, stride, seed):
    torch.manual_seed(seed)
    conv = Grid((height, width), "tf").conv(1, 1, kernel, stride)
    x = torch.randn(height, width)
    windows = tensorflow_same(x.numpy(), kernel, stride, 1, 0)
    expected = np.einsum("ijkl,kl->ij", windows, conv.weight.detach().numpy()[0, 0])
    got = conv(x[None, None]).detach().numpy()[0, 0]
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)


@given(
    height=SIZES,
    width=SIZES,
    stride=st.integers(1, 2),
    dilation=st.integers(1, 4),
    value=st.sampled_from([-1, 0, 1]),
    seed=st.integers(0, 99),
)
def test_binary_convolution_is_tensorflows(height, width, stride, dilation, value, seed):
    torch.manual_seed(seed)
    conv = Grid((height, width), "tf").binary_conv(
        1, 1, 3, stride, bconfig=SIGNS, dilation=dilation, padding_value=value
    )
    x = torch.randn(height, width)
    windows = tensorflow_same(sign(x).numpy(), 3, stride, dilation, value)
    expected = np.einsum("ijkl,kl->ij", windows, sign(conv.weight).detach().numpy()[0, 0])
    np.testing.assert_array_equal(conv(x[None, None]).detach().numpy()[0, 0], expected)


@given(height=SIZES, width=SIZES, kernel=st.sampled_from([2, 3]), seed=st.integers(0, 99))
def test_max_pooling_is_tensorflows(height, width, kernel, seed):
    x = torch.randn(height, width, generator=torch.Generator().manual_seed(seed)) - 5
    windows = tensorflow_same(x.numpy(), kernel, 2, 1, -np.inf)
    got = Grid((height, width), "tf").max_pool(kernel, 2)(x[None, None])[0, 0]
    np.testing.assert_array_equal(got.numpy(), windows.max((2, 3)))


@pytest.mark.parametrize("padding", ["torch", "tf"])
@given(height=SIZES, width=SIZES, kernel=st.sampled_from([1, 3, 5, 7]), stride=st.integers(1, 2))
def test_all_give_the_size_that_strided_says(padding, height, width, kernel, stride):
    grid = Grid((height, width), padding)
    x = torch.zeros(1, 2, height, width)
    size = grid.strided(stride).size
    assert grid.conv(2, 3, kernel, stride)(x).shape == (1, 3, *size)
    assert grid.binary_conv(2, 3, kernel, stride, bconfig=SIGNS)(x).shape == (1, 3, *size)
    assert grid.max_pool(3, stride)(x).shape == (1, 2, *size)
    assert BlurPool2d(2, stride, grid)(x).shape == (1, 2, *size)


def test_torch_padding_is_the_habit_of_torch():
    grid = Grid((8, 8), "torch")
    for module, other in (
        (grid.conv(3, 4, 7, 2), nn.Conv2d(3, 4, 7, 2, padding=3, bias=False)),
        (grid.max_pool(3, 2), nn.MaxPool2d(3, 2, padding=1)),
    ):
        assert str(module) == str(other)


def test_blur_pool_is_a_depthwise_convolution_with_a_fixed_filter():
    blur = BlurPool2d(3, 2, Grid((7, 7), "tf"))
    x = torch.randn(2, 3, 7, 7)
    line = torch.tensor([1.0, 2.0, 1.0]) / 4
    expected = F.conv2d(
        x, torch.outer(line, line).expand(3, 1, 3, 3), stride=2, padding=1, groups=3
    )
    torch.testing.assert_close(blur(x), expected)
    assert not list(blur.parameters())
    assert blur.state_dict()["kernel"].shape == (3, 1, 3, 3)


@pytest.mark.parametrize(
    ("size", "padding", "message"),
    [
        (0, "tf", "input height must be an integer of at least 1"),
        ((8, 8, 8), "tf", "height and width"),
        (8, "same", "one of torch, tf"),
    ],
)
def test_bad_grids_are_refused(size, padding, message):
    with pytest.raises(ConfigError, match=message):
        Grid.of(size, padding)


def test_a_window_that_does_not_fit_is_refused():
    with pytest.raises(ConfigError, match="larger input_size"):
        Grid((2, 9), "tf").valid(3, 2)


@pytest.mark.parametrize("axes", [0, 2])
@pytest.mark.parametrize("training", [True, False])
def test_batch_norm_without_scale(axes, training):
    norm = batch_norm(4, scale=False, axes=axes, eps=1e-3).train(training)
    x = torch.randn(6, 4, *(3,) * axes)
    with torch.no_grad():
        norm.bias.copy_(torch.randn(4))
    expected = F.batch_norm(
        x, torch.zeros(4), torch.ones(4), torch.ones(4), norm.bias, training, eps=1e-3
    )
    torch.testing.assert_close(norm(x), expected)
    assert [name for name, _ in norm.named_parameters()] == ["bias"]
    assert not list(batch_norm(4, shift=False).parameters())
