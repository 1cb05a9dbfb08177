"""XNOR-Net's weights and input scale against their formulas, written once more with loops."""

import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from bnn import BConfig
from bnn.errors import ConfigError
from bnn.layers import Conv2d
from bnn.ops import XNORScaleBinarizer, XNORWeightBinarizer

WEIGHTS = {
    "linear": (5, 7),
    "conv1d": (4, 3, 5),
    "conv2d": (4, 3, 3, 3),
    "conv3d": (4, 2, 3, 3, 3),
    "depthwise": (4, 1, 3, 3),
}


def filters_of(w):
    return [w[f] for f in range(w.shape[0])]


@pytest.mark.parametrize("shape", WEIGHTS.values(), ids=WEIGHTS.keys())
def test_forward_is_mean_magnitude_times_sign(shape):
    w = torch.randn(shape, dtype=torch.double)
    w.view(-1)[0] = -0.0
    q = XNORWeightBinarizer()(w)
    for ours, theirs in zip(filters_of(q), filters_of(w), strict=True):
        values = theirs.flatten().tolist()
        alpha = sum(map(abs, values)) / len(values)
        expected = [-alpha if v < 0 else alpha for v in values]
        assert ours.flatten().tolist() == pytest.approx(expected, rel=1e-12)
        assert ours.abs().unique().numel() == 1


def test_without_alpha_it_is_the_sign():
    w = torch.randn(4, 3, 3, 3)
    assert torch.equal(XNORWeightBinarizer(compute_alpha=False)(w), torch.where(w < 0, -1.0, 1.0))


@pytest.mark.parametrize("detach", [False, True])
def test_gradient_formula_at_edge_points(detach):
    w = torch.tensor(
        [[-1.5, -1.0, math.nextafter(-1, 0), -0.0], [0.0, 0.4, 1.0, math.nextafter(1, 2)]],
        dtype=torch.double,
        requires_grad=True,
    )
    g = torch.tensor([[0.3, -1.0, 2.0, 0.7], [1.1, -0.2, 0.6, 5.0]], dtype=torch.double)
    XNORWeightBinarizer(detach_alpha=detach)(w).backward(g)
    expected = []
    for row, grads in zip(w.tolist(), g.tolist(), strict=True):
        alpha = sum(map(abs, row)) / len(row)
        through_alpha = sum(gr * (-1 if v < 0 else 1) for v, gr in zip(row, grads, strict=True))
        for v, gr in zip(row, grads, strict=True):
            grad = gr * alpha if abs(v) <= 1 else 0.0
            if not detach:
                grad += ((v > 0) - (v < 0)) * through_alpha / len(row)
            expected.append(grad)
    assert w.grad.flatten().tolist() == pytest.approx(expected, rel=1e-12, abs=1e-15)


def test_centering_subtracts_the_mean_over_input_channels():
    w = torch.randn(4, 3, 3, 3)
    centred = w - w.mean(1, keepdim=True)
    q = XNORWeightBinarizer(center_weights=True)(w)
    assert torch.equal(q.sign(), torch.where(centred < 0, -1.0, 1.0))
    torch.testing.assert_close(q[:, 0, 0, 0].abs(), centred.abs().mean((1, 2, 3)))


@pytest.mark.parametrize("shape", [(4, 1, 3, 3), (4, 1, 1, 1), (5, 1)])
def test_centering_does_not_collapse_a_filter_with_one_input_channel(shape):
    w = torch.randn(shape)
    q = XNORWeightBinarizer(center_weights=True)(w)
    assert torch.equal(q, XNORWeightBinarizer()(w))
    assert (q != 0).all()


