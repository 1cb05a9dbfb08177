"""Pictures and arrays from files, as a network takes them."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bnn.errors import DataError, MissingExtraError

if TYPE_CHECKING:
    from torch import Tensor

ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
_MOST_VALUES = 2**28
_BATCH = 32


@dataclass(frozen=True)
class Preparation:
    """What happens to a picture.

    Args:
        channels: 1: grey; 3: RGB.
        size: Height and width of what is cut out of the middle.
        shorter: What the shorter side is scaled to before that.
        mean: Of each channel, taken from values of 0 to 1.
        std: Of each channel; what is left is divided by it.
    """

    channels: int
    size: tuple[int, int]
    shorter: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def read(self, path: Path) -> Tensor:
        """Return (C, H, W)."""
        import numpy as np
        import torch

        image = self._fit(_open(path, {1: "L", 3: "RGB"}[self.channels]))
        values = torch.from_numpy(np.array(image, dtype=np.float32)) / 255
        values = values.view(*self.size, self.channels).movedim(-1, 0)
        mean, std = (torch.tensor(v).view(-1, 1, 1) for v in (self.mean, self.std))
        return (values - mean) / std

    def _fit(self, image: Any) -> Any:
        """Scale the shorter side, then cut out the middle."""
        from PIL import Image

        height, width = self.size
        shorter = max(self.shorter, height, width)
        scale = shorter / min(image.size)
        sizes = tuple(max(round(side * scale), shorter) for side in image.size)
        if math.prod(sizes) > _MOST_VALUES:
            raise DataError(f"a picture of {image.size[0]}x{image.size[1]} is too long.")
        image = image.resize(sizes, Image.Resampling.BILINEAR)
        left, top = (sizes[0] - width) // 2, (sizes[1] - height) // 2
        return image.crop((left, top, left + width, top + height))


def _open(path: Path, mode: str) -> Any:
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingExtraError(
            f"{path}: pictures are read by Pillow, which is not installed: pip install pillow. Or "
            "give a .npy file."
        ) from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # a picture that is suspiciously large warns only
            with Image.open(path) as image:
                return image.convert(mode)
    except OSError as error:
        if error.strerror:
            raise
        raise DataError(f"{path}: no picture that Pillow reads, or damaged.") from error
    except Exception as error:  # decoders of damaged files raise anything
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise DataError(f"{path}: cannot be read: {reason}") from error


def find(path: Path) -> list[Path]:
    """Return a file itself, or all pictures below a folder, in the order of their names.

    Raises:
        DataError: If there is none.
    """
    if path.is_file():
        return [path]
    if not path.is_dir():
        what = "it is no ordinary file" if path.exists() else "there is no such file or folder"
        raise DataError(f"{path}: {what}.")
    found = sorted(p for p in path.rglob("*") if p.suffix.lower() in ENDINGS and p.is_file())
    if not found:
        raise DataError(f"{path}: no picture in this folder; looked for {', '.join(ENDINGS)}.")
    return found


def read_array(path: Path, shape: tuple[int, ...]) -> Tensor:
    """Return the inputs (N, *shape) of a ``.npy`` file; one without a batch axis is one input.

    Args:
        path: The file. Nothing in it can run code.
        shape: Of one input, of which only the channels must agree where there are three axes.

    Raises:
        DataError: If it is damaged, or holds something else.
    """
    import numpy as np
    import torch

    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except OSError as error:
        if error.strerror:
            raise
        raise DataError(f"{path}: not an .npy file, or damaged.") from error
    except Exception as error:  # numpy's message for pickles advises to allow them
        raise DataError(
            f"{path}: not an .npy file of numbers, or damaged. Objects are not read."
        ) from error
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu":
        what = getattr(array, "dtype", type(array).__name__)
        raise DataError(f"{path}: holds {what}; give floats, prepared as the network takes them.")
    if array.size > _MOST_VALUES:
        raise DataError(f"{path}: holds {array.size:,} values; at most {_MOST_VALUES:,} are read.")
    values = torch.from_numpy(np.array(array, dtype=np.float32))
    if values.dim() == len(shape):
        values = values.unsqueeze(0)
    wanted = "x".join(map(str, shape))
    if values.dim() != len(shape) + 1 or values.shape[1] != shape[0] or not values.numel():
        given = "x".join(map(str, array.shape))
        raise DataError(f"{path}: holds an array of {given}; give {wanted}, or Nx{wanted}.")
    return values


def batches(paths: list[Path], preparation: Preparation) -> Iterator[tuple[list[str], Tensor]]:
    """Yield names and images, a few at a time."""
    import torch

    for start in range(0, len(paths), _BATCH):
        some = paths[start : start + _BATCH]
        yield [str(p) for p in some], torch.stack([preparation.read(p) for p in some])


def array_batches(path: Path, values: Tensor) -> Iterator[tuple[list[str], Tensor]]:
    """Yield names and inputs of an array, a few at a time."""
    for start in range(0, len(values), _BATCH):
        some = values[start : start + _BATCH]
        one = len(values) == 1
        names = [str(path) if one else f"{path}[{start + i}]" for i in range(len(some))]
        yield names, some
