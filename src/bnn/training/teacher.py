"""A trained network to learn from: frozen, in evaluation, without gradients."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bnn.errors import CheckpointError, ConfigError
from bnn.executor.stages import UserModules
from bnn.registry import did_you_mean
from bnn.training.checkpoint import load_checkpoint
from bnn.training.extras import needs_extra
from bnn.values import shown

_FORMS = {"checkpoint": {"checkpoint"}, "torchvision": {"torchvision", "weights"}}


class Teacher(nn.Module):
    """A network that is only asked: its weights are frozen, it stays in evaluation mode.

    Args:
        network: Images (N, C, H, W) to logits (N, classes), or to a tuple whose first is those.

    Example:
        >>> teacher = Teacher(nn.Sequential(nn.Flatten(), nn.Linear(4, 2))).train()
        >>> teacher.network.training, teacher(torch.zeros(3, 1, 2, 2)).requires_grad
        (False, False)
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network.eval().requires_grad_(False)

    def train(self, mode: bool = True) -> Teacher:  # noqa: ARG002
        """Stay in evaluation mode, also where it is part of something that is trained."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Return the logits."""
        outputs = self.network(images)
        logits: Tensor = outputs[0] if isinstance(outputs, tuple) else outputs
        return logits


def load_teacher(
    spec: Mapping[str, str],
    *,
    input_shape: tuple[int, int, int] | None = None,
    num_classes: int | None = None,
    user_modules: UserModules = (),
) -> Teacher:
    """Load a trained network as a teacher.

    Args:
        spec: ``{"checkpoint": PATH}``, a checkpoint of :func:`bnn.training.fit` or the run's
            folder; or ``{"torchvision": NAME, "weights": WEIGHTS}``, a model of torchvision and
            either a file of its state dict or the name of weights that torchvision downloads, for
            example ``"DEFAULT"``.
        input_shape: (channels, height, width) of the images that it will be shown. Default: those
            that it was trained on.
        num_classes: Number of logits that it must have; it is tried on images of zeros.
        user_modules: Your own binarizers that the checkpoint's recipe names.

    Raises:
        ConfigError: If ``spec`` is of another form, or the network does not fit the images or
            the classes.
        CheckpointError: If the file is missing, damaged, or of another network.
        MissingExtraError: If torchvision is asked for and not installed.

    Example:
        >>> import tempfile
        >>> from bnn.training import TrainConfig, fit
        >>> folder = tempfile.mkdtemp()
        >>> config = TrainConfig(model_args={"width": 4}, epochs=1, batch_size=512, out=folder)
        >>> _ = fit(config, progress=False)
        >>> teacher = load_teacher({"checkpoint": folder}, num_classes=10)
        >>> teacher(torch.zeros(2, 1, 8, 8)).shape
        torch.Size([2, 10])
    """
    kind = _kind(spec)
    if kind == "checkpoint":
        loaded = load_checkpoint(spec["checkpoint"], user_modules=user_modules)
        network, input_shape = loaded.model, input_shape or loaded.input_shape
    else:
        network = _from_torchvision(spec["torchvision"], spec["weights"], num_classes)
        input_shape = input_shape or (3, 224, 224)
    teacher = Teacher(network)
    if num_classes is not None:
        _try(teacher, spec[kind], input_shape, num_classes)
    return teacher


def _kind(spec: Mapping[str, str]) -> str:
    if not isinstance(spec, Mapping):
        raise ConfigError(f"teacher must be a mapping; got {shown(spec)}.")
    for kind, keys in _FORMS.items():
        if kind in spec and set(spec) == keys:
            for key in keys:
                if not isinstance(spec[key], str) or not spec[key]:
                    raise ConfigError(
                        f"teacher: {key} must be a non-empty text; got {shown(spec[key])}."
                    )
            return kind
    raise ConfigError(
        f"teacher has the keys {', '.join(map(repr, spec)) or 'none'}. Give 'checkpoint', or "
        "'torchvision' and 'weights'."
    )


def _from_torchvision(name: str, weights: str, num_classes: int | None) -> nn.Module:
    with needs_extra("vision", "a teacher from torchvision"):
        from torchvision import models
    known = models.list_models(module=models)
    if name not in known:
        raise ConfigError(
            f"torchvision has no classifier named {shown(name)}.{did_you_mean(name, known)}"
        )
    if not Path(weights).is_file():
        return _with_named_weights(models, name, weights)
    sizes = {} if num_classes is None else {"num_classes": num_classes}
    network: nn.Module = models.get_model(name, weights=None, **sizes)
    try:
        state = torch.load(weights, map_location="cpu", weights_only=True)
        network.load_state_dict(state)
    # A file of another kind may raise anything; torch's message would advise to load it unsafely.
    except Exception as error:
        reason = str(error).splitlines()[1].strip() if isinstance(error, RuntimeError) else ""
        raise CheckpointError(
            f"{weights}: not the state dict of torchvision's {name}. {reason[:200]}".rstrip()
        ) from error
    return network


def _with_named_weights(models: Any, name: str, weights: str) -> nn.Module:
    choices = [entry.name for entry in models.get_model_weights(name)]
    if weights not in ("DEFAULT", *choices):
        raise ConfigError(
            f"teacher: weights {shown(weights)} is neither a file nor one of torchvision's for "
            f"{name}: {', '.join(choices)}, DEFAULT."
        )
    try:
        network: nn.Module = models.get_model(name, weights=weights)
    except OSError as error:  # urllib's and http's errors are such
        raise CheckpointError(
            f"the weights {weights} of {name} could not be downloaded ({error}). Give a file."
        ) from error
    return network


@torch.no_grad()
def _try(teacher: Teacher, name: str, input_shape: tuple[int, int, int], num_classes: int) -> None:
    try:
        shape = tuple(teacher(torch.zeros(2, *input_shape)).shape)
    except Exception as error:
        raise ConfigError(
            f"the teacher {name} does not take images of {input_shape}: "
            f"{str(error).splitlines()[0]}"
        ) from error
    if shape != (2, num_classes):
        raise ConfigError(
            f"the teacher {name} gives {shape} for a batch of 2, but there are {num_classes} "
            f"classes: expected {(2, num_classes)}."
        )
