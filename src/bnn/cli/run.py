"""``bnn run``: what a packed network sees in pictures."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bnn.cli import terminal
from bnn.cli.app import app, examples
from bnn.cli.choices import given_path
from bnn.cli.failures import FAILED
from bnn.cli.pictures import Preparation, array_batches, batches, find, read_array
from bnn.errors import ConfigError, DataError, PackedError

if TYPE_CHECKING:
    from torch import Tensor

    from bnn.packed import PackedNetwork, Preprocessing

# What the data sets imagenet and folder are normalised by: a guess where a file says nothing.
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_MOST_LABELS = 2**24  # bytes
_CROP = 256 / 224  # as these data sets: scaled to 256, cut to 224


@app.command(
    epilog=examples(
        "bnn run net.bnn cat.jpg",
        "bnn run net.bnn photos/ --labels imagenet.txt --top 3",
        "bnn run net.bnn digits.npy --json | jq .inputs[0].top[0].label",
        "bnn run net.bnn scan.png --size 28 --mean 0.13 --std 0.31",
    )
)
def run(
    network: Annotated[str, typer.Argument(metavar="NET", help="A file of `bnn pack`.")],
    source: Annotated[
        Path,
        typer.Argument(
            parser=given_path,
            metavar="IMAGE|FOLDER|NPY",
            help="A picture, a folder with pictures in it or below it, or an array CxHxW or "
            "NxCxHxW that is prepared already.",
        ),
    ],
    top: Annotated[
        int, typer.Option("--top", metavar="K", min=1, help="Show the K likeliest classes.")
    ] = 1,
    labels: Annotated[
        Path | None,
        typer.Option(
            "--labels",
            parser=given_path,
            metavar="FILE",
            help="Names of the classes, one a line.",
        ),
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(
            "--size",
            metavar="N|HxW",
            help="Size of the middle that is cut out of a picture. Default: as the file says, or "
            "what it was packed with.",
        ),
    ] = None,
    resize: Annotated[
        int | None,
        typer.Option(
            "--resize",
            metavar="N",
            min=1,
            max=4096,
            help="Scale the shorter side to N before that. Default: 8/7 of --size, and --size "
            "itself below 64.",
        ),
    ] = None,
    mean: Annotated[
        str | None,
        typer.Option(
            "--mean",
            metavar="X[,X,X]",
            help="Taken from pixels of 0 to 1, for each channel. Default: as the file says; if "
            "it says nothing, ImageNet's for colours, 0 for grey.",
        ),
    ] = None,
    std: Annotated[
        str | None,
        typer.Option(
            "--std",
            metavar="X[,X,X]",
            help="Then divided by it. Default: as the file says; if it says nothing, ImageNet's "
            "for colours, 1 for grey.",
        ),
    ] = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print the result as one JSON object.")
    ] = False,
) -> None:
    """Classify pictures with a packed network.

    Prints each picture's likeliest classes and their probabilities. One in a folder that cannot be
    read is named on stderr, and the exit code is 1 then.
    """
    failed: list[dict[str, str]] = []

    def tell(path: Path, message: str) -> None:
        failed.append({"input": str(path), "error": message})
        terminal.complain(message)

    array = source.suffix.lower() == ".npy"
    if array and any(option is not None for option in (size, resize, mean, std)):
        raise typer.BadParameter(
            "an array is taken as it is; leave out --size, --resize, --mean and --std.",
            param_hint="NPY",
        )
    from bnn.packed.file import load

    packed = load(network)
    if len(packed.example_shapes) != 1:
        raise PackedError(f"{network} takes {len(packed.example_shapes)} inputs, not one picture.")
    shape = packed.example_shapes[0][1:]
    if array:
        paths = find(source)
        given: Any = array_batches(source, read_array(paths[0], shape))
    else:
        if len(shape) != 3 or shape[0] not in (1, 3):
            wanted = "x".join(map(str, shape))
            raise PackedError(f"{network} takes {wanted}, which no picture is. Give a .npy file.")
        preparation = _preparation(packed, shape, size, resize, mean, std)
        given = batches(find(source), preparation, tell if source.is_dir() else None)
    names = None if labels is None else _read_labels(labels)
    rows = list(_classify(packed, given, names, top))
    if json:
        about: dict[str, Any] = {"network": network}
        if not array:
            about["preparation"] = vars(preparation)
        terminal.result_json({**about, "inputs": rows, "failed": failed})
    else:
        width = max((len(row["input"]) for row in rows), default=0)
        for row in rows:
            classes = "  ".join(f"{one['label']} {one['probability']:.1%}" for one in row["top"])
            terminal.result(f"{row['input']:<{width}}  {classes}")
    if failed:
        raise typer.Exit(FAILED)


def _classify(
    packed: PackedNetwork, given: Iterator[tuple[list[str], Tensor]], names: Any, top: int
) -> Iterator[dict[str, Any]]:
    import torch

    for inputs, images in given:
        try:
            output = packed(images)
        except ConfigError:  # of BNN_ISA: no picture is to blame
            raise
        except (RuntimeError, ValueError) as error:  # torch's, and ours, of sizes that do not fit
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            sizes = "x".join(map(str, images.shape[1:]))
            raise DataError(f"{inputs[0]}: the network cannot take {sizes}: {reason}") from error
        if not isinstance(output, torch.Tensor) or output.dim() != 2:
            raise PackedError("the network does not give one row of classes for each picture.")
        classes = output.shape[1]
        if names is not None and len(names) != classes:
            raise DataError(
                f"--labels has {len(names):,} names, but the network {classes:,} classes."
            )
        likely = output.softmax(1).topk(min(top, classes), 1)
        for i, name in enumerate(inputs):
            pairs = zip(likely.indices[i].tolist(), likely.values[i].tolist(), strict=True)
            yield {
                "input": name,
                "top": [
                    {
                        "class": index,
                        "label": str(index) if names is None else names[index],
                        "probability": probability,
                    }
                    for index, probability in pairs
                ],
            }


def _preparation(
    packed: PackedNetwork,
    shape: tuple[int, ...],
    size: str | None,
    resize: int | None,
    mean: str | None,
    std: str | None,
) -> Preparation:
    from bnn.packed.preprocessing import of

    stored = of(packed)
    channels = shape[0]
    usual = (shape[1], shape[2]) if stored is None else stored.size
    sizes = usual if size is None else _parse_size(size)
    largest = max(sizes)
    shorter = resize or (round(largest * _CROP) if largest >= 64 else largest)
    usual_mean, usual_std = _usual(stored, channels)
    deviations = _numbers("--std", std, channels, usual_std)
    if any(value <= 0 for value in deviations):
        raise typer.BadParameter("it must be above 0.", param_hint="--std")
    means = _numbers("--mean", mean, channels, usual_mean)
    if stored is None and (mean is None or std is None):
        _say_what_is_assumed(means if mean is None else None, deviations if std is None else None)
    return Preparation(channels, sizes, shorter, means, deviations)


def _usual(
    stored: Preprocessing | None, channels: int
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and deviation where none are given."""
    if stored is not None:
        return stored.mean, stored.std
    return ((0.0,), (1.0,)) if channels == 1 else (_MEAN, _STD)


