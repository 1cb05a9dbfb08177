"""Weights that papers' authors published, from the state dicts of their own code.

Theirs and ours compute the same, but for a sign of exactly 0, which is +1 here.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from bnn.errors import CheckpointError, ConfigError
from bnn.interop.matching import complain, put
from bnn.models.birealnet import BiRealNet
from bnn.models.bnext import BNext, RecoupledConv
from bnn.models.reactnet import ReActBlock, ReActNet, ReActResNet
from bnn.models.skip_per_conv import SkipBlock, SkipPerConvNet

Network = TypeVar("Network", bound=nn.Module)
Transform = Callable[[Tensor], Tensor]

_EPS = 1e-5  # torch's, which all of these repositories have


def load(model: Network, path: str | Path) -> Network:
    """Load a checkpoint of the authors' repository into the same network here.

    Repositories and their networks:

    - github.com/liuzechun/ReActNet: ``reactnet_a``, ``react_resnet18``
    - github.com/liuzechun/Bi-Real-net: ``birealnet18`` with ``bn_eps=1e-5``, ``birealnet34``
    - github.com/hpi-xnor/BNext: ``bnext_tiny``, ``_small``, ``_middle``, ``_large``

    Nothing in the file can run code: it is read by ``torch.load(weights_only=True)``. A mapping
    ``state_dict`` in it is taken, and DataParallel's ``module.`` left out of the names.

    Args:
        model: Made by ``bnn.models.create``; its weights are changed in place.
        path: The file.

    Returns:
        The model.

    Raises:
        ConfigError: If no repository's weights are known for the network, or its batch norms have
            another epsilon.
        CheckpointError: If the file cannot be read, weights are missing or left over, or shapes
            differ; then the model is as it was.
    """
    entries = _entries(model)
    given = _read(path)
    wanted = {name for entry in entries for name in entry.names}
    left = {n for n in set(given) - wanted if not _IGNORED.search(n)}
    complain(path, missing=wanted - set(given), unexpected=left)
    state = model.state_dict()
    new: dict[str, Tensor] = {}
    for entry in entries:
        parts = [given[name] for name in entry.names]
        value = torch.cat([entry.change(part) for part in parts])
        if entry.reshape and value.numel() == state[entry.key].numel():
            value = value.view(state[entry.key].shape)
        put(new, state, entry.key, value, f"{path}: {entry.names[0]}")
    missing = [k for k in state if k not in new and not k.endswith("num_batches_tracked")]
    complain(path, missing=missing, unexpected=())
    model.load_state_dict({**state, **new})
    return model


# Beside every norm; a schedule's state; and activations that the authors' code has but never calls.
_IGNORED = re.compile(
    r"num_batches_tracked$|\.temperature$|\.activation1\.weight$|^feature\.0\.prelu\.weight$"
)


@dataclass(frozen=True)
class _Entry:
    """One tensor here, and those of the file that make it, concatenated along the first axis."""

    key: str
    names: tuple[str, ...]
    change: Transform = lambda x: x
    reshape: bool = False  # to the shape here: theirs may be flat, or have axes of 1


def _read(path: str | Path) -> dict[str, Tensor]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's, of files that are no pickle
            content = torch.load(path, map_location="cpu", weights_only=True)
    # weights_only refuses code with UnpicklingError; a damaged file may raise anything.
    except Exception as error:
        raise CheckpointError(
            f"{path}: it is missing, damaged, or holds more than tensors and plain values, which "
            "might run code. Save its state dict alone: torch.save(model.state_dict(), file)."
        ) from error
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if not isinstance(content, Mapping) or not all(
        isinstance(k, str) and isinstance(v, Tensor) for k, v in content.items()
    ):
        raise CheckpointError(f"{path}: it holds no state dict.")
    return {name.removeprefix("module."): value for name, value in content.items()}


def _entries(model: nn.Module) -> list[_Entry]:
    for kind, entries in _NETWORKS.items():
        if type(model) is kind:
            found = list(entries(model))
            break
    else:
        known = ", ".join(kind.__name__ for kind in _NETWORKS)
        raise ConfigError(
            f"no repository's weights are known for a {type(model).__name__}; there are some for: "
            f"{known}."
        )
    if any(norm.eps != _EPS for norm in model.modules() if isinstance(norm, _BatchNorm)):
        raise ConfigError(
            f"the {type(model).__name__}'s batch norms have another epsilon than the authors' "
            f"{_EPS:g}. Make it with bn_eps={_EPS:g}."
        )
    return found


# --- parts --------------------------------------------------------------------------------------


def _same(ours: str, theirs: str, *fields: str) -> Iterator[_Entry]:
    for name in fields:
        yield _Entry(f"{ours}.{name}", (f"{theirs}.{name}",))


def _norm(ours: str, *theirs: str) -> Iterator[_Entry]:
    for field in ("weight", "bias", "running_mean", "running_var"):
        yield _Entry(f"{ours}.{field}", tuple(f"{name}.{field}" for name in theirs))


def _shift(ours: str, theirs: str, *, negative: bool = False) -> Iterator[_Entry]:
    """Yield a shift of each channel; a threshold or a subtrahend is the negative of theirs."""
    change: Transform = torch.neg if negative else lambda x: x
    yield _Entry(ours, (f"{theirs}.bias",), change, reshape=True)


def _binary(ours: str, *theirs: str, field: str) -> Iterator[_Entry]:
    """Yield a binary convolution's latent weight, which some repositories keep flat."""
    yield _Entry(f"{ours}.weight", tuple(f"{name}.{field}" for name in theirs), reshape=True)


def _rprelu(ours: str, before: str, prelu: str, after: str) -> Iterator[_Entry]:
    yield from _shift(f"{ours}.shift_in", before, negative=True)
    yield from _same(ours, prelu, "weight")
    yield from _shift(f"{ours}.shift_out", after)


