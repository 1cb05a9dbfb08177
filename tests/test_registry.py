import pytest

from bnn.errors import BnnError, ConfigError, UnknownNameError
from bnn.registry import Registry


@pytest.fixture
def fruit():
    registry = Registry("fruit")
    registry.register("pear")(1)
    registry.register("apple")(2)
    return registry


def test_finds_lists_and_counts(fruit):
    assert fruit["pear"] == 1
    assert list(fruit) == ["apple", "pear"]
    assert len(fruit) == 2
    assert "plum" not in fruit


def test_a_name_twice_is_an_error_and_the_first_stays(fruit):
    with pytest.raises(ConfigError, match="fruit 'pear' is registered twice"):
        fruit.register("pear")(3)
    assert fruit["pear"] == 1


def test_unknown_name_says_what_there_is(fruit):
    with pytest.raises(UnknownNameError) as caught:
        fruit["aple"]
    assert str(caught.value) == "no fruit named 'aple'. Did you mean 'apple'? Known: apple, pear"
    assert isinstance(caught.value, LookupError)
    assert isinstance(caught.value, BnnError)
