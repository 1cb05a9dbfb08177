"""``bnn info``: what 1-bit operations run with on this machine."""

from __future__ import annotations

from typing import Annotated

import typer

from bnn.cli import terminal
from bnn.cli.app import app, examples


@app.command(
    epilog=examples(
        "bnn info",
        "bnn info --json | jq .kernels",
    )
)
def info(
    json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Show the CPU, instruction set, threads and kernels of 1-bit operations.

    The environment variable BNN_ISA forces an instruction set by its name.
    """
    from bnn.packed.runtime import runtime_info

    found = runtime_info()
    if json:
        terminal.result_json(found.as_dict())
    else:
        terminal.result_fields(found.fields())
