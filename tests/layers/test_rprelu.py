"""RPReLU by its formula, on every shape that PReLU takes."""

import pytest
import torch

from bnn.layers import RPReLU
from bnn.models import create
from bnn.models.factories import make_activation


@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 5), (2, 3, 4, 4)])
def test_by_its_formula(shape):
    rprelu = RPReLU(3)
    for parameter in rprelu.parameters():
        torch.nn.init.normal_(parameter)
    x = torch.randn(shape)
    y = rprelu(x)
    for c in range(3):
        gamma, slope, zeta = (
            p[c].item() for p in (rprelu.shift_in, rprelu.weight, rprelu.shift_out)
        )
        shifted = x[:, c] - gamma
        expected = torch.where(shifted >= 0, shifted, slope * shifted) + zeta
        torch.testing.assert_close(y[:, c], expected)


def test_is_prelu_at_first_and_everything_learns():
    x = torch.randn(4, 3, 2, 2)
    rprelu = RPReLU(3)
    assert torch.equal(rprelu(x), torch.nn.PReLU(3)(x))
    (rprelu(x) * torch.randn(4, 3, 2, 2)).sum().backward()
    for name, parameter in rprelu.named_parameters():
        assert parameter.grad.abs().min() > 0, name


def test_one_for_all_channels():
    rprelu = RPReLU()
    rprelu.shift_in.data.fill_(1.0)
    assert rprelu(torch.tensor([[[0.0, 3.0]]])).tolist() == [[[-0.25, 2.0]]]


def test_models_know_it_by_name():
    assert make_activation(RPReLU, 16).num_parameters == 16
    model = create("resnet8", activation="RPReLU")
    assert any(isinstance(module, RPReLU) for module in model.modules())
