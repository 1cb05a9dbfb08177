"""From a model to the graph, by torch.fx (docs/decisions/0016)."""

from __future__ import annotations

import inspect
import operator
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor, fx, nn
from torch.nn.utils import parametrize

from bnn.errors import PackedError
from bnn.layers import BinaryLayer
from bnn.packed.graph import Graph, Node, ValueRef
from bnn.packed.lower.binary import lower_binary
from bnn.packed.lower.builder import Builder, Size, Untranslated
from bnn.packed.lower.functions import FUNCTIONS, METHODS, Shape
from bnn.packed.lower.modules import MODULES


class UntraceableError(Exception):
    """torch.fx cannot follow the model."""


@dataclass
class Lowered:
    """What translation gave.

    Attributes:
        graph: The graph, not yet fused.
        example: Value -> a meta tensor of the shape that it has for the example.
        binary: Names of the binary layers that were translated.
        emulated: Names of the binary layers that were not -> why.
        opaque: Names of other parts that are run as they were -> what they are, and why.
    """

    graph: Graph
    example: dict[int, Any]
    binary: list[str] = field(default_factory=list)
    emulated: dict[str, str] = field(default_factory=dict)
    opaque: dict[str, str] = field(default_factory=dict)


_AUGMENTED = (
    *("iadd", "iand", "ifloordiv", "ilshift", "imatmul", "imod", "imul", "ior", "ipow"),
    *("irshift", "isub", "itruediv", "ixor"),
)
_ASSIGNING = {getattr(operator, name) for name in (*_AUGMENTED, "setitem")}


class _Proxy(fx.Proxy):
    """Records ``y += 1`` as a change of y, which torch.fx takes for ``y = y + 1``."""


def _augmented(function: Any) -> Any:
    def method(self: fx.Proxy, other: Any) -> fx.Proxy:
        return self.tracer.create_proxy("call_function", function, (self, other), {})

    return method


for _name in _AUGMENTED:
    setattr(_Proxy, f"__{_name}__", _augmented(getattr(operator, _name)))


class _Tracer(fx.Tracer):
    """Stops at modules that are translated as one, or that have hooks, which only a call runs."""

    def proxy(self, node: fx.Node) -> fx.Proxy:
        return _Proxy(node, self)

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        if isinstance(m, BinaryLayer) or type(m) in MODULES or is_hooked(m):
            return True
        return super().is_leaf_module(m, module_qualified_name)


def is_hooked(module: nn.Module) -> bool:
    """Say whether a call of a module does more than its class says: only the call itself does it.

    Of a binary layer, its stages count too.
    """
    parts = module.modules() if isinstance(module, BinaryLayer) else (module,)
    return any(
        part._forward_hooks
        or part._forward_pre_hooks
        or parametrize.is_parametrized(part)
        or "forward" in vars(part)
        for part in parts
    )


def trace(model: nn.Module, example: Sequence[Tensor]) -> Lowered:
    """Return the graph of a model in evaluation mode.

    Args:
        model: Nothing of it is kept but what runs as it was, and it is not changed.
        example: Its inputs.

    Raises:
        UntraceableError: If torch.fx cannot follow it.
    """
    if is_hooked(model):
        raise UntraceableError("the model itself has hooks or a parametrization")
    tracer = _Tracer()
    try:
        traced = fx.GraphModule(model, tracer.trace(model))
    except Exception as error:  # control flow on data, and whatever else the model's code does
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise UntraceableError(reason) from error
    return _Translation(traced, example).translate()


def whole(model: nn.Module, inputs: int) -> Graph:
    """Return a graph of one opaque node, which calls the model."""
    values = list(range(inputs))
    call = _Call(model, tuple(ValueRef(value) for value in values), {})
    node = Node("opaque", values, [inputs], name="model", call=call)
    return Graph(values, [node], ValueRef(inputs), inputs + 1)


