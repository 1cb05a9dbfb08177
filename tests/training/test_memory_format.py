"""A network of the caller's own is trained in the memory format that its filters have."""

import pytest
import torch
from torch import nn

from bnn.models import resnet8
from bnn.training import TrainConfig, fit


class Watched(nn.Module):
    """A network that notes how its features and filters lie in training."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.network = resnet8(width=8, in_channels=1)
        self.seen = set()

    def forward(self, x):
        if self.training and torch.is_grad_enabled():
            features = self.network.layer1(self.network.conv1(x))
            filters = self.network.layer2[0].conv1.weight
            self.seen.add((is_last(features), is_last(filters)))
        return self.network(x)


def is_last(x):
    return x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_the_format_of_the_filters_stays(layout, tmp_path):
    model = Watched().to(memory_format=layout)
    config = TrainConfig(recipe="xnor-net", data="digits", epochs=1, out=str(tmp_path / "run"))
    fit(config, model=model, progress=False)
    last = layout is torch.channels_last
    assert {filters for _, filters in model.seen} == {last}
    assert is_last(model.network.layer2[0].conv1.weight) == last
    if last:
        assert {features for features, _ in model.seen} == {True}
