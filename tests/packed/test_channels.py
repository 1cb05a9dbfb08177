"""Bits beside bits: concatenation and shuffle of channels."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from bnn.errors import PackedError
from bnn.packed import functional, layout

SEEDS = st.integers(0, 2**32)
lead = st.lists(st.integers(0, 4), min_size=1, max_size=3).map(tuple)


@settings(max_examples=60)
@given(lead=lead, channels=st.lists(st.integers(1, 200), min_size=1, max_size=5), seed=SEEDS)
def test_concat_equals_torch(isa, lead, channels, seed, signs, same):
    parts = [signs(lead[0], c, *lead[1:], seed=seed + i) for i, c in enumerate(channels)]
    words = [functional.pack(part) for part in parts]
    expected = layout.pack(torch.cat(parts, 1))
    same(layout.concat(words, channels), expected)
    same(functional.concat(words, channels), expected)


@settings(max_examples=60)
@given(lead=lead, groups=st.integers(1, 12), each=st.integers(1, 40), seed=SEEDS)
def test_channel_shuffle_equals_torch(isa, lead, groups, each, seed, signs, same):
    channels = groups * each
    x = signs(lead[0], channels, *lead[1:], seed=seed)
    words = functional.pack(x)
    turned = x.unflatten(1, (groups, each)).transpose(1, 2).flatten(1, 2)
    if x.dim() > 2 and x.numel():
        same(turned, F.channel_shuffle(x, groups))
    expected = layout.pack(turned)
    same(layout.channel_shuffle(words, channels, groups), expected)
    same(functional.channel_shuffle(words, channels, groups), expected)


@pytest.mark.parametrize("groups", [1, 2, 4, 64, 128, 256])
def test_shuffle_of_whole_words(isa, groups, signs, same):
    words = functional.pack(signs(3, 256, 5, 7))
    expected = layout.channel_shuffle(words, 256, groups)
    same(functional.channel_shuffle(words, 256, groups), expected)


WORDS = torch.zeros(2, 3, 1, dtype=torch.int64)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: functional.concat([], []), "inputs is empty"),
        (lambda: functional.concat([WORDS], [3, 4]), "1 inputs and 2 channels"),
        (lambda: functional.concat([WORDS, WORDS[:1]], [3, 4]), "all but the last axis must agree"),
        (lambda: functional.concat([WORDS, WORDS], [3, 65]), "inputs[1] has 1 words"),
        (lambda: functional.concat([WORDS, WORDS.int()], [3, 4]), "inputs[1] is torch.int32"),
        (lambda: functional.concat(WORDS, [3, 4]), "inputs is a Tensor; give a list"),
        (lambda: functional.concat([WORDS, 3], [3, 4]), "inputs[1] is a int; give a tensor"),
        (lambda: functional.concat([WORDS], 3), "channels is 3; give a list"),
        (lambda: functional.concat([WORDS], ["3"]), "channels[0] is '3'; give an int"),
        (lambda: functional.channel_shuffle(WORDS, 10, 3), "10 channels in 3 groups"),
        (lambda: functional.channel_shuffle(WORDS, 10, 0), "10 channels in 0 groups"),
        (lambda: functional.channel_shuffle(WORDS, 65, 5), "65 channels take 2"),
        (lambda: functional.channel_shuffle(torch.tensor(3), 3, 3), "it must be (*, words)"),
    ],
)
def test_says_what_is_wrong(call, said):
    with pytest.raises(PackedError) as caught:
        call()
    assert said in str(caught.value)
