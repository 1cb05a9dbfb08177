"""What the tests of several networks need."""

from __future__ import annotations

import pytest
import torch
from torch import nn


@pytest.fixture
def calibrate():
    """Return a function that sets the statistics of batch norms from data, and evaluates.

    Without it an untrained network's norms leave everything as it is, and in a network without
    shortcuts soon all signs are alike.
    """

    def run(model: nn.Module, x: torch.Tensor, passes: int = 4) -> nn.Module:
        norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
        momenta = [norm.momentum for norm in norms]
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # the average of all batches
        model.train()
        with torch.no_grad():
            for _ in range(passes):
                model(x)
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        return model.eval()

    return run
