"""Weight binarizers against their formulas, written once more filter by filter."""

import math
import statistics

import pytest
import torch
from torch import nn

from bnn import BConfig, Identity, prepare_binary_model
from bnn.errors import ConfigError
from bnn.ops import (
    AdaBinWeightBinarizer,
    BasicInputBinarizer,
    BiPerWeightBinarizer,
    DoReFaWeightBinarizer,
    IRNetWeightBinarizer,
    LSQWeightBinarizer,
    MagnitudeAwareWeightBinarizer,
    ReCUWeightBinarizer,
    TernaryWeightBinarizer,
    XNORWeightBinarizer,
)

ROWS = [[-1.5, -1.0, math.nextafter(-1, 0), -0.0, 0.3], [0.0, 0.4, 1.0, math.nextafter(1, 2), -0.2]]


def sgn(value):
    return -1.0 if value < 0 else 1.0


def mean(values):
    return sum(values) / len(values)


def weights(rows=ROWS):
    return torch.tensor(rows, dtype=torch.double, requires_grad=True)


def gradient(binarizer, w, g):
    (grad,) = torch.autograd.grad(binarizer.double()(w), w, g)
    return grad


def numeric(function, w, g, eps=1e-6):
    """Differentiate sum(g * function(w)) by differences."""
    found = torch.zeros_like(w)
    for index in range(w.numel()):
        step = torch.zeros_like(w).flatten()
        step[index] = eps
        step = step.view_as(w)
        with torch.no_grad():
            difference = function(w + step) - function(w - step)
        found.view(-1)[index] = (g * difference).sum() / (2 * eps)
    return found


@pytest.fixture
def g():
    return torch.linspace(-1.3, 2.1, 10, dtype=torch.double).view(2, 5)


# --- ternary ----------------------------------------------------------------------------------


def test_ternary_at_its_thresholds(run, edges):
    points = edges(0.05)
    passed = run(TernaryWeightBinarizer(0.05), points)
    # sign(sign(w + t) + sign(w - t)) with sign(0) = 0, as Larq has it.
    signs = [((p > -0.05) - (p < -0.05)) + ((p > 0.05) - (p < 0.05)) for p in points]
    expected = [float((s > 0) - (s < 0)) for s in signs]
    assert passed.y == expected
    assert set(expected) == {-1, 0, 1}
    assert passed.grad == [float(abs(p) <= 1) for p in points]


@pytest.mark.parametrize(("threshold", "name"), [(0.05, "SteTern"), ("twn", "SteTernTWN")])
def test_ternary_agrees_with_larq(threshold, name, golden):
    x = golden["x"].clone().requires_grad_()
    y = TernaryWeightBinarizer(threshold)(x)
    y.sum().backward()
    assert torch.equal(y, golden[name]["y"])
    assert torch.equal(x.grad, golden[name]["g"])


def test_ternary_weight_networks_threshold_is_the_layers():
    w = torch.tensor([[1.0, -0.1], [0.5, -0.4]])  # 0.7 * mean is 0.35
    assert TernaryWeightBinarizer("twn")(w).tolist() == [[1, 0], [1, -1]]


def test_ternary_refuses_other_thresholds():
    with pytest.raises(ConfigError, match="threshold is 'tern'; give a number above 0 or 'twn'"):
        TernaryWeightBinarizer("tern")
    with pytest.raises(ConfigError, match="threshold is 0"):
        TernaryWeightBinarizer(0)


# --- DoReFa -----------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [2, 3, 8])
def test_dorefa_weights_of_several_bits(bits, g):
    w = weights()
    n = 2**bits - 1
    largest = max(abs(math.tanh(v)) for row in ROWS for v in row)
    u = [[math.tanh(v) / (2 * largest) + 0.5 for v in row] for row in ROWS]
    expected = [[2 * round(n * v) / n - 1 for v in row] for row in u]
    binarizer = DoReFaWeightBinarizer(bits)
    torch.testing.assert_close(binarizer(w), torch.tensor(expected).double(), rtol=1e-7, atol=1e-7)
    slopes = [[(1 - math.tanh(v) ** 2) / largest for v in row] for row in ROWS]
    torch.testing.assert_close(gradient(binarizer, w, g), g * torch.tensor(slopes).double())


