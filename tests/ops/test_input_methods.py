"""Activation binarizers and the gate against their formulas."""

import math

import pytest
import torch
from torch import nn

from bnn.errors import ConfigError
from bnn.ops import (
    AdaBinInputBinarizer,
    DoReFaInputBinarizer,
    HeavisideInputBinarizer,
    ProgressiveSignBinarizer,
    RealToBinaryGateBinarizer,
    RSignInputBinarizer,
)


def test_heaviside_is_zero_at_zero(run, edges, grads):
    points = edges()
    given = grads(len(points))
    passed = run(HeavisideInputBinarizer(), points, given)
    assert passed.y == [float(p > 0) for p in points]
    assert passed.grad == [g * (abs(p) <= 1) for p, g in zip(points, given, strict=True)]
    assert HeavisideInputBinarizer()(torch.tensor([float("nan")])).item() == 0


def test_heaviside_agrees_with_larq(golden):
    x = golden["x"].clone().requires_grad_()
    y = HeavisideInputBinarizer()(x)
    y.sum().backward()
    assert torch.equal(y, golden["SteHeaviside"]["y"])
    assert torch.equal(x.grad, golden["SteHeaviside"]["g"])


@pytest.mark.parametrize("bits", [1, 2, 3, 8])
def test_dorefa_activations(bits, run, edges, grads):
    n = 2**bits - 1
    points = edges(0.5, 0.5 / n, 1.5 / n)
    given = grads(len(points))
    passed = run(DoReFaInputBinarizer(bits), points, given)
    expected = [round(n * min(max(p, 0.0), 1.0)) / n for p in points]
    assert passed.y == pytest.approx(expected, rel=1e-7)
    slopes = [g * (0 <= p <= 1) for p, g in zip(points, given, strict=True)]
    assert passed.grad == pytest.approx(slopes, rel=1e-12, abs=0)


@pytest.mark.parametrize("bits", [1, 2])
def test_dorefa_activations_agree_with_larq(bits, golden):
    x = golden["x"].clone().requires_grad_()
    y = DoReFaInputBinarizer(bits)(x)
    y.sum().backward()
    torch.testing.assert_close(y, golden[f"DoReFa{bits}a"]["y"], rtol=1e-6, atol=0)
    assert torch.equal(x.grad, golden[f"DoReFa{bits}a"]["g"])


@pytest.mark.parametrize(("alpha", "beta"), [(1.0, 0.0), (0.5, 0.25), (2.0, -0.5), (-0.5, 0.25)])
def test_adabin_activations(alpha, beta, run, edges, grads):
    points = edges(beta, beta + alpha)
    given = grads(len(points))
    binarizer = AdaBinInputBinarizer(alpha, beta)
    passed = run(binarizer, points, given)
    u = [(p - beta) / alpha for p in points]
    signs = [-1.0 if v < 0 else 1.0 for v in u]
    assert passed.y == pytest.approx([alpha * s + beta for s in signs])
    slopes = [max(0.0, 2 - 2 * abs(v)) for v in u]
    expected = [g * h for g, h in zip(given, slopes, strict=True)]
    assert passed.grad == pytest.approx(expected, rel=1e-9, abs=1e-15)
    x = torch.tensor(points, dtype=torch.double)
    got = torch.autograd.grad(
        binarizer(x), (binarizer.alpha, binarizer.beta), torch.tensor(given, dtype=torch.double)
    )
    rows = list(zip(given, signs, u, slopes, strict=True))
    assert got[0].item() == pytest.approx(sum(g * (s - v * h) for g, s, v, h in rows))
    assert got[1].item() == pytest.approx(sum(g * (1 - h) for g, _, _, h in rows))


def test_adabin_takes_the_sign_of_a_distance_that_would_round_to_zero():
    x = torch.tensor([-1e-45, -0.0, 0.0, 1e-45])
    assert AdaBinInputBinarizer(alpha=8.0)(x).tolist() == [-8, 8, 8, 8]
    assert AdaBinInputBinarizer(alpha=-8.0)(x).tolist() == [-8, -8, -8, 8]


@pytest.mark.parametrize("alpha", [0.0, 1e-38, -1e-38])
def test_adabin_with_an_alpha_of_zero_is_finite(alpha):
    binarizer = AdaBinInputBinarizer(alpha=alpha, beta=0.25)
    x = torch.tensor([-3.0, 0.0, 0.25, 0.5, 3e38], requires_grad=True)
    y = binarizer(x)
    assert torch.allclose(y, torch.tensor(0.25))
    y.sum().backward()
    for grad in (x.grad, binarizer.alpha.grad, binarizer.beta.grad):
        assert grad.isfinite().all()
    # sign(u) - u h(u), summed: the slope h is 0 but at the centre.
    assert binarizer.alpha.grad.item() == 1  # u is 0 in the middle, where sign(-0.0) is 1 too


