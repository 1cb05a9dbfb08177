"""Panels: the weight's bits in the order in which a kernel reads them, made once for each weight.

They are kept beside the weight tensor, not in it: they vanish with it, are made again when it is
changed in place, and no state dict, copy or exported program has them. Only a change that torch
does not count, through ``weight.data`` or numpy, goes unseen.
"""

from __future__ import annotations

import functools
import threading
import weakref
from dataclasses import dataclass, field

from torch import Tensor

from bnn.errors import PackedError
from bnn.packed import runtime
from bnn.packed.shapes import WORD_BITS, ConvShape

Key = tuple[int, int, int]  # channels, groups and ISA: the weight's own shape says the rest


@dataclass
class _Entry:
    weight: weakref.ref[Tensor]
    state: tuple[int, int]
    panels: dict[Key, Tensor | None] = field(default_factory=dict)


_ENTRIES: dict[int, _Entry] = {}
_LOCK = threading.RLock()  # the callback of a weak reference may come while it is held


def panel_for(shape: ConvShape, weight: Tensor, isa: int) -> Tensor | None:
    """Return the panel of a contiguous ``weight``, or None where its kernels need none.

    Raises:
        PackedError: If the weight's pad bits are not 0.
    """
    if weight.is_inference():  # torch does not count its changes
        return _make(shape, weight, isa)
    key = (shape.channels, shape.groups, isa)
    state = (weight.data_ptr(), weight._version)
    entry = _ENTRIES.get(id(weight))
    if entry is not None and entry.weight() is weight and entry.state == state:
        if key in entry.panels:
            return entry.panels[key]
    else:
        entry = _Entry(weakref.ref(weight, functools.partial(_forget, id(weight))), state)
    # Two threads may make it at once: both are right, and the later one stays.
    panel = _make(shape, weight, isa)
    with _LOCK:
        entry.panels[key] = panel
        _ENTRIES[id(weight)] = entry
    return panel


def panel_nbytes(weight: Tensor) -> int:
    """Return the bytes of the panels that this weight has at present."""
    entry = _ENTRIES.get(id(weight))
    if entry is None or entry.weight() is not weight:
        return 0
    return sum(panel.numel() for panel in entry.panels.values() if panel is not None)


def _make(shape: ConvShape, weight: Tensor, isa: int) -> Tensor | None:
    tail = shape.group_channels % WORD_BITS
    if tail and bool((weight[..., -1] >> tail).any()):
        raise PackedError(
            f"weight has bits beyond its {shape.group_channels} channels, and these must be 0. "
            "Make it with bnn.packed.functional.pack."
        )
    return runtime.make_panel(shape, weight, isa)


def _forget(number: int, gone: weakref.ref[Tensor]) -> None:
    with _LOCK:
        if number in _ENTRIES and _ENTRIES[number].weight is gone:  # not another's by now
            del _ENTRIES[number]
