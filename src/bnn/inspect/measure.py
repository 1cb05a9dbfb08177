"""Run a model once and note, for each module, what it computed and with which values."""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch.nn.utils import parametrize
from torch.utils.flop_counter import FlopCounterMode

from bnn.inspect.binary import is_binary_input, is_binary_weight, value_bits
from bnn.layers.base import BinaryLayer

Precision = Literal["binary", "weight-only", "float"]


@dataclass
class Tally:
    """What one module did, over all its calls."""

    calls: int = 0
    output_shape: tuple[int, ...] | None = None
    input_bits: int | None = None
    binary_macs: int = 0
    weight_only_macs: int = 0
    float_macs: int = 0
    precision: Precision | None = None  # the least binary of all calls
    weight_is_binary: bool | None = None  # None: the weight was never computed with
    positive: int = 0  # of the binarized inputs, how many entries are +s ...
    signs: int = 0  # ... out of how many

    def note(self, precision: Precision, input_bits: int | None) -> None:
        """Keep the least binary precision, and the widest input, of all calls."""
        self.precision = max(precision, self.precision, key=_SEVERITY.__getitem__)
        if input_bits is not None:
            self.input_bits = max(input_bits, self.input_bits or 0)

    def add_binary_layer(
        self, x: Tensor, macs: int, input_bits: int, one_bit_input: bool, one_bit_weight: bool
    ) -> None:
        """Add one computation of a binary layer, of which ``x`` is the (binarized) input."""
        self.weight_is_binary = one_bit_weight and self.weight_is_binary is not False
        if one_bit_input:
            self.positive += int((x > 0).sum())
            self.signs += x.numel()
        if not one_bit_weight:
            self.float_macs += macs
            self.note("float", input_bits)
        elif one_bit_input:
            self.binary_macs += macs
            self.note("binary", input_bits)
        else:
            self.weight_only_macs += macs
            self.note("weight-only", input_bits)


@dataclass
class _Call:
    """One running call: the operations of the calls inside it are not its own."""

    module: nn.Module
    x: Tensor | None
    start: int
    inside: int = 0