def test_dorefa_of_one_bit_has_the_layers_scale_and_passes_the_gradient(g):
    w = weights()
    scale = mean([abs(v) for row in ROWS for v in row])
    binarizer = DoReFaWeightBinarizer()
    expected = torch.tensor([[scale * sgn(v) for v in row] for row in ROWS]).double()
    torch.testing.assert_close(binarizer(w), expected, rtol=1e-7, atol=1e-7)
    torch.testing.assert_close(gradient(binarizer, w, g), g)


def test_dorefa_of_zeros_passes_the_gradient_as_everywhere(g):
    w = weights([[0.0] * 5] * 2)
    binarizer = DoReFaWeightBinarizer().double()
    integers, scale = binarizer(w, factors=True)
    assert torch.equal(integers * scale.view(2, 1), torch.zeros(2, 5))
    assert torch.equal(gradient(binarizer, w, g), g)
    layer = nn.Linear(5, 2, bias=False)
    config = BConfig(BasicInputBinarizer, Identity, DoReFaWeightBinarizer)
    layer = prepare_binary_model(nn.Sequential(layer), config)[0]
    with torch.no_grad():
        layer.weight.zero_()
    layer(torch.tensor([[1.0, -1.0, 1.0, 1.0, -1.0]])).sum().backward()
    assert layer.weight.grad.tolist() == [[1, -1, 1, 1, -1]] * 2


