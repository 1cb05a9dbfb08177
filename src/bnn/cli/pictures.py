"""Pictures and arrays from files, as a network takes them."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bnn.cli.failures import explain
from bnn.errors import DataError, MissingExtraError

if TYPE_CHECKING:
    from torch import Tensor

Bad = Callable[[Path, str], None]
"""What is told of a picture that cannot be read: which one, and the message."""

ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
_MOST_VALUES = 2**28
_BATCH = 32
_ARCHIVE = "an archive of arrays; give one of them, saved with numpy.save as a .npy file."


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

        image = self._fit(path, _open(path, {1: "L", 3: "RGB"}[self.channels]))
        values = torch.from_numpy(np.array(image, dtype=np.float32)) / 255
        values = values.view(*self.size, self.channels).movedim(-1, 0)
        mean, std = (torch.tensor(v).view(-1, 1, 1) for v in (self.mean, self.std))
        return (values - mean) / std

    def _fit(self, path: Path, image: Any) -> Any:
        """Scale the shorter side, then cut out the middle."""
        from PIL import Image

        height, width = self.size
        shorter = max(self.shorter, height, width)
        scale = shorter / min(image.size)
        sizes = tuple(max(round(side * scale), shorter) for side in image.size)
        if math.prod(sizes) > _MOST_VALUES:
            raise DataError(f"{path}: a picture of {image.size[0]}x{image.size[1]} is too long.")
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
                return _eight_bits(path, image).convert(mode)
    except DataError:
        raise
    except OSError as error:
        if error.strerror:
            raise
        raise DataError(f"{path}: no picture that Pillow reads, or damaged.") from error
    except Exception as error:  # decoders of damaged files raise anything
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise DataError(f"{path}: cannot be read: {reason}") from error


def _eight_bits(path: Path, image: Any) -> Any:
    """Return a picture with 8 bits a channel. Pillow would cut all above 255 down to it."""
    import numpy as np
    from PIL import Image

    # Older versions of Pillow open 16 bits of these formats as 32.
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
        values = np.asarray(image).astype(np.int64)
        return Image.fromarray(np.rint(values.clip(0, 65535) / 257).astype(np.uint8))
    if image.mode[0] in "IF":
        kind = "floats" if image.mode[0] == "F" else "32-bit integers"
        raise DataError(
            f"{path}: its pixels are {kind}, and nothing says which is white. Save it with 8 or 16 "
            "bits, or give a .npy file."
        )
    return image


def find(path: Path) -> list[Path]:
    """Return a file itself, or all pictures below a folder, in the order of their names.

    Raises:
        DataError: If there is none.
    """
    if path.suffix.lower() == ".npz":
        raise DataError(f"{path}: {_ARCHIVE}")
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
        DataError: If it is damaged, or holds something else. Integers are: they are pixels that
            nobody has prepared.
    """
    import numpy as np
    import torch

    from bnn.cli import terminal

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
    if not isinstance(array, np.ndarray):
        raise DataError(f"{path}: {_ARCHIVE}")
    if array.dtype.kind in "iub":
        raise DataError(
            f"{path}: holds {array.dtype}; give float32, prepared as in training: pixels of 0 to "
            "1, less the mean, divided by the deviation. `bnn run` prepares pictures, not arrays."
        )
    if array.dtype.kind != "f":
        raise DataError(
            f"{path}: holds {array.dtype}; give float32, prepared as the network takes it."
        )
    if array.size > _MOST_VALUES:
        raise DataError(f"{path}: holds {array.size:,} values; at most {_MOST_VALUES:,} are read.")
    values = torch.from_numpy(np.array(array, dtype=np.float32))
    if values.dim() == len(shape):
        values = values.unsqueeze(0)
    wanted = "x".join(map(str, shape))
    if values.dim() != len(shape) + 1 or values.shape[1] != shape[0] or not values.numel():
        given = "x".join(map(str, array.shape))
        given = f"an array of {given}" if array.shape else "a single number"
        raise DataError(f"{path}: holds {given}; give {wanted}, or Nx{wanted}.")
    if array.dtype != np.float32:
        terminal.talk(f"converted from {array.dtype} to float32")
    return values


def batches(
    paths: list[Path], preparation: Preparation, bad: Bad | None = None
) -> Iterator[tuple[list[str], Tensor]]:
    """Yield names and images, a few at a time.

    Args:
        paths: Pictures.
        preparation: What happens to them.
        bad: Is told of each that cannot be read, and the others go on. None: that is an error.
    """
    import torch

    for start in range(0, len(paths), _BATCH):
        some = ((p, _read(p, preparation, bad)) for p in paths[start : start + _BATCH])
        good = [(str(path), image) for path, image in some if image is not None]
        if good:
            yield [name for name, _ in good], torch.stack([image for _, image in good])


def _read(path: Path, preparation: Preparation, bad: Bad | None) -> Tensor | None:
    try:
        return preparation.read(path)
    except (DataError, OSError) as error:
        if bad is None:
            raise
        bad(path, explain(error)[0])
        return None


def array_batches(path: Path, values: Tensor) -> Iterator[tuple[list[str], Tensor]]:
    """Yield names and inputs of an array, a few at a time."""
    for start in range(0, len(values), _BATCH):
        some = values[start : start + _BATCH]
        one = len(values) == 1
        names = [str(path) if one else f"{path}[{start + i}]" for i in range(len(some))]
        yield names, some