@pytest.mark.parametrize("groups", [1, 2])
def test_transposed_convolution_has_its_filters_on_other_axes(groups):
    layer = nn.ConvTranspose2d(4, 6, 3, groups=groups).double()
    q = XNORWeightBinarizer(module=layer)(layer.weight.detach())
    per_group = 6 // groups
    for o in range(6):
        group, j = divmod(o, per_group)
        rows = slice(group * 4 // groups, (group + 1) * 4 // groups)
        alpha = layer.weight[rows, j].abs().mean()
        torch.testing.assert_close(
            q[rows, j], alpha * torch.where(layer.weight[rows, j] < 0, -1.0, 1.0).double()
        )


GEOMETRIES = [
    {"kernel_size": 3},
    {"kernel_size": 3, "padding": 1},
    {"kernel_size": (3, 2), "stride": (2, 1), "padding": (1, 2)},
    {"kernel_size": 3, "dilation": 2, "padding": "same"},
    {"kernel_size": 3, "groups": 2, "padding": 1},
    {"kernel_size": 3, "groups": 4, "padding": "valid"},
    {"kernel_size": 3, "padding": 1, "padding_mode": "circular"},
    {"kernel_size": 3, "padding": 1, "padding_mode": "reflect"},
    {"kernel_size": 3, "padding": 1, "padding_mode": "replicate"},
]


def k_by_definition(layer, x):
    """Average, for each output position and group, the magnitudes under the filter."""
    ones = nn.Conv2d(
        layer.in_channels,
        layer.out_channels,
        layer.kernel_size,
        layer.stride,
        layer.padding,
        layer.dilation,
        layer.groups,
        bias=False,
        padding_mode=layer.padding_mode,
    ).double()
    taps = layer.in_channels // layer.groups * math.prod(layer.kernel_size)
    with torch.no_grad():
        ones.weight.fill_(1 / taps)
        return ones(x.abs())


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
@pytest.mark.parametrize("batch", [(), (3,)], ids=["unbatched", "batched"])
def test_input_scale_k(geometry, batch):
    layer = nn.Conv2d(4, 8, **geometry).double()
    x = torch.randn(*batch, 4, 9, 8, dtype=torch.double)
    out = layer(x)
    torch.testing.assert_close(
        XNORScaleBinarizer(layer)(out, x), out * k_by_definition(layer, x), rtol=1e-12, atol=1e-12
    )


@pytest.mark.parametrize(("conv", "spatial"), [(nn.Conv1d, (9,)), (nn.Conv3d, (5, 6, 5))])
def test_input_scale_k_in_one_and_three_dimensions(conv, spatial):
    layer = conv(2, 4, 3, stride=2, padding=1)
    x = torch.ones(1, 2, *spatial)
    out = layer(x)
    k = XNORScaleBinarizer(layer)(torch.ones_like(out), x)
    inner = k[(0, 0) + (1,) * len(spatial)]
    torch.testing.assert_close(inner, torch.tensor(1.0))
    corner = k[(0, 0) + (0,) * len(spatial)]
    torch.testing.assert_close(corner, torch.tensor((2 / 3) ** len(spatial)))


@pytest.mark.parametrize("groups", [1, 2])
def test_input_scale_has_the_gradient_of_its_product(groups):
    layer = nn.Conv2d(2, 4, 3, stride=2, padding=1, groups=groups).double()
    scale = XNORScaleBinarizer(layer)
    out = torch.randn(1, 4, 3, 3, dtype=torch.double, requires_grad=True)
    x = torch.randn(1, 2, 5, 5, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(scale, (out, x))


def test_input_scale_passes_no_gradient_at_zero():
    x = torch.tensor([[0.0, -0.0, 2.0]], requires_grad=True)
    XNORScaleBinarizer(nn.Linear(3, 1))(torch.ones(1, 1), x).backward()
    assert x.grad.tolist() == [[0, 0, pytest.approx(1 / 3)]]


def test_input_scale_k_of_a_linear_layer():
    layer = nn.Linear(3, 2)
    x = torch.tensor([[[1.0, -2.0, 3.0]]])
    assert XNORScaleBinarizer(layer)(torch.ones(1, 1, 2), x).tolist() == [[[2.0, 2.0]]]


@pytest.mark.parametrize("value", [-1, 1])
def test_a_tap_padded_with_one_has_magnitude_one(value):
    layer = Conv2d(1, 1, 3, padding=1, padding_value=value, bconfig=BConfig())
    x = torch.ones(1, 1, 4, 4)
    out = torch.ones(1, 1, 4, 4)
    torch.testing.assert_close(XNORScaleBinarizer(layer)(out, x), out)


def test_input_scale_refuses_transposed_convolutions():
    with pytest.raises(ConfigError, match=r"ConvTranspose2d.*BasicScaleBinarizer"):
        XNORScaleBinarizer(nn.ConvTranspose2d(2, 2, 3))


def test_the_whole_xnor_layer_by_the_papers_formula():
    x = torch.randn(2, 3, 6, 6, dtype=torch.double)
    config = BConfig(
        activation_pre_process=lambda: _Sign(),
        activation_post_process=XNORScaleBinarizer,
        weight_pre_process=XNORWeightBinarizer,
    )
    layer = Conv2d(3, 4, 3, padding=1, bias=False, dtype=torch.double, bconfig=config)
    w = layer.weight.detach()
    a = x.abs().mean(1, keepdim=True)
    k = F.conv2d(a, torch.full((1, 1, 3, 3), 1 / 9, dtype=torch.double), padding=1)
    alpha = w.abs().mean((1, 2, 3)).view(1, 4, 1, 1)
    signs = F.conv2d(_Sign()(x), _Sign()(w), padding=1)
    torch.testing.assert_close(layer(x), signs * k * alpha)


class _Sign(nn.Module):
    def forward(self, x):
        return torch.where(x < 0, -1.0, 1.0).to(x.dtype)


def test_box_is_no_state():
    scale = XNORScaleBinarizer(nn.Conv2d(2, 2, 3))
    assert not scale.state_dict()
    assert list(itertools.chain(scale.parameters())) == []