class Recorder:
    """Keeps one :class:`Tally` for each module while :meth:`watching`.

    Operations are those that torch's own FlopCounterMode sees, so functional ones (attention, a
    matrix product in somebody's forward) are not lost: they belong to the module whose forward
    contains them. Where it sees none (it has no formula for a linear layer's unbatched input in
    some versions), a layer's own formula stands in.
    """

    def __init__(self, model: nn.Module) -> None:
        self.tallies = {module: Tally() for module in model.modules()}
        self._free = _of_weights_only(model)
        self._flops = FlopCounterMode(display=False, custom_mapping=_MISSING_FORMULAS)
        self._calls: list[_Call] = []

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Watch all calls of the model's modules; afterwards no hook is left."""
        with contextlib.ExitStack() as stack:
            for module in self.tallies:
                pre = module.register_forward_pre_hook(self._enter, with_kwargs=True)
                post = module.register_forward_hook(self._leave, with_kwargs=True)
                stack.callback(pre.remove)
                stack.callback(post.remove)
                if isinstance(module, BinaryLayer):
                    stack.enter_context(_replaced(module, "_compute", self._compute))
            # torch's fused transformer kernels read weights past the layers that hold them.
            fused = torch.backends.mha.get_fastpath_enabled()
            stack.callback(torch.backends.mha.set_fastpath_enabled, fused)
            torch.backends.mha.set_fastpath_enabled(False)
            stack.enter_context(self._flops)
            yield

    def _enter(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        x = next(tensors_in((args, kwargs)), None)
        self._calls.append(_Call(module, x, self._flops.get_total_flops()))

    def _leave(
        self, module: nn.Module, _args: tuple[Any, ...], _kwargs: dict[str, Any], out: Any
    ) -> None:
        while self._calls:  # more than one only if a module's exception was caught in the model
            call = self._calls.pop()
            self._account(call, out if call.module is module else None)
            if call.module is module:
                break
        tally = self.tallies[module]
        tally.calls += 1
        if tally.output_shape is None:
            first = next(tensors_in(out), None)
            tally.output_shape = None if first is None else tuple(first.shape)

    def _account(self, call: _Call, out: Any) -> None:
        total = self._flops.get_total_flops() - call.start
        if self._calls:
            self._calls[-1].inside += total
        if call.module in self._free:
            return
        tally = self.tallies[call.module]
        own = total - call.inside
        binary = isinstance(call.module, BinaryLayer)  # _compute has dealt with its operands
        if not own and not binary:
            own = 2 * _formula(call.module, call.x, out)
        tally.float_macs += own // 2
        if own and not binary:
            tally.note("float", None if call.x is None else 8 * call.x.element_size())

    def _compute(
        self,
        layer: BinaryLayer,
        compute: Callable[..., Tensor],
        x: Tensor,
        weight: Tensor,
        *args: Any,
        **kwargs: Any,
    ) -> Tensor:
        """Stand in for ``layer._compute``, the one place that has both operands."""
        start = self._flops.get_total_flops()
        out = compute(x, weight, *args, **kwargs)
        flops = self._flops.get_total_flops() - start
        before = None
        if self._calls:
            call = self._calls[-1]
            call.inside += flops
            before = call.x if call.module is layer else None
        macs = flops // 2 if flops else _formula(layer, x, out)
        one_bit_input = is_binary_input(x, before, layer.activation_pre_process)
        one_bit_weight = is_binary_weight(weight, layer)
        bits = 1 if one_bit_input else value_bits(x, layer.activation_pre_process)
        self.tallies[layer].add_binary_layer(x, macs, bits, one_bit_input, one_bit_weight)
        return out


_SEVERITY: dict[Precision | None, int] = {None: 0, "binary": 1, "weight-only": 2, "float": 3}


@contextlib.contextmanager
def _replaced(module: nn.Module, name: str, method: Callable[..., Any]) -> Iterator[None]:
    """Let ``method(module, original, ...)`` run in the place of a module's method."""
    own = module.__dict__.get(name)
    module.__dict__[name] = functools.partial(method, module, getattr(module, name))
    try:
        yield
    finally:
        del module.__dict__[name]
        if own is not None:
            module.__dict__[name] = own


def _of_weights_only(model: nn.Module) -> set[nn.Module]:
    """Return the modules that compute weights: their result is a constant once deployed."""
    roots: list[nn.Module] = []
    for module in model.modules():
        if isinstance(module, BinaryLayer):
            roots.append(module.weight_pre_process)
        if parametrize.is_parametrized(module):
            roots.append(cast(nn.Module, module.parametrizations))
    return {part for root in roots for part in root.modules()}


def _formula(module: nn.Module, x: Tensor | None, out: Any) -> int:
    """Return the MACs of one call: those of one filter at each place that it is applied to."""
    if not isinstance(module, (nn.Linear, nn.Bilinear, _ConvNd)):
        return 0
    places = x if isinstance(module, _ConvTransposeNd) else out
    filter_size = math.prod(module.weight.shape[1:])
    return places.numel() * filter_size if isinstance(places, Tensor) else 0


def tensors_in(value: object) -> Iterator[Tensor]:
    """Yield the tensors in what a module takes or returns, however nested."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        yield from tensors_in(tuple(value.values()))
    elif isinstance(value, (tuple, list)):
        for part in value:
            yield from tensors_in(part)


_Shape = tuple[int, ...]


def _rnn_flops(x: _Shape, w_input: _Shape, w_hidden: _Shape, *_: object, **__: object) -> int:
    return 2 * x[0] * x[1] * (math.prod(w_input) + math.prod(w_hidden))


def _attention_flops(q: _Shape, k: _Shape, v: _Shape, *_: object, **__: object) -> int:
    batch, heads, queries, width = q
    return 2 * batch * heads * queries * k[2] * (width + v[3])


# CPU kernels that torch's flop counter (2.6 to 2.13) takes for free; shapes come in for tensors.
_MISSING_FORMULAS: dict[object, Callable[..., int]] = {
    torch.ops.aten.mkldnn_rnn_layer: _rnn_flops,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops,
}
