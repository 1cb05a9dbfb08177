"""How much memory the activations of a model in torch take."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile


@torch.inference_mode()
def torch_peak_bytes(model: nn.Module, x: Tensor) -> int:
    """Return the most that torch's allocator held during one run, the input included."""
    model(x)  # what is made once
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        model(x)
    events = profiled.profiler.kineto_results.events()
    changes = sorted((e.start_ns(), e.nbytes()) for e in events if e.name() == "[memory]")
    held = most = 0
    for _, change in changes:
        held += change
        most = max(most, held)
    return most + x.nbytes
