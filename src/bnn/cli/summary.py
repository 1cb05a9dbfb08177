"""``bnn summary``: layers, parameters, operations and bytes of a network."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bnn.cli import terminal
from bnn.cli.app import app, examples
from bnn.cli.choices import check_recipe, make_model, parse_model_args, parse_shape, unknown

if TYPE_CHECKING:
    from torch import nn

Shape = tuple[int, int, int]


@app.command(
    epilog=examples(
        "bnn summary resnet18",
        "bnn summary resnet18 --recipe two-step       # once it is binary",
        "bnn summary resnet8 --input 1x8x8 --recipe xnor-net --model-arg width=32",
        "bnn summary runs/demo/binary/final.ckpt",
        "bnn summary resnet18 --recipe two-step --json | jq .packed_bytes",
    )
)
def summary(
    target: Annotated[
        str,
        typer.Argument(
            metavar="MODEL|CHECKPOINT",
            help="A name that `bnn models` lists, or a checkpoint of `bnn train`.",
        ),
    ],
    recipe: Annotated[
        str | None,
        typer.Option(metavar="NAME|FILE", help="Convert MODEL by all steps of this recipe first."),
    ] = None,
    input_shape: Annotated[
        str | None,
        typer.Option(
            "--input",
            metavar="CxHxW",
            help="Channels, height and width of one image. Default: the model's own.",
        ),
    ] = None,
    model_arg: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE", help="An argument of MODEL, such as width=32. May be repeated."
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the counts as JSON.")] = False,
) -> None:
    """Count a network's parameters, operations and bytes.

    Layer by layer and by precision. A layer is binary only where both of its operands hold one bit.
    """
    wanted = None if input_shape is None else parse_shape(input_shape)
    from bnn.models import MODELS

    if target in MODELS:
        if recipe is not None:
            check_recipe(recipe)
        model, shape = _registered(target, recipe, wanted, parse_model_args(model_arg or ()))
    else:
        if recipe is not None or model_arg:
            option = "--recipe" if recipe is not None else "--model-arg"
            _require_file(target)
            raise typer.BadParameter(
                "goes with a model's name, not with a checkpoint.", param_hint=option
            )
        model, shape = _from_checkpoint(target, wanted)
    _report(model, shape, json=json, about={"target": target, "recipe": recipe})


def _registered(
    name: str, recipe: str | None, wanted: Shape | None, arguments: dict[str, Any]
) -> tuple[nn.Module, Shape]:
    """Return a registered network, converted by all steps of the recipe, and its input shape."""
    from bnn.executor import BinaryChef
    from bnn.models import MODELS

    entry = MODELS[name]
    shape = wanted or entry.input_shape
    if "in_channels" in entry.keywords:
        arguments = {"in_channels": shape[0], **arguments}
        if wanted is None and isinstance(arguments["in_channels"], int):
            shape = (arguments["in_channels"], *shape[1:])
    model = make_model(name, arguments)
    if recipe is not None:
        chef = BinaryChef(recipe)
        for _ in range(len(chef)):
            model = chef.next(model)
    return model, shape


def _from_checkpoint(path: str, wanted: Shape | None) -> tuple[nn.Module, Shape]:
    _require_file(path)
    from bnn.training import load_checkpoint

    loaded = load_checkpoint(path)
    return loaded.model, wanted or loaded.input_shape


def _require_file(target: str) -> None:
    """Refuse a word that is neither a model nor a path of anything."""
    from bnn.models import MODELS

    # What has a slash or an ending was meant as a path: its own error says more.
    if not Path(target).exists() and not re.search(r"[./\\]", target):
        raise typer.BadParameter(
            f"{unknown('model', target, MODELS)} Nor is there a checkpoint of that name.",
            param_hint="MODEL|CHECKPOINT",
        )


def _report(model: nn.Module, shape: Shape, *, json: bool, about: dict[str, Any]) -> None:
    import torch

    from bnn.inspect import count_ops, summary

    torch.manual_seed(0)
    image = torch.randn(1, *shape)
    try:
        if json:
            counts = count_ops(model, image).as_dict()
        else:
            summary(model, image)
            return
    except RuntimeError as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise typer.BadParameter(
            f"the network cannot take {'x'.join(map(str, shape))}: {reason}", param_hint="--input"
        ) from error
    terminal.result_json({**about, "input_shape": shape, **counts})
