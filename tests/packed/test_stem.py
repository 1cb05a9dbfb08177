"""A stem's convolution and the maximum behind it are one operation where nothing else reads it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import bnn

FUSED = "conv2d_maxpool2d"


class Stem(nn.Module):
    """The first layers of a residual network; `also` reads the convolution's output too."""

    def __init__(self, activation: nn.Module, channels: int = 64, *, also: bool = False) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, channels, 7, stride=2, padding=3, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        self.activation = activation
        self.pool = nn.MaxPool2d(3, stride=2, padding=1)
        self.also = also

    def forward(self, x: Tensor) -> Tensor:
        x = self.activation(self.norm(self.conv(x)))
        pooled = self.pool(x)
        return pooled + x.mean() if self.also else pooled


def settled(stem: Stem) -> Stem:
    """Give the batch norm statistics of its own, some scales negative."""
    torch.manual_seed(0)
    nn.init.normal_(stem.norm.weight)
    nn.init.normal_(stem.norm.bias)
    stem.norm.running_mean.normal_()
    stem.norm.running_var.uniform_(0.5, 2)
    return stem.eval()


def operations(packed: bnn.PackedNetwork, x: Tensor) -> list[str]:
    return [timing.operation.split()[0] for timing in packed.profile(x)]


@pytest.mark.parametrize("size", [(224, 224), (65, 50), (9, 131)])
@pytest.mark.parametrize("activation", [nn.ReLU(), nn.Identity()], ids=["relu", "none"])
def test_pooled_stem_is_the_stem(activation: nn.Module, size: tuple[int, int]) -> None:
    stem = settled(Stem(activation))
    x = torch.randn(2, 3, *size)
    packed = bnn.pack(stem, x)
    assert operations(packed, x)[0] == FUSED
    with torch.no_grad():
        expected = stem(x)
    torch.testing.assert_close(packed(x), expected, rtol=0, atol=1e-5 * float(expected.std()) * 4)


def test_threads_give_the_same() -> None:
    stem = settled(Stem(nn.ReLU()))
    x = torch.randn(3, 3, 100, 90)
    packed = bnn.pack(stem, x)
    one = packed(x)
    before = bnn.packed.get_num_threads()
    try:
        bnn.packed.set_num_threads(3)
        assert torch.equal(packed(x), one)
    finally:
        bnn.packed.set_num_threads(before)


@pytest.mark.parametrize(
    "stem",
    [
        Stem(nn.PReLU()),  # may change the order of values
        Stem(nn.ReLU(), 50),  # no whole blocks of filters
        Stem(nn.ReLU(), also=True),
    ],
    ids=["prelu", "50 filters", "read twice"],
)
def test_others_are_two_operations(stem: Stem) -> None:
    stem = settled(stem)
    x = torch.randn(1, 3, 64, 64)
    packed = bnn.pack(stem, x)
    found = operations(packed, x)
    assert FUSED not in found
    assert {"conv2d", "maxpool2d"} <= set(found)
    with torch.no_grad():
        torch.testing.assert_close(packed(x), stem(x), atol=1e-4, rtol=1e-5)


def test_stem_is_no_tensor() -> None:
    stem = settled(Stem(nn.ReLU()))
    x = torch.randn(1, 3, 224, 224)
    packed = bnn.pack(stem, x)
    outputs = packed(x).nbytes
    assert packed.peak_bytes(tuple(x.shape)) <= x.nbytes + outputs + 4096
