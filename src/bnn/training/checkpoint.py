"""Checkpoints: written so that a kill leaves the old one, read without running anything in them.

The file is what ``torch.save`` makes of tensors and plain values::

    format      "bnn-training"
    version     1
    config      the run's settings
    recipe      the recipe's content, or None for a float network
    data        {"input_shape": [c, h, w], "num_classes": n}
    step        index of the step that the model was converted for
    epoch       epochs of that step that are complete
    history     one mapping for each epoch so far
    own_model   whether the caller gave the network, so that its name says nothing
    model       state dict
    training    {"optimizer": ..., "scheduler": ...}, and "average" if weights are averaged;
                absent from final.ckpt and from what a step leaves for later ones
"""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bnn import models
from bnn.errors import BnnError, CheckpointError, ConfigError
from bnn.executor.engine import BinaryChef
from bnn.executor.stages import UserModules
from bnn.training.config import TrainConfig
from bnn.training.seeds import derive_seed

FORMAT, VERSION = "bnn-training", 1

_KINDS: Mapping[str, type | tuple[type, ...]] = {
    "config": dict,
    "recipe": (dict, type(None)),
    "data": dict,
    "step": int,
    "epoch": int,
    "history": list,
    "own_model": bool,
    "model": dict,
}


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """A network that was read from a checkpoint.

    Args:
        model: In evaluation mode, on the CPU, with the binary layers that it was trained with.
        config: The settings of its run.
        step: Index of the recipe's step that it is in.
        epoch: Epochs of that step that were complete.
        input_shape: (channels, height, width) of an image.
        num_classes: Number of logits.
        enlarge_to: Pixels to which smaller images were enlarged in training; None for none.
        history: One mapping for each epoch, as in history.csv.
    """

    model: nn.Module
    config: TrainConfig
    step: int
    epoch: int
    input_shape: tuple[int, int, int]
    num_classes: int
    enlarge_to: int | None
    history: tuple[Mapping[str, Any], ...]


def load_checkpoint(
    path: str | Path, *, model: nn.Module | None = None, user_modules: UserModules = ()
) -> Loaded:
    """Rebuild the network of a checkpoint and load its weights.

    The recipe is in the file: neither its YAML nor the data set is needed. Nothing in the file
    can run code.

    Args:
        path: A ``last.ckpt`` or ``final.ckpt`` of :func:`bnn.training.fit`, or the run's folder,
            which stands for its ``final.ckpt``, or for ``last.ckpt`` until there is one.
        model: If the run trained a network of your own: a float one of the same structure, which
            is converted in place and gets the weights.
        user_modules: Your own binarizers that the recipe names.

    Raises:
        CheckpointError: If the file is missing, damaged, or not such a checkpoint, or needs
            ``model``.

    Example:
        >>> from bnn.training import fit
        >>> import tempfile
        >>> folder = tempfile.mkdtemp()
        >>> config = TrainConfig(model_args={"width": 4}, epochs=1, batch_size=512, out=folder)
        >>> result = fit(config, progress=False)
        >>> load_checkpoint(folder).model.fc
        Linear(in_features=16, out_features=10, bias=True)
    """
    if not str(path):
        raise CheckpointError("the path is empty. Give a checkpoint or a run's folder.")
    path = checkpoint_file(Path(path))
    content = read_checkpoint(path)
    if model is None and content["own_model"]:
        raise CheckpointError(
            f"{path}: was trained from Python with a network of its caller's own. Load it there: "
            "load_checkpoint(path, model=...) with a float one (evaluate takes model too)."
        )
    try:
        config = TrainConfig.from_dict(content["config"])
        if (config.recipe is None) != (content["recipe"] is None):
            raise ValueError("damaged: its settings and its recipe do not fit each other.")
        shape, classes = _data_of(content)
        if model is None:
            model = build_model(config, shape, classes)
        convert_to_step(model, content["recipe"], content["step"], config.seed, user_modules)
        model.load_state_dict(content["model"])
    except (BnnError, RuntimeError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{path}: {_first_line(error)}") from error
    return Loaded(
        model=model.eval(),
        config=config,
        step=content["step"],
        epoch=content["epoch"],
        input_shape=shape,
        num_classes=classes,
        enlarge_to=config.enlarge_to or (content["recipe"] or {}).get("enlarge_to"),
        history=tuple(content["history"]),
    )


def checkpoint_file(path: Path) -> Path:
    """Return the checkpoint that a run's folder stands for, any other path as it is."""
    found = [path / name for name in ("final.ckpt", "last.ckpt") if (path / name).is_file()]
    return found[0] if found else path


def build_model(
    config: TrainConfig, input_shape: tuple[int, int, int], num_classes: int
) -> nn.Module:
    """Make the float network of a run, its weights drawn from the run's seed.

    Raises:
        ConfigError: If ``model_args`` contradicts the data set, or the model refuses it.
        UnknownNameError: If there is no such model.
    """
    given = {"in_channels": input_shape[0], "num_classes": num_classes}
    for name, value in given.items():
        asked = config.model_args.get(name, value)
        if asked != value:
            raise ConfigError(
                f"model_args has {name}={asked!r}, but the data set {config.data} has {value}. "
                f"Leave {name} out."
            )
    size = _size(config, input_shape)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(config.seed, "weights"))
        try:
            return models.create(config.model, **{**size, **config.model_args, **given})
        except ConfigError as error:
            if not size:
                raise
            height, width = input_shape[1:]
            raise ConfigError(
                f"{config.model} for images of {height}x{width}: {error}. If they are too small, "
                "enlarge_to (--enlarge-to) makes them larger."
            ) from error


