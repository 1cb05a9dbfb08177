"""Checks of plain data, small enough to put together: what a key may hold, and what it means.

A check takes a value and its place in the file and returns what is used; a value that it cannot
use is a :class:`bnn.errors.RecipeError` that names the place and says what is allowed.
"""

from __future__ import annotations

import contextlib
import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from bnn.errors import ConfigError, RecipeError
from bnn.patterns import compile_pattern
from bnn.registry import did_you_mean
from bnn.values import cut, shown

MAX_DEPTH = 8
MOST_VALUES = 10_000
MOST_COUNTED = 2**31


@dataclass(frozen=True)
class Place:
    """Where in a recipe something stands.

    Args:
        file: What messages call the recipe.
        where: Keys on the way, such as ``"step0.weight.args"``; empty for the whole file.

    Example:
        >>> str(Place("my.yaml").at("step0").at("epochs").error("must be more."))
        'my.yaml: step0.epochs: must be more.'
    """

    file: str
    where: str = ""

    def at(self, key: str | int) -> Place:
        """Return the place of a key, or of an entry of a list, below this one."""
        step = f"[{key}]" if isinstance(key, int) else f".{cut(key)}"
        return Place(self.file, f"{self.where}{step}".lstrip("."))

    def error(self, problem: str) -> RecipeError:
        """Return the error that says what is wrong here."""
        return RecipeError(": ".join(filter(None, (self.file, self.where, problem))))


Check = Callable[[Any, Place], Any]


@dataclass(frozen=True)
class Key:
    """One key of a mapping.

    Args:
        check: Reads its value.
        meaning: One line of the documentation's table; the check's own words come before it.
        required: Whether it must be there.
    """

    check: Check
    meaning: str
    required: bool = False


Keys = Mapping[str, Key]


def plain(value: Any, place: Place) -> Any:
    """Return a deep copy, refusing what JSON could not hold, endless nesting and size."""
    return _plain(value, place, 0, itertools.count(1))


def _plain(value: Any, place: Place, depth: int, counted: Iterator[int]) -> Any:
    # What stands behind an alias of YAML counts each time, since it is copied each time.
    too_many = next(counted) > MOST_VALUES
    if too_many or depth > MAX_DEPTH:
        top = Place(place.file, re.split(r"[.\[]", place.where, maxsplit=1)[0])
        raise top.error(
            f"more than {MOST_VALUES:,} values, those behind aliases counted each time."
            if too_many
            else f"nested more than {MAX_DEPTH} levels deep."
        )
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple)):
        return [_plain(item, place.at(i), depth + 1, counted) for i, item in enumerate(value)]
    if not isinstance(value, Mapping):
        raise place.error(f"{shown(value)} is no plain data (text, number, list, mapping).")
    for key in value:
        if not isinstance(key, str):
            raise place.error(f"the key {shown(key)} is no text. Put it in quotes.")
    return {key: _plain(item, place.at(key), depth + 1, counted) for key, item in value.items()}


def text(value: Any, place: Place) -> str:
    """Read a text."""
    if not isinstance(value, str):
        raise place.error(f"must be text, got {shown(value)}.")
    return value


def flag(value: Any, place: Place) -> bool:
    """Read true or false."""
    if not isinstance(value, bool):
        raise place.error(f"must be true or false, got {value!r}.")
    return value


def path(value: Any, place: Place) -> str:
    """Read the path of a file, which need not be there."""
    parts = re.split(r"[/\\]", text(value, place))
    if not value or "\0" in value or len(value) > 4096 or max(map(len, parts)) > 255:
        raise place.error(f"must be the path of a file, got {shown(value)}.")
    return str(value)


