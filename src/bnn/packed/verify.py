"""``bnn.verify``: how far a packed network agrees with the model that it was made of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from bnn.errors import PackedError
from bnn.layers import BinaryLayer
from bnn.layers.levels import input_factors
from bnn.packed.agreement import Agreement, LayerAgreement
from bnn.packed.network import PackedNetwork
from bnn.packed.onebit import OneBit, bits_of, different_bits, emulated_sums, one_bit_layers
from bnn.packed.planes import input_planes, weight_planes

Batches = Tensor | tuple[Tensor, ...] | Iterable[Any]


def verify(model: nn.Module, packed: PackedNetwork, inputs: Batches) -> Agreement:
    """Compare a packed network with its model, layer by layer and at the end.

    Of each 1-bit layer: whether its integer sums are those that the model's layer computes of the
    same signs, which must always be so; and how many of the signs that reach it differ, which
    happens where a float before them is rounded another way and lies next to 0. At the end: by
    how much the outputs differ, and for how many samples the largest one is the same.

    Args:
        model: What was packed. It runs in evaluation mode, and is left as it was.
        packed: What :func:`bnn.pack` made of it, or :func:`bnn.load` read.
        inputs: One input, or a tuple of as many as the model takes; or batches of such: a list,
            a generator, a DataLoader, what ``x.split(64)`` gives. What follows the inputs in a
            batch, such as labels, is not looked at. Only one batch is in memory at a time.

    Returns:
        The agreement. It prints as a table.

    Raises:
        PackedError: If the two do not belong together, an input does not fit, or there is none.

    Example:
        >>> import bnn
        >>> from bnn.models import resnet8
        >>> model = bnn.BinaryChef("xnor-net").next(resnet8(in_channels=1))
        >>> x = torch.randn(16, 1, 8, 8)
        >>> agreement = bnn.verify(model, bnn.pack(model, x), x)
        >>> agreement.identical, agreement.top1, agreement.samples
        (True, 16, 16)
    """
    if not isinstance(model, nn.Module):
        raise PackedError(f"verify: model is a {type(model).__name__}; give the nn.Module.")
    if not isinstance(packed, PackedNetwork):
        raise PackedError(
            f"verify: packed is a {type(packed).__name__}; give what bnn.pack or bnn.load returns."
        )
    comparison = _Comparison(model, packed)
    with _evaluating(model), torch.no_grad():
        for batch in _batches(inputs, len(packed.graph.inputs)):
            comparison.add(batch)
    if not comparison.final.samples:
        raise PackedError("verify: inputs is empty; give at least one sample.")
    return comparison.result()


def _batches(inputs: Batches, count: int) -> Iterator[tuple[Tensor, ...]]:
    """Yield the ``count`` inputs of each call."""
    if isinstance(inputs, Tensor) or (
        isinstance(inputs, tuple)
        and len(inputs) == count
        and all(isinstance(x, Tensor) for x in inputs)
    ):
        inputs = [inputs]
    if not isinstance(inputs, Iterable) or isinstance(inputs, (str, bytes, dict)):
        raise PackedError(
            f"verify: inputs is a {type(inputs).__name__}; give a tensor, a tuple of the model's "
            "inputs, or batches of them."
        )
    for i, batch in enumerate(inputs):
        if isinstance(batch, Tensor):
            yield (batch,)
        elif isinstance(batch, (tuple, list)) and batch and isinstance(batch[0], Tensor):
            yield tuple(batch[:count])
        else:
            what = type(batch).__name__
            raise PackedError(f"verify: batch {i} is a {what}; give a tensor or a tuple of them.")


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Put every module in evaluation mode, then back in its own."""
    before = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in before:
            module.training = training


