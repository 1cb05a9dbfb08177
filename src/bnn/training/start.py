"""Weights to begin with: from a checkpoint into a network that may be binarized otherwise."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from bnn.errors import CheckpointError
from bnn.executor.keys import STAGES
from bnn.training.checkpoint import checkpoint_file, read_checkpoint


@torch.no_grad()
def load_start_(model: nn.Module, path: Path) -> nn.Module:
    """Give a network the weights of a checkpoint, in place.

    What the layers' stages have learnt, scales and thresholds, is taken where both have it in the
    same shape. Everything else must be the same on both sides.

    Args:
        model: The network.
        path: A checkpoint of :func:`bnn.training.fit`, or a run's folder.

    Returns:
        The network.

    Raises:
        CheckpointError: If the checkpoint cannot be read or is of another network.
    """
    given = read_checkpoint(checkpoint_file(path))["model"]
    own = model.state_dict()
    fits = {name for name in own if name in given and given[name].shape == own[name].shape}
    others = sorted(name for name in {*own, *given} - fits if not _of_a_stage(name))
    if others:
        raise CheckpointError(
            f"{path}: is of another network: {others[0]!r} is missing in one of them or has "
            f"another shape{f', and {len(others) - 1} more' if len(others) > 1 else ''}."
        )
    model.load_state_dict({**own, **{name: given[name] for name in fits}})
    return model


def _of_a_stage(name: str) -> bool:
    return not {*STAGES.values()}.isdisjoint(name.split("."))