def arguments(value: Any, place: Place) -> dict[str, Any]:
    """Read a mapping of arguments; a number such as ``1e-4``, text to YAML, becomes one."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise place.error(f"must be a mapping, got {shown(value)}.")
    return {name: _with_numbers(item) for name, item in value.items()}


def _with_numbers(value: Any) -> Any:
    if isinstance(value, str) and re.fullmatch(r"[+-]?\d+(\.\d*)?[eE][+-]?\d+", value, re.ASCII):
        return float(value)
    if isinstance(value, list):
        return [_with_numbers(item) for item in value]
    if isinstance(value, dict):
        return {key: _with_numbers(item) for key, item in value.items()}
    return value


def names(value: Any, place: Place) -> tuple[str, ...]:
    """Read a list of layers' names and ``$patterns$``."""
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise place.error(f"must be a list of names, got {shown(value)}.")
    for name in value:
        if len(name) > 1 and name[0] == name[-1] == "$":
            try:
                compile_pattern(name[1:-1])
            except ConfigError as error:
                raise place.error(f"{shown(name)} {error}") from None
    return tuple(value)


def number(minimum: float, *, above: bool = False, below: float = float("inf")) -> Check:
    """Return a check of a number from ``minimum`` on, or ``above`` it, and under ``below``."""
    bound = f"{'>' if above else '>='} {minimum:g}"

    def check(value: Any, place: Place) -> float:
        found = float("nan")
        if not isinstance(value, bool):
            with contextlib.suppress(TypeError, ValueError, OverflowError):
                found = float(value)  # YAML reads 1e-3, without a dot, as text
        if not minimum <= found < below or (above and found == minimum):
            most = f" and < {below:g}" if below < MOST_COUNTED or below <= found else ""
            raise place.error(f"must be a number {bound}{most}, got {shown(value)}.")
        return found

    return check


def whole(minimum: int) -> Check:
    """Return a check of a whole number from ``minimum`` on, of a size that counts something."""
    in_range = number(minimum, below=MOST_COUNTED)

    def check(value: Any, place: Place) -> int:
        found = in_range(value, place)
        if found != int(found):
            raise place.error(f"must be a whole number, got {shown(found)}.")
        return int(found)

    return check


def known_keys(value: Any, place: Place, allowed: Iterable[str]) -> dict[str, Any]:
    """Read a mapping that has no other keys than these; None is an empty one."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise place.error(f"must be a mapping, got {shown(value)}.")
    known = list(allowed)
    for key in value:
        if key not in known:
            near = did_you_mean(key.lower(), known)
            raise place.error(f"unknown key {shown(key)}.{near} Allowed: {', '.join(known)}.")
    return value


def mapping(keys: Keys) -> Check:
    """Return a check of a mapping with these keys; one without a value counts as left out."""

    def check(value: Any, place: Place) -> dict[str, Any]:
        given = {k: v for k, v in known_keys(value, place, keys).items() if v is not None}
        for name, key in keys.items():
            if key.required and name not in given:
                raise place.error(f"{name!r} is missing. Keys: {', '.join(keys)}.")
        return {name: keys[name].check(item, place.at(name)) for name, item in given.items()}

    return check


def one_of(kinds: Mapping[str, Keys]) -> Check:
    """Return a check of a mapping whose first keys exclude each other, each with its company."""

    def check(value: Any, place: Place) -> dict[str, Any]:
        every = dict.fromkeys(key for keys in kinds.values() for key in keys)
        given = known_keys(value, place, every)
        found = [kind for kind in kinds if given.get(kind) is not None]
        if len(found) != 1:
            raise place.error(f"give exactly one of {', '.join(kinds)}; got {shown(value)}.")
        checked: dict[str, Any] = mapping(kinds[found[0]])(value, place)
        return checked

    return check


def listing(item: Check, *, single: bool = False) -> Check:
    """Return a check of a list of at least one; with ``single``, one entry needs no list."""

    def check(value: Any, place: Place) -> tuple[Any, ...]:
        if single and isinstance(value, dict):
            return (item(value, place),)
        if not isinstance(value, list) or not value:
            also = "a mapping or " if single else ""
            raise place.error(f"must be {also}a list of at least one mapping, got {shown(value)}.")
        return tuple(item(entry, place.at(i)) for i, entry in enumerate(value))

    return check
