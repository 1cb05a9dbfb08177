"""``bnn models``: the networks that ``--model`` and ``bnn summary`` know."""

from __future__ import annotations

from typing import Annotated

import typer

from bnn.cli import terminal
from bnn.cli.app import app, examples


@app.command(
    epilog=examples(
        "bnn models",
        "bnn models 'resnet*'",
        "bnn models --json",
        "bnn summary resnet18",
    )
)
def models(
    pattern: Annotated[
        str, typer.Argument(help="Only the names that match this shell pattern.")
    ] = "*",
    json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """List the networks and the images that they expect.

    Images are channels x height x width.
    """
    from bnn.models import MODELS
    from bnn.models import list as list_models

    names = list_models(pattern)
    if not names:
        raise typer.BadParameter(
            f"no model matches {pattern!r}. Known: {', '.join(MODELS)}.", param_hint="PATTERN"
        )
    entries = {name: MODELS[name] for name in names}
    if json:
        terminal.result_json(
            [
                {
                    "name": name,
                    "summary": entry.summary,
                    "input_shape": entry.input_shape,
                    "num_classes": entry.num_classes,
                    "model_args": entry.keywords,
                    "paper": entry.paper,
                }
                for name, entry in entries.items()
            ]
        )
        return
    terminal.result_rich(
        terminal.columns(
            [
                (name, "x".join(map(str, entry.input_shape)), entry.summary)
                for name, entry in entries.items()
            ]
        )
    )
