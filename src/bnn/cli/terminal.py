"""The two streams: results go to stdout, everything said meanwhile goes to stderr.

Every verb writes through here, so ``bnn ... --json | jq`` never meets a stray line, and output that
is not a terminal has no colour codes. The streams are looked up at each call: tests replace them.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console, RenderableType


def result(text: str = "") -> None:
    """Write one line, or several, of the result to stdout, exactly as given."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def result_json(value: object) -> None:
    """Write one JSON value to stdout; what is not a number (NaN, infinity) becomes null."""
    result(json.dumps(_plain(value), indent=2, ensure_ascii=False, allow_nan=False))


def result_rich(*renderables: RenderableType) -> None:
    """Write tables and styled text to stdout, as wide as the terminal (80 where there is none)."""
    console = _console(stderr=False)
    with console.capture() as captured:
        for renderable in renderables:
            console.print(renderable)
    # rich fills each line with spaces up to the table's width.
    result("\n".join(line.rstrip() for line in captured.get().rstrip("\n").split("\n")))


def result_fields(fields: Mapping[str, object]) -> None:
    """Write aligned ``name  value`` lines to stdout; no value is wrapped, paths stay whole."""
    width = max(map(len, fields))
    result("\n".join(f"{name:<{width}}  {value}" for name, value in fields.items()))


def talk(text: str) -> None:
    """Say to stderr what is going on; ``[bold]rich[/]`` markup works."""
    _console(stderr=True).print(text, highlight=False, soft_wrap=True)


@contextlib.contextmanager
def log(name: str) -> Iterator[None]:
    """Say to stderr, within the block, what the logger of this name informs of."""
    logger, handler = logging.getLogger(name), _Talk()
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.setLevel(level)
        logger.removeHandler(handler)


class _Talk(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        from rich.markup import escape

        talk(escape(record.getMessage()))


def complain(text: str) -> None:
    """Write an error's lines to stderr; nothing in ``text`` is taken for markup."""
    from rich.text import Text

    first, *rest = text.splitlines() or [""]
    line = Text.assemble(("error:", "bold red"), f" {first}")
    for more in rest:
        line.append(f"\n{more}")
    _console(stderr=True).print(line, highlight=False, soft_wrap=True)


def columns(rows: Sequence[tuple[str, ...]]) -> RenderableType:
    """Return a borderless table: names in the first column, the last one wraps."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0), pad_edge=False)
    count = len(rows[0]) if rows else 0
    for index in range(count):
        table.add_column(no_wrap=index < count - 1, style="bold" if index == 0 else None)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    return table


def _console(*, stderr: bool) -> Console:
    from rich.console import Console

    return Console(stderr=stderr, highlight=False)


def _plain(value: object) -> Any:
    """Return ``value`` as JSON can hold it: paths and other objects as text."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(item) for item in value]
    return str(value)


def watched() -> bool:
    """Say whether stderr is a terminal: a progress bar in a file is a mess."""
    return sys.stderr.isatty()
