"""Turn the layers of a model into binary ones."""

from __future__ import annotations

import contextlib
import copy
import gc
import warnings
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields

from torch import nn
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear

from bnn.config import BConfig
from bnn.errors import ConfigError, LayerNotFoundError
from bnn.layers import BINARY_LAYERS, BinaryLayer
from bnn.select import as_names, select_layers

ModulesMapping = Mapping[type[nn.Module], type[BinaryLayer]]

DEFAULT_MODULE_MAPPING: ModulesMapping = BINARY_LAYERS

_REPORT = "_bnn_conversion_report"
_STAGES = frozenset(stage.name for stage in fields(BConfig))


@dataclass(frozen=True)
class ConversionReport:
    """What the last conversion of a model did with each layer.

    Args:
        converted: Layer name -> class name it has now.
        ignored: Layer name -> the name or pattern that excluded it.
        skipped: Layer name -> why it could not be converted.

    Example:
        >>> print(ConversionReport(converted={"fc": "Linear"}, ignored={"conv1": "_first_"}))
        1 layers converted, 1 ignored, 0 skipped
          converted  fc: Linear
          ignored    conv1: by '_first_'
    """

    converted: dict[str, str] = field(default_factory=dict)
    ignored: dict[str, str] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        lines = [
            f"{len(self.converted)} layers converted, {len(self.ignored)} ignored, "
            f"{len(self.skipped)} skipped"
        ]
        lines += [f"  converted  {name}: {kind}" for name, kind in self.converted.items()]
        lines += [f"  ignored    {name}: by {rule!r}" for name, rule in self.ignored.items()]
        lines += [f"  skipped    {name}: {reason}" for name, reason in self.skipped.items()]
        return "\n".join(lines)


@contextlib.contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Keep the collector from walking again and again over objects that all stay.

    Measured on 10,000 convolutions: it takes half of the time.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


@_no_garbage_collection()
def prepare_binary_model(
    model: nn.Module,
    bconfig: BConfig,
    modules_mapping: ModulesMapping | None = None,
    custom_config_layers_name: Mapping[str, BConfig] | None = None,
    ignore_layers_name: Iterable[str] = (),
    *,
    inplace: bool = True,
) -> nn.Module:
    """Make the layers of a model binary.

    Each layer keeps its identity, parameters, training mode, device, dtype, hooks and
    parametrizations; references to it from elsewhere (ties, plain lists) see the binary layer.
    Converting again changes the stages and keeps what they have learnt. If anything is wrong, an
    error is raised before the model is changed.

    Names are exact, ``_first_`` or ``_last_`` (convertible layer, in the order of the model's
    modules), or ``$regex$`` (searched for in the names).

    Args:
        model: Any module; converted in place unless ``inplace=False``.
        bconfig: The stages of every layer that nothing else is said of.
        modules_mapping: Float class -> binary class; subclasses follow their closest base.
            Default: :data:`DEFAULT_MODULE_MAPPING`.
        custom_config_layers_name: Name -> the BConfig of these layers. Later entries win.
        ignore_layers_name: Names of layers to leave as they are; wins over the rest.
        inplace: False converts and returns a deep copy.

    Returns:
        The model; :func:`conversion_report` says what was done with each layer.

    Raises:
        LayerNotFoundError: If a name matches no convertible layer.
        ConfigError: If an argument is of the wrong kind, or a stage cannot be built.

    Warns:
        UserWarning: If a layer had to be skipped, or nothing was converted.

    Example:
        >>> from bnn.ops import BasicInputBinarizer, XNORWeightBinarizer
        >>> model = nn.Sequential(nn.Conv2d(1, 8, 3), nn.Conv2d(8, 8, 3), nn.Conv2d(8, 2, 1))
        >>> config = BConfig(BasicInputBinarizer, weight_pre_process=XNORWeightBinarizer)
        >>> model = prepare_binary_model(model, config, ignore_layers_name=["_first_", "_last_"])
        >>> print(conversion_report(model))
        1 layers converted, 2 ignored, 0 skipped
          converted  1: Conv2d
          ignored    0: by '_first_'
          ignored    2: by '_last_'
    """
    if not isinstance(model, nn.Module):
        raise ConfigError(f"prepare_binary_model got a {type(model).__name__}, not an nn.Module.")
    if not inplace:
        model = copy.deepcopy(model)
    plan = _Plan(model, _checked_mapping(modules_mapping))
    configs = plan.assign(bconfig, custom_config_layers_name, ignore_layers_name)
    plan.apply(configs)
    return model


def get_modules_to_binarize(
    model: nn.Module,
    bconfig: BConfig,
    modules_mapping: ModulesMapping | None = None,
    custom_config_layers_name: Mapping[str, BConfig] | None = None,
    ignore_layers_name: Iterable[str] = (),
) -> dict[str, BConfig]:
    """Return the name and BConfig of each layer that would be converted; change nothing.

    Arguments and errors are those of :func:`prepare_binary_model`.

    Example:
        >>> model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
        >>> list(get_modules_to_binarize(model, BConfig(), ignore_layers_name=["_last_"]))
        ['0']
    """
    plan = _Plan(model, _checked_mapping(modules_mapping))
    return plan.assign(bconfig, custom_config_layers_name, ignore_layers_name)


