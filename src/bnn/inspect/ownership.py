"""Which layer each parameter belongs to, and whether one bit is enough for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils import parametrize

from bnn.inspect.binary import is_binary_weight
from bnn.inspect.measure import Tally
from bnn.layers.base import BinaryLayer

_Slot = tuple[nn.Module, str]  # a parameter's place: the module that holds it, and its name there


@dataclass
class Share:
    """What belongs to one layer: its parameters, and its parts' floating-point work."""

    binary_params: int = 0
    float_params: int = 0
    trainable_params: int = 0
    float_bytes: int = 0  # of all parameters, as they are
    kept_bytes: int = 0  # of those that do not become bits
    fixed: int = 0  # numbers that are stored, but not trained
    norm_excess: int = 0  # of both, beyond 2 for each channel of a batch norm
    float_macs: int = 0

    @property
    def packed_bytes(self) -> int:
        """One bit for each binary weight, in whole bytes, and the others as they are."""
        return (self.binary_params + 7) // 8 + self.kept_bytes

    @property
    def stored(self) -> int:
        """Parameters, and the numbers that are stored beside them."""
        return self.binary_params + self.float_params + self.fixed

    @property
    def fused_bytes(self) -> int:
        """One bit for each binary weight and 4 bytes for each other number, norms fused."""
        floats = self.float_params + self.fixed - self.norm_excess
        return (self.binary_params + 7) // 8 + 4 * floats


def shares(
    model: nn.Module, tallies: Mapping[nn.Module, Tally]
) -> list[tuple[str, nn.Module, Share]]:
    """Divide all parameters, and the float MACs, among the layers of a model.

    The stages of a binary layer belong to it, the parts of nn.MultiheadAttention, which reads their
    weights without calling them, and of any module the parametrizations and parameter lists.

    Returns:
        Name, module and share, in the order of the model's modules.
    """
    owners: dict[nn.Module, nn.Module] = {}
    names: dict[nn.Module, str] = {}
    for name, module, owner in _walk(model, "", None):
        if module not in owners:
            owners[module] = owner
            names.setdefault(module, name)
    one_bit = _one_bit_parameters(model, tallies)
    fixed = _fixed_numbers(model, owners)
    result = {owner: Share() for owner in dict.fromkeys(owners.values())}
    seen: set[int] = set()
    for module, owner in owners.items():
        share = result[owner]
        share.float_macs += tallies[module].float_macs
        share.fixed += fixed[module]
        if isinstance(module, _BatchNorm) and module.running_mean is not None:
            own = sum(p.numel() for p in module._parameters.values() if p is not None)
            share.norm_excess += own + fixed[module] - 2 * module.num_features
        for parameter in module._parameters.values():
            if parameter is None or id(parameter) in seen:
                continue
            seen.add(id(parameter))
            size = parameter.numel() * parameter.element_size()
            share.float_bytes += size
            share.trainable_params += parameter.numel() * parameter.requires_grad
            if id(parameter) in one_bit:
                share.binary_params += parameter.numel()
            else:
                share.float_params += parameter.numel()
                share.kept_bytes += size
    return [(names[owner], owner, share) for owner, share in result.items()]


def _fixed_numbers(model: nn.Module, owners: Mapping[nn.Module, nn.Module]) -> dict[nn.Module, int]:
    """Return how many floats of the state dict each module has besides its parameters.

    A binary layer's stages do not count: where a schedule stands is no part of the network.
    """
    seen: set[int] = set()
    found = dict.fromkeys(model.modules(), 0)
    for module in found:
        if isinstance(owners[module], BinaryLayer) and owners[module] is not module:
            continue
        for name, buffer in module._buffers.items():
            if buffer is None or name in module._non_persistent_buffers_set or id(buffer) in seen:
                continue
            seen.add(id(buffer))
            found[module] += buffer.numel() * buffer.is_floating_point()
    return found


def _walk(
    module: nn.Module, name: str, owner: nn.Module | None
) -> Iterator[tuple[str, nn.Module, nn.Module]]:
    """Yield name, module and the layer it belongs to, parents first."""
    yield name, module, owner or module
    if owner is None and isinstance(module, (BinaryLayer, nn.MultiheadAttention)):
        owner = module
    for child_name, child in module.named_children():
        path = f"{name}.{child_name}" if name else child_name
        is_part = isinstance(child, (nn.ParameterList, nn.ParameterDict)) or (
            child_name == "parametrizations" and parametrize.is_parametrized(module)
        )
        yield from _walk(child, path, owner or module if is_part else owner)


def _one_bit_parameters(model: nn.Module, tallies: Mapping[nn.Module, Tally]) -> set[int]:
    """Return the ids of the parameters of which every user needs nothing but the signs."""
    binary = {
        _latent_slot(layer)
        for layer in model.modules()
        if isinstance(layer, BinaryLayer) and _needs_signs_only(layer, tallies[layer])
    }
    by_user: dict[int, bool] = {}
    for module in model.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                one_bit = (module, name) in binary
                by_user[id(parameter)] = one_bit and by_user.get(id(parameter), True)
    return {key for key, one_bit in by_user.items() if one_bit}


def _needs_signs_only(layer: BinaryLayer, tally: Tally) -> bool:
    if tally.weight_is_binary is None:  # not called: ask its stage
        return is_binary_weight(layer.weight_pre_process(layer.weight), layer)
    return tally.weight_is_binary


def _latent_slot(layer: BinaryLayer) -> _Slot:
    """Return where the latent weight lies; under a parametrization, that is its original."""
    if not parametrize.is_parametrized(layer, "weight"):
        # Pruning and the older weight_norm and spectral_norm compute `weight` from one of these.
        for name in ("weight", "weight_orig", "weight_v"):
            if layer._parameters.get(name) is not None:
                return layer, name
        return layer, ""
    original: nn.Module = layer.parametrizations["weight"]  # type: ignore[index, assignment]
    for name, parameter in original._parameters.items():
        if parameter is not None and parameter.shape == layer.weight.shape:
            return original, name
    return original, ""
