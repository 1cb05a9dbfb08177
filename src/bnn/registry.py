"""A name -> object table whose errors help: duplicates are refused, near misses suggested."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

from bnn.errors import ConfigError, UnknownNameError
from bnn.values import shown

T = TypeVar("T")


def did_you_mean(name: str, known: Iterable[str], count: int = 1) -> str:
    """Return " Did you mean 'x'?" for the closest known names, or an empty string.

    Example:
        >>> did_you_mean("resnet81", ["resnet18", "vgg"])
        " Did you mean 'resnet18'?"
    """
    near = difflib.get_close_matches(name, list(known), n=count)
    return f" Did you mean {' or '.join(map(repr, near))}?" if near else ""


def unknown_name(kind: str, name: str, known: Iterable[str]) -> str:
    """Return the message for a name that is not one of ``known``.

    Example:
        >>> unknown_name("recipe", "to-step", ["two-step", "xnor-net"])
        "no recipe named 'to-step'. Did you mean 'two-step'? Known: two-step, xnor-net"
    """
    names = sorted(known)
    return f"no {kind} named {shown(name)}.{did_you_mean(name, names)} Known: {', '.join(names)}"


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
            raise UnknownNameError(unknown_name(self.kind, name, self))
        return self._items[name]

    def __contains__(self, name: object) -> bool:
        return name in self._items

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._items))

    def __len__(self) -> int:
        return len(self._items)
