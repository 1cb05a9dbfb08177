"""``bnn demo``: all the way on real images: train float and binary, pack, verify, time."""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bnn.cli import terminal
from bnn.cli.app import app, examples
from bnn.cli.bench import faster
from bnn.cli.failures import InterruptedRunError
from bnn.cli.held_out import images_for, preprocessing_for
from bnn.cli.stopwatch import Latency, race, threads
from bnn.errors import NativePartError

if TYPE_CHECKING:
    from rich.console import RenderableType
    from torch import Tensor

    from bnn.inspect import OpsCount
    from bnn.packed import Agreement, PackReport
    from bnn.training import FitResult

_MODEL, _DATA, _RECIPE = "resnet8", "digits", "two-step"
_MODEL_ARGS = {"width": 24}  # what benchmarks/accuracy.py measures over several seeds
_BATCHES = (1, 64)  # of which the networks are timed
_SECONDS = 0.5  # for each network and batch


@dataclass(frozen=True)
class _Trained:
    """One of the two networks."""

    run: FitResult
    count: OpsCount
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        counts = self.count.as_dict()
        del counts["layers"]  # `bnn summary CHECKPOINT --json` has them
        return {
            "test_accuracy": self.run.test_accuracy,
            "seconds": round(self.seconds, 1),
            "checkpoint": self.run.checkpoint,
            "history": self.run.history,
            "counts": counts,
        }


@dataclass(frozen=True)
class _Packed:
    """The binary network, packed into a file."""

    file: Path
    report: PackReport
    agreement: Agreement
    latency: dict[int, dict[str, Latency]]  # by the batch, then by the network

    def as_dict(self) -> dict[str, Any]:
        return {
            "file": self.file,
            "file_bytes": self.file.stat().st_size,
            "agreement": self.agreement.as_dict(),
            "latency": {
                batch: {name: times.as_dict(batch) for name, times in raced.items()}
                for batch, raced in self.latency.items()
            },
        }


@app.command(
    epilog=examples(
        "bnn demo",
        "bnn demo --seed 1 --out /tmp/demo",
        "bnn demo --epochs 2                # a quick look, not yet accurate",
        "bnn demo --json 2>/dev/null | jq .binary.test_accuracy",
    )
)
def demo(
    out: Annotated[
        Path,
        typer.Option(
            metavar="DIR",
            help="Folder to write to. If it is not empty, DIR-2, DIR-3, ... is taken instead.",
        ),
    ] = Path("runs/demo"),
    epochs: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=1,
            help="Epochs of each of the two networks, shared among a recipe's steps.",
        ),
    ] = 40,
    seed: Annotated[
        int, typer.Option(metavar="N", min=0, help="Of start weights, order of the images.")
    ] = 0,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress on stderr.")] = False,
    json: Annotated[
        bool, typer.Option("--json", help="Print the result as one JSON object.")
    ] = False,
) -> None:
    """Train a float network and its binary version, pack that, and compare.

    On the handwritten digits of scikit-learn; about a minute on one CPU core. Writes both
    checkpoints, the training curves and the packed network.
    """
    folder = _free_folder(out)
    try:
        with _one_thread():
            networks = {
                "float": _train(None, folder / "float", epochs, seed, quiet),
                "binary": _train(_RECIPE, folder / "binary", epochs, seed, quiet),
            }
            packed = _pack(networks, folder / "net.bnn", quiet)
    except KeyboardInterrupt:
        raise InterruptedRunError(
            f"interrupted; {folder} is incomplete. `bnn demo` starts anew, in another folder."
        ) from None
    from bnn.training import plot_history

    curves = plot_history(networks["binary"].run.history, folder / "curves.png")
    if json:
        terminal.result_json(
            {
                "model": _MODEL,
                "data": _DATA,
                "recipe": _RECIPE,
                "epochs": epochs,
                "seed": seed,
                **{name: network.as_dict() for name, network in networks.items()},
                "packed": None if packed is None else packed.as_dict(),
                "curves": curves,
            }
        )
    else:
        _report(networks["float"], networks["binary"], packed, curves)


