"""``bnn train``: one run of training, float or step by step through a recipe."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bnn.cli import terminal
from bnn.cli.app import app, examples
from bnn.cli.choices import check_data, check_model, check_recipe, make_model, parse_model_args
from bnn.cli.failures import InterruptedRunError

if TYPE_CHECKING:
    from bnn.training import FitResult, TrainConfig


@app.command(
    epilog=examples(
        "bnn train                                  # float resnet8 on digits",
        "bnn train --recipe two-step                # the same network, binary",
        "bnn train --recipe two-step --resume       # go on after Ctrl-C or a crash",
        "bnn train --recipe mine.yaml --epochs 5 --lr 2e-3 --out runs/mine",
        "bnn train --recipe reactnet --smoke        # each of its steps, quickly",
        "bnn train --model quicknet --recipe quicknet --smoke",
        "bnn train --recipe reactnet --teacher runs/resnet8-digits-float",
        "bnn train --model resnet18 --model-arg stem_type=cifar --recipe two-step \\",
        "          --data cifar10 --data-dir ~/data",
        "bnn train --accelerator cpu --devices 2 --strategy ddp",
        "bnn train --recipe xnor-net --json 2>/dev/null | jq .test_accuracy",
    )
)
def train(
    model: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Network; `bnn models` lists them. Default: the recipe's, else resnet8.",
        ),
    ] = None,
    model_arg: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE",
            help="An argument of the network, such as width=32. May be repeated.",
        ),
    ] = None,
    recipe: Annotated[
        str,
        typer.Option(
            metavar="NAME|FILE",
            help="How it becomes binary: a name of `bnn recipes` or a YAML file; none for float.",
        ),
    ] = "none",
    smoke: Annotated[
        bool,
        typer.Option("--smoke", help="The recipe's small variant: every step, a few epochs each."),
    ] = False,
    teacher: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|NAME",
            help="Instead of the recipe's teacher: a checkpoint or a run's folder, a network that "
            "is trained first, or torchvision:NAME (:FILE for its weights).",
        ),
    ] = None,
    data: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="digits and mnist5k need no folder; cifar10, imagenet and folder (train/CLASS/*, "
            "val/CLASS/*) need --data-dir.",
        ),
    ] = "digits",
    data_dir: Annotated[
        str | None, typer.Option(metavar="DIR", help="Where the data lies.")
    ] = None,
    split_seed: Annotated[
        int,
        typer.Option(
            metavar="N", min=0, help="Which images digits and mnist5k hold out for the test."
        ),
    ] = 0,
    enlarge_to: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="Enlarge images whose shorter side has fewer pixels: --enlarge-to 32 for most "
            "networks on digits. Default: the recipe's, else as they are.",
        ),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="Epochs of each step. Default: the recipe's, else the data's.",
        ),
    ] = None,
    lr: Annotated[
        float | None,
        typer.Option(
            metavar="X",
            help="Learning rate at the start of each step, above 0. Default: the recipe's, "
            "else the data's.",
        ),
    ] = None,
    schedule: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="How the learning rate falls: cosine, linear (both to 0), step, constant. "
            "Default: the recipe's, else cosine.",
        ),
    ] = None,
    weight_decay: Annotated[
        float | None,
        typer.Option(
            metavar="X",
            help="On the weights of layers, at least 0. Default: the recipe's, else 0.",
        ),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="Images per device and optimizer step. Default: the recipe's, else the data's.",
        ),
    ] = None,
    clamp_latent: Annotated[
        float | None,
        typer.Option(
            metavar="X",
            help="Keep latent weights within -X and X, above 0. Default: the recipe's, else free.",
        ),
    ] = None,
    seed: Annotated[
        int,
        typer.Option(
            metavar="N", min=0, help="Of start weights, order of the images, augmentation."
        ),
    ] = 0,
    workers: Annotated[
        int,
        typer.Option(
            metavar="N", min=0, help="Processes that load data; 0 loads in the training process."
        ),
    ] = 0,
    accelerator: Annotated[
        str, typer.Option(metavar="NAME", help="cpu, gpu, mps, tpu or auto.")
    ] = "cpu",
    devices: Annotated[
        str, typer.Option(metavar="N", help="Devices, or processes on the CPU; or auto.")
    ] = "1",
    strategy: Annotated[
        str, typer.Option(metavar="NAME", help="auto, ddp or another strategy of Lightning.")
    ] = "auto",
    nodes: Annotated[int, typer.Option(metavar="N", min=1, help="Machines.")] = 1,
    sync_batch_norm: Annotated[
        bool,
        typer.Option("--sync-batch-norm", help="Batch norms see the batches of all devices."),
    ] = False,
    precision: Annotated[
        str, typer.Option(metavar="NAME", help="32-true, or bf16-mixed: float layers in bfloat16.")
    ] = "32-true",
    out: Annotated[
        str | None,
        typer.Option(
            metavar="DIR",
            help="Folder of the run. Default: runs/MODEL-DATA-RECIPE.",
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run in the --out folder.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress on stderr.")] = False,
    json: Annotated[
        bool, typer.Option("--json", help="Print the result as one JSON object.")
    ] = False,
) -> None:
    """Train a network: float, or made binary step by step by a recipe.

    Prints the accuracy on the held-out images, and where checkpoint and history are.
    """
    wanted_recipe = None if recipe == "none" else recipe
    if model is not None:
        check_model(model)
    check_data(data)
    if wanted_recipe is not None:
        check_recipe(wanted_recipe)
    from bnn.training import TrainConfig, fit, with_recipe_network

    arguments = parse_model_args(model_arg or ())
    config = TrainConfig(
        model_args=arguments,
        data=data,
        data_dir=data_dir,
        split_seed=split_seed,
        enlarge_to=enlarge_to,
        recipe=wanted_recipe,
        smoke=smoke,
        teacher=teacher,
        epochs=epochs,
        learning_rate=lr,
        weight_decay=weight_decay,
        schedule=schedule,
        batch_size=batch_size,
        seed=seed,
        num_workers=workers,
        accelerator=accelerator,
        devices=int(devices) if devices.isdecimal() else devices,
        strategy=strategy,
        num_nodes=nodes,
        sync_batch_norm=sync_batch_norm,
        precision=precision,
        clamp_latent=clamp_latent,
        **({} if out is None else {"out": out}),
    )
    config = with_recipe_network(config) if model is None else replace(config, model=model)
    if arguments:
        make_model(config.model, dict(config.model_args))  # before anything is written
    if out is None:
        words = [config.model, data, Path(wanted_recipe or "float").stem]
        config = replace(config, out=f"runs/{'-'.join([*words, 'smoke'] if smoke else words)}")
    if not quiet:
        terminal.talk(f"{config.model} on {data}, {wanted_recipe or 'no recipe'}, in {config.out}")
    watched = terminal.watched()
    try:
        with contextlib.nullcontext() if quiet or watched else terminal.log("bnn.training"):
            run = fit(config, resume=resume, progress=watched and not quiet)
    except KeyboardInterrupt:
        raise InterruptedRunError(
            f"interrupted. Go on with the same command and --resume; the run is in {config.out}."
        ) from None
    if run.is_main:  # Lightning starts this program again for each further process
        _report(run, config, json=json)


def _report(run: FitResult, config: TrainConfig, *, json: bool) -> None:
    if json:
        terminal.result_json(
            {
                "test_accuracy": run.test_accuracy,
                "test_loss": run.test_loss,
                "steps": run.steps,
                "epochs": run.epochs,
                "checkpoint": run.checkpoint,
                "history": run.history,
                "config": config.as_dict(),
            }
        )
        return
    terminal.result_fields(
        {
            "test accuracy": f"{run.test_accuracy:.2%}",
            "test loss": f"{run.test_loss:.4f}",
            "epochs": f"{run.epochs} ({', '.join(run.steps)})",
            "checkpoint": run.checkpoint,
            "history": run.history,
        }
    )