@dataclass
class _Layer:
    """A layer of the model, what became of it, and the counts so far."""

    name: str
    module: BinaryLayer
    uses: list[OneBit]  # of each call as many as there are pairs of planes
    sums: int = 0
    different_sums: int = 0
    signs: int = 0
    different_signs: int = 0
    comparable: bool = True
    given: list[Tensor] = field(default_factory=list)  # bits of each call in this batch

    def hear(self, _: nn.Module, args: tuple[Any, ...]) -> None:
        """Note the signs that a call of the model's layer gets, and compare the sums of them."""
        integers = input_factors(self.module.activation_pre_process, args[0]).integers
        planes = input_planes(self.module.activation_pre_process)
        weight = self.module._factors().integers
        own = weight_planes(weight)[0]
        pairs = len(planes.coefficients) * len(own.coefficients)
        at = min(len(self.given), len(self.uses) - pairs)
        uses = iter(self.uses[at : at + pairs])
        packed: Any = planes.constant * weight.flatten(1).sum(1).double()
        for signs, outer in zip(planes.split(integers), planes.coefficients, strict=True):
            bits = bits_of(self.module, signs)
            for inner in own.coefficients:
                packed = packed + outer * inner * next(uses).sums(bits)
                self.given.append(bits)
        expected = emulated_sums(self.module, integers)
        if packed.shape != expected.shape:
            raise PackedError(
                f"verify: layer {self.name!r} gives {tuple(expected.shape)}, but packed "
                f"{tuple(packed.shape)}. Give the model that was packed."
            )
        self.sums += packed.numel()
        self.different_sums += int((packed != expected).sum())

    def compare_signs(self, reached: Sequence[Tensor]) -> None:
        """Count the signs that differ from those that reached the packed layer."""
        given, self.given = self.given, []
        if len(given) != len(reached) or any(
            a.shape != b.shape for a, b in zip(given, reached, strict=True)
        ):
            self.comparable = False
            return
        for one_bit, a, b in zip(self.uses, given, reached, strict=True):
            self.signs += a[..., 0].numel() * one_bit.channels
            self.different_signs += different_bits(a, b)

    def result(self) -> LayerAgreement:
        comparable = self.comparable and self.signs > 0
        return LayerAgreement(
            self.name,
            sums=self.sums,
            different_sums=self.different_sums,
            signs=self.signs if comparable else None,
            different_signs=self.different_signs if comparable else None,
        )


@dataclass
class _Final:
    """What is known of the outputs so far."""

    samples: int = 0
    difference: float = 0.0
    relative: float = 0.0
    top1: int | None = 0
    reason: str = ""

    def add(self, expected: Any, got: Any, samples: int) -> None:
        self.samples += samples
        ours, theirs = list(_tensors(got)), list(_tensors(expected))
        if [x.shape for x in ours] != [x.shape for x in theirs]:
            raise PackedError(
                f"verify: the model returns {_shapes(theirs)}, but packed {_shapes(ours)}. Give "
                "the model that was packed."
            )
        for a, b in zip(theirs, ours, strict=True):
            difference = _largest_difference(a, b)
            largest = float(a.abs().max()) if a.numel() else 0.0
            self.difference = max(self.difference, difference)
            if difference:
                relative = difference / largest if 0 < largest < float("inf") else float("inf")
                self.relative = max(self.relative, relative)
        if self.top1 is None:
            return
        self.reason = _no_classes(theirs, samples)
        self.top1 = (
            None
            if self.reason
            else self.top1 + int((theirs[0].argmax(1) == ours[0].argmax(1)).sum())
        )


def _tensors(output: Any) -> Iterator[Tensor]:
    """Yield the tensors of an output, whatever holds them."""
    if isinstance(output, Tensor):
        yield output
    elif isinstance(output, dict):
        for item in output.values():
            yield from _tensors(item)
    elif isinstance(output, (tuple, list)):
        for item in output:
            yield from _tensors(item)
    elif output is not None:
        raise PackedError(f"verify: the model returns a {type(output).__name__} among its outputs.")


def _shapes(outputs: Sequence[Tensor]) -> str:
    return ", ".join(str(tuple(x.shape)) for x in outputs) or "no tensor"


def _largest_difference(a: Tensor, b: Tensor) -> float:
    """Return the largest |a - b|; the same infinity or NaN in both is no difference."""
    if not a.numel():
        return 0.0
    difference = (a.double() - b.double()).abs()
    same = (a == b) | (a.isnan() & b.isnan())
    return float(torch.where(same, 0.0, difference.nan_to_num(float("inf"))).max())


def _no_classes(outputs: Sequence[Tensor], samples: int) -> str:
    """Return why there is no largest class, or "" where there is one."""
    if len(outputs) != 1:
        return f"the model has {len(outputs)} outputs"
    (shape,) = (tuple(x.shape) for x in outputs)
    if len(shape) != 2 or shape[0] != samples or shape[1] < 2:
        return f"the output has shape {shape}, not one row of classes for each sample"
    return ""


