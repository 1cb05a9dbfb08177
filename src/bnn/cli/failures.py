"""What an exception becomes: one line on stderr and an exit code, never a traceback."""

from __future__ import annotations

from bnn.errors import BnnError, ConfigError, UnknownNameError

DONE = 0
FAILED = 1
WRONG_USAGE = 2
INTERRUPTED = 130  # 128 + SIGINT, as shells have it


class InterruptedRunError(Exception):
    """Ctrl-C in the middle of work; the message says how to go on."""


def explain(error: BaseException) -> tuple[str, int]:
    """Return the line to print for ``error`` (empty: nothing to say) and the exit code."""
    # Usage errors of typer, or of click in older versions of it: found by what they can do,
    # because typer moved the classes.
    if hasattr(error, "format_message") and hasattr(error, "exit_code"):
        return _usage(error), WRONG_USAGE
    if isinstance(error, InterruptedRunError):
        return str(error), INTERRUPTED
    if isinstance(error, KeyboardInterrupt):
        return "interrupted.", INTERRUPTED
    if isinstance(error, BnnError):
        usage = isinstance(error, (UnknownNameError, ConfigError))
        return str(error), WRONG_USAGE if usage else FAILED
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror}.", FAILED
    first = next(iter(str(error).splitlines()), "")
    return (
        f"unexpected {type(error).__name__}: {first}\n"
        "  This is a defect of bnn. `bnn --debug ...` shows where it happened.",
        FAILED,
    )


def _usage(error: BaseException) -> str:
    message = str(error.format_message())  # type: ignore[attr-defined] # see explain
    if not message:  # bnn without a verb: the help has been printed
        return ""
    message = message.replace("Input should be", "it must be")  # "Input" is no word of ours
    # typer's own messages have no rule for the last full stop.
    message = message if message.endswith((".", "?", ")")) else f"{message}."
    context = getattr(error, "ctx", None)
    return f"{message}\n  See `{context.command_path} --help`." if context else message
