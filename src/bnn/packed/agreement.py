"""What :func:`bnn.verify` found, as numbers and as a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class LayerAgreement:
    """One 1-bit layer.

    Attributes:
        name: Its name in the model.
        sums: Integer sums that were compared.
        different_sums: How many of them differ: 0, or there is a defect, or the weights are
            another model's.
        signs: Signs that reached the packed layer in the packed network's own run. None where the
            two networks call the layer differently, so that they cannot be compared.
        different_signs: How many of them are not those that the model's layer got.
    """

    name: str
    sums: int
    different_sums: int
    signs: int | None
    different_signs: int | None

    @property
    def identical(self) -> bool:
        """Whether all sums are the model's."""
        return self.different_sums == 0


@dataclass(frozen=True)
class Agreement:
    """How far a packed network agrees with its model, on some inputs.

    Attributes:
        layers: The 1-bit layers, in the model's order.
        samples: How many there were.
        top1: For how many the largest output is at the same place. None where the model does not
            give one row of classes for each sample.
        no_top1: Why it is None, or "".
        max_difference: Largest absolute difference of an output.
        relative_difference: The same, over the largest absolute output of the batch.
        skipped: Binary layers of the model that have no sums to compare -> why.
    """

    layers: tuple[LayerAgreement, ...]
    samples: int
    top1: int | None
    max_difference: float
    relative_difference: float
    no_top1: str = ""
    skipped: Mapping[str, str] = field(default_factory=dict)

    @property
    def identical(self) -> bool:
        """Whether all sums of all layers are the model's."""
        return all(layer.identical for layer in self.layers)

    @property
    def top1_agreement(self) -> float | None:
        """Share of samples whose largest output is at the same place, 0 to 1, or None."""
        return None if self.top1 is None else self.top1 / self.samples

    @property
    def agrees(self) -> bool:
        """Whether all sums are identical and every sample has the same largest output.

        This is what ``bnn pack`` asks for before it writes a file.
        """
        return self.identical and self.top1 in (None, self.samples)

    def as_dict(self) -> dict[str, Any]:
        """Return all of it as JSON can hold it."""
        return {
            "samples": self.samples,
            "agrees": self.agrees,
            "identical": self.identical,
            "top1": self.top1,
            "top1_agreement": self.top1_agreement,
            "max_difference": self.max_difference,
            "relative_difference": self.relative_difference,
            "layers": [{**asdict(layer), "identical": layer.identical} for layer in self.layers],
            "skipped": dict(self.skipped),
        }

    def __str__(self) -> str:
        from rich.console import Console

        # Layer names may hold what rich would take for markup.
        console = Console(markup=False, emoji=False, highlight=False, color_system=None)
        with console.capture() as captured:
            if self.layers:
                console.print(self._table())
                console.print()
            for line in self._lines():
                console.print(line, soft_wrap=True)
        return "\n".join(line.rstrip() for line in captured.get().rstrip("\n").split("\n"))

    def _table(self) -> Any:
        from rich import box
        from rich.table import Table

        table = Table(box=box.HORIZONTALS, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
        table.add_column("\n1-bit layer", overflow="fold", min_width=12)
        for header in ("Integer\nsums", "\ndiffer", "Input\nsigns", "\ndiffer"):
            table.add_column(header, justify="right", no_wrap=True)
        for layer in self.layers:
            signs, different = (
                "-" if count is None else f"{count:,}"
                for count in (layer.signs, layer.different_signs)
            )
            table.add_row(
                layer.name or "(model)",
                f"{layer.sums:,}",
                f"{layer.different_sums:,}",
                signs,
                different,
            )
        return table

    def _lines(self) -> list[str]:
        if self.top1 is None:
            top1 = f"does not apply: {self.no_top1}"
        else:
            top1 = f"{self.top1:,} of {self.samples:,} samples ({self.top1 / self.samples:.2%})"
        wrong = [layer.name or "(model)" for layer in self.layers if not layer.identical]
        sums = f"differ in {', '.join(wrong)}" if wrong else "identical in all layers"
        if not self.layers:
            sums = "no 1-bit layer to compare"
        return [
            f"integer sums        {sums}",
            f"largest difference  {self.max_difference:.3g} ({self.relative_difference:.1e} of the "
            "largest output)",
            f"top-1 agreement     {top1}",
            *(
                f"not compared        {name or '(model)'}: {why}"
                for name, why in self.skipped.items()
            ),
        ]
