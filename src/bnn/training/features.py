"""Outputs of layers inside a network, for losses that compare them."""

from __future__ import annotations

from collections.abc import Iterable
from types import TracebackType
from typing import Any

from torch import Tensor, nn

from bnn.errors import ConfigError, LayerNotFoundError
from bnn.registry import did_you_mean
from bnn.select import as_names
from bnn.training.hooks import MeasuringHook


class FeatureTap:
    """Keep what named modules put out in each forward pass.

    A copy of the network is not tapped: it works, and puts nothing here.

    Args:
        model: The network.
        names: Names of modules, as ``model.named_modules()`` has them.

    Raises:
        LayerNotFoundError: If there is no such module; the message shows the closest names.
        ConfigError: If ``names`` is no list of names.

    Example:
        >>> import torch
        >>> model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
        >>> with FeatureTap(model, ["1"]) as tap:
        ...     _ = model(torch.zeros(5, 4))
        ...     tap.take()["1"].shape
        torch.Size([5, 3])
        >>> FeatureTap(model, ["relu"])
        Traceback (most recent call last):
        bnn.errors.LayerNotFoundError: the network has no module 'relu'. Modules are: '0', '1', '2'.
    """

    def __init__(self, model: nn.Module, names: Iterable[str]) -> None:
        self.names = tuple(dict.fromkeys(as_names(names, "names")))
        modules = dict(model.named_modules())
        del modules[""]
        for name in self.names:
            if name not in modules:
                raise LayerNotFoundError(
                    f"the network has no module {name!r}."
                    f"{did_you_mean(name, modules, count=3) or _some(modules)}"
                )
        self._outputs: dict[str, Any] = {}
        self._handles = [
            modules[name].register_forward_hook(_Keep(self._outputs, name)) for name in self.names
        ]

    def take(self) -> dict[str, Tensor]:
        """Return what each module put out last, by name, and forget it.

        Raises:
            ConfigError: If a module has not run since, or put out something else than a tensor.
        """
        outputs = dict(self._outputs)
        self._outputs.clear()
        for name in self.names:
            if not isinstance(outputs.get(name), Tensor):
                what = (
                    f"gave a {type(outputs[name]).__name__}, not a tensor"
                    if name in outputs
                    else "did not run"
                )
                raise ConfigError(f"module {name!r} {what}. Name another.")
        return outputs

    def remove(self) -> None:
        """Take the hooks off the network."""
        for handle in self._handles:
            handle.remove()
        self._outputs.clear()

    def __enter__(self) -> FeatureTap:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.remove()


class _Keep(MeasuringHook):
    """The hook of one module."""

    def __init__(self, outputs: dict[str, Any], name: str) -> None:
        self.outputs = outputs
        self.name = name

    def __call__(self, module: nn.Module, inputs: Any, output: Any = None) -> None:  # noqa: ARG002
        self.outputs[self.name] = output


def _some(names: Iterable[str]) -> str:
    return f" Modules are: {', '.join(repr(name) for name in list(names)[:10])}."
