"""Regular expressions of layers' names: what is usual works, what could run for hours does not."""

import time

import pytest

from bnn.errors import ConfigError, LayerNotFoundError, RecipeError
from bnn.executor import load_recipe, packaged_recipes
from bnn.patterns import compile_pattern
from bnn.select import select_layers

USUAL = [
    "",
    ".",
    "downsample",
    "^stem_",
    r"^layer[1-4]\.\d+\.conv\d$",
    r"^layer[1-4]\.\d+\.(conv1|conv2|shortcut)\.?\d*\Z",
    r"^(?:layer1|layer2|layer3)\..*\.conv",
    r"^features(\.\d+)*$",
    r"^features(?:\.[a-z]+)+\.conv",
    r"^(?!fc)(?!stem).*",
    r"layer.*block.*conv.*",
    r"(?i)CONV(_\d+)?",
    r"^\w+\.\w+\.\w+\.\w+$",
    "^" + "|".join(rf"layer{i}\.{j}\.conv1" for i in range(9) for j in range(9)) + "$",
    r"(conv|bn){1,2}",
    r"(?P<stage>layer\d)\.(?P=stage)?",
    "[^.]*$",
    "(ab)*c",
    "(?:conv|down)*x",
    "([a-z0-9.]-?)*!",
    r"((\.)(?:\d\d)*x)*!",
]

WILD = [
    "(a+)+$",
    "(a*)*$",
    "(a+)*b",
    "((a+)b?)+$",
    "(?:a+)+?$",
    "(a|ab|b)*$",
    "(a?){50}$",
    "(a{1,40}){1,40}$",
    "((((a{1,64}){64}){64}){64}){64}$",
    "(.*a){20}",
    r"([a-z]+\.?)+$",
    r"(\w+\d*)+$",
    "(?=(a+)+$)",
    "(?i)(aA*)+$",
    r"(\.\w*\.?)*$",
    ".*.*.*.*.*.*x",
    "a*a*a*a*a*a*b",
    "(x+x+)+y",
    r"([a-z0-9._](?:|)(?:|))*!",
    "([a-z0-9.]-?(?:|))*!",
    "(?i:[a-z.](?:|))*!",
    "(?i:([a-z.]-?(?:|)))*!",
    "(a|a)*$",
    "(?:a(?:(?=k))*k)*!",
    r"(\.()*x)*!",
    "(?i:ka|\u212aa)*!",
    r"(\.\d*\d*)*!",
    r"(\.\d?(?:\d\d)*)*!",
    r"(\.(?:\d*x)*)*!",
    r"(\.[ab]*(?:aa|baa))*!",
    r"(\.(ab|ab)?)*!",
]


@pytest.mark.parametrize("expression", USUAL, ids=lambda text: text[:40])
def test_usual_expressions_are_compiled(expression):
    assert compile_pattern(expression).pattern == expression


@pytest.mark.parametrize("expression", WILD)
def test_wild_expressions_are_refused(expression):
    with pytest.raises(ConfigError, match="has repetitions within repetitions"):
        compile_pattern(expression)
    with pytest.raises(ConfigError, match=r"^ignored has '\$.*\$', which has repetitions within"):
        select_layers(f"${expression}$", ["a" * 40], argument="ignored")
    for key in ("ignore_layer_names", "ignore_if_present"):
        with pytest.raises(RecipeError, match=rf"^recipe: s.{key}: '\$.*' has repetitions within"):
            load_recipe({"s": {key: [f"${expression}$"]}})


@pytest.mark.parametrize("expression", USUAL, ids=lambda text: text[:40])
@pytest.mark.parametrize(
    "name", ["a" * 99, "a." * 50, ".1" * 50, "layer1." * 14, "conv" * 25 + "!"]
)
def test_what_is_compiled_is_searched_at_once(expression, name):
    begun = time.process_time()
    compile_pattern(expression).search(name)
    assert time.process_time() - begun < 1


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("(", "is no regular expression: missing"),
        ("a{5000000000}", "is no regular expression: the repetition number is too large"),
        ("(" * 900 + "a" + ")" * 900, "is no regular expression"),
        ("[[a]", "may mean something else to a later Python: possible nested set at position 1"),
        ("[a--b]", "may mean something else to a later Python: possible set difference"),
        ("a" * 2001, "is longer than 2000 characters"),
    ],
    ids=lambda text: text[:20],
)
def test_what_cannot_be_compiled(expression, words):
    with pytest.raises(ConfigError, match=words):
        compile_pattern(expression)
    with pytest.raises(RecipeError, match=words) as caught:
        load_recipe({"s": {"ignore_layer_names": [f"${expression}$"]}})
    assert len(str(caught.value)) < 300


def test_a_long_name_is_cut_in_messages():
    with pytest.raises(LayerNotFoundError) as caught:
        select_layers("y" * 10_000, ["y" * 10_000 + "z", "fc"], argument="names")
    assert len(str(caught.value)) < 500


def test_packaged_patterns_are_usual():
    steps = [step for name in packaged_recipes() for step in load_recipe(name).steps]
    patterns = {p for s in steps for p in (*s.ignore_layer_names, *s.ignore_if_present)}
    framed = {pattern[1:-1] for pattern in patterns if pattern.startswith("$")}
    assert "downsample" in framed
    for expression in framed:
        assert compile_pattern(expression).pattern == expression
