"""What all binary layers share: the order of steps, and how a float layer becomes one."""

from __future__ import annotations

import copy
import inspect
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.nn.utils import parametrize

from bnn.config import BConfig, Binarizer
from bnn.errors import ConfigError
from bnn.layers.compact import compact_forward, note_post_process
from bnn.layers.kept import kept_factors
from bnn.layers.levels import Factors, gives_factors, input_factors, product_of_levels
from bnn.layers.product import Product
from bnn.layers.recompute import is_recomputing
from bnn.ops.base import BinarizerFactory, WeightBinarizer, constructor_parameters

STAGES = ("activation_pre_process", "activation_post_process", "weight_pre_process")

Layer = TypeVar("Layer", bound="BinaryLayer")


class BinaryLayer(nn.Module):
    """Mixin that makes a float layer binary; it stands before the float class in the bases.

    A subclass names its float class and writes :meth:`_compute`. ``weight`` stays the latent
    float weight that the optimizer sees.

    Attributes:
        compact: Whether training keeps bits in the place of floats; None, the default, leaves it
            to :func:`bnn.layers.set_compact`.
        bconfig: What the stages below were built from.
        activation_pre_process: Module applied to the input.
        activation_post_process: Module applied to (output, input).
        weight_pre_process: Module applied to the latent weight.

    Example:
        >>> class SwappedLinear(BinaryLayer, nn.Linear):
        ...     def _compute(self, x, weight, bias):
        ...         return nn.functional.linear(x.flip(-1), weight, bias)
        >>> SwappedLinear(4, 2, bconfig=BConfig())(torch.zeros(3, 4)).shape
        torch.Size([3, 2])
    """

    compact: bool | None = None
    bconfig: BConfig
    activation_pre_process: nn.Module
    activation_post_process: nn.Module
    weight_pre_process: nn.Module
    weight: Tensor
    bias: Any  # a Parameter or None; nn.Linear and nn.Conv2d declare it differently

    def __init__(self, *args: Any, bconfig: BConfig, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._build_stages(bconfig)

    def forward(self, input: Tensor, *args: Any, **kwargs: Any) -> Tensor:  # noqa: A002 - as in nn
        """Run the stages around the float layer's own computation; its shapes are the same."""
        out = None if kwargs else compact_forward(self, input, args)
        if out is None:
            out = self._plain_forward(input, *args, **kwargs)
            return self.activation_post_process(out, input)  # type: ignore[no-any-return]
        result: Tensor = self.activation_post_process(out, input)
        if is_recomputing():
            note_post_process(self.activation_post_process, result, out, input)
        return result

    def _plain_forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Compute what comes before the post process with torch's own operations."""
        return self._of_levels(self._input_factors(x), *args, **kwargs)

    def _of_levels(self, levels: Factors, *args: Any, **kwargs: Any) -> Tensor:
        """Compute likewise, for an input that is binarized."""
        binarizer = self.weight_pre_process
        if isinstance(binarizer, nn.Identity):
            return self._compute(
                levels.integers, binarizer(self.weight), self.bias, *args, **kwargs
            )
        weight = kept_factors(self, binarizer, self.weight, self._factors)
        if levels.are_plain and weight.offset is None:
            out = self._compute(levels.integers, weight.integers, None, *args, **kwargs)
            return _affine(out, weight.scale, self.bias, spatial=weight.integers.dim() - 2)
        return product_of_levels(self, levels, weight, *args, **kwargs)

    def _input_factors(self, x: Tensor) -> Factors:
        """Return the binarized input; beside float weights, all of it is in the first factor."""
        if isinstance(self.weight_pre_process, nn.Identity):
            return Factors(self.activation_pre_process(x))
        return input_factors(self.activation_pre_process, x)

    def _factors(self) -> Factors:
        """Return the binarized weight, and the scale and offset that are left for the output."""
        binarizer = self.weight_pre_process
        if gives_factors(binarizer, WeightBinarizer):
            return Factors(*binarizer(self.weight, factors=True))
        return Factors(binarizer(self.weight))

    def _compute(
        self, x: Tensor, weight: Tensor, bias: Tensor | None, *args: Any, **kwargs: Any
    ) -> Tensor:
        """Do what the float layer does, with this weight and bias in the place of its own."""
        raise NotImplementedError

    def _product(self, x: Tensor, *args: Any) -> Product | None:  # noqa: ARG002
        """Return what :meth:`_compute` does, or None where it is none of the known products.

        A subclass that writes a :meth:`_compute` of its own has none, unless it says so here.
        """
        return None

    @classmethod
    def from_module(
        cls: type[Layer], mod: nn.Module, bconfig: BConfig | None = None, update: bool = True
    ) -> Layer:
        """Make a binary layer that shares all state of ``mod``: parameters, buffers, hooks.

        ``mod`` may be a float layer, a subclass of one that keeps its ``forward``, or a binary
        layer. The result is an instance of ``mod``'s own class too, where that is a subclass.

        Args:
            mod: The layer to convert; it is not changed.
            bconfig: The stages. Default: ``mod.bconfig``.
            update: Keep what an already binary ``mod`` has learnt: a stage whose configuration is
                the same is kept as it is, and one that differs takes over the parameters and
                buffers that match in name and shape. False builds all stages afresh.

        Raises:
            ConfigError: If ``mod`` is of another kind, there is no ``bconfig``, or a stage cannot
                be built.

        Example:
            >>> from bnn.layers import Linear
            >>> from bnn.ops import BasicInputBinarizer
            >>> layer = Linear.from_module(nn.Linear(4, 2), BConfig(BasicInputBinarizer))
            >>> layer.activation_pre_process
            BasicInputBinarizer()
        """
        bconfig = getattr(mod, "bconfig", None) if bconfig is None else bconfig
        if bconfig is None:
            raise ConfigError(
                f"{cls.__name__}.from_module: no bconfig was given, and the {type(mod).__name__} "
                "has no attribute bconfig. Pass bconfig=BConfig(...)."
            )
        float_cls = cls.float_class()
        if not isinstance(mod, float_cls):
            raise ConfigError(
                f"{cls.__name__}.from_module got a {type(mod).__name__}; it converts "
                f"{float_cls.__name__} and its subclasses."
            )
        layer: Layer = _same_state(mod, _binary_class(cls, mod))
        layer._build_stages(bconfig, mod if update and isinstance(mod, BinaryLayer) else None)
        return layer

    @classmethod
    def float_class(cls) -> type[nn.Module]:
        """Return the float layer's class that this one derives from."""
        return next(
            base
            for base in cls.__mro__
            if not issubclass(base, BinaryLayer) and issubclass(base, nn.Module)
        )

    def _build_stages(self, bconfig: BConfig, previous: BinaryLayer | None = None) -> None:
        if not isinstance(bconfig, BConfig):
            raise ConfigError(f"bconfig must be a BConfig, got {bconfig!r}.")
        self.bconfig = bconfig
        for stage in STAGES:
            factory = getattr(bconfig, stage)
            if previous is not None and getattr(previous.bconfig, stage) == factory:
                continue  # shared with `previous`, learnt state and all
            module = _build(factory, self, stage)
            if previous is not None:
                _take_over(module, getattr(previous, stage))
            self._modules[stage] = module

    def _rebuild_stages(self) -> None:
        """Build the stages again after the layer's geometry has changed; keep what they learnt."""
        for stage in STAGES:
            module = _build(getattr(self.bconfig, stage), self, stage)
            _take_over(module, getattr(self, stage))
            setattr(self, stage, module)

    def __reduce_ex__(self, protocol: Any) -> Any:
        made_of = type(self).__dict__.get("_made_of")
        if made_of is None:
            return super().__reduce_ex__(protocol)
        # A class made at run time has no name to be found by; what it was made of has.
        return _new_mixed, made_of, self.__getstate__()


def _affine(out: Tensor, scale: Tensor | None, bias: Tensor | None, spatial: int) -> Tensor:
    """Return ``out * scale + bias`` per channel, in ``out``'s dtype, batched or not."""
    shape = (-1,) + (1,) * spatial
    if scale is not None:
        out = out * _as(scale, out).view(shape)
    if bias is not None:
        out = out + _as(bias, out).view(shape)
    return out


def _as(tensor: Tensor, other: Tensor) -> Tensor:
    """Return ``tensor`` in ``other``'s dtype; exported graphs stay clean where it has it."""
    return tensor if tensor.dtype == other.dtype else tensor.to(other.dtype)


def _new_mixed(binary: type[BinaryLayer], own: type[nn.Module]) -> BinaryLayer:
    cls: Any = _mixed_class(binary, own)
    return cls.__new__(cls)  # type: ignore[no-any-return]


def _same_state(mod: nn.Module, cls: Any) -> Any:
    """Return a new module of class ``cls`` that shares what ``mod`` holds.

    Hook tables are shared as they are, so that handles the caller has keep working.
    """
    new = cls.__new__(cls)
    new.__dict__.update(mod.__dict__)
    for table in ("_parameters", "_buffers", "_modules"):
        new.__dict__[table] = copy.copy(mod.__dict__[table])
    return new


def _binary_class(cls: type[Layer], mod: nn.Module) -> type[Layer]:
    """Return the class that ``mod`` has once it is a ``cls``."""
    own = type(mod)
    if not parametrize.is_parametrized(mod):
        return _mixed_class(cls, own)
    # torch.nn.utils.parametrize gave this one module a class of its own, whose properties compute
    # the parameters. They go on top of the binary class: remove_parametrizations looks there.
    skip = ("__dict__", "__weakref__", "__doc__")
    body = {key: value for key, value in vars(own).items() if key not in skip}
    return type(own.__name__, (_mixed_class(cls, own.__bases__[0]),), body)


def _mixed_class(binary: type[Layer], own: type[nn.Module]) -> type[Layer]:
    """Return ``own`` with the steps of ``binary``: its methods and isinstance stay."""
    if issubclass(binary, own):  # the float class itself, or a binary class above `binary`
        return binary
    if issubclass(own, binary):
        return own
    if (binary, own) not in _MIXED:
        body = {"_made_of": (binary, own), "__module__": own.__module__}
        _MIXED[binary, own] = type(f"Binary{own.__name__}", (binary, own), body)
    return _MIXED[binary, own]  # type: ignore[no-any-return]


_MIXED: dict[tuple[type, type], Any] = {}  # one class for each pair, so that types compare equal


def _build(factory: Binarizer, layer: BinaryLayer, stage: str) -> nn.Module:
    """Build one stage, in the layer's training mode, device and dtype."""
    if torch.is_inference_mode_enabled():  # what is made in it can never be trained
        with torch.inference_mode(mode=False):
            return _build(factory, layer, stage)
    try:
        arguments, keywords = _arguments(factory, layer)
        module = factory(*arguments, **keywords)
    except Exception as error:
        raise ConfigError(
            f"{stage}: {_name(factory)} could not be built for a {type(layer).__name__}: {error}"
        ) from error
    if not isinstance(module, nn.Module):
        raise ConfigError(
            f"{stage}: {_name(factory)} built a {type(module).__name__}, not an nn.Module."
        )
    if getattr(module, "stage", "value") == "output" and stage != "activation_post_process":
        raise ConfigError(
            f"{stage}: {_name(factory)} takes (layer output, layer input); it is an "
            "activation_post_process."
        )
    operand = _operand(module)
    if operand is not None and stage != f"{operand}_pre_process":
        raise ConfigError(
            f"{stage}: {_name(factory)} binarizes the layer's {operand}; give it as "
            f"{operand}_pre_process."
        )
    if not _lies_with(module, layer.weight):
        module.to(device=layer.weight.device, dtype=layer.weight.dtype)
    return module if layer.training else module.eval()


def _operand(module: nn.Module) -> str | None:
    """Return the one operand that a binarizer is made for, as the stages are named, or None."""
    return {"input": "activation", "weight": "weight"}.get(getattr(module, "operand", "any"))


def _lies_with(module: nn.Module, weight: Tensor) -> bool:
    """Say whether all state is where ``weight`` is: Module.to costs 40 us even then."""
    if not (module._parameters or module._buffers or module._modules):
        return True
    return all(
        tensor is None or (tensor.device == weight.device and tensor.dtype == weight.dtype)
        for part in module.modules()
        for tensor in (*part._parameters.values(), *part._buffers.values())
    )


def _name(factory: Binarizer) -> str:
    return getattr(factory, "__name__", repr(factory))


def _arguments(factory: Binarizer, layer: BinaryLayer) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return what to call the factory with: the layer, if it takes one, else nothing."""
    if isinstance(factory, BinarizerFactory):
        parameters, given = constructor_parameters(factory.cls), factory.kwargs
    elif isinstance(factory, type):
        parameters, given = constructor_parameters(factory), {}
    else:
        parameters, given = inspect.signature(factory).parameters, {}
    if "module" in parameters and parameters["module"].kind is not inspect.Parameter.VAR_KEYWORD:
        if parameters["module"].kind is inspect.Parameter.POSITIONAL_ONLY:
            return (layer,), {}
        return (), {} if "module" in given else {"module": layer}
    required = any(
        p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
        for name, p in parameters.items()
        if name not in given
    )
    return ((layer,) if required else ()), {}


def _take_over(module: nn.Module, previous: nn.Module) -> None:
    """Give ``module`` the state of ``previous`` that has the same name and shape.

    Parameters are shared, not copied, so that an optimizer that holds them stays valid. Buffers
    outside the state dict are derived from the layer, so the new ones are right.
    """
    fresh = module.state_dict(keep_vars=True)
    for name, old in previous.state_dict(keep_vars=True).items():
        new = fresh.get(name)
        if not (isinstance(new, Tensor) and isinstance(old, Tensor)):
            continue
        if is_lazy(new) or new.shape != old.shape:
            continue
        if isinstance(new, nn.Parameter) and isinstance(old, nn.Parameter):
            path, _, leaf = name.rpartition(".")
            setattr(module.get_submodule(path), leaf, old)
        else:
            with torch.no_grad():
                new.copy_(old)
