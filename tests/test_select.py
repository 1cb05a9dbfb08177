"""Names of layers: exact, first, last, regular expressions, and the errors."""

import pytest

from bnn.errors import ConfigError, LayerNotFoundError
from bnn.select import as_names, select_layers

LAYERS = ["conv1", "layer1.0.conv1", "layer1.0.conv2", "layer2.0.conv1", "fc"]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("conv1", ["conv1"]),
        ("_first_", ["conv1"]),
        ("_last_", ["fc"]),
        ("$conv1$", ["conv1", "layer1.0.conv1", "layer2.0.conv1"]),
        ("$^conv1$", ["conv1"]),
        (r"$layer1\..*$", ["layer1.0.conv1", "layer1.0.conv2"]),
        (r"$2\Z$", ["layer1.0.conv2"]),
        ("$$", LAYERS),
    ],
)
def test_selects(pattern, expected):
    assert select_layers(pattern, LAYERS, argument="names") == expected


def test_misspelt_name_shows_the_closest():
    with pytest.raises(LayerNotFoundError) as caught:
        select_layers("layer1.0.conv3", LAYERS, argument="ignore_layers_name")
    assert str(caught.value) == (
        "ignore_layers_name has 'layer1.0.conv3', but the model has no such layer.\n"
        "  Closest names: 'layer1.0.conv2', 'layer1.0.conv1', 'layer2.0.conv1'.\n"
        "  Use '$pattern$' for a regular expression."
    )


def test_a_container_is_told_apart_and_its_pattern_works():
    with pytest.raises(LayerNotFoundError, match="a module but not a convertible layer") as caught:
        select_layers("layer1", LAYERS, argument="names", other_modules=["layer1", "relu"])
    hint = r"$^layer1\.$"
    assert f"For the 2 layers in it, use '{hint}'" in str(caught.value)
    assert len(select_layers(hint, LAYERS, argument="names")) == 2


@pytest.mark.parametrize("pattern", ["_first_", "_last_", "fc", "$fc$"])
def test_no_layers_at_all(pattern):
    with pytest.raises(LayerNotFoundError):
        select_layers(pattern, [], argument="names")


def test_regular_expressions_that_match_nothing_or_are_none():
    with pytest.raises(LayerNotFoundError, match="matches no convertible layer"):
        select_layers("$layer9$", LAYERS, argument="names")
    with pytest.raises(ConfigError, match="no regular expression: missing"):
        select_layers("$(conv$", LAYERS, argument="names")


@pytest.mark.parametrize("pattern", ["", "$", "_FIRST_", "Conv1"])
def test_near_misses_are_errors(pattern):
    with pytest.raises(LayerNotFoundError):
        select_layers(pattern, LAYERS, argument="names")


def test_a_bare_string_is_no_list():
    with pytest.raises(ConfigError, match=r"got the string 'conv1'; give a list: \['conv1'\]"):
        as_names("conv1", "ignore_layers_name")
    with pytest.raises(ConfigError, match="has 3"):
        as_names(["a", 3], "ignore_layers_name")
    assert as_names(iter(["a"]), "ignore_layers_name") == ["a"]
