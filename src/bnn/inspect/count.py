"""Count operations, parameters and bytes of a network by precision, on a real input."""

from __future__ import annotations

import copy
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from bnn.errors import ConfigError
from bnn.inspect.isolation import evaluated
from bnn.inspect.measure import Precision, Recorder, Tally, tensors_in
from bnn.inspect.ownership import Share, shares
from bnn.ops.base import BinarizerBase


class _Costs:
    """What follows from the counts, of a layer as of a network."""

    binary_params: int
    float_params: int
    float_bytes: int
    packed_bytes: int
    stored_params: int
    fused_params: int
    fused_bytes: int
    binary_macs: int
    weight_only_macs: int
    float_macs: int

    @property
    def params(self) -> int:
        """Parameters; tied ones once, at the first layer that has them. Buffers do not count."""
        return self.binary_params + self.float_params

    @property
    def macs(self) -> int:
        """Multiply-accumulates of all precisions."""
        return self.binary_macs + self.weight_only_macs + self.float_macs

    @property
    def flops(self) -> int:
        """Two for each float or weight-only MAC: a 1-bit weight leaves a float sum to do."""
        return 2 * (self.float_macs + self.weight_only_macs)

    @property
    def bops(self) -> int:
        """Two for each binary MAC: the xor and the count of its bit."""
        return 2 * self.binary_macs

    @property
    def ops(self) -> float:
        """Float and weight-only MACs + binary MACs / 64, as the literature compares networks."""
        return self.float_macs + self.weight_only_macs + self.binary_macs / 64

    @property
    def compression(self) -> float:
        """How many times smaller the packed parameters are."""
        return self.float_bytes / self.packed_bytes if self.packed_bytes else 1.0

    @property
    def binary_share(self) -> float:
        """The part of all MACs that is binary, 0 to 1."""
        return self.binary_macs / self.macs if self.macs else 0.0


_DERIVED = ("params", "macs", "flops", "bops", "ops", "compression", "binary_share")


@dataclass(frozen=True, kw_only=True)
class LayerCount(_Costs):
    """The costs of one layer, over all its calls.

    Args:
        name: As in ``model.named_modules()``; of a layer used twice, the first.
        kind: Name of its class.
        calls: How often it was called.
        precision: ``"binary"``: both operands hold one bit. ``"weight-only"``: the weight alone.
            ``"float"``: all other computations, also with a binary input. None: computes no MACs.
            Where calls differ, the least binary.
        input_bits: Bits of one entry of the input that it computes with; the most of all calls. An
            input that a stage rounds to at most 16 values has that many bits: 2 for 4 values.
        output_shape: Of the first call; of several outputs, the first.
        binary_params: Weights that are binary in the computation, each stored as one bit.
        float_params: All others.
        trainable_params: Those of both that need a gradient.
        float_bytes: Bytes of all parameters as they are, each in its own dtype.
        packed_bytes: Bytes with one bit for each binary weight, rounded up to whole bytes.
        stored_params: Parameters and all other numbers of the state dict, as Keras counts: a batch
            norm has 4 for each channel.
        fused_params: The same with 2 for each channel of a batch norm, whatever it learns: the
            scale and shift that are left of it once its statistics are fixed.
        fused_bytes: Bytes of these, one bit for each binary weight and 4 for each other number.
        binary_macs: 1-bit weight times 1-bit input.
        weight_only_macs: 1-bit weight times float input.
        float_macs: All others.
        positive_share: Of the entries of the binarized input, the part that is positive, before
            padding. None if the input is not binary. 0 or 1 means that it carries no information.
    """

    name: str
    kind: str
    calls: int
    precision: Precision | None
    input_bits: int | None
    output_shape: tuple[int, ...] | None
    binary_params: int
    float_params: int
    trainable_params: int
    float_bytes: int
    packed_bytes: int
    stored_params: int
    fused_params: int
    fused_bytes: int
    binary_macs: int
    weight_only_macs: int
    float_macs: int
    positive_share: float | None

    def as_dict(self) -> dict[str, object]:
        """Return all counts, and what follows from them, as plain values for JSON."""
        shape = None if self.output_shape is None else list(self.output_shape)
        return {**asdict(self), "output_shape": shape, **_derived(self)}