class _Translation(fx.Interpreter):
    """Runs the model on the example, and translates each step as it goes."""

    def __init__(self, traced: fx.GraphModule, example: Sequence[Tensor]) -> None:
        super().__init__(traced)
        self.extra_traceback = False  # it adds torch.fx's words to our errors
        self._example = example
        self._builder = Builder()
        self._references: dict[fx.Node, Any] = {}
        self._lowered = Lowered(self._builder.graph, self._builder.example)

    def translate(self) -> Lowered:
        """Return the graph, and what was not translated."""
        with torch.no_grad():
            self.run(*self._example)
        return self._lowered

    def run_node(self, n: fx.Node) -> Any:
        """Run a step, then translate it."""
        try:
            result = super().run_node(n)
        except Exception as error:
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            raise PackedError(f"pack: the model does not run on the example: {reason}") from error
        if n.op == "output":
            self._builder.graph.output = _plain(fx.node.map_arg(n.args[0], cast(Any, self._value)))
        else:
            self._references[n] = self._reference(n, result)
        return result

    def _value(self, n: fx.Node) -> ValueRef:
        reference = self._references[n]
        if not isinstance(reference, ValueRef):
            raise UntraceableError(f"it returns {n}, which is no tensor")
        return reference

    def _reference(self, n: fx.Node, result: Any) -> Any:
        builder = self._builder
        args = fx.node.map_arg(n.args, self._references.__getitem__)
        kwargs = fx.node.map_arg(n.kwargs, self._references.__getitem__)
        builder.layer = ""
        if n.op == "placeholder":
            return self._input(n, result)
        if n.op == "get_attr":
            return self._constant(n, result)
        if n.op == "call_module":
            builder.layer = str(n.target)
        try:
            reference = self._translated(n, args, kwargs)
        # A call that the table knows, with arguments that its translator does not.
        except (Untranslated, TypeError, AttributeError, ValueError, IndexError) as error:
            why = next(iter(str(error).splitlines()), type(error).__name__)
            return self._opaque(n, args, kwargs, result, why)
        self._changes_in_place(n, args, reference)
        return reference

    def _input(self, n: fx.Node, result: Any) -> ValueRef:
        if not isinstance(result, Tensor) or result.dtype != torch.float32:
            raise UntraceableError(f"its input {n} is no float32 tensor")
        return self._builder.add_input(result)

    def _constant(self, n: fx.Node, result: Any) -> ValueRef:
        if isinstance(result, Tensor) and result.dtype == torch.float32:
            return self._builder.emit("constant", [], {"value": result})
        name, what = str(n.target), getattr(result, "dtype", type(result).__name__)
        self._lowered.opaque[name] = f"constant: it is {what}, and only float32 tensors are held"
        return self._builder.emit_opaque(_Call(lambda: result, (), {}), [], result, name)

    def _translated(self, n: fx.Node, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if n.op == "call_function":
            return _known(FUNCTIONS, n.target)(self._builder, *args, **kwargs)
        if n.op == "call_method":
            return _known(METHODS, n.target)(self._builder, *args, **kwargs)
        module = self.module.get_submodule(str(n.target))
        if is_hooked(module):
            raise Untranslated("it has hooks or a parametrization, which only a call runs")
        if isinstance(module, BinaryLayer):
            return self._binary(str(n.target), module, *args, **kwargs)
        return _known(MODULES, type(module))(self._builder, module, *args, **kwargs)

    def _binary(self, name: str, layer: BinaryLayer, x: ValueRef) -> ValueRef:
        try:
            reference = lower_binary(self._builder, layer, x)
        except PackedError as error:
            raise Untranslated(str(error)) from error
        self._lowered.binary.append(name)
        return reference

    def _opaque(
        self, n: fx.Node, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any, why: str
    ) -> ValueRef:
        call: Any = n.target
        name = str(n.target)
        if _in_place(n, self.module):
            raise UntraceableError(f"{n} changes a tensor in place in a way that is not known")
        if n.op == "call_module":
            call = self.module.get_submodule(name)
            if not isinstance(call, BinaryLayer):
                self._lowered.opaque[name] = f"{type(call).__name__}: {why}"
            for part, module in call.named_modules(prefix=name):
                if isinstance(module, BinaryLayer):
                    self._lowered.emulated[part] = why
        else:
            if n.op == "call_method":
                call = _method(name)
            name = n.name
            what = getattr(n.target, "__name__", str(n.target))
            self._lowered.opaque[name] = f"{what}: {why}"
        bound = _Call(call, args, kwargs)
        example = result
        if isinstance(result, Tensor):
            example = torch.empty_like(result, device="meta")
        return self._builder.emit_opaque(bound, bound.inputs, example, name)

    def _changes_in_place(self, n: fx.Node, args: tuple[Any, ...], new: Any) -> None:
        """Let what reads a tensor after it was changed read the change."""
        if not _in_place(n, self.module) or not isinstance(args[0], ValueRef):
            return
        old = args[0]
        viewed = [
            node
            for node in self._builder.graph.nodes
            if node.op in _VIEWS and (old.value in node.inputs or old.value in node.outputs)
        ]
        if viewed:
            raise UntraceableError(f"{n} changes a view in place")
        for other, reference in self._references.items():
            if reference == old:
                self._references[other] = new


def _plain(structure: Any) -> Any:
    """Return torch.fx's own lists and dicts as Python's."""
    if isinstance(structure, dict):
        return {key: _plain(item) for key, item in structure.items()}
    if isinstance(structure, list):
        return [_plain(item) for item in structure]
    if type(structure) is tuple:
        return tuple(_plain(item) for item in structure)
    return structure


_VIEWS = ("flatten", "reshape", "view", "permute", "squeeze", "unsqueeze", "slice", "opaque")


def _in_place(n: fx.Node, model: nn.Module) -> bool:
    if n.op == "call_module":
        parts = model.get_submodule(str(n.target)).modules()
        return any(getattr(part, "inplace", False) for part in parts)
    if n.op == "call_method":
        return str(n.target).endswith("_") or str(n.target) in ("__setitem__", "copy_")
    if n.op != "call_function":
        return False
    name = getattr(n.target, "__name__", "")
    if n.target in _ASSIGNING or (name.endswith("_") and not name.endswith("__")):
        return True
    if n.kwargs.get("out") is not None:
        return True
    try:
        bound: Any = inspect.signature(cast(Any, n.target)).bind(*n.args, **n.kwargs).arguments
    except (TypeError, ValueError):  # many of torch's functions have no signature
        bound = n.kwargs
    return bool(bound.get("inplace"))


def _known(table: Any, key: Any) -> Any:
    try:
        return table[key]
    except (KeyError, TypeError) as error:
        raise Untranslated("no operation of packed networks computes it") from error


def _method(name: str) -> Any:
    def call(x: Any, *args: Any, **kwargs: Any) -> Any:
        return getattr(x, name)(*args, **kwargs)

    return call


@dataclass(frozen=True)
class _Place:
    """Where an opaque call's input goes."""

    index: int
    shape: bool


class _Call:
    """A call with its arguments, of which the graph's values are filled in when it is made."""

    def __init__(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.target = target
        self.inputs: list[int] = []
        self._args = self._places(args)
        self._kwargs = self._places(kwargs)

    def _places(self, item: Any) -> Any:
        if isinstance(item, (ValueRef, Size, Shape)):
            reference = item.x if isinstance(item, Shape) else item
            self.inputs.append(reference.value)
            return _Place(len(self.inputs) - 1, isinstance(item, Shape))
        if isinstance(item, (list, tuple)):
            return type(item)([self._places(part) for part in item])
        if isinstance(item, dict):
            return {key: self._places(part) for key, part in item.items()}
        if isinstance(item, slice):
            return slice(*[self._places(part) for part in (item.start, item.stop, item.step)])
        return item

    def _filled(self, item: Any, given: Sequence[Any]) -> Any:
        if isinstance(item, _Place):
            value = given[item.index]
            return value.shape if item.shape else value
        if isinstance(item, (list, tuple)):
            return type(item)([self._filled(part, given) for part in item])
        if isinstance(item, dict):
            return {key: self._filled(part, given) for key, part in item.items()}
        if isinstance(item, slice):
            return slice(
                *[self._filled(part, given) for part in (item.start, item.stop, item.step)]
            )
        return item

    def __call__(self, *given: Any) -> Any:
        return self.target(*self._filled(self._args, given), **self._filled(self._kwargs, given))