@pytest.mark.parametrize("shape", [(2, 3, 4, 4), (3, 4, 4)], ids=["batched", "unbatched"])
def test_rsign_has_a_threshold_for_each_channel(shape):
    rsign = RSignInputBinarizer(nn.Conv2d(3, 5, 1).double())
    thresholds = torch.tensor([-0.3, 0.0, 0.4], dtype=torch.double)
    rsign.threshold.data.copy_(thresholds.view(3, 1, 1))
    x = torch.randn(shape, dtype=torch.double)
    x[..., 0, 0] = thresholds  # exactly at them: +1
    x.requires_grad_()
    g = torch.randn_like(x)
    y = rsign(x)
    distance = x.detach() - thresholds.view(3, 1, 1)
    assert torch.equal(y, torch.where(distance < 0, -1.0, 1.0))
    assert (y[..., 0, 0] == 1).all()
    grad, of_threshold = torch.autograd.grad(y, (x, rsign.threshold), g)
    expected = g * (2 - 2 * distance.abs()).clamp_min(0)
    torch.testing.assert_close(grad, expected)
    others = [axis for axis in range(x.dim()) if axis != x.dim() - 3]
    torch.testing.assert_close(of_threshold.flatten(), -expected.sum(others))


def test_rsign_of_a_linear_layer_has_its_channels_last():
    rsign = RSignInputBinarizer(nn.Linear(3, 2))
    rsign.threshold.data.copy_(torch.tensor([-1.0, 0.0, 1.0]))
    assert rsign(torch.full((2, 4, 3), 0.5))[1, 3].tolist() == [1, 1, -1]


def test_rsign_needs_to_know_the_channels():
    module = nn.Module()
    module.weight = torch.ones(2, 2)
    with pytest.raises(ConfigError, match="neither in_channels nor in_features"):
        RSignInputBinarizer(module)


@pytest.mark.parametrize("progress", [0.0, 0.5, 1.0])
def test_progressive_sign(progress, run, edges, grads):
    points = edges(0.5)
    given = grads(len(points))
    binarizer = ProgressiveSignBinarizer()
    binarizer.set_progress_(progress)
    width = max(1 - progress, 1e-7)
    passed = run(binarizer, points, given)
    expected = [min(max(p / width, -1.0), 1.0) for p in points]
    assert passed.y == pytest.approx(expected, rel=1e-6, abs=1e-300)
    inside = [abs(p) < width * (1 - 1e-6) for p in points]
    outside = [abs(p) > width * (1 + 1e-6) for p in points]
    for p, g, got, i, o in zip(points, given, passed.grad, inside, outside, strict=True):
        if i:
            assert got == pytest.approx(g / width, rel=1e-6), p
        if o:
            assert got == 0, p
    evaluated = run(binarizer.eval(), points, given)
    assert evaluated.y == [-1.0 if p < 0 else 1.0 for p in points]
    assert evaluated.grad == [g * (abs(p) <= 1) for p, g in zip(points, given, strict=True)]


def test_the_gate_by_its_formula():
    layer = nn.Conv2d(16, 3, 3).double()
    gate = RealToBinaryGateBinarizer(layer, reduction=4)
    assert gate.reduce.weight.shape == (4, 16)
    out, x = torch.randn(2, 3, 5, 5).double(), torch.randn(2, 16, 7, 7).double()
    got = gate(out, x)
    for n in range(2):
        pooled = [x[n, c].mean().item() for c in range(16)]
        hidden = [
            max(sum(w * p for w, p in zip(row, pooled, strict=True)), 0)
            for row in gate.reduce.weight.tolist()
        ]
        for o, row in enumerate(gate.expand.weight.tolist()):
            z = sum(w * h for w, h in zip(row, hidden, strict=True))
            torch.testing.assert_close(got[n, o], out[n, o] / (1 + math.exp(-z)))
    torch.testing.assert_close(gate(out[0], x[0]), got[0])


@pytest.mark.parametrize("lead", [(), (2,), (2, 5)])
def test_the_gate_of_a_linear_layer_takes_the_features_as_they_are(lead):
    gate = RealToBinaryGateBinarizer(nn.Linear(8, 3))
    out, x = torch.randn(*lead, 3), torch.randn(*lead, 8)
    expected = out * torch.sigmoid(gate.expand(torch.relu(gate.reduce(x))))
    torch.testing.assert_close(gate(out, x), expected)


def test_the_gate_refuses_other_reductions():
    with pytest.raises(ConfigError, match="reduction is 0; it must be an int from 1 up"):
        RealToBinaryGateBinarizer(nn.Linear(8, 3), reduction=0)
