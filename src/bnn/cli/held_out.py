"""Images on which a packed network is compared with its model: held out, or random."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bnn.cli import terminal
from bnn.cli.choices import check_data
from bnn.errors import DataError, MissingExtraError

if TYPE_CHECKING:
    from torch import Tensor

    from bnn.packed import Preprocessing
    from bnn.training import DataSplits, Loaded

_BATCH = 32  # of 3x224x224 that is 19 MB
RANDOM = "random"

# The options of the verbs that compare.
DATA = Annotated[
    str | None,
    typer.Option(
        "--data",
        metavar="NAME",
        help="Compare on held-out images of digits, mnist5k, cifar10, imagenet or folder, or on "
        "random ones. Default: as in training; random if that data is not here.",
    ),
]
DATA_DIR = Annotated[
    str | None,
    typer.Option("--data-dir", metavar="DIR", help="Where it lies. Default: as in training."),
]
SAMPLES = Annotated[
    int, typer.Option("--samples", metavar="N", min=1, help="Compare on so many images.")
]


@dataclass(frozen=True)
class Images:
    """What to compare on.

    Attributes:
        what: In words.
        count: How many.
        items: The data set, or None for random images.
        shape: Of one image.
        splits: What was read; None for random images.
    """

    what: str
    count: int
    items: Any
    shape: tuple[int, int, int]
    splits: DataSplits | None = None

    def batches(self) -> Iterator[Tensor]:
        """Yield the images, (N, C, H, W), spread evenly over the data set."""
        import torch

        generator = torch.Generator().manual_seed(0)
        for start in range(0, self.count, _BATCH):
            places = range(start, min(start + _BATCH, self.count))
            if self.items is None:
                yield torch.randn(len(places), *self.shape, generator=generator)
            else:
                step = len(self.items) / self.count
                yield torch.stack([self.items[int(place * step)][0] for place in places])


def check_images(data: str | None) -> None:
    """Refuse a data set that is neither registered nor ``random``."""
    if data not in (None, RANDOM):
        check_data(str(data))


def images_for(loaded: Loaded, data: str | None, data_dir: str | None, samples: int) -> Images:
    """Return the images to compare a checkpoint's network on.

    Raises:
        DataError: If ``data`` was asked for and cannot be read, or does not fit the network.
    """
    shape = loaded.input_shape
    if data == RANDOM:
        return Images(f"{samples:,} random images", samples, None, shape)
    from bnn.training import load_data

    name = loaded.config.data if data is None else data
    if data_dir is None and name == loaded.config.data:
        data_dir = loaded.config.data_dir
    try:
        splits = load_data(name, data_dir, loaded.config.split_seed, enlarge_to=loaded.enlarge_to)
    except (DataError, MissingExtraError) as error:
        if data is not None:
            raise
        terminal.talk(_plain(f"comparing on random images, since {name} cannot be read: {error}"))
        return Images(f"{samples:,} random images", samples, None, shape)
    if splits.input_shape != shape:
        raise DataError(
            f"{name} has images of {_by(splits.input_shape)}, but the network takes {_by(shape)}. "
            "Choose other --data, or --data random."
        )
    count = min(samples, len(splits.test))
    return Images(f"{count:,} held-out images of {name}", count, splits.test, shape, splits)


def preprocessing_for(loaded: Loaded, images: Images, data: str | None) -> Preprocessing | None:
    """Return what the pictures went through that a checkpoint was trained on, if that is known.

    Args:
        loaded: The checkpoint.
        images: What its network is compared on.
        data: The data set that was asked for, of which these are.
    """
    from bnn.packed import Preprocessing
    from bnn.training import load_data

    known = getattr(loaded.model, "preprocessing", None)
    config = loaded.config
    splits = images.splits if data in (None, config.data) else None
    if splits is None:
        try:
            splits = load_data(
                config.data, config.data_dir, config.split_seed, enlarge_to=loaded.enlarge_to
            )
        except (DataError, MissingExtraError) as error:
            if config.data == "imagenet" and known is not None:
                return known.for_packed()  # type: ignore[no-any-return]  # of any network
            terminal.talk(
                _plain(
                    f"how to prepare pictures is not in the file, since of {config.data}: {error}"
                )
            )
            return None
    if splits.mean is None or splits.std is None or splits.input_shape != loaded.input_shape:
        return None
    channels, height, width = splits.input_shape
    return Preprocessing((height, width), channels, splits.mean, splits.std)


def _by(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def _plain(text: str) -> str:
    from rich.markup import escape

    return escape(text)
