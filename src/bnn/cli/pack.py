"""``bnn pack``: from a checkpoint to a packed file, once the two agree."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bnn.cli import terminal
from bnn.cli.app import app, examples
from bnn.cli.choices import check_out, given_path
from bnn.cli.held_out import DATA, DATA_DIR, SAMPLES, check_images, images_for, preprocessing_for
from bnn.errors import PackedError

if TYPE_CHECKING:
    from bnn.packed import Agreement


@app.command(
    epilog=examples(
        "bnn pack runs/demo/binary -o net.bnn",
        "bnn pack net.ckpt -o net.bnn --data imagenet --data-dir /data/imagenet",
        "bnn pack net.ckpt -o net.bnn --json | jq .agreement.top1_agreement",
    )
)
def pack(
    checkpoint: Annotated[
        str,
        typer.Argument(
            metavar="CHECKPOINT", help="A run's folder, or its final.ckpt or last.ckpt."
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            "-o",
            parser=given_path,
            metavar="FILE",
            help="File to write, such as net.bnn.",
        ),
    ],
    data: DATA = None,
    data_dir: DATA_DIR = None,
    samples: SAMPLES = 256,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace FILE if it is there.")
    ] = False,
    force: Annotated[
        bool,
        typer.Option("--force", help="Write FILE whatever was found, and replace one."),
    ] = False,
    json: Annotated[
        bool, typer.Option("--json", help="Print the result as one JSON object.")
    ] = False,
) -> None:
    """Pack a checkpoint into a file with 1 bit for each binary weight.

    The packed network is first compared with the checkpoint's. If an integer sum differs, or the
    class of an image, nothing is written and the exit code is 1.
    """
    check_images(data)
    check_out(out, replace=overwrite or force)
    import torch

    from bnn.packed import pack as make
    from bnn.packed import verify
    from bnn.packed.preprocessing import attach
    from bnn.training import load_checkpoint

    loaded = load_checkpoint(checkpoint)
    network = make(loaded.model, torch.zeros(1, *loaded.input_shape))
    if not network.report.binary and not force:
        raise PackedError(
            f"{checkpoint}: nothing in it is binary, so nothing would be packed. Train with a "
            "recipe: bnn train --recipe two-step. --force writes a float network all the same."
            if not network.report.emulated
            else f"{checkpoint}: none of its binary layers can be packed. --force writes it all "
            f"the same.\n{network.report}"
        )
    images = images_for(loaded, data, data_dir, samples)
    agreement = verify(loaded.model, network, images.batches())
    written = force or agreement.agrees
    if written:
        attach(network, preprocessing_for(loaded, images, data))
        network.save(out)
    size = out.stat().st_size if written else None
    if json:
        terminal.result_json(
            {
                "checkpoint": checkpoint,
                "file": out if written else None,
                "file_bytes": size,
                "report": dataclasses.asdict(network.report),
                "images": images.what,
                "agreement": agreement.as_dict(),
            }
        )
    else:
        terminal.result(f"{network.report}\n\nOn {images.what}:\n\n{agreement}")
        if written:
            terminal.result(f"\nwritten             {out}, {size:,} bytes")
    if not agreement.agrees:
        if not written:
            raise PackedError(
                f"{out} was not written: {disagreement(agreement)}\n"
                "  See docs/how-to/pack-and-run.md. --force writes it all the same."
            )
        terminal.talk(f"written all the same: {disagreement(agreement)}")


def disagreement(agreement: Agreement) -> str:
    """Say what does not agree."""
    if not agreement.identical:
        wrong = [layer.name for layer in agreement.layers if not layer.identical]
        return f"the integer sums of {', '.join(wrong[:3])} are not those of the checkpoint."
    return (
        f"the two give {agreement.top1:,} of {agreement.samples:,} images the same class, not all."
    )
