"""bfloat16: what is rounded, and what is not."""

import pytest
import torch

from bnn import BConfig
from bnn.layers import Conv2d, Linear
from bnn.ops import BasicInputBinarizer, XNORWeightBinarizer
from bnn.training import SignBalance, binary_weight_signs, evaluate, fit, load_checkpoint

BINARY = BConfig(BasicInputBinarizer, weight_pre_process=XNORWeightBinarizer)


@pytest.fixture
def autocast():
    with torch.autocast("cpu", torch.bfloat16):
        yield


@pytest.mark.usefixtures("autocast")
def test_sums_of_signs_are_exact_up_to_256():
    torch.manual_seed(0)
    layer, x = Linear(200, 7, bconfig=BINARY), torch.randn(5, 200)
    with torch.no_grad():
        layer.weight.copy_(layer.weight.sign())  # scale 1
        layer.bias.zero_()
    mixed = layer(x)
    assert mixed.dtype == torch.bfloat16
    with torch.autocast("cpu", enabled=False):
        assert torch.equal(mixed.float(), layer(x))


@pytest.mark.usefixtures("autocast")
def test_binary_weights_come_from_float_latent_weights():
    """A latent weight of 1e-30 has a sign, however few digits are left beside the others."""
    layer = Conv2d(1, 1, 1, bias=False, bconfig=BConfig(weight_pre_process=XNORWeightBinarizer))
    layer.weight.data.fill_(-1e-30)
    assert layer(torch.ones(1, 1, 1, 1)).item() == pytest.approx(-1e-30, rel=0.01)
    assert binary_weight_signs(layer)[""].all()


def test_rounding_moves_no_value_over_zero():
    values = torch.tensor([1e-38, -1e-38, 1e-3, -1e-3, 3e38, -3e38, 0.0, -0.0])
    sign = BasicInputBinarizer()
    assert torch.equal(sign(values.bfloat16()).float(), sign(values))


@pytest.mark.usefixtures("autocast")
def test_gradients_reach_float_weights():
    layer, x = Linear(16, 4, bconfig=BINARY), torch.randn(8, 16, requires_grad=True)
    with SignBalance(layer) as balance:
        layer(x).float().square().sum().backward()
    assert layer.weight.grad.dtype == x.grad.dtype == torch.float32
    assert layer.weight.grad.any()
    assert balance.shares()[""] == pytest.approx((x < 0).float().mean().item())


def test_a_run_learns_as_in_float32(tiny, tmp_path):
    results = {}
    for precision in ("32-true", "bf16-mixed"):
        config = tiny(
            recipe="xnor-net",
            model_args={"width": 8},
            epochs=4,
            batch_size=64,
            learning_rate=1e-2,
            precision=precision,
            out=str(tmp_path / precision),
        )
        results[precision] = fit(config, progress=False)
    exact, mixed = results["32-true"], results["bf16-mixed"]
    assert exact.test_loss != mixed.test_loss, "nothing was rounded"
    assert mixed.test_accuracy > 0.6
    assert mixed.test_accuracy == pytest.approx(exact.test_accuracy, abs=0.1)
    loaded = load_checkpoint(mixed.checkpoint)
    assert {p.dtype for p in loaded.model.parameters()} == {torch.float32}
    assert loaded.config.precision == "bf16-mixed"
    measured = evaluate(mixed.checkpoint)
    assert measured.accuracy == pytest.approx(mixed.test_accuracy, abs=0.03)


def test_a_run_in_bfloat16_resumes(tiny, tmp_path):
    whole = fit(tiny(epochs=2, precision="bf16-mixed", out=str(tmp_path / "w")), progress=False)
    part = tiny(epochs=2, precision="bf16-mixed", out=str(tmp_path / "p"))
    _stop_after_first(part)
    resumed = fit(part, resume=True, progress=False)
    first, second = (load_checkpoint(run.checkpoint).model for run in (whole, resumed))
    for (name, a), b in zip(first.state_dict().items(), second.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


def _stop_after_first(config):
    from bnn.training.folder import RunFolder

    original = RunFolder.save

    def save(self, content, *args, **kwargs):
        original(self, content, *args, **kwargs)
        if content["epoch"] == 1:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunFolder, "save", save)
        with pytest.raises(KeyboardInterrupt):
            fit(config, progress=False)