@_no_garbage_collection()
def swap_modules_by_name(
    model: nn.Module,
    modules_to_binarize: Mapping[str, BConfig],
    modules_mapping: ModulesMapping | None = None,
) -> nn.Module:
    """Convert in place the named layers, each with its BConfig.

    Args:
        model: Any module.
        modules_to_binarize: As :func:`get_modules_to_binarize` returns it.
        modules_mapping: As in :func:`prepare_binary_model`.

    Raises:
        LayerNotFoundError: If a name is not that of a convertible layer.

    Example:
        >>> swap_modules_by_name(nn.Sequential(nn.Linear(4, 2)), {"0": BConfig()})[0].bconfig
        BConfig(activation_pre_process=<class 'bnn.config.Identity'>, ...)
    """
    plan = _Plan(model, _checked_mapping(modules_mapping))
    names = {}
    for name, config in modules_to_binarize.items():
        _checked_config(config, f"modules_to_binarize[{name!r}]")
        names.update(dict.fromkeys(plan.select(name, "modules_to_binarize"), config))
    plan.apply(names)
    return model


@_no_garbage_collection()
def convert(model: nn.Module, modules_mapping: ModulesMapping | None = None) -> nn.Module:
    """Convert in place every layer on which the caller has set an attribute ``bconfig``.

    Example:
        >>> model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
        >>> model[0].bconfig = BConfig()
        >>> print(conversion_report(convert(model)))
        1 layers converted, 0 ignored, 0 skipped
          converted  0: Linear
    """
    plan = _Plan(model, _checked_mapping(modules_mapping))
    chosen = {
        name: _checked_config(config, f"{name}.bconfig")
        for name, (layer, _) in plan.layers.items()
        if (config := getattr(layer, "bconfig", None)) is not None
    }
    plan.apply(chosen)
    return model


def conversion_report(model: nn.Module) -> ConversionReport:
    """Return what the last conversion of ``model`` did.

    Raises:
        ConfigError: If the model was never converted as a whole.

    Example:
        >>> model = prepare_binary_model(nn.Sequential(nn.Linear(4, 2)), BConfig())
        >>> conversion_report(model).converted
        {'0': 'Linear'}
    """
    report = getattr(getattr(model, "_orig_mod", model), _REPORT, None)
    if report is None:
        raise ConfigError(
            f"this {type(model).__name__} has no conversion report: it was not returned by "
            "prepare_binary_model."
        )
    return report  # type: ignore[no-any-return]  # set by _Plan.apply only


def _in_a_stage(name: str, binary: Container[str]) -> bool:
    """Say whether a module is part of a stage of a binary layer, as the layers of a gate are."""
    parts = name.split(".")
    return any(
        part in _STAGES and ".".join(parts[:place]) in binary for place, part in enumerate(parts)
    )


