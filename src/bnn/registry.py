"""A name -> object table whose errors help: duplicates are refused, near misses suggested."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

from bnn.errors import ConfigError, UnknownNameError

T = TypeVar("T")


def did_you_mean(name: str, known: Iterable[str], count: int = 1) -> str:
    """Return " Did you mean 'x'?" for the closest known names, or an empty string.

    Example:
        >>> did_you_mean("resnet81", ["resnet18", "vgg"])
        " Did you mean 'resnet18'?"
    """
    near = difflib.get_close_matches(name, list(known), n=count)
    return f" Did you mean {' or '.join(map(repr, near))}?" if near else ""


class Registry(Generic[T]):
    """Names for one kind of object.

    Args:
        kind: The word that messages use, for example ``"binarizer"``.

    Example:
        >>> colours = Registry("colour")
        >>> colours.register("red")("#f00")
        '#f00'
        >>> colours["red"]
        '#f00'
        >>> colours["rad"]
        Traceback (most recent call last):
        bnn.errors.UnknownNameError: no colour named 'rad'. Did you mean 'red'? Known: red
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._items: dict[str, T] = {}

    def register(self, name: str) -> Callable[[T], T]:
        """Return a decorator that stores its argument as ``name``.

        Raises:
            ConfigError: If the name is taken.
        """

        def add(item: T) -> T:
            if name in self._items:
                raise ConfigError(f"{self.kind} {name!r} is registered twice")
            self._items[name] = item
            return item

        return add

    def __getitem__(self, name: str) -> T:
        if name not in self._items:
            hint = did_you_mean(name, self._items)
            raise UnknownNameError(f"no {self.kind} named {name!r}.{hint} Known: {', '.join(self)}")
        return self._items[name]

    def __contains__(self, name: object) -> bool:
        return name in self._items

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._items))

    def __len__(self) -> int:
        return len(self._items)
