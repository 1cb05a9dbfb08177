"""What a training run is made of, as plain values that fit into JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from bnn.errors import ConfigError
from bnn.registry import did_you_mean
from bnn.training.schedules import SCHEDULES
from bnn.values import is_number, shown

PRECISIONS = ("32-true", "bf16-mixed")

Json = Any
"""What ``json.dumps`` takes; Python cannot spell it without recursion that dataclasses refuse."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Everything a run depends on. Equal configs give equal runs on one machine.

    Args:
        model: A name that :func:`bnn.models.create` knows.
        model_args: Arguments of the model; the data set gives ``in_channels`` and
            ``num_classes``.
        data: A name in :data:`bnn.training.DATASETS`.
        data_dir: Folder of the data, for the data sets that read one.
        split_seed: Which held-out split, for the data sets that come without one.
        enlarge_to: Interpolate images whose shorter side has fewer pixels, for a network that
            halves their size more often than they bear. Default: the recipe's, else as they are.
        recipe: Name of a packaged recipe, or path of a YAML file. None trains a float network.
        smoke: Take the recipe's small variant: all its steps and losses, a few epochs each.
        teacher: Instead of the recipe's teacher: a checkpoint or a run's folder, the name of a
            network that is trained first, or ``"torchvision:NAME"`` (``:FILE`` for its weights).
            A step that learns from an earlier step goes on doing so.
        epochs: Epochs of each step. Default: the step's own, else the data set's number, shared
            among the steps.
        learning_rate: At the start of each step. Default: the step's own, else the data set's.
        weight_decay: On the weights of layers only. Default: the step's own, else 0.
        schedule: How the learning rate of a step falls: ``"cosine"`` or ``"linear"`` to 0, in
            ``"step"``s of a factor 0.1 at a half and three quarters, or ``"constant"``. Default:
            the step's own, else cosine.
        batch_size: Samples for each device and optimizer step. Default: the step's own, else the
            data set's.
        seed: Start weights, order of the data, augmentation.
        num_workers: Processes that load data; 0 loads in the training process.
        accelerator: As Lightning's Trainer takes it: ``"cpu"``, ``"gpu"``, ``"auto"``.
        devices: Number of devices, or ``"auto"``.
        strategy: As Lightning's Trainer takes it: ``"auto"``, ``"ddp"``, and
            ``"ddp_find_unused_parameters_true"`` for a network some of whose parameters get no
            gradient.
        num_nodes: Machines that take part.
        sync_batch_norm: Let batch norms see the batches of all devices as one.
        precision: ``"32-true"``, or ``"bf16-mixed"``: float layers and sums in bfloat16; weights,
            their signs, and the optimizer stay float32.
        clamp_latent: Bound of the latent weights after each optimizer step: 1 as in BinaryNet
            and XNOR-Net, 1.5 as in BNext. Default: the step's own, else they are free, as in
            ReActNet.
        out: The run's folder.

    Raises:
        ConfigError: If a value is of the wrong kind or out of range. Names are looked up when the
            run starts.

    Example:
        >>> TrainConfig(recipe="two-step", epochs=5).data
        'digits'
        >>> TrainConfig(epochs=0)
        Traceback (most recent call last):
        bnn.errors.ConfigError: epochs must be an integer of at least 1, or None; got 0.
    """

    model: str = "resnet8"
    model_args: Mapping[str, Json] = field(default_factory=dict)
    data: str = "digits"
    data_dir: str | None = None
    split_seed: int = 0
    enlarge_to: int | None = None
    recipe: str | None = None
    smoke: bool = False
    teacher: str | None = None
    epochs: int | None = None
    learning_rate: float | None = None
    weight_decay: float | None = None
    schedule: str | None = None
    batch_size: int | None = None
    seed: int = 0
    num_workers: int = 0
    accelerator: str = "cpu"
    devices: int | str = 1
    strategy: str = "auto"
    num_nodes: int = 1
    sync_batch_norm: bool = False
    precision: str = "32-true"
    clamp_latent: float | None = None
    out: str = "runs/bnn"

    def __post_init__(self) -> None:
        for name in ("model", "data", "accelerator", "strategy", "out"):
            _check_text(name, getattr(self, name))
        for name in ("data_dir", "recipe", "teacher", "schedule"):
            if getattr(self, name) is not None:
                _check_text(name, getattr(self, name), optional=True)
        for name in ("epochs", "batch_size", "enlarge_to"):
            _check_integer(name, getattr(self, name), 1, optional=True)
        for name, least in (("seed", 0), ("split_seed", 0), ("num_workers", 0), ("num_nodes", 1)):
            _check_integer(name, getattr(self, name), least)
        if self.devices != "auto":
            _check_integer("devices", self.devices, 1)
        _check_number("learning_rate", self.learning_rate, above=True)
        _check_number("weight_decay", self.weight_decay, above=False)
        _check_number("clamp_latent", self.clamp_latent, above=True)
        if not isinstance(self.smoke, bool):
            raise ConfigError(f"smoke must be true or false; got {shown(self.smoke)}.")
        if self.schedule is not None and self.schedule not in SCHEDULES:
            raise ConfigError(
                f"schedule must be one of {', '.join(SCHEDULES)}; got {shown(self.schedule)}."
            )
        if not isinstance(self.sync_batch_norm, bool):
            raise ConfigError(
                f"sync_batch_norm must be true or false; got {shown(self.sync_batch_norm)}."
            )
        if self.precision not in PRECISIONS:
            raise ConfigError(
                f"precision must be one of {', '.join(PRECISIONS)}; got {shown(self.precision)}."
            )
        object.__setattr__(self, "model_args", _plain_mapping("model_args", self.model_args))

    def as_dict(self) -> dict[str, Json]:
        """Return the fields as plain data, fit for JSON or a checkpoint."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Json]) -> TrainConfig:
        """Return the config that :meth:`as_dict` was taken from.

        Raises:
            ConfigError: If a key is unknown or a value cannot be used.

        Example:
            >>> TrainConfig.from_dict({"model": "resnet8", "epoch": 3})
            Traceback (most recent call last):
            bnn.errors.ConfigError: no setting 'epoch'. Did you mean 'epochs'?
        """
        if not isinstance(values, Mapping):
            raise ConfigError(f"settings must be a mapping, got a {type(values).__name__}.")
        known = [entry.name for entry in fields(cls)]
        for key in values:
            if key not in known:
                raise ConfigError(f"no setting {shown(key)}.{did_you_mean(str(key), known)}")
        return cls(**values)


def _check_text(name: str, value: object, optional: bool = False) -> None:
    if not isinstance(value, str) or not value:
        kind = "a non-empty text or None" if optional else "a non-empty text"
        raise ConfigError(f"{name} must be {kind}; got {shown(value)}.")


def _check_integer(name: str, value: object, least: int, optional: bool = False) -> None:
    if optional and value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        end = ", or None" if optional else ""
        raise ConfigError(
            f"{name} must be an integer of at least {least}{end}; got {shown(value)}."
        )


def _check_number(name: str, value: object, above: bool) -> None:
    if value is None:
        return
    if not is_number(value) or value < 0 or (above and value == 0):
        bound = "above 0" if above else "of at least 0"
        raise ConfigError(f"{name} must be a finite number {bound}, or None; got {shown(value)}.")


def _plain_mapping(name: str, value: object) -> dict[str, Json]:
    """Return a copy that is exactly what JSON would give back."""
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise ConfigError(f"{name} must map names to plain values; got {shown(value)}.")
    try:
        plain: dict[str, Json] = json.loads(json.dumps(dict(value), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"{name} must hold plain values (text, numbers, true or false, None, lists); {error}."
        ) from error
    return plain