class _Plan:
    """The layers of one model that can be converted, and why others cannot."""

    def __init__(self, model: nn.Module, mapping: ModulesMapping) -> None:
        self.model = getattr(model, "_orig_mod", model)  # what torch.compile has wrapped
        self.layers: dict[str, tuple[nn.Module, type[BinaryLayer]]] = {}
        self.skipped: dict[str, str] = {}
        self.ignored: dict[str, str] = {}
        self.others: list[str] = []
        self.transformers: list[nn.Module] = []
        self.aliases: dict[str, str] = {}
        first_name: dict[int, str] = {}
        binary: set[str] = set()
        for name, module in self.model.named_modules(remove_duplicate=False):
            if id(module) in first_name:  # a tied layer: any of its names means it
                self.aliases[name] = first_name[id(module)]
                continue
            first_name[id(module)] = name
            if isinstance(module, BinaryLayer):
                binary.add(name)
            if _in_a_stage(name, binary):
                continue
            target = _closest(type(module), mapping)
            reason = None if target is None else _why_not(module, target[0])
            if target is None:
                self.others.append(name)
                if isinstance(module, (nn.TransformerEncoder, nn.TransformerEncoderLayer)):
                    self.transformers.append(module)
            elif reason is not None:
                self.skipped[name] = reason
            else:
                self.layers[name] = (module, target[1])
        self.names = list(self.layers)

    def select(self, pattern: str, argument: str) -> list[str]:
        """Return the layers that a name or pattern means."""
        pattern = self.aliases.get(pattern, pattern)
        if pattern in self.skipped:
            raise LayerNotFoundError(
                f"{argument} has {pattern!r}, which cannot be converted: {self.skipped[pattern]}."
            )
        return select_layers(pattern, self.names, argument=argument, other_modules=self.others)

    def assign(
        self,
        bconfig: BConfig,
        custom: Mapping[str, BConfig] | None,
        ignore: Iterable[str],
    ) -> dict[str, BConfig]:
        """Return the BConfig of each layer to convert."""
        configs = dict.fromkeys(self.names, _checked_config(bconfig, "bconfig"))
        if not isinstance(custom or {}, Mapping):
            raise ConfigError(
                "custom_config_layers_name must map names to BConfigs, for example "
                f"{{'conv1': BConfig()}}; got a {type(custom).__name__}."
            )
        for pattern, config in (custom or {}).items():
            _checked_config(config, f"custom_config_layers_name[{pattern!r}]")
            for name in self.select(pattern, "custom_config_layers_name"):
                configs[name] = config
        for pattern in as_names(ignore, "ignore_layers_name"):
            if self.aliases.get(pattern, pattern) in self.skipped:
                continue  # what cannot be converted is left alone anyway
            for name in self.select(pattern, "ignore_layers_name"):
                configs.pop(name, None)
                self.ignored.setdefault(name, pattern)
        return configs

    def apply(self, configs: Mapping[str, BConfig]) -> None:
        """Convert the layers in place and attach the report."""
        # All are built before the first is swapped: an error leaves the model as it was.
        converted = {}
        built = [(name, self._build(name, config)) for name, config in configs.items()]
        for name, layer in built:
            converted[name] = type(layer).__name__
            _become(self.layers[name][0], layer)
        _call_every_layer(self.transformers)
        self._warn(converted)
        report = ConversionReport(converted, dict(self.ignored), dict(self.skipped))
        setattr(self.model, _REPORT, report)

    def _build(self, name: str, config: BConfig) -> BinaryLayer:
        module, target = self.layers[name]
        try:
            return target.from_module(module, config)
        except ConfigError as error:
            raise ConfigError(f"layer {name!r}: {error}") from error
        except Exception as error:
            raise ConfigError(
                f"layer {name!r}: a {type(module).__name__} cannot become a "
                f"{target.__name__}: {error}"
            ) from error

    def _warn(self, converted: Mapping[str, str]) -> None:
        if self.skipped:
            shown = "; ".join(f"{name!r}: {why}" for name, why in list(self.skipped.items())[:3])
            more = f"; and {len(self.skipped) - 3} more" if len(self.skipped) > 3 else ""
            warnings.warn(f"layers left as they are: {shown}{more}", stacklevel=5)
        elif not converted:
            warnings.warn("no layer was converted", stacklevel=5)


def _become(module: nn.Module, layer: BinaryLayer) -> None:
    """Give the object the class and state of ``layer``.

    Whoever holds it (a tie, a plain list, the caller's variable, the model itself) then holds the
    binary layer.
    """
    # By object: a __setattr__ of the module's own must not see this, nor stop it halfway.
    object.__setattr__(module, "__class__", layer.__class__)
    object.__setattr__(module, "__dict__", layer.__dict__)


def _closest(
    cls: type[nn.Module], mapping: ModulesMapping
) -> tuple[type[nn.Module], type[BinaryLayer]] | None:
    """Return the mapping's entry for ``cls`` or the closest of its bases."""
    return next(((base, mapping[base]) for base in cls.__mro__ if base in mapping), None)


def _why_not(module: nn.Module, base: type[nn.Module]) -> str | None:
    """Return why a layer of a known kind cannot be converted, None if it can."""
    cls = type(module)
    if isinstance(module, NonDynamicallyQuantizableLinear):
        return "nn.MultiheadAttention reads its weight without calling it"
    if isinstance(module, nn.modules.lazy.LazyModuleMixin):
        return f"{cls.__name__} has no weight yet; run the model once, then convert"
    if "forward" in module.__dict__:
        return f"this {cls.__name__} had its forward replaced by hand, which would go on being used"
    if not isinstance(module, BinaryLayer) and cls.forward is not base.forward:
        return (
            f"{cls.__name__} has a forward of its own, which would be lost; "
            f"name a binary class for it in modules_mapping"
        )
    return None


def _call_every_layer(transformers: Iterable[nn.Module]) -> None:
    """Keep torch's fused transformer inference from reading weights past their layers."""
    for module in transformers:
        if isinstance(module, nn.TransformerEncoderLayer):
            if any(isinstance(child, BinaryLayer) for child in module.modules()):
                module.activation_relu_or_gelu = 0  # torch's own mark of "no fused path"
        elif isinstance(module, nn.TransformerEncoder) and any(
            isinstance(child, BinaryLayer) for child in module.modules()
        ):
            module.use_nested_tensor = False


def _checked_config(config: BConfig, where: str) -> BConfig:
    if not isinstance(config, BConfig):
        raise ConfigError(f"{where} must be a BConfig, got {config!r}.")
    return config


def _checked_mapping(mapping: ModulesMapping | None) -> ModulesMapping:
    if mapping is None:
        return DEFAULT_MODULE_MAPPING
    if not isinstance(mapping, Mapping):
        raise ConfigError(
            f"modules_mapping must map float classes to binary ones, got {mapping!r}."
        )
    for float_cls, binary_cls in mapping.items():
        if not (isinstance(binary_cls, type) and issubclass(binary_cls, BinaryLayer)):
            raise ConfigError(
                f"modules_mapping[{float_cls!r}] is {binary_cls!r}; give a class that derives "
                "from a layer of bnn.layers."
            )
    return mapping
