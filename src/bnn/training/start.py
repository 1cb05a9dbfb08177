"""Weights to begin with: from a checkpoint into a network that may be binarized otherwise."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from bnn.errors import CheckpointError
from bnn.executor.keys import STAGES
from bnn.layers import BinaryLayer
from bnn.training.checkpoint import checkpoint_file, read_checkpoint
from bnn.training.latent import binary_weight_layers


@torch.no_grad()
def load_start_(model: nn.Module, path: Path) -> nn.Module:
    """Give a network the weights of a checkpoint, in place.

    What the layers' stages have learnt, scales and thresholds, is taken where both have it in the
    same shape. A weight stage of which the checkpoint has nothing starts anew from the weights that
    its layer has now. Everything else must be the same on both sides.

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
    for name, layer in binary_weight_layers(model):
        prefix = f"{name}.weight_pre_process." if name else "weight_pre_process."
        learnt = {key for key in own if key.startswith(prefix)}
        if learnt and learnt.isdisjoint(fits):
            _start_weight_stage_(layer)
    return model


def _start_weight_stage_(layer: BinaryLayer) -> None:
    """Build a layer's weight stage again: LSQ's first step, for one, follows from the weights."""
    with torch.random.fork_rng(devices=[]):  # what is drawn must not depend on what came before
        torch.manual_seed(0)
        fresh = type(layer).from_module(layer, update=False)
    layer.weight_pre_process = fresh.weight_pre_process


def _of_a_stage(name: str) -> bool:
    return not {*STAGES.values()}.isdisjoint(name.split("."))