# --- networks -----------------------------------------------------------------------------------


def _skip_per_conv(
    model: nn.Module, block_entries: Callable[[str, str], Iterator[_Entry]]
) -> Iterator[_Entry]:
    assert isinstance(model, SkipPerConvNet)  # noqa: S101
    yield from _same("stem.0", "conv1", "weight")
    yield from _norm("stem.1", "bn1")
    for i, stage in enumerate(model.stages.children()):
        for j, block in enumerate(stage.children()):
            ours, theirs = f"stages.{i}.{j}", f"layer{i + 1}.{j}"
            yield from block_entries(ours, theirs)
            yield from _norm(f"{ours}.bn", f"{theirs}.bn1")
            assert isinstance(block, SkipBlock)  # noqa: S101
            if block.downsample is not None:
                yield from _same(f"{ours}.downsample.1", f"{theirs}.downsample.1", "weight")
                yield from _norm(f"{ours}.downsample.2", f"{theirs}.downsample.2")
    yield from _same("fc", "fc", "weight", "bias")


def _bireal_block(ours: str, theirs: str) -> Iterator[_Entry]:
    yield from _binary(f"{ours}.conv", f"{theirs}.binary_conv", field="weights")


def _react_skip_block(ours: str, theirs: str) -> Iterator[_Entry]:
    yield from _binary(f"{ours}.conv", f"{theirs}.binary_conv", field="weight")
    threshold = f"{ours}.conv.activation_pre_process.threshold"
    yield from _shift(threshold, f"{theirs}.move0", negative=True)
    yield from _rprelu(f"{ours}.act", f"{theirs}.move1", f"{theirs}.prelu", f"{theirs}.move2")


def _bireal(model: nn.Module) -> Iterator[_Entry]:
    return _skip_per_conv(model, _bireal_block)


def _react_resnet(model: nn.Module) -> Iterator[_Entry]:
    return _skip_per_conv(model, _react_skip_block)


def _reactnet(model: nn.Module) -> Iterator[_Entry]:
    yield from _same("stem.0", "feature.0.conv1", "weight")
    yield from _norm("stem.1", "feature.0.bn1")
    for i, block in enumerate(model.get_submodule("blocks").children()):
        assert isinstance(block, ReActBlock)  # noqa: S101
        if type(block.conv2) is nn.Conv2d:
            raise ConfigError(
                "the repository has weights of ReActNet-A alone: down_groups must be 0."
            )
        ours, theirs = f"blocks.{i}", f"feature.{i + 1}"
        yield from _binary(f"{ours}.conv1", f"{theirs}.binary_3x3", field="weights")
        yield from _norm(f"{ours}.bn1", f"{theirs}.bn1")
        halves: Sequence[str] = ("down1", "down2") if block.doubles else ("",)
        points = [f"{theirs}.binary_pw{'_' if half else ''}{half}" for half in halves]
        yield from _binary(f"{ours}.conv2", *points, field="weights")
        norms = [f"{theirs}.bn2_{k}" for k in (1, 2)] if block.doubles else [f"{theirs}.bn2"]
        yield from _norm(f"{ours}.bn2", *norms)
        for k in (1, 2):
            threshold = f"{ours}.conv{k}.activation_pre_process.threshold"
            yield from _shift(threshold, f"{theirs}.move{k}1", negative=True)
            move = f"{theirs}.move{k}"
            yield from _rprelu(f"{ours}.act{k}", f"{move}2", f"{theirs}.prelu{k}", f"{move}3")
    yield from _same("fc", "fc", "weight", "bias")


def _bnext(model: nn.Module) -> Iterator[_Entry]:
    yield from _same("stem.0", "feature.0.conv1", "weight")
    yield from _norm("stem.1", "feature.0.bn1")
    for i, block in enumerate(model.get_submodule("blocks").children()):
        ours, theirs = f"blocks.{i}", f"feature.{i + 1}"
        points = list(block.get_submodule("points").children())
        names = ["FFN"] if len(points) == 1 else ["FFN_1", "FFN_2"]
        yield from _recoupled(
            block.get_submodule("spatial"), f"{ours}.spatial", f"{theirs}.Attention"
        )
        for k, (point, name) in enumerate(zip(points, names, strict=True)):
            yield from _recoupled(point, f"{ours}.points.{k}", f"{theirs}.{name}")
    yield from _same("act", "prelu", "weight")
    yield from _same("fc", "fc", "weight", "bias")


def _recoupled(part: nn.Module, ours: str, theirs: str) -> Iterator[_Entry]:
    assert isinstance(part, RecoupledConv)  # noqa: S101
    yield from _same(f"{ours}.shift", f"{theirs}.move", "bias")
    yield from _binary(f"{ours}.conv", f"{theirs}.binary_conv", field="weight")
    yield from _norm(f"{ours}.bn1", f"{theirs}.norm1")
    yield from _norm(f"{ours}.bn2", f"{theirs}.norm2")
    yield from _same(f"{ours}.act", f"{theirs}.activation2", "weight")
    yield _Entry(f"{ours}.mixture", (f"{theirs}.scale",))
    for k in (1, 3):
        yield from _same(f"{ours}.gate.{k}", f"{theirs}.se.se.{k}", "weight", "bias")
    if part.attention:
        yield from _same(f"{ours}.shortcut", f"{theirs}.activation1", "weight")


_NETWORKS: Mapping[type[nn.Module], Callable[[nn.Module], Iterator[_Entry]]] = {
    BiRealNet: _bireal,
    ReActResNet: _react_resnet,
    ReActNet: _reactnet,
    BNext: _bnext,
}
