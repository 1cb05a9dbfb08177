"""pack and unpack: the oracle against the definition, the kernels against the oracle."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from bnn.errors import PackedError
from bnn.ops.sign import sign
from bnn.packed import functional, layout, runtime

CHANNELS = (1, 3, 31, 32, 33, 63, 64, 65, 100, 127, 128, 129, 300)
DTYPES = tuple(runtime.DTYPES)
SPATIAL = st.lists(st.integers(0, 5), max_size=3).map(tuple)
SEEDS = st.integers(0, 2**32)

shapes = st.tuples(st.integers(0, 3), st.sampled_from(CHANNELS), SPATIAL).map(
    lambda s: (s[0], s[1], *s[2])
)


def as_dtype(x, dtype):
    return (
        x.nan_to_num(0, 1, -1).clamp(-1, 1).mul(100).to(dtype)
        if dtype == torch.int8
        else x.to(dtype)
    )


@settings(max_examples=60)
@given(channels=st.integers(1, 200), seed=SEEDS)
def test_layout_puts_channel_c_in_bit_c(channels, seed, values):
    x = values(channels, seed=seed)
    (row,) = layout.pack(x[None])
    expected = sum(1 << c for c in range(channels) if x[c] < 0)
    assert sum((word % 2**64) << (64 * i) for i, word in enumerate(row.tolist())) == expected


@settings(max_examples=60)
@given(shape=shapes, seed=SEEDS)
def test_layout_unpacks_to_signs(shape, seed, values, same):
    x = values(*shape, seed=seed)
    same(layout.unpack(layout.pack(x), shape[1]).movedim(-1, 1), sign(x))


@settings(max_examples=60)
@given(shape=shapes, dtype=st.sampled_from(DTYPES), seed=SEEDS, channels_last=st.booleans())
def test_pack(isa, shape, dtype, seed, channels_last, values, same):
    x = as_dtype(values(*shape, seed=seed), dtype)
    if channels_last:
        x = x.movedim(1, -1).contiguous().movedim(-1, 1)
    same(functional.pack(x), layout.pack(x))


@settings(max_examples=60)
@given(
    shape=shapes,
    dtype=st.sampled_from(DTYPES),
    seed=SEEDS,
    channels_last=st.booleans(),
    given_=st.tuples(st.booleans(), st.booleans()),
)
def test_pack_with_threshold(isa, shape, dtype, seed, channels_last, given_, values, same):
    x = as_dtype(values(*shape, seed=seed), dtype)
    if channels_last:
        x = x.movedim(1, -1).contiguous().movedim(-1, 1)
    scale, shift = (
        values(shape[1], seed=seed + i + 1) if there else None for i, there in enumerate(given_)
    )
    same(functional.pack(x, scale, shift), layout.pack(x, scale, shift))


def test_threshold_is_rounded_once(isa):
    # In two roundings -1/3 * 3 + 1 is 0; in one it is -2.98e-8, a bit.
    x, scale, shift = torch.tensor([[1 / 3]]), torch.tensor([-3.0]), torch.tensor([1.0])
    assert (x * scale + shift).item() == 0
    assert functional.pack(x, scale, shift).item() == 1
    assert layout.pack(x, scale, shift).item() == 1


@settings(max_examples=60)
@given(shape=shapes, seed=SEEDS, channels_last=st.booleans())
def test_threshold_is_torchs_batch_norm_to_the_last_bit(shape, seed, channels_last, values, same):
    if torch.backends.cpu.get_cpu_capability() == "DEFAULT":
        pytest.skip("torch's kernels for a CPU without FMA round twice")
    x = values(*shape, seed=seed, specials=False)
    if channels_last and x.dim() == 4:
        x = x.contiguous(memory_format=torch.channels_last)
    mean, weight, bias = (values(shape[1], seed=seed + i, specials=False) for i in (1, 2, 3))
    var = values(shape[1], seed=seed + 4, specials=False).abs()
    scale = torch.rsqrt(var + 1e-5) * weight
    shift = layout.fused(-mean, scale, bias)
    expected = F.batch_norm(x, mean, var, weight, bias, eps=1e-5)
    got = layout.fused(x.movedim(1, -1), scale, shift).movedim(-1, 1)
    same(got, expected)
    same(functional.pack(x, scale, shift), layout.pack(expected))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@settings(max_examples=60)
@given(shape=shapes, seed=SEEDS)
def test_unpack(isa, dtype, shape, seed, values, same):
    x = values(*shape, seed=seed)
    words = layout.pack(x)
    result = functional.unpack(words, shape[1], dtype)
    same(result, sign(x).to(dtype))
    if len(shape) == 4 and result.numel():
        assert result.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_unpack_to_nchw_in_the_native_part(isa, channels, dtype, signs, same):
    x = signs(2, channels, 7)
    out = torch.empty(2, channels, 7, dtype=dtype)
    runtime.unpack(layout.pack(x), out, sizes=(2, channels, 7), channels_last=False, isa=isa)
    same(out, x.to(dtype))


@pytest.mark.parametrize("channels", CHANNELS)
def test_pad_bits_are_zero(isa, channels):
    packed = functional.pack(torch.full((3, channels, 2), -1.0))
    tail = channels % 64
    assert not tail or not (packed[..., -1] >> tail).any()


def views(x):
    """Return tensors that hold the same values in other memory."""
    yield x.clone(memory_format=torch.channels_last)
    yield x.transpose(2, 3).contiguous().transpose(2, 3)
    yield torch.stack([x, x], -1)[..., 0]
    yield torch.cat([x, x])[: len(x)]
    yield torch.view_as_complex(torch.stack([x, -x], -1)).conj().imag  # negated on reading


def test_any_memory_is_read_right(isa, values, same):
    x = values(2, 70, 3, 4, specials=False)
    for view in views(x):
        same(functional.pack(view), layout.pack(x))


def test_expanded_and_sliced(isa, same, values):
    x = values(1, 70, 3, 4)
    same(functional.pack(x.expand(5, -1, -1, -1)), layout.pack(x).expand(5, -1, -1, -1))
    same(functional.pack(x[:, ::2, 1:]), layout.pack(x[:, ::2, 1:].contiguous()))
    scale = torch.tensor(2.0).expand(70)
    same(functional.pack(x, scale), layout.pack(x))


def test_nan_and_signed_zero_are_plus_one(isa):
    x = torch.tensor([[torch.nan, -0.0, 0.0, -1e-45, -torch.nan]])
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        given_ = x.to(dtype)
        assert functional.pack(given_).item() == (8 if dtype == torch.float32 else 0)


def test_threshold_of_a_half_is_computed_in_float32(isa):
    x = torch.tensor([[-60000.0]], dtype=torch.float16)
    scale, shift = torch.tensor([2.0]), torch.tensor([130000.0])
    assert functional.pack(x, scale, shift).item() == 0
    assert functional.pack(x, scale, torch.tensor([110000.0])).item() == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            (torch.zeros(3, dtype=torch.float64)[None],),
            "x is torch.float64; allowed: torch.float32",
        ),
        ((torch.zeros(3),), "x has shape (3,); it must be (N, C, *)"),
        ((torch.zeros(2, 0),), "at least one channel"),
        ((torch.zeros(2, 3), torch.ones(2)), "scale has shape (2,); one value for each channel is"),
        ((torch.zeros(2, 3), None, torch.ones(3).double()), "shift is torch.float64"),
        (([1.0],), "x is a list; give a tensor"),
        ((torch.zeros(2, 3), 2.0), "scale is a float; give a tensor"),
        ((torch.zeros(2, 3, device="meta"), torch.ones(3)), "scale is on cpu, but x on meta"),
    ],
)
def test_pack_says_what_is_wrong(arguments, said):
    with pytest.raises(PackedError) as caught:
        functional.pack(*arguments)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((torch.zeros(2, 1), 3), "x is torch.float32; allowed: torch.int64"),
        ((torch.zeros(2, 1, dtype=torch.int64), 65), "x has 1 words in its last axis; 65 channels"),
        ((torch.zeros(2, 1, dtype=torch.int64), 0), "channels is 0; it must be at least 1"),
        ((torch.zeros(2, 1, dtype=torch.int64), 2.0), "channels is 2.0; give an int"),
        ((torch.zeros(2, 1, dtype=torch.int64), 2, torch.int32), "dtype is int32; allowed"),
        ((torch.zeros(2, 1, dtype=torch.int64), 2, "half"), "dtype is 'half'; give a torch.dtype"),
        ((torch.zeros(1, dtype=torch.int64), 2), "it must be (N, *spatial, words)"),
    ],
)
def test_unpack_says_what_is_wrong(arguments, said):
    with pytest.raises(PackedError) as caught:
        functional.unpack(*arguments)
    assert said in str(caught.value)
