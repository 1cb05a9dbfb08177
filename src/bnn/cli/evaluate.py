"""``bnn eval``: how well a checkpoint does on held-out images."""

from __future__ import annotations

from typing import Annotated

import typer

from bnn.cli import terminal
from bnn.cli.app import app, examples
from bnn.cli.choices import check_data


@app.command(
    name="eval",
    epilog=examples(
        "bnn eval runs/demo/binary/final.ckpt",
        "bnn eval net.ckpt --data imagenet --data-dir /data/imagenet",
        "bnn eval net.ckpt --json | jq .accuracy",
    ),
)
def evaluate(
    checkpoint: Annotated[
        str,
        typer.Argument(
            metavar="CHECKPOINT", help="A run's folder, or its final.ckpt or last.ckpt."
        ),
    ],
    data: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="digits, mnist5k, cifar10, imagenet or folder. Default: as in training.",
        ),
    ] = None,
    data_dir: Annotated[
        str | None,
        typer.Option(metavar="DIR", help="Where the data lies. Default: as in training."),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Images at a time. Default: the data's."),
    ] = None,
    accelerator: Annotated[
        str, typer.Option(metavar="NAME", help="cpu, gpu, mps, tpu or auto.")
    ] = "cpu",
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress on stderr.")] = False,
    json: Annotated[
        bool, typer.Option("--json", help="Print the result as one JSON object.")
    ] = False,
) -> None:
    """Measure a checkpoint on held-out images."""
    if data is not None:
        check_data(data)
    from bnn.training import evaluate as measure

    measured = measure(
        checkpoint,
        data=data,
        data_dir=data_dir,
        batch_size=batch_size,
        accelerator=accelerator,
        progress=terminal.watched() and not quiet,
    )
    if json:
        terminal.result_json(
            {
                "checkpoint": checkpoint,
                "accuracy": measured.accuracy,
                "loss": measured.loss,
                "samples": measured.samples,
            }
        )
        return
    terminal.result_fields(
        {
            "accuracy": f"{measured.accuracy:.2%}",
            "loss": f"{measured.loss:.4f}",
            "images": f"{measured.samples:,}",
        }
    )
