"""YAML into plain data: safe constructors only, no key twice, and no more than a recipe needs."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import yaml

from bnn.errors import RecipeError
from bnn.executor.schema import MOST_VALUES
from bnn.values import cut, shown

MAX_BYTES = 1 << 17


class _RecipeLoader(yaml.SafeLoader):
    """SafeLoader that refuses duplicate keys, of which YAML would silently keep the last.

    It refuses more nodes than :func:`bnn.executor.schema.plain` takes, too. An alias is one node
    here, and its target is not copied. Merges (``<<``), which copy, have no constructor.
    """

    _nodes = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        self._nodes += 1
        if self._nodes > MOST_VALUES:
            raise yaml.composer.ComposerError(
                None, None, f"more than {MOST_VALUES:,} values", self.peek_event().start_mark
            )
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, Hashable) and key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {shown(key)} stands here twice", key_node.start_mark
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
        RecipeError: If it is too large, has too many values, is no YAML, uses tags other than plain
            data, or is no mapping.

    Example:
        >>> parse_yaml("step0: {epochs: 2}", "my.yaml")
        {'step0': {'epochs': 2}}
    """
    if len(text) > MAX_BYTES:
        raise RecipeError(f"{file}: larger than {MAX_BYTES} bytes, which is no recipe.")
    try:
        decoded = text.decode("utf-8") if isinstance(text, bytes) else text
        content = yaml.load(decoded, Loader=_RecipeLoader)  # noqa: S506 - a SafeLoader
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        problem = cut(" ".join(str(error).split()), 300)
        raise RecipeError(f"{file}: not a YAML file of plain data: {problem}") from error
    if not isinstance(content, dict):
        raise RecipeError(f"{file}: must be a mapping of steps, got {type(content).__name__}.")
    return content
