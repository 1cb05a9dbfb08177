"""The epilogue: every field, in its order, to the last bit."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from bnn.errors import PackedError
from bnn.packed import Epilogue, functional, layout, runtime
from bnn.packed.epilogue import TENSORS
from bnn.packed.shapes import ConvShape

CHANNELS = (1, 3, 4, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 100, 128, 129)
SEEDS = st.integers(0, 2**32)
ACTIVATION = st.sampled_from((None, "relu", "prelu", "hardtanh"))
FREE = [name for name in TENSORS if not name.endswith("_slope")]

plans = st.fixed_dictionaries(
    {
        **{name: st.booleans() for name in FREE},
        "first_activation": ACTIVATION,
        "second_activation": ACTIVATION,
        "residual_at": st.sampled_from((None, "before_activation", "after_activation")),
    }
)


def build(plan, channels, seed, values, specials):
    fields = {name: value for name, value in plan.items() if name not in FREE}
    wanted = [name for name in FREE if plan[name]]
    wanted += [
        f"{place}_slope" for place in ("first", "second") if plan[f"{place}_activation"] == "prelu"
    ]
    for i, name in enumerate(wanted):
        fields[name] = values(channels, seed=seed + i, specials=specials)
    return Epilogue(**fields)


def by_torch(acc, e, residual):
    """Compute the steps once more, with torch's own modules, from (N, O, H, W)."""

    def each(vector, neutral):
        return torch.full((acc.shape[1],), neutral) if vector is None else vector

    def activate(v, name, slope):
        if name == "prelu":
            return F.prelu(v, slope)
        return {"relu": F.relu, "hardtanh": F.hardtanh, None: lambda v: v}[name](v)

    def column(vector, neutral):
        return each(vector, neutral).view(-1, 1, 1)

    def norm(v, scale, shift):
        """Batch norm of mean 0 and variance 1: what torch rounds once."""
        if scale is None or shift is None:
            return v * column(scale, 1.0) + column(shift, 0.0)
        return F.batch_norm(v, torch.zeros_like(scale), torch.ones_like(scale), scale, shift, eps=0)

    v = acc.float() * column(e.scale, 1.0) + column(e.bias, 0.0)
    v = v * column(e.post_scale, 1.0)
    v = activate(v, e.first_activation, e.first_slope)
    v = norm(v, e.affine_scale, e.affine_shift)
    v = v + residual if e.residual_at == "before_activation" else v
    v = activate(v + column(e.second_shift_in, 0.0), e.second_activation, e.second_slope)
    v = v + column(e.second_shift_out, 0.0)
    v = v + residual if e.residual_at == "after_activation" else v
    return v, norm(v, e.bit_scale, e.bit_shift) < 0


@settings(max_examples=50)
@given(plan=plans, channels=st.sampled_from(CHANNELS), seed=SEEDS)
def test_layout_equals_torch(plan, channels, seed, values, same):
    acc = torch.randint(-300, 300, (2, 3, 3, channels), dtype=torch.int32)
    epilogue = build(plan, channels, seed, values, specials=False)
    residual = values(2, channels, 3, 3, seed=seed + 99, specials=False)
    expected, bits = by_torch(acc.movedim(-1, 1), epilogue, residual)
    v = layout.finish(acc, epilogue, residual.movedim(1, -1))
    same(v, expected.movedim(1, -1))
    same(layout.threshold(v, epilogue), layout.pack_bits(bits.movedim(1, -1)))


@settings(max_examples=50)
@given(
    plan=plans,
    channels=st.sampled_from(CHANNELS),
    image=st.tuples(st.integers(0, 2), st.integers(1, 5), st.integers(1, 9)),
    seed=SEEDS,
    specials=st.booleans(),
)
def test_every_field(isa, plan, channels, image, seed, specials, signs, values, same):
    batch, height, width = image
    x = layout.pack(signs(batch, 70, height, width, seed=seed))
    weight = layout.pack(signs(channels, 70, 3, 3, seed=seed + 1))
    epilogue = build(plan, channels, seed + 2, values, specials)
    residual = None
    if epilogue.residual_at is not None:
        residual = values(batch, channels, height, width, seed=seed + 20, specials=specials)
    shape = ConvShape(batch, height, width, 70, channels, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1)
    acc = layout.bconv2d(shape, x, weight)
    v = layout.finish(acc, epilogue, None if residual is None else residual.movedim(1, -1))

    def run(output):
        return functional.bconv2d(
            x, weight, 70, padding=1, epilogue=epilogue, residual=residual, output=output
        )

    out, bits = run("float_and_bits")
    same(out.movedim(1, -1), v)
    same(bits, layout.threshold(v, epilogue))
    same(run("float"), out)
    same(run("bits"), bits)


@pytest.mark.parametrize("channels", CHANNELS)
def test_bits_have_zero_tails(isa, channels, signs):
    x, weight = layout.pack(signs(1, 64, 5, 5)), layout.pack(signs(channels, 64, 3, 3))
    below = Epilogue(bit_shift=torch.full((channels,), -1e9))
    bits = functional.bconv2d(x, weight, 64, epilogue=below, output="bits")
    assert torch.equal(layout.unpack(bits, channels), -torch.ones(1, 3, 3, channels))
    assert not channels % 64 or not (bits[..., -1] >> (channels % 64)).any()