def _free_folder(wanted: Path) -> Path:
    """Return ``wanted``, or the first of its numbered siblings that holds nothing.

    The demo deletes nothing, not even an earlier demo.
    """
    if wanted.exists() and not wanted.is_dir():
        raise typer.BadParameter(f"{wanted} is a file; give a folder.", param_hint="--out")
    folder, number = wanted, 1
    while folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        number += 1
        folder = wanted.with_name(f"{wanted.name}-{number}")
    return folder


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Let torch compute with one thread.

    Images of 8x8 are too small to share out; where other programs use the second core, two
    threads that wait for each other took seven times as long (measured, 2 cores).
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _train(recipe: str | None, folder: Path, epochs: int, seed: int, quiet: bool) -> _Trained:
    if not quiet:
        how = f"binary by the recipe {recipe}" if recipe else "float"
        terminal.talk(f"training {_MODEL} on {_DATA}, {how}: {epochs} epochs")
    from bnn.executor import load_recipe
    from bnn.inspect import count_ops
    from bnn.training import TrainConfig, fit, load_checkpoint

    start = time.perf_counter()
    steps = len(load_recipe(recipe).steps) if recipe else 1
    config = TrainConfig(
        model=_MODEL,
        model_args=_MODEL_ARGS,
        data=_DATA,
        recipe=recipe,
        epochs=max(1, epochs // steps),  # of each step
        seed=seed,
        out=str(folder),
    )
    run = fit(config, progress=terminal.watched() and not quiet)
    seconds = time.perf_counter() - start
    return _Trained(run, count_ops(load_checkpoint(run.checkpoint).model, _digit()), seconds)


def _pack(networks: dict[str, _Trained], file: Path, quiet: bool) -> _Packed | None:
    """Pack the binary network, compare the two on all held-out images, and time all three.

    Without the native part there is nothing to run it with, and the demo ends with training.
    """
    from bnn.packed import pack, runtime_info, verify
    from bnn.packed.preprocessing import attach
    from bnn.training import load_checkpoint, load_data

    try:
        runtime_info()
    except NativePartError as error:
        terminal.talk(f"not packed: {error}")
        return None
    if not quiet:
        terminal.talk("packing the binary network, verifying and timing it")
    full, binary = (load_checkpoint(networks[name].run.checkpoint) for name in ("float", "binary"))
    network = pack(binary.model, _digit())
    images = images_for(binary, _DATA, None, len(load_data(_DATA).test))
    agreement = verify(binary.model, network, images.batches())
    attach(network, preprocessing_for(binary, images, _DATA))
    network.save(file)
    models = {"float": full.model, "binary, unpacked": binary.model, "packed": network}
    return _Packed(file, network.report, agreement, {n: _time(models, n) for n in _BATCHES})


def _time(models: dict[str, Any], batch: int) -> dict[str, Latency]:
    import torch

    images = _digit().repeat(batch, 1, 1, 1)
    calls = {name: functools.partial(model, images) for name, model in models.items()}
    with threads(1), torch.inference_mode():
        return race(calls, _SECONDS)


def _digit() -> Tensor:
    """Return one image to count on: real, as what is binary is decided on real values."""
    from bnn.training import load_data

    image: Tensor = load_data(_DATA).test[0][0]
    return image.unsqueeze(0)


def _report(full: _Trained, binary: _Trained, packed: _Packed | None, curves: Path) -> None:
    from bnn.inspect import summary
    from bnn.training import load_checkpoint

    checkpoint = binary.run.checkpoint
    terminal.result("The binary network, layer by layer\n")
    summary(load_checkpoint(checkpoint).model, _digit())
    terminal.result(f"\n{_MODEL} on {_DATA}: float, and binary by the recipe {_RECIPE}\n")
    terminal.result_rich(_comparison(full, binary, packed))
    if packed is not None:
        _report_packed(packed)
    terminal.result("\nWritten\n")
    written = {
        "  binary network": checkpoint,
        "  float network": full.run.checkpoint,
        "  training curves": curves,
    }
    if packed is not None:
        written["  packed network"] = packed.file
    terminal.result_fields(written)
    terminal.result(f"\nTry next\n\n  bnn eval {checkpoint}")
    if packed is not None:
        terminal.result(f"  bnn info {packed.file}")
        terminal.result(f"  bnn bench {packed.file} --float {checkpoint}")
    terminal.result_fields(
        {
            "  bnn recipes": "# other ways to make it binary",
            "  bnn train --recipe xnor-net": "# one of them",
            f"  bnn summary resnet18 --recipe {_RECIPE}": "# what it saves on a larger one",
        }
    )


def _report_packed(packed: _Packed) -> None:
    terminal.result(
        "\nThe binary network packed, against the unpacked one on all held-out images\n"
    )
    terminal.result(str(packed.agreement))
    terminal.result(
        "\nThe file holds the graph too, and bits fill whole words of 64 channels.\n\n"
        "Median time on one thread, microseconds for an image\n"
    )
    terminal.result_rich(_speed(packed.latency))
    if any(raced["packed"].median > raced["float"].median for raced in packed.latency.values()):
        terminal.result(
            "\nSlower where it says so: on images of 8x8 a layer has too little work for 1-bit\n"
            "kernels to pay. On larger ones: bnn bench."
        )


def _speed(latency: dict[int, dict[str, Latency]]) -> RenderableType:
    from rich import box
    from rich.table import Table

    table = Table(box=box.HORIZONTALS, show_edge=False, pad_edge=False)
    table.add_column("images at a time")
    for name in (*next(iter(latency.values())), "packed is"):
        table.add_column(name, justify="right", no_wrap=True)
    for batch, raced in latency.items():
        ratio = raced["float"].median / raced["packed"].median
        cells = (f"{times.median / batch:,.1f}" for times in raced.values())
        table.add_row(str(batch), *cells, f"{faster(ratio)} than float")
    return table


def _comparison(full: _Trained, binary: _Trained, packed: _Packed | None) -> RenderableType:
    from rich import box
    from rich.table import Table

    table = Table(box=box.HORIZONTALS, show_edge=False, pad_edge=False)
    table.add_column("")
    for header in ("float", "binary", ""):
        table.add_column(header, justify="right" if header else "left", no_wrap=True)
    a, b = full.count, binary.count
    points = 100 * (binary.run.test_accuracy - full.run.test_accuracy)
    # What counts is the file; where none could be written, what its weights would take.
    what = "bytes of weights, of the packed file" if packed else "bytes of weights, once packed"
    size = packed.file.stat().st_size if packed else b.packed_bytes
    rows = (
        ("test accuracy", full.run.test_accuracy, binary.run.test_accuracy, "{:.2%}"),
        (what, a.float_bytes, size, "{:,}"),
        ("float operations (FLOPs)", a.flops, b.flops, "{:,}"),
        ("1-bit operations (BOPs)", a.bops, b.bops, "{:,}"),
        ("training, seconds", full.seconds, binary.seconds, "{:.0f}"),
    )
    # Nothing is said of the FLOPs: they did not vanish, they became BOPs.
    remarks = {
        "test accuracy": f"{points:+.2f} points",
        what: f"{a.float_bytes / size:.1f}x smaller",
        "1-bit operations (BOPs)": f"{b.binary_share:.1%} of all",
    }
    for name, left, right, form in rows:
        table.add_row(name, form.format(left), form.format(right), remarks.get(name, ""))
    return table
