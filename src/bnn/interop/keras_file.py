"""Read the .h5 files that Keras 2 writes, without TensorFlow."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bnn.errors import CheckpointError, MissingExtraError

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_NUMBER = re.compile(r"(?P<base>.*?)(?:_(?P<number>\d+))?")


@dataclass(frozen=True)
class KerasLayer:
    """One layer that has weights.

    Attributes:
        name: As Keras named it: ``batch_normalization_7``.
        weights: By what follows the layer's name: ``gamma``, ``kernel``.
    """

    name: str
    weights: dict[str, Tensor]

    @property
    def base(self) -> str:
        """The name without the number that Keras appends."""
        return _split(self.name)[0]

    @property
    def number(self) -> int:
        """The number that Keras appends: in which order layers of a kind were made."""
        return _split(self.name)[1]


def _split(name: str) -> tuple[str, int]:
    found = _NUMBER.fullmatch(name)
    assert found is not None  # noqa: S101 - the pattern matches every string
    return found["base"], int(found["number"] or 0)


def read(path: str | Path) -> list[KerasLayer]:
    """Return the layers of a file of ``model.save_weights`` or ``model.save``, in its order.

    Args:
        path: The file, in HDF5.

    Raises:
        CheckpointError: If it cannot be read, or is no such file.
        MissingExtraError: If h5py is not installed.
    """
    _check(Path(path))
    try:
        import h5py
    except ImportError as error:
        raise MissingExtraError(
            "reading Keras's files needs h5py, which is not installed. Run: pip install h5py"
        ) from error
    try:
        with h5py.File(path, "r") as file:
            root = file.get("model_weights", file)
            if "layer_names" not in root.attrs:
                raise CheckpointError(
                    f"{path}: it is HDF5, but not of Keras 2's save_weights (or save): it has no "
                    "layer_names. Keras 3's .weights.h5 is another format; save with tf_keras."
                )
            layers = [_layer(root, _text(name), path) for name in root.attrs["layer_names"]]
    except (OSError, RuntimeError) as error:  # HDF5's own words are of offsets and drivers
        raise CheckpointError(
            f"{path}: it is damaged or not whole, as after a download that broke off. Get it again."
        ) from error
    return [layer for layer in layers if layer.weights]


def _check(path: Path) -> None:
    """Refuse what is no HDF5 file: that needs no h5py."""
    if path.is_dir():
        raise CheckpointError(f"{path} is a folder; give the .h5 file.")
    if not path.exists():
        raise CheckpointError(f"there is no file {path}.")
    try:
        with path.open("rb") as file:
            start = file.read(len(_SIGNATURE))
            # A block of the user's own may be in front, of 512 bytes or that doubled.
            offset, size = 512, path.stat().st_size
            while start != _SIGNATURE and offset < size:
                file.seek(offset)
                start, offset = file.read(len(_SIGNATURE)), 2 * offset
    except OSError as error:
        raise CheckpointError(f"{path}: it cannot be read: {error.strerror or error}.") from error
    if start != _SIGNATURE:
        raise CheckpointError(
            f"{path}: it is no HDF5 file. Give the .h5 file that Keras's save_weights wrote."
        )


def _layer(root: Any, name: str, path: str | Path) -> KerasLayer:
    import numpy as np

    weights: dict[str, Tensor] = {}
    try:
        group = root[name]
        for entry in group.attrs["weight_names"]:
            weight = _text(entry)
            values = np.asarray(group[weight])
            if values.dtype.kind != "f":
                raise CheckpointError(f"{path}: {weight} holds {values.dtype}, not floats.")
            weights[weight.rsplit("/", 1)[-1].split(":")[0]] = torch.from_numpy(values.copy())
    except (KeyError, AttributeError, TypeError) as error:
        raise CheckpointError(f"{path}: layer {name!r} is damaged: {error}") from error
    return KerasLayer(name, weights)


def _text(name: Any) -> str:
    return name.decode() if isinstance(name, bytes) else str(name)