class _Comparison:
    """Runs both, batch by batch."""

    def __init__(self, model: nn.Module, packed: PackedNetwork) -> None:
        self.model, self.packed = model, packed
        self.final = _Final()
        self.layers: list[_Layer] = []
        self.skipped: dict[str, str] = {}
        found = one_bit_layers(packed)
        self._check_names(found)
        names: dict[int, list[str]] = {}
        for name, module in model.named_modules(remove_duplicate=False):
            if isinstance(module, BinaryLayer):
                names.setdefault(id(module), []).append(name)
        for own in names.values():  # a layer that is used twice may have two names
            layer: Any = model.get_submodule(own[0])
            uses = [use for name in own for use in found.get(name, ())]
            if uses:
                _check_weight(own[0], layer, uses)
                self.layers.append(_Layer(own[0], layer, uses))
            else:
                self.skipped[own[0]] = _why_not(packed, own, layer)

    def _check_names(self, found: dict[str, list[OneBit]]) -> None:
        known = dict(self.model.named_modules(remove_duplicate=False))
        for name in found:
            if not isinstance(known.get(name), BinaryLayer):
                what = f"a {type(known[name]).__name__}" if name in known else "nothing"
                raise PackedError(
                    f"verify: packed has the 1-bit layer {name!r}, but the model has {what} of "
                    "that name. Give the model that was packed, with its binary layers."
                )

    def add(self, batch: tuple[Tensor, ...]) -> None:
        if not batch[0].dim() or not batch[0].shape[0]:
            return
        for layer in self.layers:
            layer.given.clear()
        hooks = [layer.module.register_forward_pre_hook(layer.hear) for layer in self.layers]
        try:
            expected = self.model(*batch)
        except PackedError:
            raise
        except Exception as error:  # the model's own code may raise anything
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            raise PackedError(f"verify: the model does not run on the inputs: {reason}") from error
        finally:
            for hook in hooks:
                hook.remove()
        self.final.add(expected, self.packed(*batch), batch[0].shape[0])
        self._compare_signs(batch)

    def _compare_signs(self, batch: tuple[Tensor, ...]) -> None:
        uses = [use for layer in self.layers for use in layer.uses]
        reached: dict[int, list[Tensor]] = {id(use): [] for use in uses}
        inside = [use for use in uses if use.value is not None]
        if inside:
            values = [use.value for use in inside if use.value is not None]
            for use, bits in zip(inside, self.packed.tap(values, *batch), strict=True):
                reached[id(use)].append(bits)
        alone = [use for use in uses if use.module is not None]
        if alone:  # packed layers within a part that Python runs
            hooks = [use.listen(reached[id(use)]) for use in alone]
            try:
                self.packed(*batch)
            finally:
                for hook in hooks:
                    hook.remove()
        for layer in self.layers:
            layer.compare_signs([bits for use in layer.uses for bits in reached[id(use)]])

    def result(self) -> Agreement:
        final = self.final
        return Agreement(
            layers=tuple(layer.result() for layer in self.layers),
            skipped=self.skipped,
            samples=final.samples,
            top1=final.top1,
            no_top1=final.reason,
            max_difference=final.difference,
            relative_difference=final.relative,
        )


def _check_weight(name: str, layer: BinaryLayer, uses: Sequence[OneBit]) -> None:
    for use in uses:
        expected, given = tuple(layer.weight.shape), use.weight_shape
        if expected != given:
            raise PackedError(
                f"verify: the weight of {name!r} has shape {expected}, but packed {given}. Give "
                "the model that was packed."
            )


def _why_not(packed: PackedNetwork, names: Sequence[str], layer: BinaryLayer) -> str:
    """Return why a binary layer of the model has no sums to compare."""
    for name in names:
        if name in packed.report.emulated:
            return "emulated: " + packed.report.emulated[name]
    if isinstance(layer.weight_pre_process, nn.Identity):
        return "float weights"
    if isinstance(layer.activation_pre_process, nn.Identity):
        return "float activations: their sums are no integers"
    return "not among the packed network's 1-bit layers"
