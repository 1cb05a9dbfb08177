"""What was to be reached with published networks, and whether it was."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.kernel_bench.targets import Target

LCE = 4.0
EMULATED = 5.0


def targets(report: Mapping[str, Any]) -> list[Target]:
    """Return the targets that this run could measure."""
    found = []
    for row in report["rows"]:
        threads = row["threads"]
        where = f"{row['network']}, {threads} thread{'s' * (threads > 1)}"
        found.append(Target("times emulated", where, EMULATED, row["x_emulated"]))
        if row["x_lce"]:
            found.append(Target("times LCE", where, LCE, row["x_lce"]))
    return sorted(found, key=lambda target: target.what)