def test_negative_scales(isa, signs, same):
    x, weight = signs(1, 64, 4, 4), signs(33, 64, 3, 3, seed=1)
    scale = torch.linspace(-2, 2, 33)
    out = functional.bconv2d(
        layout.pack(x), layout.pack(weight), 64, epilogue=Epilogue(scale=scale, bit_scale=-scale),
        output="float_and_bits",
    )  # fmt: skip
    expected = F.conv2d(x, weight) * scale.view(-1, 1, 1)
    same(out[0], expected)
    same(out[1], layout.pack(expected * -scale.view(-1, 1, 1)))


@pytest.mark.parametrize("at", ["before_activation", "after_activation"])
@pytest.mark.parametrize("channels", [33, 64, 129])
def test_residual_may_be_the_output(isa, at, channels, signs, values, same):
    shape = ConvShape(2, 6, 7, 64, channels, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1)
    x = layout.pack(signs(2, 64, 6, 7))
    weight = layout.pack(signs(channels, 64, 3, 3, seed=1))
    epilogue = Epilogue(
        scale=values(channels, specials=False), residual_at=at, second_activation="hardtanh"
    )
    residual = values(2, 6, 7, channels, seed=1)
    expected = layout.finish(layout.bconv2d(shape, x, weight), epilogue, residual)
    panel = runtime.make_panel(shape, weight, isa)
    runtime.bconv2d(shape, x, weight, panel, epilogue, out=residual, residual=residual, isa=isa)
    same(residual, expected)


def test_nothing_given_is_read_from_any_memory(isa, signs, values, same):
    x, weight = layout.pack(signs(1, 64, 4, 4)), layout.pack(signs(33, 64, 1, 1))
    scale = values(66, specials=False)
    residual = values(1, 33, 4, 4)

    def run(scale, residual):
        epilogue = Epilogue(scale=scale, residual_at="after_activation")
        return functional.bconv2d(x, weight, 64, epilogue=epilogue, residual=residual)

    expected = run(scale[::2].clone(), residual)
    same(run(scale[::2], residual.contiguous(memory_format=torch.channels_last)), expected)
    same(run(scale[::2], residual.transpose(2, 3).contiguous().transpose(2, 3)), expected)
    same(run(scale[:1].expand(33), residual), run(scale[:1].repeat(33), residual))


def test_the_largest_sums_round_as_torch_rounds_them(isa, same):
    k = 2**24 + 65  # no float32
    x, weight = torch.ones(1, k, dtype=torch.int8), torch.ones(1, k, dtype=torch.int8)
    out = functional.blinear(functional.pack(x), functional.pack(weight), k)
    same(out, torch.tensor([[k]]).float())


WORDS, WEIGHT = (
    torch.zeros(1, 4, 4, 1, dtype=torch.int64),
    torch.zeros(8, 3, 3, 1, dtype=torch.int64),
)


@pytest.mark.parametrize(
    ("epilogue", "residual", "output", "said"),
    [
        ({"scale": torch.ones(7)}, None, "float", "scale has shape (7,); one value for each"),
        ({"bias": torch.ones(8).double()}, None, "float", "bias is torch.float64"),
        ({"bit_scale": torch.ones(8, 1)}, None, "float", "bit_scale has shape (8, 1)"),
        ({"residual_at": "after_activation"}, None, "float", "residual is missing, but the"),
        ({}, torch.zeros(1, 8, 2, 2), "float", "residual is given, but the epilogue's"),
        (
            {"residual_at": "after_activation"},
            torch.zeros(1, 8, 2, 3),
            "float",
            "residual has shape (1, 2, 3, 8) with channels last; it is added to the output",
        ),
        (
            {"residual_at": "after_activation"},
            torch.zeros(1, 8, 2, 2).half(),
            "float",
            "residual is torch.float16",
        ),
        ({"residual_at": "after_activation"}, torch.zeros(8), "float", "must have the output's 4"),
        (
            {"scale": torch.ones(8)},
            None,
            "int32",
            "'int32' is the sums themselves, but the epilogue has scale",
        ),
        ({"scale": torch.ones(8, device="meta")}, None, "float", "scale is on meta, but x on cpu"),
    ],
)
def test_says_what_is_wrong(epilogue, residual, output, said):
    with pytest.raises(PackedError) as caught:
        functional.bconv2d(
            WORDS, WEIGHT, 64, epilogue=Epilogue(**epilogue), residual=residual, output=output
        )
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"first_activation": "gelu"}, "first_activation is 'gelu'; allowed: None, 'relu'"),
        ({"second_activation": 2}, "second_activation is 2"),
        ({"residual_at": "end"}, "residual_at is 'end'; allowed: None, 'before_activation'"),
        ({"first_activation": "prelu"}, "first_activation is 'prelu' and first_slope is missing"),
        ({"second_slope": torch.ones(3)}, "second_activation is None and second_slope is given"),
    ],
)
def test_refuses_what_does_not_fit_together(fields, said):
    with pytest.raises(PackedError) as caught:
        Epilogue(**fields)
    assert said in str(caught.value)


def test_is_frozen_and_shows_what_is_given():
    epilogue = Epilogue(bias=torch.zeros(3), second_activation="relu")
    assert repr(epilogue) == "Epilogue(bias=(3,), second_activation='relu')"
    with pytest.raises(dataclasses.FrozenInstanceError):
        epilogue.bias = None
