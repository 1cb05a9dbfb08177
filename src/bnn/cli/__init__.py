"""Command line of ``bnn``: one file per verb, each a thin shell around the library.

A new verb is a new file that decorates its function with ``app.command``, and one name below.
Nothing heavy is imported here or at the top of a verb's file: ``--help`` must be quick.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import typer.main

from bnn.cli import (
    bench,
    demo,
    evaluate,
    import_larq,
    info,
    models,
    pack,
    recipes,
    run,
    summary,
    terminal,
    train,
    verify,
)
from bnn.cli.app import Session, app
from bnn.cli.failures import DONE, FAILED, INTERRUPTED, explain

#: The verbs, as modules; importing one registers its command.
VERBS = (
    demo,
    train,
    evaluate,
    summary,
    pack,
    verify,
    run,
    bench,
    info,
    recipes,
    models,
    import_larq,
)

__all__ = ["VERBS", "app", "main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``bnn`` and return its exit code: 0 done, 1 failed, 2 wrong usage, 130 interrupted.

    Args:
        arguments: What follows ``bnn``; the process's own when None.
    """
    session = Session()
    command = typer.main.get_command(app)
    try:
        code = command.main(
            args=None if arguments is None else list(arguments),
            prog_name="bnn",
            standalone_mode=False,
            obj=session,
        )
        sys.stdout.flush()  # here, where a closed pipe is still ours to handle
    except BrokenPipeError:
        return _abandon_stdout()
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else FAILED
    except BaseException as error:
        if session.debug:
            raise
        line, code = explain(error)
        if line:
            terminal.complain(line)
        return code
    if code == INTERRUPTED:  # typer turns Ctrl-C into this number without a word
        terminal.complain("interrupted.")
    return code if isinstance(code, int) else DONE


def _abandon_stdout() -> int:
    """Leave quietly when the reader is gone (``bnn models | head -1``)."""
    import os

    # Python flushes stdout once more at exit and would complain there.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return FAILED
