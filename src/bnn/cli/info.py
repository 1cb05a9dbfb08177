"""``bnn info``: what 1-bit operations run with on this machine, or what a packed file holds."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bnn.cli import terminal
from bnn.cli.app import app, examples

if TYPE_CHECKING:
    from bnn.packed import PackedNetwork, Preprocessing


@app.command(
    epilog=examples(
        "bnn info                            # this machine",
        "bnn info --json | jq .kernels",
        "bnn info net.bnn                    # a packed file",
        "bnn info net.bnn --json | jq .layers[0]",
    )
)
def info(
    network: Annotated[
        str | None, typer.Argument(metavar="NET", help="A file of `bnn pack`.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Show what is in a packed file, or what 1-bit operations run with here.

    Without NET: CPU, instruction set, threads and kernels. The environment variable BNN_ISA forces
    an instruction set by its name.
    """
    if network is not None:
        _show_file(network, json=json)
        return
    from bnn.packed.runtime import runtime_info

    found = runtime_info()
    if json:
        terminal.result_json(found.as_dict())
    else:
        terminal.result_fields(found.fields())


def _show_file(path: str, *, json: bool) -> None:
    from bnn.packed.file import file_info, load

    found, network = file_info(path), load(path)
    layers = _layers(network)
    peak = _peak(network)
    one_bit = [layer for layer in layers if layer["weight_bits"] == 1]
    if json:
        terminal.result_json(
            {
                "file": path,
                "file_bytes": found.size,
                "version": found.version,
                "written_by": found.written_by,
                "weight_bytes": network.nbytes,
                "peak_bytes": peak,
                "input_shapes": network.example_shapes,
                "one_bit_layers": len(one_bit),
                "preprocessing": found.preprocessing and found.preprocessing.as_json(),
                "report": dataclasses.asdict(found.report),
                "layers": layers,
            }
        )
        return
    terminal.result_rich(_table(layers))
    weights = sum(layer["weights"] for layer in layers)
    ones = sum(layer["weights"] for layer in one_bit)
    fields = {
        "file": f"{path}, {found.size:,} bytes, version {found.version} of the format",
        "input": ", ".join(_by(shape) for shape in network.example_shapes),
        "pictures": "nothing is said of how to prepare them"
        if found.preprocessing is None
        else _pictures(found.preprocessing),
        "operations": f"{len(layers):,}",
        "1-bit layers": f"{len(one_bit):,}",
        "weights": f"{weights:,}, of these 1-bit {ones:,}" if weights else "none",
        "activations": "unknown without the native part"
        if peak is None
        else f"{peak:,} bytes at most at one time, for that input",
    }
    terminal.result()
    terminal.result_fields(fields)


def _pictures(preprocessing: Preprocessing) -> str:
    by_channel = (
        f"{name} {', '.join(f'{value:.4g}' for value in getattr(preprocessing, name))}"
        for name in ("mean", "std")
    )
    kind = {1: "grey", 3: "RGB"}.get(preprocessing.channels, f"{preprocessing.channels} channels")
    return f"{_by(preprocessing.size)}, {kind}, {', '.join(by_channel)}"


def _peak(network: PackedNetwork) -> int | None:
    from bnn.errors import PackedError

    try:
        return network.peak_bytes()
    except PackedError:
        return None


def _layers(network: PackedNetwork) -> list[dict[str, Any]]:
    """Return what each operation is, in the order in which they run."""
    from bnn.packed.graph import OPERATIONS, check_graph
    from bnn.packed.onebit import layer_of

    known = check_graph(network.graph, network.example_shapes)
    rows = []
    for node in network.graph.nodes:
        operation = OPERATIONS[node.op]
        weight = node.tensors.get("weight")
        packed = "weight" in operation.words
        count = 0
        if weight is not None:
            count = weight.numel()
            if packed:
                width = int(node.attrs["in_channels"]) // int(node.attrs.get("groups", 1))
                count = count // weight.shape[-1] * width
        result = known[node.outputs[0]]
        rows.append(
            {
                "name": layer_of(node.name),
                "node": node.name,
                "operation": node.op,
                "gives": node.output if operation.finishes else operation.output,
                "output_shape": getattr(result, "shape", None) and tuple(result.shape),
                "input_bits": 1 if operation.inputs[:1] == ("bits",) else 32,
                "weight_bits": None if weight is None else 1 if packed else 32,
                "weights": count,
                "bytes": sum(t.numel() * t.element_size() for t in node.tensors.values()),
            }
        )
    return rows


def _table(layers: list[dict[str, Any]]) -> Any:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.HORIZONTALS, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("\nLayer", overflow="fold", min_width=12)
    table.add_column("\nOperation", no_wrap=True)
    for header in ("Input\nbits", "Weight\nbits", "\nWeights", "\nBytes"):
        table.add_column(header, justify="right", no_wrap=True)
    for layer in layers:
        bits = layer["weight_bits"]
        table.add_row(
            Text(layer["name"]),
            layer["operation"],
            str(layer["input_bits"]),
            "-" if bits is None else str(bits),
            f"{layer['weights']:,}" if layer["weights"] else "-",
            f"{layer['bytes']:,}" if layer["bytes"] else "-",
        )
    return table


def _by(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
