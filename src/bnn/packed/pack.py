"""``bnn.pack``: from a trained model to a packed network."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from bnn.errors import PackedError
from bnn.layers import BinaryLayer
from bnn.packed.graph import check_graph
from bnn.packed.lower import Lowered, UntraceableError, drop_dead, fuse, is_hooked, trace, whole
from bnn.packed.modules import PackedConv1d, PackedConv2d, PackedLayer, PackedLinear
from bnn.packed.network import PackedNetwork
from bnn.packed.report import PackReport

_BY_LAYER: tuple[type[PackedLayer], ...] = (PackedLinear, PackedConv1d, PackedConv2d)


def pack(model: nn.Module, example_inputs: Tensor | Sequence[Tensor]) -> PackedNetwork:
    """Make a network with 1 bit per binary weight of a trained model.

    The model is traced, and what follows a binary layer (scale, bias, batch norm, activation,
    addition, the next layer's sign) becomes part of its kernel. Values that only a sign reads are
    kept as bits. Float layers stay float. Nothing is guessed: what is not recognised runs as it
    was, in Python, and ``packed.report`` says what and why.

    Args:
        model: Any module; it is not changed, and is packed as in evaluation mode.
        example_inputs: One input, or a tuple of them: float32 tensors of a size that the model
            takes. Only shapes matter; later inputs may have others.

    Returns:
        The network, in evaluation mode, on the model's device.

    Raises:
        PackedError: If the model does not run on the example, or is not float32.

    Example:
        >>> import bnn
        >>> from bnn.models import resnet8
        >>> model = bnn.BinaryChef("xnor-net").next(resnet8(in_channels=1))
        >>> packed = bnn.pack(model, torch.randn(1, 1, 8, 8))
        >>> print(packed.report)
        packed 6 of 6 binary layers; traced: ...
        >>> packed(torch.randn(5, 1, 8, 8)).shape
        torch.Size([5, 10])
    """
    example = _example(model, example_inputs)
    try:
        copied = copy.deepcopy(model).eval()
    except Exception as error:
        raise PackedError(
            f"pack: the model cannot be copied: {error} (torch.nn.utils.weight_norm and its like "
            "are taken off with remove_weight_norm.)"
        ) from error
    for parameter in copied.parameters():
        parameter.requires_grad = False
    float_bytes = sum(
        x.numel() * x.element_size()
        for x in (*copied.parameters(), *copied.buffers())
        if not is_lazy(x)
    )
    with torch.inference_mode(mode=False), torch.no_grad():
        example = [x.detach().clone() for x in example]
        try:
            lowered = trace(copied, example)
        except UntraceableError as error:
            reason = next(iter(str(error).splitlines()), "")
            return _layer_by_layer(copied, example, reason, float_bytes)
        fuse(lowered.graph, _examples(lowered, example))
    return _network(lowered, example, float_bytes)


def _example(model: nn.Module, given: Tensor | Sequence[Tensor]) -> list[Tensor]:
    if not isinstance(model, nn.Module):
        raise PackedError(f"pack: model is a {type(model).__name__}; give the nn.Module.")
    if isinstance(model, PackedNetwork):
        raise PackedError("pack: the model is packed already.")
    inputs = [given] if isinstance(given, Tensor) else given
    if not isinstance(inputs, (list, tuple)) or not inputs:
        raise PackedError(
            f"pack: example_inputs is a {type(given).__name__}; give a tensor or a tuple of them."
        )
    for i, x in enumerate(inputs):
        if not isinstance(x, Tensor) or x.dtype != torch.float32:
            what = x.dtype if isinstance(x, Tensor) else type(x).__name__
            raise PackedError(f"pack: example input {i} is {what}; give a float32 tensor.")
    for name, x in (*model.named_parameters(), *model.named_buffers()):
        if x.is_floating_point() and x.dtype != torch.float32:
            raise PackedError(
                f"pack: {name} is {x.dtype}; packed networks compute in float32. Convert the model "
                "with .float()."
            )
        if x.device != inputs[0].device:
            raise PackedError(
                f"pack: {name} is on {x.device}, but the example on {inputs[0].device}. Move one "
                "to the other."
            )
    return list(inputs)


def _examples(lowered: Lowered, example: Sequence[Tensor]) -> list[Mapping[int, Any]]:
    """Return the shapes of all values for the example, and for others that the network takes.

    An addition whose operands are alike for one size may be broadcast for another.
    """
    found: list[Mapping[int, Any]] = [lowered.example]
    drop_dead(lowered.graph)
    for batch, pixels in ((1, 0), (2, 1), (0, 2), (1, 32)):
        shapes = [
            (x.shape[0] + batch, *x.shape[1:2], *(size + pixels for size in x.shape[2:]))
            for x in example
            if x.dim()
        ]
        try:
            found.append(check_graph(lowered.graph, shapes))
        except PackedError:  # the network does not take it, or runs code that is not known
            continue
    return found


def _network(lowered: Lowered, example: Sequence[Tensor], float_bytes: int) -> PackedNetwork:
    report = PackReport(
        "graph",
        tuple(lowered.binary),
        lowered.emulated,
        lowered.opaque,
        float_bytes=float_bytes,
    )
    return _sized(PackedNetwork(lowered.graph, report, [x.shape for x in example]))


def _sized(network: PackedNetwork) -> PackedNetwork:
    network.report = dataclasses.replace(network.report, packed_bytes=network.nbytes)
    return network


def _layer_by_layer(
    model: nn.Module, example: Sequence[Tensor], reason: str, float_bytes: int
) -> PackedNetwork:
    """Pack what cannot be traced: its binary layers alone."""
    binary, emulated = [], {}
    expected = _run(model, example)
    before = copy.deepcopy(model)
    for name, layer in list(model.named_modules()):
        if not isinstance(layer, BinaryLayer):
            continue
        try:
            packed = _packed_layer(layer)
        except PackedError as error:
            emulated[name] = str(error)
            continue
        binary.append(name)
        if not name:
            model = packed
        else:
            path, _, leaf = name.rpartition(".")
            model.get_submodule(path)._modules[leaf] = packed
    if not _alike(lambda: model(*example), expected):
        why = "the model gives something else without it: its code looks into the layer"
        model, emulated, binary = before, {**emulated, **dict.fromkeys(binary, why)}, []
    graph = whole(model, len(example))
    report = PackReport("layers", tuple(binary), emulated, {}, reason, float_bytes)
    return _sized(PackedNetwork(graph, report, [x.shape for x in example]))


def _run(model: nn.Module, example: Sequence[Tensor]) -> Any:
    try:
        return model(*[x.clone() for x in example])
    except Exception as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise PackedError(f"pack: the model does not run on the example: {reason}") from error


def _alike(run: Callable[[], Any], expected: Any) -> bool:
    """Say whether a network runs, and gives nearly what is expected."""
    try:
        torch.testing.assert_close(run(), expected, atol=1e-2, rtol=1e-2, equal_nan=True)
    except AssertionError:
        return False
    except Exception:  # it does not run, or gives what cannot be compared
        return False
    return True


def _packed_layer(layer: BinaryLayer) -> PackedLayer:
    if is_hooked(layer):
        raise PackedError("it has hooks or a parametrization, which only a call runs")
    for kind in _BY_LAYER:
        if isinstance(layer, kind.layer_class):
            return kind.from_module(layer)
    known = ", ".join(kind.layer_class.__name__ for kind in _BY_LAYER)
    raise PackedError(f"a binary {type(layer).__name__} has no 1-bit kernel; {known} have one.")