_SUMMED = (
    "binary_params",
    "float_params",
    "trainable_params",
    "float_bytes",
    "packed_bytes",
    "stored_params",
    "fused_params",
    "fused_bytes",
    "binary_macs",
    "weight_only_macs",
    "float_macs",
)


@dataclass(frozen=True, kw_only=True, repr=False)
class OpsCount(_Costs):
    """The costs of a network: the sums of its layers'.

    Args:
        model: Name of the network's class.
        per_layer: All modules that hold numbers or compute, in the order of the model's modules.

    Example:
        >>> count_ops(nn.Linear(3, 4), torch.ones(2, 3))
        <OpsCount of Linear: 16 parameters, 0 1-bit; 24 MACs, 0 1-bit; 64 bytes packed>
    """

    model: str
    per_layer: tuple[LayerCount, ...]
    binary_params: int
    float_params: int
    trainable_params: int
    float_bytes: int
    packed_bytes: int
    stored_params: int
    fused_params: int
    fused_bytes: int
    binary_macs: int
    weight_only_macs: int
    float_macs: int

    @property
    def one_sided(self) -> tuple[LayerCount, ...]:
        """The layers whose binarized input has one sign only, so that they cannot work."""
        return tuple(layer for layer in self.per_layer if layer.positive_share in (0.0, 1.0))

    @property
    def macs_by_bits(self) -> dict[int, int]:
        """The MACs by the bits of the wider operand: 1 of a binary layer, 32 of a float one."""
        found: dict[int, int] = {}
        for layer in self.per_layer:
            bits = layer.input_bits or 32
            for width, macs in (
                (1, layer.binary_macs),
                (bits, layer.weight_only_macs),
                (max(bits, 32), layer.float_macs),
            ):
                if macs:
                    found[width] = found.get(width, 0) + macs
        return dict(sorted(found.items()))

    @property
    def unused(self) -> tuple[LayerCount, ...]:
        """The layers that were not called: their parameters count, their MACs are 0."""
        return tuple(layer for layer in self.per_layer if not layer.calls and not layer.macs)

    def __repr__(self) -> str:
        return (
            f"<OpsCount of {self.model}: {self.params:,} parameters, {self.binary_params:,} 1-bit; "
            f"{self.macs:,} MACs, {self.binary_macs:,} 1-bit; {self.packed_bytes:,} bytes packed>"
        )

    def as_dict(self) -> dict[str, object]:
        """Return totals and layers as plain values for JSON."""
        totals = {name: getattr(self, name) for name in _SUMMED}
        layers = [layer.as_dict() for layer in self.per_layer]
        return {"model": self.model, **totals, **_derived(self), "layers": layers}


def count_ops(model: nn.Module, input: Tensor | tuple[object, ...]) -> OpsCount:  # noqa: A002 - the issue's name
    """Count the operations, parameters and bytes of a model by precision.

    The model runs once, in evaluation mode, without gradients, and is left as it was. What is
    binary is decided on the values that each layer computes with, so give an input that looks like
    data: a constant one can make a float value look binary.

    MACs are those of the whole input, all its N samples, and of every call of a layer. Those of a
    convolution are output elements x filter size, taps on the padding included; a transposed
    convolution's are input elements x filter size. A product outside of a layer (attention,
    ``x @ y`` in a forward) counts as float, for the module whose forward has it.

    Bytes are those of parameters: a batch norm has 2 vectors, its statistics are buffers (but see
    ``stored_params`` and ``fused_params``, by which the literature's two conventions count). Scales
    that follow from a binary weight (XNOR-Net's alpha) belong to the weight and do not count;
    learnt ones do.

    Args:
        model: Any module, on any real device.
        input: The argument of the model, or a tuple of its arguments.

    Returns:
        Totals, and ``per_layer``.

    Raises:
        ConfigError: If ``input`` holds no tensor; if values are missing, because the model has lazy
            layers, or model or input is on the meta device; if the model has TorchScript parts,
            into which nothing can look.

    Example:
        >>> from bnn import BConfig
        >>> from bnn.layers import Linear
        >>> from bnn.ops import BasicInputBinarizer, XNORWeightBinarizer
        >>> config = BConfig(BasicInputBinarizer, weight_pre_process=XNORWeightBinarizer)
        >>> model = nn.Sequential(nn.Linear(8, 64), Linear(64, 10, bconfig=config))
        >>> count = count_ops(model, torch.randn(1, 8))
        >>> count.binary_macs, count.float_macs, count.ops
        (640, 512, 522.0)
        >>> [(layer.name, layer.precision) for layer in count.per_layer]
        [('0', 'float'), ('1', 'binary')]
    """
    model = getattr(model, "_orig_mod", model)  # what torch.compile has wrapped
    arguments = _checked_arguments(model, input)
    model = _sized(model, arguments)
    recorder = Recorder(model)
    with evaluated(model, tensors_in(arguments)), recorder.watching():
        model(*arguments)
    with evaluated(model, ()):  # a weight that was not computed with is asked for here
        parts = shares(model, recorder.tallies)
    layers = tuple(
        _layer_count(name, module, recorder.tallies[module], share)
        for name, module, share in parts
        if share.stored or share.float_macs or recorder.tallies[module].precision
    )
    return OpsCount(
        model=type(model).__name__,
        per_layer=layers,
        **{name: sum(getattr(layer, name) for layer in layers) for name in _SUMMED},
    )