def _size(config: TrainConfig, input_shape: tuple[int, int, int]) -> dict[str, tuple[int, int]]:
    """Return what the network is told of its images' size, if it asks for that."""
    if "input_size" in config.model_args:
        return {}
    asks = "input_size" in models.MODELS[config.model].keywords
    return {"input_size": input_shape[1:]} if asks else {}


def convert_to_step(
    model: nn.Module,
    recipe: Mapping[str, Any] | None,
    step: int,
    seed: int,
    user_modules: UserModules = (),
    after: int | None = None,
) -> nn.Module:
    """Convert in place for a step of a recipe and for those whose network it begins with.

    Layers that a later step ignores keep what an earlier one gave them, so none can be left out.

    Args:
        model: Float, or as step ``after`` left it.
        recipe: The recipe's content, None for a float network.
        step: Index of the step.
        seed: The run's.
        user_modules: The caller's own binarizers that the recipe names.
        after: The step before it on its line that has been run already.
    """
    if recipe is None:
        return model
    chef = BinaryChef(recipe, user_modules)
    line = chef.recipe.line(step)
    with torch.random.fork_rng(devices=[]):
        for index in line if after is None else line[line.index(after) + 1 :]:
            torch.manual_seed(derive_seed(seed, "convert", index))
            model = chef.run_step(model, index)
    return model


def write_checkpoint(content: Mapping[str, Any], path: Path) -> None:
    """Write a file so that at any moment ``path`` is the old or the new one, whole.

    A kill may leave a ``.partial`` file behind; :func:`remove_partial` clears it away.
    """
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}-", suffix=".partial", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            torch.save(dict(content), file)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(0o644)  # mkstemp's files are for the owner only
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def unwritable(path: Path, error: OSError) -> str:
    """Say that a path cannot be written; where a folder takes no new names, systems differ in why.

    Example:
        >>> unwritable(Path("/proc/net.ckpt"), FileNotFoundError(2, "No such file or directory"))
        '/proc/net.ckpt cannot be written: its folder takes no files. Give another.'
        >>> unwritable(Path("net.ckpt"), OSError(28, "No space left on device"))
        'net.ckpt cannot be written: No space left on device.'
    """
    if isinstance(error, (FileNotFoundError, PermissionError)):
        return f"{path} cannot be written: its folder takes no files. Give another."
    return f"{path} cannot be written: {error.strerror or error}."


def write_text(text: str, path: Path) -> None:
    """Write a small file with the same promise as :func:`write_checkpoint`."""
    partial = path.with_name(f".{path.name}-{os.getpid()}.partial")
    partial.write_text(text, encoding="utf-8", newline="")
    partial.replace(path)


def remove_partial(folder: Path) -> None:
    """Delete what writes that were killed have left."""
    for path in folder.glob(".*.partial"):
        path.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Make the new name survive a power cut, where the system lets a folder be opened."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Return the content of a checkpoint once its form has been checked.

    Raises:
        CheckpointError: If the file is missing, damaged, or not a training checkpoint.
    """
    path = Path(path)
    if not path.is_file():
        folder = "is a folder without a checkpoint (final.ckpt or last.ckpt)"
        what = folder if path.is_dir() else "there is no such checkpoint"
        raise CheckpointError(f"{path}: {what}.")
    try:
        file = path.open("rb")
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror or error}).") from error
    with file:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # torch's, of pickle protocols in what is no pickle
                content = torch.load(file, map_location="cpu", weights_only=True)
        # weights_only refuses code with UnpicklingError; a damaged file may raise anything, even
        # OSError. torch's message advises to load without that protection: it is not repeated.
        except Exception as error:
            raise CheckpointError(
                f"{path}: not a checkpoint of bnn, or damaged; expected last.ckpt or final.ckpt "
                "of a run."
            ) from error
    return _checked(content, path)


def _checked(content: Any, path: Path) -> dict[str, Any]:
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise CheckpointError(
            f"{path}: a torch file, but not a checkpoint of bnn's training; expected last.ckpt or "
            "final.ckpt of a run."
        )
    version = content.get("version")
    if version != VERSION:
        raise CheckpointError(
            f"{path}: version {version!r} of the format; this bnn reads {VERSION}. "
            "Use the bnn that wrote it, or a newer one."
        )
    for key, kind in _KINDS.items():
        value = content.get(key)
        if (
            key not in content
            or not isinstance(value, kind)
            or isinstance(value, bool) != (kind is bool)
        ):
            raise CheckpointError(f"{path}: damaged: no usable {key!r} in it.")
    if content["step"] < 0 or content["epoch"] < 0:
        raise CheckpointError(f"{path}: damaged: step or epoch is below 0.")
    return content


def _data_of(content: Mapping[str, Any]) -> tuple[tuple[int, int, int], int]:
    shape, classes = content["data"].get("input_shape"), content["data"].get("num_classes")
    numbers = [*shape, classes] if isinstance(shape, list) and len(shape) == 3 else [None]
    if not all(isinstance(number, int) and number > 0 for number in numbers):
        raise ValueError("damaged: no usable 'data' in it.")
    return (shape[0], shape[1], shape[2]), classes


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if isinstance(error, BnnError) or len(lines) < 2:
        return lines[0] if lines else type(error).__name__
    # load_state_dict: a headline, then one line for each kind of mismatch
    text = " ".join(lines[:2])
    return text if len(text) <= 200 else f"{text[:200]}..."
