"""A report's page: as text for the terminal, in Markdown, and as files."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.kernel_bench.targets import Target, lines

Rows = Sequence[Sequence[str]]
"""Of a table, the first of them the columns' names."""


@dataclass(frozen=True)
class Page:
    """What a benchmark says.

    Attributes:
        title: Of the Markdown.
        machine: Lines on what the figures depend on.
        tables: Heading and rows of each.
        notes: What a reader of the tables must know.
        targets: What was to be reached.
    """

    title: str
    machine: Sequence[str]
    tables: Sequence[tuple[str, Rows]]
    notes: Sequence[str]
    targets: Sequence[Target]

    def text(self) -> str:
        """Return all of it for the terminal."""
        parts = ["\n".join(self.machine)]
        parts += [f"{heading}\n{plain(rows)}" for heading, rows in self.tables]
        parts += ["\n".join(self.notes), "\n".join(lines(self.targets))]
        return "\n\n".join(parts) + "\n"

    def markdown(self) -> str:
        """Return the same in Markdown."""
        parts = [f"# {self.title}", "  \n".join(self.machine)]
        parts += [f"## {heading}\n\n{markdown(rows)}" for heading, rows in self.tables]
        parts += self.notes
        found = [f"- {' '.join(line.split())}" for line in lines(self.targets)]
        parts += ["## Targets", "\n".join(found)]
        return "\n\n".join(parts) + "\n"

    def publish(self, report: Mapping[str, Any], file: Path | None) -> int:
        """Print the page and, where asked, write the report; 0 if every target was reached.

        Args:
            report: What the page was made of; its targets are added.
            file: For the report as JSON, and beside it for the page in Markdown.
        """
        print(self.text())
        if file:
            targets = [{**asdict(target), "reached": target.reached} for target in self.targets]
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps({**report, "targets": targets}, indent=2) + "\n")
            file.with_suffix(".md").write_text(self.markdown())
        return 0 if all(target.reached for target in self.targets) else 1


def plain(rows: Rows) -> str:
    """Return a table for the terminal."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    found = []
    for row in rows:
        cells = [f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True)]
        found.append("  ".join([row[0].ljust(widths[0]), *cells[1:]]))
    return "\n".join(found)


def markdown(rows: Rows) -> str:
    """Return the same table in Markdown."""
    head, *body = rows
    found = [head, ["---"] + ["---:"] * (len(head) - 1), *body]
    return "\n".join(f"| {' | '.join(line)} |" for line in found)
