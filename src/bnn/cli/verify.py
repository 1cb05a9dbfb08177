"""``bnn verify``: a packed file against the checkpoint that it was made of."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bnn.cli import terminal
from bnn.cli.app import app, examples
from bnn.cli.held_out import DATA, DATA_DIR, SAMPLES, check_images, images_for
from bnn.cli.pack import disagreement
from bnn.errors import PackedError, PackedFormatError

if TYPE_CHECKING:
    from bnn.packed import PackedNetwork


@app.command(
    epilog=examples(
        "bnn verify runs/demo/binary net.bnn",
        "bnn verify net.ckpt net.bnn --data random --samples 1000",
        "bnn verify net.ckpt net.bnn --json | jq .max_difference",
    )
)
def verify(
    checkpoint: Annotated[
        str,
        typer.Argument(
            metavar="CHECKPOINT", help="A run's folder, or its final.ckpt or last.ckpt."
        ),
    ],
    network: Annotated[str, typer.Argument(metavar="NET", help="A file of `bnn pack`.")],
    data: DATA = None,
    data_dir: DATA_DIR = None,
    samples: SAMPLES = 256,
    json: Annotated[
        bool, typer.Option("--json", help="Print the result as one JSON object.")
    ] = False,
) -> None:
    """Compare a packed file with its checkpoint, layer by layer.

    The exit code is 1 if an integer sum differs, or the class of an image.
    """
    check_images(data)
    from bnn.packed import verify as compare
    from bnn.training import load_checkpoint

    packed = _load(network, checkpoint)
    loaded = load_checkpoint(checkpoint)
    images = images_for(loaded, data, data_dir, samples)
    agreement = compare(loaded.model, packed, images.batches())
    if json:
        terminal.result_json(
            {
                "checkpoint": checkpoint,
                "network": network,
                "images": images.what,
                **agreement.as_dict(),
            }
        )
    else:
        terminal.result(f"On {images.what}:\n\n{agreement}")
    if not agreement.agrees:
        raise PackedError(f"{network}: {disagreement(agreement)}")


def _load(network: str, checkpoint: str) -> PackedNetwork:
    from bnn.packed.file import file_info, load

    try:
        return load(network)
    except PackedFormatError:
        if Path(network).exists():
            with contextlib.suppress(PackedFormatError):
                file_info(checkpoint)
                raise PackedError(
                    f"{checkpoint} is the packed file, {network} is not: the arguments are the "
                    "wrong way round: bnn verify CHECKPOINT NET."
                ) from None
        raise
