"""What :func:`bnn.pack` did with each part of a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

HOW = {
    "graph": "traced: one graph, what belongs together in one native call",
    "layers": "packed layer by layer, since the model cannot be traced",
}


@dataclass(frozen=True)
class PackReport:
    """What became of a model's layers.

    Attributes:
        how: ``"graph"``, or ``"layers"`` if the model could not be traced.
        binary: Names of the binary layers that are packed.
        emulated: Names of the binary layers that still compute with floats -> why.
        opaque: Other parts that run as they were, in Python -> what they are, and why.
        reason: Why the model could not be traced, or "".
        float_bytes: Bytes of the model's parameters and buffers.
        packed_bytes: Bytes of the packed network's.
    """

    how: str
    binary: tuple[str, ...]
    emulated: Mapping[str, str] = field(default_factory=dict)
    opaque: Mapping[str, str] = field(default_factory=dict)
    reason: str = ""
    float_bytes: int = 0
    packed_bytes: int = 0

    def __str__(self) -> str:
        total = len(self.binary) + len(self.emulated)
        lines = [
            f"packed {len(self.binary)} of {total} binary layers; {HOW[self.how]}",
            f"{_size(self.float_bytes)} -> {_size(self.packed_bytes)}",
        ]
        if self.reason:
            lines.append(f"not traced: {self.reason}")
        lines += [f"emulated: {name}: {why}" for name, why in self.emulated.items()]
        lines += [f"run by Python as it was: {name}: {what}" for name, what in self.opaque.items()]
        if not self.can_be_saved:
            lines.append("cannot be saved to a file, since parts of it run in Python")
        return "\n".join(lines)

    @property
    def can_be_saved(self) -> bool:
        """Whether all of it is operations that a file can hold."""
        return self.how == "graph" and not self.opaque and not self.emulated


def _size(count: int) -> str:
    return f"{count / 2**20:.2f} MiB" if count >= 2**20 else f"{count / 2**10:.1f} KiB"
