"""YAML into plain data: safe constructors only, and no key twice."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import yaml

from bnn.errors import RecipeError

MAX_BYTES = 1 << 20


class _UniqueKeyLoader(yaml.SafeLoader):
    """SafeLoader that refuses duplicate keys, of which YAML would silently keep the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, Hashable) and key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} stands here twice", key_node.start_mark
                )
            if isinstance(key, Hashable):
                seen.add(key)
        return super().construct_mapping(node, deep=deep)


def parse_yaml(text: str | bytes, file: str) -> dict[str, Any]:
    """Return the mapping that a YAML text holds.

    Args:
        text: The content; bytes must be UTF-8.
        file: What messages call it.

    Raises:
        RecipeError: If it is too large, no YAML, uses tags other than plain data, or is no
            mapping.

    Example:
        >>> parse_yaml("step0: {epochs: 2}", "my.yaml")
        {'step0': {'epochs': 2}}
    """
    if len(text) > MAX_BYTES:
        raise RecipeError(f"{file}: larger than {MAX_BYTES} bytes, which is no recipe.")
    try:
        decoded = text.decode("utf-8") if isinstance(text, bytes) else text
        content = yaml.load(decoded, Loader=_UniqueKeyLoader)  # noqa: S506 - a SafeLoader
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        problem = " ".join(str(error).split())
        raise RecipeError(f"{file}: not a YAML file of plain data: {problem}") from error
    if not isinstance(content, dict):
        raise RecipeError(f"{file}: must be a mapping of steps, got {type(content).__name__}.")
    return content
