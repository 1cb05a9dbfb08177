"""``bnn import-larq``: weights that were trained with Larq, as a checkpoint of this package."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bnn.cli import terminal
from bnn.cli.app import app, examples
from bnn.cli.choices import check_out, given_path, make_model, parse_model_args, unknown
from bnn.errors import CheckpointError


@app.command(
    "import-larq",
    epilog=examples(
        "bnn import-larq QuickNet quicknet_weights.h5 -o quicknet.ckpt",
        "bnn pack quicknet.ckpt -o quicknet.bnn --data random",
        "bnn import-larq quicknet my.h5 -o my.ckpt --model-arg num_classes=10",
    ),
)
def import_larq(
    network: Annotated[
        str, typer.Argument(help="Larq Zoo's name or that of `bnn models`.", metavar="NETWORK")
    ],
    weights: Annotated[
        str, typer.Argument(help="What Keras's save_weights or save wrote.", metavar="FILE.h5")
    ],
    out: Annotated[str, typer.Option("--out", "-o", metavar="FILE", help="Where to write it.")],
    model_arg: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE",
            help="An argument of the network, such as num_classes=10. May be repeated.",
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a file that is there.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Read a Larq Zoo network's weights (.h5) and write a checkpoint.

    TensorFlow is not needed. The network pads as TensorFlow does.
    """
    from bnn.interop import larq

    name = larq.NETWORKS.get(network, network)
    if name not in larq.NETWORKS.values():
        known = (*larq.NETWORKS, *larq.NETWORKS.values())
        raise typer.BadParameter(unknown("Larq network", network, known), param_hint="NETWORK")
    path = given_path(out)
    check_out(path, replace=overwrite)
    arguments = {**parse_model_args(model_arg or ()), "padding": "tf"}
    model = larq.load(make_model(name, arguments), given_path(weights))
    _write(name, arguments, model.state_dict(), path)
    parameters = sum(p.numel() for p in model.parameters())
    if json:
        terminal.result_json({"network": name, "file": path, "parameters": parameters})
    else:
        terminal.result(f"{name}, {parameters:,} parameters -> {path}")


def _write(name: str, arguments: dict[str, object], state: dict[str, object], path: Path) -> None:
    from bnn.models import MODELS
    from bnn.training.checkpoint import FORMAT, VERSION, unwritable, write_checkpoint
    from bnn.training.config import TrainConfig

    entry = MODELS[name]
    channels, *size = entry.input_shape
    given = arguments.get("input_size", size)
    height, width = (given, given) if isinstance(given, int) else tuple(given)  # type: ignore[arg-type]  # checked
    shape = [arguments.get("in_channels", channels), height, width]
    config = TrainConfig(model=name, model_args=arguments, data="imagenet")
    content = {
        "format": FORMAT,
        "version": VERSION,
        "config": config.as_dict(),
        "recipe": None,
        "data": {
            "input_shape": shape,
            "num_classes": arguments.get("num_classes", entry.num_classes),
        },
        "step": 0,
        "epoch": 0,
        "history": [],
        "own_model": False,
        "model": state,
    }
    try:
        write_checkpoint(content, path)
    except OSError as error:
        raise CheckpointError(unwritable(path, error)) from error
