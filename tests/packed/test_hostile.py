"""No argument may crash the process: it works, or it raises an Exception."""

import contextlib
import resource
import sys
import warnings
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bnn.errors import BnnError
from bnn.packed import Epilogue, functional, layout

NUMBERS = (0, -1, 1, 2, 3, 64, 65, 70, -(2**31), 2**31 - 1, 2**31, 2**62, -(2**63), 2**63 - 1)


def hostile_tensors():
    words = layout.pack(torch.randn(2, 70, 6, 5))
    return [
        words,
        words[:0],
        words[:, :, :0],
        words[..., :1],
        words[0],
        words.float(),
        words.to(torch.uint8),
        words.to("meta"),
        words.bitwise_not(),
        words.transpose(1, 2),
        words.to_sparse(),
        torch.tensor(5),
        torch.zeros(0),
        torch.zeros(0, dtype=torch.int64),
        torch.zeros(1, dtype=torch.int64).expand(2, 6, 5, 2),
        torch.zeros(1, dtype=torch.int64).expand(2**20, 2**20, 2**20, 2),
        torch.zeros(1).expand(2**20, 70, 2**20, 2**10),
        torch.empty(0, 2**31, 2**30, 2, dtype=torch.int64),
        torch.zeros(70),
        torch.zeros(33),
        torch.zeros(33, requires_grad=True),
        torch.zeros(33, dtype=torch.complex64),
        torch.randn(2, 70, 6, 5),
        torch.randn(2, 70, 6, 5, dtype=torch.float64),
        torch.randn(2, 6, 5, 33),
        torch.full((33,), torch.nan),
        torch.quantize_per_tensor(torch.randn(2, 70), 0.1, 0, torch.qint8),
        torch.nested.nested_tensor([torch.zeros(2, 3), torch.zeros(4, 3)]),
    ]


with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # torch has words about kinds of tensors
    TENSORS = hostile_tensors()

numbers = st.sampled_from(NUMBERS)
anything = st.one_of(
    st.integers(0, len(TENSORS) - 1).map(TENSORS.__getitem__),
    numbers,
    st.lists(numbers, max_size=5),
    st.lists(st.integers(0, 4), min_size=2, max_size=4),
    st.lists(st.integers(0, len(TENSORS) - 1).map(TENSORS.__getitem__), max_size=3),
    st.sampled_from(
        (None, "float", "bits", "relu", "prelu", "", 1.5, float("nan"), True, object())
    ),
    st.sampled_from((torch.float32, torch.int8, torch.complex64)),
)


def calls():
    """Return name -> (function, arguments that work, keywords that work)."""
    x, weight = torch.randn(2, 70, 6, 5), torch.randn(33, 70, 3, 3)
    words, filters = layout.pack(x), layout.pack(weight)
    geometry = ([1, 1], [1, 1, 1, 1], [1, 1])
    o = torch.ops.bnn
    steps = {"scale": torch.rand(33), "second_activation": "prelu", "second_slope": torch.rand(33)}
    f = functional
    return {
        "ops.pack": (o.pack, [x, torch.rand(70), None], {}),
        "ops.unpack": (o.unpack, [words, 70, "float32"], {}),
        "ops.bconv": (
            o.bconv,
            [words, filters, 70, *geometry, 1, 0, "float_and_bits"],
            {**steps, "residual": torch.randn(2, 6, 5, 33), "residual_at": "after_activation"},
        ),
        "ops.bconv padded": (o.bconv, [words, filters, 70, *geometry, 1, -1, "int32"], {}),
        "ops.bconv linear": (
            o.bconv,
            [words[:, 0, 0], filters[:, 0, 0], 70, [], [], [], 1, 0, "bits"],
            steps,
        ),
        "ops.max_pool2d": (o.max_pool2d, [words, 70, [2, 2], [2, 2], [1, 1], [1, 1], True], {}),
        "ops.global_avg_pool": (o.global_avg_pool, [words, 70], {}),
        "ops.avg_pool2d": (
            o.avg_pool2d,
            [torch.randn(2, 6, 5, 3), [2, 2], [2, 2], [1, 1], False, True],
            {},
        ),
        "ops.concat": (o.concat, [[words, words], [70, 70]], {}),
        "ops.channel_shuffle": (o.channel_shuffle, [words, 70, 7], {}),
        "ops.weight_only_conv": (
            o.weight_only_conv,
            [torch.randn(2, 6, 5, 70), filters, torch.rand(33), None, *geometry, 1],
            {},
        ),
        "pack": (f.pack, [x, None, torch.rand(70)], {}),
        "unpack": (f.unpack, [words, 70, torch.float16], {}),
        "bconv2d": (f.bconv2d, [words, filters, 70], {"padding": 1, "output": "bits"}),
        "bconv1d": (f.bconv1d, [words[0], filters[:, 0], 70], {"stride": 2, "pad_value": 1}),
        "blinear": (f.blinear, [words[0], filters[:, 0, 0], 70], {"output": "int32"}),
        "max_pool2d": (f.max_pool2d, [words, 70, 2], {"dilation": 2}),
        "global_avg_pool": (f.global_avg_pool, [words, 70], {}),
        "avg_pool2d": (f.avg_pool2d, [x, 2], {"ceil_mode": True}),
        "concat": (f.concat, [[words, words], [70, 70]], {}),
        "channel_shuffle": (f.channel_shuffle, [words, 70, 7], {}),
        "weight_only_conv2d": (f.weight_only_conv2d, [x, filters], {"padding": (1, 2)}),
        "weight_only_linear": (f.weight_only_linear, [torch.randn(3, 70), filters[:, 0, 0]], {}),
    }