def test_dorefa_weights_agree_with_larq(golden):
    x = golden["x"].clone().requires_grad_()
    y = DoReFaWeightBinarizer(bits=2)(x)
    y.sum().backward()
    torch.testing.assert_close(y, golden["DoReFa2w"]["y"], rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(x.grad, golden["DoReFa2w"]["g"], rtol=1e-5, atol=1e-6)


def test_dorefa_integers_are_odd_and_a_weight_of_zeros_is_finite():
    integers, scale = DoReFaWeightBinarizer(bits=3)(torch.randn(4, 9), factors=True)
    assert set(integers.unique().tolist()) <= {-7, -5, -3, -1, 1, 3, 5, 7}
    assert scale.tolist() == pytest.approx([1 / 7] * 4)
    assert DoReFaWeightBinarizer(bits=2)(torch.zeros(2, 3)).isfinite().all()


@pytest.mark.parametrize("bits", [0, 9, 1.0, True])
def test_dorefa_refuses_other_numbers_of_bits(bits):
    with pytest.raises(ConfigError, match="must be an int from 1 to 8"):
        DoReFaWeightBinarizer(bits)


# --- XNOR's options ---------------------------------------------------------------------------


def test_xnor_clamps_what_it_takes_the_mean_of(g):
    w = weights()
    clamped = [[min(max(v, -1), 1) for v in row] for row in ROWS]
    expected = [[mean([abs(c) for c in row]) * sgn(v) for v in row] for row in clamped]
    binarizer = XNORWeightBinarizer(clamp_weights=True)
    torch.testing.assert_close(binarizer(w), torch.tensor(expected).double(), rtol=1e-7, atol=0)
    grad = gradient(binarizer, w, g)
    assert grad[0, 0] == 0  # -1.5 was clamped: nothing comes through, not through alpha either
    assert grad[0, 2] != 0


def test_xnor_clamps_after_it_centres():
    w = torch.tensor([[3.0, 4.0]])
    q = XNORWeightBinarizer(center_weights=True, clamp_weights=True)(w)
    assert q.tolist() == [[-0.5, 0.5]]


def test_magnitude_aware_is_the_detached_scale(g):
    w = weights()
    expected = [
        [gv * mean([abs(v) for v in row]) * (abs(v) <= 1) for v, gv in zip(row, gr, strict=True)]
        for row, gr in zip(ROWS, g.tolist(), strict=True)
    ]
    grad = gradient(MagnitudeAwareWeightBinarizer(), w, g)
    assert grad.flatten().tolist() == pytest.approx([v for row in expected for v in row])


# --- IR-Net -----------------------------------------------------------------------------------


def test_ir_net_standardises_and_scales_by_a_power_of_two():
    q = IRNetWeightBinarizer().double()(weights())
    for row, got in zip(ROWS, q.tolist(), strict=True):
        centre, deviation = mean(row), statistics.stdev(row)
        standard = [(v - centre) / deviation for v in row]
        scale = 2.0 ** round(math.log2(mean([abs(v) for v in standard])))
        assert got == pytest.approx([scale * sgn(v) for v in standard], rel=1e-12)


@pytest.mark.parametrize("progress", [0.0, 0.4, 1.0])
def test_ir_net_gradient_is_that_of_its_smooth_stand_in(progress, g):
    binarizer = IRNetWeightBinarizer().double()
    binarizer.set_progress_(progress)
    t = binarizer.t.item()
    w = weights().detach()
    scale = binarizer(w).abs()  # held fast: it is detached

    def smooth(w):  # its derivative in w' is s k t (1 - tanh^2(t w'))
        standard = (w - w.mean(1, keepdim=True)) / w.std(1, keepdim=True)
        return scale * max(1 / t, 1) * torch.tanh(t * standard)

    grad = gradient(binarizer, w.clone().requires_grad_(), g)
    torch.testing.assert_close(grad, numeric(smooth, w, g), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("binarizer", [IRNetWeightBinarizer, ReCUWeightBinarizer])
@pytest.mark.parametrize("weight", [[[0.3], [-0.2]], [[0.5, 0.5], [-1.0, 1.0]]], ids=str)
def test_filters_without_a_deviation_stay_finite(binarizer, weight):
    w = torch.tensor(weight, requires_grad=True)
    q = binarizer()(w)
    q.sum().backward()
    assert q.isfinite().all()
    assert w.grad.isfinite().all()
    if len(weight[0]) == 1:  # one entry: its own sign
        assert q.sign().tolist() == [[1], [-1]]


# --- ReCU -------------------------------------------------------------------------------------


@pytest.mark.parametrize("progress", [0.0, 0.5, 1.0])
def test_recu(progress, g):
    binarizer = ReCUWeightBinarizer().double()
    binarizer.set_progress_(progress)
    rate = (0.99 - 0.85) / (math.e - 1)
    tau = rate * math.exp(progress) + 0.85 - rate  # A exp(e / E) + B
    assert binarizer.tau.item() == pytest.approx(tau)
    w = weights([[-3.0, -1.0, 0.2, 0.5, 9.0], [0.0, 0.4, 1.0, -7.0, -0.2]]).detach()
    w0 = w - w.mean(1, keepdim=True)
    w1 = w0 / (torch.sqrt(w0.var(1, keepdim=True) + 1e-5) / (2 * math.sqrt(2)))
    quantile = -w1.abs().mean().item() * math.log(2 - 2 * tau)
    assert ((w1.abs() > quantile).sum() > 0) == (progress < 1)
    assert torch.equal(binarizer(w), torch.where(w1 < 0, -1.0, 1.0))

    def clamped(w):
        w0 = w - w.mean(1, keepdim=True)
        w1 = w0 / (torch.sqrt(w0.var(1, keepdim=True) + 1e-5) / (2 * math.sqrt(2)))
        return w1.clamp(-quantile, quantile)

    grad = gradient(binarizer, w.clone().requires_grad_(), g)
    torch.testing.assert_close(grad, numeric(clamped, w, g), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("taus", [(0.5, 0.9), (0.9, 0.8), (0.9, 1.0)])
def test_recu_refuses_other_bounds(taus):
    with pytest.raises(ConfigError, match=r"0\.5 < tau_min <= tau_max < 1"):
        ReCUWeightBinarizer(*taus)


# --- AdaBin -----------------------------------------------------------------------------------


def test_adabin_weights_lie_one_deviation_from_the_mean():
    q = AdaBinWeightBinarizer().double()(weights())
    for row, got in zip(ROWS, q.tolist(), strict=True):
        beta, alpha = mean(row), statistics.pstdev(row)
        assert got == pytest.approx([alpha * sgn(v - beta) + beta for v in row], rel=1e-12)
        assert mean(got) != 0


@pytest.mark.parametrize("progress", [0.0, 0.6])
def test_adabin_weights_gradient(progress, g):
    binarizer = AdaBinWeightBinarizer().double()
    binarizer.set_progress_(progress)
    t = binarizer.t.item()
    w = weights().detach()

    def parts(w):
        beta = w.mean(1, keepdim=True)
        alpha = ((w - beta) ** 2).mean(1, keepdim=True).sqrt()
        return alpha, beta, (w - beta) / alpha

    _, _, u = parts(w)
    signs = torch.where(u < 0, -1.0, 1.0)

    def smooth(other):  # alpha s + beta, with s moving as the surrogate does
        a, b, v = parts(other)
        slope = max(1 / t, 1) * t * (1 - torch.tanh(t * u) ** 2)
        return a * (signs + slope * (v - u)) + b

    grad = gradient(binarizer, w.clone().requires_grad_(), g)
    torch.testing.assert_close(grad, numeric(smooth, w, g), rtol=1e-5, atol=1e-6)


def test_adabin_of_a_constant_filter_is_the_constant_with_a_finite_gradient():
    w = torch.full((1, 4), 0.25, requires_grad=True)
    q = AdaBinWeightBinarizer()(w)
    q.sum().backward()
    assert q.tolist() == [[0.25] * 4]
    assert w.grad.isfinite().all()


# --- BiPer, LSQ -------------------------------------------------------------------------------


@pytest.mark.parametrize("frequency", [20.0, 3.0])
def test_biper_is_a_square_wave_with_the_slope_of_a_sine(frequency, run, edges, grads):
    points = [p for p in edges() if abs(p) < 10]
    given = grads(len(points))
    slopes = [frequency * math.cos(frequency * p) for p in points]
    expected = [gv * s for gv, s in zip(given, slopes, strict=True)]
    passed = run(BiPerWeightBinarizer(frequency), points, given)
    assert passed.y == [sgn(math.sin(frequency * p)) for p in points]
    assert passed.grad == pytest.approx(expected, rel=1e-9)
    first_stage = run(BiPerWeightBinarizer(frequency, binarize=False), points, given)
    assert first_stage.y == pytest.approx([math.sin(frequency * p) for p in points])
    assert first_stage.grad == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("step", [0.4, -0.4])
def test_lsq(step, g):
    layer = nn.Linear(5, 2).double()
    layer.weight.data.copy_(weights())
    binarizer = LSQWeightBinarizer(layer)
    everything = [v for row in ROWS for v in row]
    assert binarizer.scale.item() == pytest.approx(mean([abs(v) for v in everything]))
    binarizer.scale.data.fill_(step)
    w = weights()
    q = binarizer(w)
    signs = torch.tensor([[sgn(v) for v in row] for row in ROWS]).double()
    torch.testing.assert_close(q, step * signs)
    grad, of_step = torch.autograd.grad(q, (w, binarizer.scale), g)
    mask = torch.tensor([[abs(v) <= abs(step) for v in row] for row in ROWS])
    assert mask.any()
    assert not mask.all()
    torch.testing.assert_close(grad, torch.where(mask, g, 0))
    torch.testing.assert_close(of_step, (g * signs).sum() / math.sqrt(10))


def test_lsq_with_a_step_of_zero(g):
    layer = nn.Linear(5, 2).double()
    binarizer = LSQWeightBinarizer(layer)
    binarizer.scale.data.zero_()
    w = weights([[0.0, 0.1, -0.1, 0.0, -0.0], [0.0] * 5])
    q = binarizer(w)
    assert torch.equal(q, torch.zeros_like(q))
    grad, of_step = torch.autograd.grad(q, (w, binarizer.scale), g)
    torch.testing.assert_close(grad, torch.where(w == 0, g, 0))
    signs = torch.where(w.detach() < 0, -1.0, 1.0).double()
    torch.testing.assert_close(of_step, (g * signs).sum() / math.sqrt(10))
