"""Values in messages: short, and shown without failing."""

import pytest

from bnn.values import is_number, shown


@pytest.mark.parametrize("value", [0, -1, 0.5, 1e308, 2**1000])
def test_finite_numbers(value):
    assert is_number(value)


@pytest.mark.parametrize(
    "value", [True, False, None, "1", [1], float("nan"), float("inf"), 10**400, 1j]
)
def test_what_is_no_finite_number(value):
    assert not is_number(value)


@pytest.mark.parametrize(
    "value", ["a", b"a", "it's", 3, None, [], [1, [2]], {}, {"a": {"b": [1]}, "c": 2}, (), (1,)]
)
def test_a_short_value_is_its_repr(value):
    assert shown(value) == repr(value)


@pytest.mark.parametrize(
    "value",
    ["x" * 10**6, list(range(10**5)), dict.fromkeys(range(99)), {"x" * 99: 1}, [["y" * 99]]],
)
def test_a_long_value_is_cut(value):
    assert shown(value) == f"{repr(value)[:57]}..."


def test_lists_within_lists_within_lists_take_no_time():
    bomb = ["x"]
    for _ in range(200):
        bomb = [bomb] * 9
    assert len(shown(bomb)) == 60
    endless = []
    endless.append(endless)
    assert len(shown(endless)) == 60


def test_an_integer_that_python_does_not_write():
    assert shown(1 << 100_000) == "an integer of 100001 bits"
    assert shown([1, 1 << 100_000]) == "[1, an integer of 100001 bits]"
