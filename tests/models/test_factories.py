"""make_activation and make_norm: which factories get the channel count."""

from __future__ import annotations

import functools

import pytest
import torch
from torch import nn

from bnn.errors import ConfigError
from bnn.models.factories import make_activation, make_norm


class NamedLikePReLU(nn.Module):
    def __init__(self, num_parameters: int = 1) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(num_parameters))


@pytest.mark.parametrize(
    ("factory", "slopes"),
    [
        (nn.PReLU, 6),
        (functools.partial(nn.PReLU, init=0.1), 6),
        (functools.partial(nn.PReLU, num_parameters=1), 1),
        (functools.partial(nn.PReLU, 1), 1),
        (functools.partial(functools.partial(nn.PReLU, num_parameters=1), init=0.1), 1),
        (lambda num_parameters: nn.PReLU(num_parameters), 6),
        (lambda: nn.PReLU(), 1),
        (NamedLikePReLU, 6),
    ],
)
def test_one_parameter_per_channel_unless_the_factory_says_otherwise(factory, slopes):
    assert make_activation(factory, 6).weight.numel() == slopes


@pytest.mark.parametrize("factory", [nn.ReLU, nn.LeakyReLU, nn.Hardtanh, nn.Identity, nn.GELU])
def test_other_activations_take_nothing(factory):
    made = make_activation(factory, 6)
    assert type(made) is factory
    assert made is not make_activation(factory, 6)


def test_partial_arguments_are_kept():
    made = make_activation(functools.partial(nn.LeakyReLU, negative_slope=0.3), 6)
    assert made.negative_slope == 0.3
    assert make_activation(functools.partial(nn.PReLU, init=0.5), 2).weight.tolist() == [0.5, 0.5]


@pytest.mark.parametrize("factory", [nn.PReLU(), "PReLU", None, 3])
def test_what_is_no_activation_factory_is_refused(factory):
    with pytest.raises(ConfigError, match="activation must be a class or a function"):
        make_activation(factory, 6)
    with pytest.raises(ConfigError, match="which is not an"):
        make_activation(lambda: 3, 6)


def test_norms():
    assert make_norm(None, 6).num_features == 6
    assert make_norm(functools.partial(nn.GroupNorm, 3), 6).num_channels == 6
    assert isinstance(make_norm(nn.Identity, 6), nn.Identity)


@pytest.mark.parametrize("factory", [nn.BatchNorm2d(6), "BatchNorm2d", 3])
def test_what_is_no_norm_factory_is_refused(factory):
    with pytest.raises(ConfigError, match="norm_layer must be a class or a function"):
        make_norm(factory, 6)
    with pytest.raises(ConfigError, match="which is not an"):
        make_norm(lambda channels: channels, 6)