def _sized(model: nn.Module, arguments: tuple[object, ...]) -> nn.Module:
    """Return the model or, where a binarizer has yet to see an output, a copy that has seen one."""
    if not any(map(is_lazy, model.parameters())):
        return model
    model = copy.deepcopy(model)
    with evaluated(model, tensors_in(arguments)):
        model(*arguments)
    return model


def _layer_count(name: str, module: nn.Module, tally: Tally, share: Share) -> LayerCount:
    return LayerCount(
        name=name,
        kind=type(module).__name__,
        calls=tally.calls,
        precision=tally.precision,
        input_bits=tally.input_bits,
        output_shape=tally.output_shape,
        binary_params=share.binary_params,
        float_params=share.float_params,
        trainable_params=share.trainable_params,
        float_bytes=share.float_bytes,
        packed_bytes=share.packed_bytes,
        stored_params=share.stored,
        fused_params=share.stored - share.norm_excess,
        fused_bytes=share.fused_bytes,
        binary_macs=tally.binary_macs,
        weight_only_macs=tally.weight_only_macs,
        float_macs=share.float_macs,
        positive_share=tally.positive / tally.signs if tally.signs else None,
    )


def _derived(costs: _Costs) -> dict[str, object]:
    return {name: getattr(costs, name) for name in _DERIVED}


def _checked_arguments(model: nn.Module, given: Tensor | tuple[object, ...]) -> tuple[object, ...]:
    """Return the model's arguments, refusing what cannot be counted on."""
    if not isinstance(model, nn.Module):
        raise ConfigError(f"count_ops got a {type(model).__name__} as model, not an nn.Module.")
    arguments = (given,) if isinstance(given, Tensor) else given
    if not isinstance(arguments, tuple) or not list(tensors_in(arguments)):
        raise ConfigError(
            f"input is {given!r}, without a tensor. Give a tensor like the model's data, for "
            "example torch.randn(1, 3, 224, 224), or a tuple of the model's arguments."
        )
    for name, module in model.named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            raise ConfigError(
                f"{name or 'the model'} is TorchScript, into which count_ops cannot look. "
                "Count the model before it is scripted or traced."
            )
    for prefix, module in model.named_modules():
        if isinstance(module, BinarizerBase):
            continue  # its scales take their size from the layer's output
        state = (*module.named_parameters(prefix, False), *module.named_buffers(prefix, False))
        for name, tensor in state:
            if is_lazy(tensor):
                raise ConfigError(
                    f"{name} has no shape yet: the layer is lazy. Run the model once, then count."
                )
    if any(t.is_meta for t in (*model.parameters(), *model.buffers(), *tensors_in(arguments))):
        raise ConfigError(
            "the model or its input is on the meta device, which holds no values, and values say "
            "what is binary. Move both to a real device: model.to_empty(device='cpu'), then "
            "initialize."
        )
    return arguments
