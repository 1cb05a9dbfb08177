"""The ``bnn`` command itself: what every verb shares, and the options before the verb."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import typer
import typer.core

from bnn.cli import terminal


@dataclass
class Session:
    """What the options before the verb said."""

    debug: bool = False


def examples(*lines: str) -> str:
    """Return the Examples section that ends a verb's ``--help``.

    Args:
        *lines: Commands, or remarks that start with ``#``; each keeps its line.
    """
    return "\n".join(["\b", "Examples:", *(f"  {line}" for line in lines)])


class _Verbs(typer.core.TyperGroup):
    """Lists the verbs in the order in which they are needed; typer puts groups last."""

    order = (
        *("demo", "train", "eval", "summary"),
        *("pack", "verify", "run", "bench", "info"),
        *("recipes", "models"),
    )

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of the verbs, those unknown here at the end."""
        rank = {name: index for index, name in enumerate(self.order)}
        return sorted(super().list_commands(ctx), key=lambda name: rank.get(name, len(rank)))


app = typer.Typer(
    name="bnn",
    cls=_Verbs,
    epilog=examples(
        "bnn demo                        # train, pack, verify, time: in two minutes",
        "bnn train --recipe two-step     # train a binary resnet8 on digits",
        "bnn summary resnet18            # layers, parameters, operations, memory",
        "bnn pack runs/mine -o net.bnn   # one file with 1 bit for each binary weight",
        "bnn run net.bnn cat.jpg         # what it sees",
        "bnn train --help                # every verb explains itself so",
    ),
    add_completion=False,
    rich_markup_mode=None,  # plain help is denser and reads the same in a pipe
    invoke_without_command=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        terminal.result(f"bnn {version('bnn-torch')}")
        raise typer.Exit


@app.callback()
def bnn(
    context: typer.Context,
    debug: Annotated[
        bool,
        typer.Option("--debug", envvar="BNN_DEBUG", help="Show the traceback of an error."),
    ] = False,
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Binary (1-bit) neural networks in PyTorch: binarize, train, count, pack, run.

    Results go to stdout, progress to stderr. Exit codes: 0 done, 1 failed, 2 wrong usage.
    """
    if isinstance(context.obj, Session):
        context.obj.debug = debug
    if context.invoked_subcommand is None:
        terminal.result(context.get_help())
        raise typer.Exit(2)
