"""``bnn bench``: how fast a packed network runs here, and where its time goes."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bnn.cli import terminal
from bnn.cli.app import app, examples
from bnn.cli.choices import check_size, parse_sizes
from bnn.cli.stopwatch import Latency, race, threads
from bnn.errors import ConfigError
from bnn.registry import did_you_mean

if TYPE_CHECKING:
    from rich.console import RenderableType
    from torch import Tensor

    from bnn.packed import PackedNetwork
    from bnn.packed.run import Timing

_SHOWN = 15  # operations of the profile
_PROFILES = 50


@app.command(
    epilog=examples(
        "bnn bench net.bnn",
        "bnn bench quicknet                             # random weights, packed here",
        "bnn bench net.bnn --float runs/demo/binary     # against what it was made of",
        "bnn bench net.bnn --batch 8 --threads 2 --input 3x224x224",
        "bnn bench net.bnn --json | jq .latency.packed.median",
    )
)
def bench(
    network: Annotated[
        str,
        typer.Argument(
            metavar="NET", help="A file of `bnn pack`, or a name that `bnn models` lists."
        ),
    ],
    checkpoint: Annotated[
        str | None,
        typer.Option(
            "--float",
            metavar="CHECKPOINT",
            help="Time its float network too, and the binary one unpacked.",
        ),
    ] = None,
    threads_: Annotated[
        int, typer.Option("--threads", metavar="N", min=1, max=1024, help="Threads of each.")
    ] = 1,
    batch: Annotated[
        int, typer.Option("--batch", metavar="N", min=1, max=65536, help="Images at a time.")
    ] = 1,
    input_shape: Annotated[
        str | None,
        typer.Option(
            "--input",
            metavar="CxHxW",
            help="Of one image; other inputs: their sizes, such as 20. Default: as packed.",
        ),
    ] = None,
    seconds: Annotated[
        float,
        typer.Option("--seconds", metavar="S", min=0, max=3600, help="Time for each network."),
    ] = 2.0,
    json: Annotated[
        bool, typer.Option("--json", help="Print the result as one JSON object.")
    ] = False,
) -> None:
    """Measure a packed network's latency and throughput, and profile its operations.

    Times are in microseconds. Networks take turns, so that what slows the machine slows them all.
    """
    if math.isnan(seconds):
        raise typer.BadParameter("it must be a number.", param_hint="--seconds")
    wanted = None if input_shape is None else parse_sizes(input_shape)
    import torch

    from bnn.packed import runtime_info

    packed, size = _network(network)
    image = _image(packed, wanted, batch)
    with threads(threads_), torch.inference_mode():
        calls = _calls(packed, checkpoint, image)
        if checkpoint is not None:
            _check_same_size(calls, checkpoint)
        latency = race(calls, seconds)
        profile = _profile(packed, image, seconds)
        spent = sum(row["microseconds"] for row in profile)
        fixed = max(latency["packed"].median - spent, 0.0) if profile else None
        machine = runtime_info()
    about = {
        "cpu": machine.cpu,
        "isa": machine.isa,
        "threads": threads_,
        "torch": torch.__version__,
        "network": network,
        "file_bytes" if json else "size": size if json else f"{size:,} bytes",
        "input": _by(image.shape),
    }
    if json:
        found = {name: times.as_dict(batch) for name, times in latency.items()}
        rounded = None if fixed is None else round(fixed, 2)
        terminal.result_json(
            {**about, "latency": found, "profile": profile, "fixed_microseconds": rounded}
        )
        return
    terminal.result_fields(about)
    terminal.result()
    terminal.result_rich(latency_table(latency, batch))
    if fixed is not None:
        terminal.result()
        terminal.result_rich(_profile_table(profile, fixed))


def _network(name: str) -> tuple[PackedNetwork, int]:
    """Return a file's network and its bytes, or those of a model with random weights."""
    import torch

    from bnn.models import MODELS, create
    from bnn.packed import pack
    from bnn.packed.file import load

    if name not in MODELS or Path(name).exists():
        _check_file(name, MODELS)
        return load(name), Path(name).stat().st_size
    torch.manual_seed(0)
    packed = pack(create(name), torch.zeros(1, *MODELS[name].input_shape))
    return packed, packed.nbytes


def _check_file(name: str, models: Iterable[str]) -> None:
    """Refuse what is neither a file nor a network, and does not look like a path."""
    path = Path(name)
    if path.suffix or len(path.parts) != 1 or path.exists():
        return
    raise typer.BadParameter(
        f"{name!r} is neither a file of `bnn pack` nor a network."
        f"{did_you_mean(name, models)} `bnn models` lists the networks.",
        param_hint="NET",
    )


def _image(packed: PackedNetwork, wanted: tuple[int, ...] | None, batch: int) -> Tensor:
    import torch

    shapes = packed.example_shapes
    if len(shapes) != 1:
        given = ", ".join(map(_by, shapes))
        raise typer.BadParameter(f"the network takes {given}, not one input.", param_hint="NET")
    if wanted is not None and len(wanted) != len(shapes[0]) - 1:
        example = _by(shapes[0][1:])
        form = "CxHxW, " if len(shapes[0]) == 4 else ""
        raise typer.BadParameter(
            f"{_by(wanted)} is not what the network takes: {form}for example {example}.",
            param_hint="--input",
        )
    shape = (batch, *(wanted or shapes[0][1:]))
    check_size(shape)
    torch.manual_seed(0)
    return torch.randn(shape)


