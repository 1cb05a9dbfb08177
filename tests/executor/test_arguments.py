"""Arguments of a recipe's stages: of the kinds that constructors are annotated with."""

from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, Optional, Union

import pytest
from torch import nn

from bnn.errors import RecipeError
from bnn.executor import load_recipe

ARGUMENTS = {
    ("weight", "TernaryWeightBinarizer", "threshold"): (
        ["twn", 0.05, 1],
        ["tw", True, None, [1]],
        "must be a number or 'twn', got ",
    ),
    ("weight", "DoReFaWeightBinarizer", "bits"): ([2], [2.0, "2", None, True], "a whole number"),
    ("weight", "BasicInputBinarizer", "clip"): ([None, 1, 1.5], ["1", False], "a number or null"),
    ("weight", "XNORWeightBinarizer", "detach_alpha"): ([True], [1, "yes", None], "true or false"),
    ("pre_activation", "AdvancedInputBinarizer", "derivative_funct"): (
        ["tanh"],
        [1, None, ["tanh"]],
        "must be text, got",
    ),
    ("pre_activation", "FDABinarizer", "terms"): ([3], [3.5, 9.0], "must be a whole number, got"),
    ("post_activation", "XNORPlusPlusScaleBinarizer", "form"): (
        ["full", "channel_axes"],
        ["fulll", 3, None],
        "must be 'channel', 'full', 'channel_places' or 'channel_axes', got ",
    ),
    ("post_activation", "XNORPlusPlusScaleBinarizer", "size"): (
        [None, [7, 7]],
        [7, "77", [7.0], [None]],
        r"must be a list \(each a whole number\) or null, got ",
    ),
}


@pytest.mark.parametrize("where", ARGUMENTS, ids="-".join)
def test_arguments_are_of_the_kinds_that_the_constructor_takes(where):
    stage, name, argument = where
    good, bad, words = ARGUMENTS[where]

    def load(value):
        return load_recipe({"s": {stage: {"name": name, "args": {argument: value}}}})

    for value in good:
        load(value)
    for value in bad:
        with pytest.raises(RecipeError, match=f"recipe: s.{stage}.args.{argument}: .*{words}"):
            load(value)


class Typed(nn.Module):
    """Annotations of every form, one that does not exist among them."""

    def __init__(
        self,
        pair: tuple[int, float] = (1, 1.0),
        named: Mapping[str, int] | None = None,
        several: Iterable[str] = (),
        either: Optional[Union[int, str]] = None,  # noqa: UP007, UP045 - users write it so
        kind: Annotated[float, "of something"] = 1.0,
        layer: nn.Linear | None = None,
        anything: Any = None,
        implicit: float = None,  # noqa: RUF013 - users write it so
        function: Callable[[int], int] = abs,
        free=None,
    ):
        super().__init__()


class Unresolved(nn.Module):
    def __init__(self, size: "Nowhere" = 3, flag: bool = True):  # noqa: F821 - on purpose
        super().__init__()


@pytest.mark.parametrize(
    ("cls", "good", "bad"),
    [
        (Typed, {"pair": [1, 2]}, {"pair": [1]}),
        (Typed, {"pair": [1, 2.5]}, {"pair": [1.5, 2]}),
        (Typed, {"named": {"a": 1}}, {"named": {"a": "1"}}),
        (Typed, {"several": ["a"]}, {"several": "a"}),
        (Typed, {"several": []}, {"several": [1]}),
        (Typed, {"either": "a"}, {"either": 1.5}),
        (Typed, {"either": None}, {"either": []}),
        (Typed, {"kind": 2}, {"kind": "2"}),
        (Typed, {"layer": None}, {"named": 3}),
        (Typed, {"implicit": None}, {"implicit": "a"}),
        (Typed, {}, {"function": "abs"}),
        (Typed, {"anything": [3], "free": "x"}, {"pair": 3}),
        (Unresolved, {"size": "x", "flag": 3}, {"sise": 3}),
    ],
)
def test_arguments_of_ones_own_classes_are_checked_as_they_are_annotated(cls, good, bad):
    def load(args):
        return load_recipe({"s": {"weight": {"name": cls.__name__, "args": args}}}, [cls])

    load(good)
    with pytest.raises(RecipeError, match=r"recipe: s.weight.args"):
        load(bad)