def _say_what_is_assumed(mean: tuple[float, ...] | None, std: tuple[float, ...] | None) -> None:
    assumed = " and ".join(
        f"--{name} {','.join(f'{value:g}' for value in values)}"
        for name, values in (("mean", mean), ("std", std))
        if values is not None
    )
    terminal.talk(
        f"assumed: {assumed}. The file does not say how its training pictures were prepared; if "
        "otherwise, the classes are wrong."
    )


def _parse_size(text: str) -> tuple[int, int]:
    parts = text.split("x")
    plain = all(part.isascii() and part.isdigit() and len(part) <= 4 for part in parts)
    numbers = [int(part) for part in parts] if plain and len(parts) <= 2 else [0]
    if not all(1 <= number <= 4096 for number in numbers):
        raise typer.BadParameter(
            f"{text!r} is not a size from 1 to 4096, for example 224 or 224x320.",
            param_hint="--size",
        )
    return numbers[0], numbers[-1]


def _numbers(
    option: str, text: str | None, channels: int, default: tuple[float, ...]
) -> tuple[float, ...]:
    """Return one number for each channel."""
    if text is None:
        return default
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError:
        values = ()
    if len(values) == 1:
        values *= channels
    if len(values) != channels or not all(map(math.isfinite, values)):
        several = f", or {channels} with commas between" if channels > 1 else ""
        raise typer.BadParameter(
            f"{text!r}: give one number{several}, for example 0.5.", param_hint=option
        )
    return values


def _read_labels(path: Path) -> list[str]:
    with path.open("rb") as file:  # a pipe will do
        content = file.read(_MOST_LABELS + 1)
    if len(content) > _MOST_LABELS:
        raise DataError(
            f"{path}: more than {_MOST_LABELS:,} bytes of labels; give one name a line."
        )
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not a text in UTF-8; give one name a line.") from error
    return [line.strip() for line in text.splitlines() if line.strip()]