def _calls(
    packed: PackedNetwork, checkpoint: str | None, image: Tensor
) -> dict[str, Callable[[], Any]]:
    """Return what is timed, by name; the packed network first."""
    import torch

    calls: dict[str, Callable[[], Any]] = {"packed": lambda: packed(image)}
    if checkpoint is not None:
        from bnn.training import load_checkpoint
        from bnn.training.checkpoint import build_model

        loaded = load_checkpoint(checkpoint)
        full = build_model(loaded.config, loaded.input_shape, loaded.num_classes).eval()
        calls["float"] = lambda: full(image)
        if image.dim() == 4:
            last = build_model(loaded.config, loaded.input_shape, loaded.num_classes).eval()
            last.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            there = image.to(memory_format=torch.channels_last)
            calls["float, channels_last"] = lambda: last(there)
        if loaded.config.recipe is not None:
            calls["binary, unpacked"] = lambda: loaded.model(image)
    for name, call in calls.items():
        _try(name, call, image, checkpoint)
    return calls


def _try(name: str, call: Callable[[], Any], image: Tensor, checkpoint: str | None) -> None:
    try:
        call()
    except ConfigError:  # of BNN_ISA
        raise
    except (RuntimeError, ValueError) as error:  # torch's, and ours, of sizes that do not fit
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        sizes = _by(image.shape)
        if name == "packed":
            raise typer.BadParameter(
                f"the packed network cannot take {sizes}: {reason}", param_hint="--input"
            ) from error
        raise typer.BadParameter(  # the packed one took it
            f"{checkpoint}: its {name} network cannot take {sizes}, as the packed one does: "
            f"{reason}",
            param_hint="--float",
        ) from error


def _check_same_size(calls: dict[str, Callable[[], Any]], checkpoint: str) -> None:
    """Refuse to compare networks whose outputs have different sizes."""
    packed, full = (getattr(calls[name](), "shape", None) for name in ("packed", "float"))
    if packed != full:
        raise typer.BadParameter(
            f"{checkpoint} gives {_by(full)}, but the packed network {_by(packed)}.",
            param_hint="--float",
        )


def _by(shape: Any) -> str:
    return "no single tensor" if shape is None else "x".join(map(str, shape))


def latency_table(latency: dict[str, Latency], batch: int) -> RenderableType:
    """Return the table of a race; among several, the last column says how much faster packed is."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.HORIZONTALS, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("us for a batch" if batch > 1 else "us for an image", overflow="fold")
    several = len(latency) > 1
    for header in ("min", "median", "p90", "p99", "images/s", *(["packed is"] * several)):
        table.add_column(header, justify="right", no_wrap=True)
    base = latency["packed"].median
    for name, times in latency.items():
        cells = (times.minimum, times.median, times.p90, times.p99)
        table.add_row(
            name,
            *(f"{value:,.0f}" if value >= 100 else f"{value:.1f}" for value in cells),
            f"{times.throughput(batch):,.0f}",
            *(["" if name == "packed" else faster(times.median / base)] * several),
        )
    return table


def faster(ratio: float) -> str:
    """Return a ratio of times in words.

    Example:
        >>> faster(12.34), faster(0.5)
        ('12.3x faster', '2.0x slower')
    """
    return f"{ratio:.1f}x faster" if ratio >= 1 else f"{1 / ratio:.1f}x slower"


def _profile(packed: PackedNetwork, image: Tensor, seconds: float) -> list[dict[str, Any]]:
    """Return each operation's median time, in the order in which they run."""
    from bnn.errors import PackedError

    runs: list[list[Timing]] = []
    end = time.perf_counter() + seconds
    try:
        while len(runs) < 3 or (len(runs) < _PROFILES and time.perf_counter() < end):
            runs.append(packed.profile(image))
    except PackedError:
        return []
    return [
        {
            "name": times[0].name,
            "operation": times[0].operation,
            "microseconds": round(statistics.median(t.microseconds for t in times), 2),
        }
        for times in zip(*runs, strict=True)
    ]


def _profile_table(profile: list[dict[str, Any]], fixed: float) -> RenderableType:
    """Return the slowest operations, the rest in one row, and what a call costs beside them."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from bnn.packed.onebit import layer_of

    table = Table(box=box.HORIZONTALS, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("Slowest operations", overflow="fold", min_width=12)
    table.add_column("", overflow="fold")
    table.add_column("us", justify="right", no_wrap=True)
    table.add_column("share", justify="right", no_wrap=True)
    total = sum(row["microseconds"] for row in profile) + fixed or 1.0
    ranked = sorted(profile, key=lambda row: -row["microseconds"])
    for row in ranked[:_SHOWN]:
        spent = row["microseconds"]
        table.add_row(
            Text(layer_of(row["name"])),
            Text(row["operation"]),
            f"{spent:,.1f}",
            f"{spent / total:.1%}",
        )
    rest = ranked[_SHOWN:]
    if rest:
        spent = sum(row["microseconds"] for row in rest)
        table.add_row(f"{len(rest)} others", "", f"{spent:,.1f}", f"{spent / total:.1%}")
    table.add_section()
    table.add_row("each call, beside them", "", f"{fixed:,.1f}", f"{fixed / total:.1%}")
    return table
