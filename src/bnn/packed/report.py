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
        opaque: Other parts that run as they were, in Python -> what they are.
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
            f"{self.float_bytes / 2**20:.2f} MiB -> {self.packed_bytes / 2**20:.2f} MiB",
        ]
        if self.reason:
            lines.append(f"not traced: {self.reason}")
        lines += [f"emulated: {name}: {why}" for name, why in self.emulated.items()]
        lines += [f"run by Python as it was: {name}, {what}" for name, what in self.opaque.items()]
        return "\n".join(lines)
