"""What the importers share: names and shapes that do not match are errors that list them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from torch import Tensor

from bnn.errors import CheckpointError

_SHOWN = 12  # names in a message


def complain(path: str | Path, *, missing: Iterable[str], unexpected: Iterable[str]) -> None:
    """List what is missing or left over.

    Raises:
        CheckpointError: If anything is.
    """
    parts = [
        f"{word}: {_listed(sorted(names))}"
        for word, names in (("missing", list(missing)), ("unexpected", list(unexpected)))
        if names
    ]
    if parts:
        raise CheckpointError(f"{path}: the layers are not the network's; {'; '.join(parts)}.")


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def put(
    new: dict[str, Tensor], state: Mapping[str, Tensor], key: str, value: Tensor, where: str
) -> None:
    """Set ``new[key]``, in the dtype that the network has there.

    Raises:
        CheckpointError: If the network has no such tensor, or one of another shape.
    """
    if key not in state:
        raise CheckpointError(f"{where}: the network's layer has no {key}.")
    if value.shape != state[key].shape:
        raise CheckpointError(
            f"{where}: it becomes {key} of shape {tuple(value.shape)}, but the network has "
            f"{tuple(state[key].shape)}."
        )
    new[key] = value.to(state[key])