CALLS = calls()


@pytest.fixture(scope="module", autouse=True)
def _little_memory():
    """Let allocations of terabytes fail also where the system would grant them."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 6 * 2**30, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.mark.skipif(sys.platform != "linux", reason="limits memory as Linux does")
@pytest.mark.parametrize("name", CALLS)
@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_hostile_arguments(name, data):
    function, arguments, keywords = CALLS[name]
    arguments, keywords = list(arguments), dict(keywords)
    for _ in range(data.draw(st.integers(1, 3))):
        which = data.draw(st.integers(0, len(arguments) + len(keywords)))
        value = data.draw(anything)
        if which < len(arguments):
            arguments[which] = value
        elif keywords:
            keywords[data.draw(st.sampled_from(sorted(keywords)))] = value
    with torch.no_grad(), contextlib.suppress(Exception):
        results = function(*arguments, **keywords)
        for result in results if isinstance(results, (list, tuple)) else [results]:
            assert isinstance(result, torch.Tensor)


@pytest.mark.parametrize("name", [name for name in CALLS if not name.startswith("ops.")])
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_one_wrong_argument_is_one_of_our_errors(name, data):
    function, arguments, keywords = CALLS[name]
    arguments = list(arguments)
    arguments[data.draw(st.integers(0, len(arguments) - 1))] = data.draw(
        st.one_of(
            st.sampled_from((None, "x", 1.5, object(), [], {}, torch.tensor(5), torch.zeros(0))),
            st.sampled_from((-1, 0, 2**40, -(2**63))),
        )
    )
    try:
        function(*arguments, **keywords)
    except BnnError as error:
        assert str(error).split(":")[0].startswith(name.split("_")[0]) or "Epilogue" in str(error)


def test_storage_that_was_taken_away():
    """As sharded training does; torch's own functions crash on it."""
    words, filters = torch.zeros(9, 2, dtype=torch.int64), torch.zeros(3, 2, dtype=torch.int64)
    for size in (64, 0):
        words.untyped_storage().resize_(size)
        with pytest.raises(BnnError) as caught:
            functional.blinear(words, filters, 70)
        assert "x has less memory than its shape" in str(caught.value)
    words.untyped_storage().resize_(144)  # pytest may print it


@pytest.mark.parametrize("field", ["scale", "first_activation", "residual_at", "bit_shift"])
@pytest.mark.parametrize("value", [3, "x", [], object(), torch.tensor(5), torch.zeros(2**3, 2)])
def test_epilogue_with_garbage(field, value):
    words = torch.zeros(1, 4, 4, 1, dtype=torch.int64)
    filters = torch.zeros(8, 1, 1, 1, dtype=torch.int64)
    with pytest.raises(BnnError):
        functional.bconv2d(words, filters, 64, epilogue=Epilogue(**{field: value}))
