"""Float operations of programs, against torch's own and the epilogue's oracle."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

import bnn
from bnn.packed import Epilogue, layout, runtime
from bnn.packed.epilogue import ACTIVATIONS, FIELDS, RESIDUAL_AT
from bnn.packed.shapes import ConvShape, PoolShape, pool_out, words

CHANNELS = (1, 2, 3, 7, 8, 16, 17, 32, 33, 48, 63, 64, 65, 80, 128, 130)
SEEDS = st.integers(0, 2**32)
AXIS = st.fixed_dictionaries(
    {
        "size": st.integers(1, 15),
        "kernel": st.integers(1, 5),
        "stride": st.integers(1, 3),
        "dilation": st.integers(1, 3),
        "pads": st.tuples(st.integers(0, 3), st.integers(0, 3)),
    }
)
STEPS = st.sampled_from(("none", "bias_relu", "batch_norm", "everything"))


@pytest.fixture(autouse=True, params=[1, 3])
def threads(request):
    before = bnn.get_num_threads()
    bnn.set_num_threads(request.param)
    yield request.param
    bnn.set_num_threads(before)


def steps(epilogue):
    numbers = {**ACTIVATIONS, **RESIDUAL_AT}
    fields = [getattr(epilogue, name) for name in FIELDS]
    return tuple(
        value.data_ptr() if isinstance(value, torch.Tensor) else numbers.get(value, 0)
        for value in fields
    )


def epilogue_of(which, channels, seed, values):
    def vector(i):
        return values(channels, seed=seed + i, specials=False)

    if which == "none":
        return Epilogue()
    if which == "bias_relu":
        return Epilogue(bias=vector(1), first_activation="relu")
    if which == "batch_norm":
        return Epilogue(
            affine_scale=vector(1), affine_shift=vector(2), second_activation="hardtanh",
            bit_scale=vector(3),
        )  # fmt: skip
    return Epilogue(
        scale=vector(1), bias=vector(2), first_activation="prelu", first_slope=vector(3),
        affine_scale=vector(4), affine_shift=vector(5), residual_at="after_activation",
        second_shift_in=vector(6), second_activation="prelu", second_slope=vector(7),
        second_shift_out=vector(8), bit_scale=vector(9), bit_shift=vector(10),
    )  # fmt: skip


def check_steps(values, epilogue, build, start, tolerance):
    """Run ``build(program, out, bits, residual, steps)`` on slots 1-3; compare with ``start``."""
    channels = start.shape[-1]
    residual = values(*start.shape, seed=77, specials=False)
    want = layout.finish(start, epilogue, residual if epilogue.residual_at else None)
    for out_slot, bits_slot in ((1, 2), (1, -1), (-1, 2)):
        out = torch.full_like(start, 99.0)
        bits = torch.full((*start.shape[:-1], words(channels)), -1, dtype=torch.int64)
        residual_slot = 3 if epilogue.residual_at else -1
        run = build(out_slot, bits_slot, residual_slot, steps(epilogue))
        run([out.data_ptr(), bits.data_ptr(), residual.data_ptr()])
        if out_slot >= 0:
            torch.testing.assert_close(out, want, rtol=tolerance, atol=tolerance, equal_nan=True)
        if bits_slot >= 0:
            wanted = layout.threshold(out if out_slot >= 0 else want, epilogue)
            if out_slot >= 0 or tolerance == 0:
                assert torch.equal(bits, wanted)


def conv(isa, values, shape, x_nchw, which, seed):
    x = values(shape.batch, shape.channels, shape.height, shape.width, seed=seed, specials=False)
    weight = values(
        shape.out_channels, shape.group_channels, shape.kernel_h, shape.kernel_w, seed=seed + 1,
        specials=False,
    )  # fmt: skip
    padded = F.pad(x, (shape.pad_left, shape.pad_right, shape.pad_top, shape.pad_bottom))
    start = F.conv2d(
        padded.double(), weight.double(), None, shape[7:9], 0, shape[9:11], shape.groups
    )
    start = start.float().movedim(1, -1).contiguous()
    native = runtime.native()
    filters = weight.movedim(1, -1).contiguous()
    panel = torch.full((native.conv2d_panel_bytes(*shape, isa) // 4,), torch.nan)
    native.make_conv2d_panel(*shape, filters.data_ptr(), panel.data_ptr(), isa)
    given = x if x_nchw else x.movedim(1, -1).contiguous()

    def build(out, bits, residual, epilogue):
        program = native.Program(isa)
        program.conv2d(shape, x_nchw, 0, panel.data_ptr(), out, bits, residual, epilogue)
        assert program.describe(0) == f"conv2d {native.conv2d_kernel(*shape, isa)}"
        return lambda rest: program.run([given.data_ptr(), *rest])

    epilogue = epilogue_of(which, shape.out_channels, seed + 5, values)
    tolerance = 1e-4 * max(1, shape.taps_bits**0.5 / 4)
    check_steps(values, epilogue, build, start, tolerance)


def fit(axis):
    extent = axis["dilation"] * (axis["kernel"] - 1) + 1
    before, after = axis["pads"]
    return before, max(after, extent - axis["size"] - before)


@settings(max_examples=60)
@given(
    batch=st.integers(0, 3),
    h=AXIS,
    w=AXIS,
    channels=st.sampled_from(CHANNELS),
    out_channels=st.sampled_from(CHANNELS),
    groups=st.sampled_from((1, 1, 1, 2, 3, "depthwise")),
    x_nchw=st.booleans(),
    which=STEPS,
    seed=SEEDS,
)
def test_conv2d(isa, batch, h, w, channels, out_channels, groups, x_nchw, which, seed, values):
    if groups == "depthwise":
        out_channels = groups = channels
    elif groups > 1:
        channels, out_channels = channels * groups, out_channels * groups
    shape = ConvShape(
        batch, h["size"], w["size"], channels, out_channels, h["kernel"], w["kernel"],
        h["stride"], w["stride"], h["dilation"], w["dilation"], *fit(h), *fit(w), groups, 0,
    )  # fmt: skip
    conv(isa, values, shape, x_nchw, which, seed)


@pytest.mark.parametrize("which", ["none", "bias_relu", "everything"])
@pytest.mark.parametrize(
    ("shape", "x_nchw"),
    [
        (ConvShape(1, 30, 30, 3, 64, 7, 7, 2, 2, 1, 1, 3, 3, 3, 3), True),
        (ConvShape(2, 20, 20, 3, 32, 3, 3, 2, 2, 1, 1, 1, 1, 1, 1), True),
        (ConvShape(2, 14, 14, 64, 128, 1, 1, 2, 2), False),
        (ConvShape(3, 9, 9, 32, 16, 1, 1), False),
        (ConvShape(3, 9, 9, 32, 16, 1, 1), True),
        (ConvShape(1, 1, 1, 512, 1000, 1, 1), False),
        (ConvShape(33, 1, 1, 100, 130, 1, 1), False),
        (ConvShape(2, 1, 40, 20, 30, 1, 5, pad_left=2, pad_right=2), False),
        (ConvShape(1, 12, 12, 96, 96, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 96), False),
        (ConvShape(2, 7, 7, 33, 33, 1, 1, groups=33), True),
    ],
)
def test_conv2d_of_networks(isa, shape, x_nchw, which, values):
    conv(isa, values, shape, x_nchw, which, 3)


@pytest.mark.parametrize("channels", [1, 16, 33, 64, 129])
@pytest.mark.parametrize("which", ["none", "bias_relu", "batch_norm", "everything"])
def test_map(isa, channels, which, values):
    x = values(11, channels)

    def build(*rest):
        program = runtime.native().Program(isa)
        program.map(11, channels, 0, *rest)
        return lambda slots: program.run([x.data_ptr(), *slots])

    check_steps(values, epilogue_of(which, channels, 1, values), build, x, 0)


def test_map_in_place(isa, values, same):
    x, scale = values(100, 70), values(70, seed=1, specials=False)
    want = layout.finish(x, Epilogue(scale=scale, second_activation="hardtanh"), None)
    program = runtime.native().Program(isa)
    epilogue = steps(Epilogue(scale=scale, second_activation="hardtanh"))
    program.map(100, 70, 0, 0, -1, -1, epilogue)
    program.run([x.data_ptr()])
    same(x, want)


@settings(max_examples=40)
@given(
    batch=st.integers(0, 2),
    h=AXIS,
    w=AXIS,
    channels=st.sampled_from(CHANNELS),
    ceil_mode=st.booleans(),
    mean=st.sampled_from((None, False, True)),
    which=STEPS,
    seed=SEEDS,
)
def test_pooling(isa, batch, h, w, channels, ceil_mode, mean, which, seed, values, same):
    sizes = {"h": h, "w": w}
    pads, outs = {}, {}
    for name, axis in sizes.items():
        dilation = 1 if mean is not None else axis["dilation"]
        extent = dilation * (axis["kernel"] - 1) + 1
        pads[name] = min(axis["pads"][0], axis["kernel"] // 2)
        if axis["size"] + 2 * pads[name] < extent:
            axis["size"] = extent
        outs[name] = pool_out(
            axis["size"], axis["kernel"], axis["stride"], pads[name], dilation, ceil_mode
        )
    dilation = (1, 1) if mean is not None else (h["dilation"], w["dilation"])
    kernel, stride = (h["kernel"], w["kernel"]), (h["stride"], w["stride"])
    shape = PoolShape(
        batch, h["size"], w["size"], channels, *kernel, *stride, pads["h"], pads["w"], *dilation,
        outs["h"], outs["w"],
    )  # fmt: skip
    x = values(batch, channels, h["size"], w["size"], seed=seed, specials=mean is None)
    padding = (pads["h"], pads["w"])
    if batch == 0:
        start = torch.empty(0, channels, outs["h"], outs["w"])
    elif mean is None:
        start = F.max_pool2d(x, kernel, stride, padding, dilation, ceil_mode)
    else:
        start = F.avg_pool2d(x, kernel, stride, padding, ceil_mode, mean)
    given = x.movedim(1, -1).contiguous()

    def build(*rest):
        program = runtime.native().Program(isa)
        if mean is None:
            program.maxpool2d(shape, 0, *rest)
        else:
            program.avgpool2d(shape, mean, 0, *rest)
        return lambda slots: program.run([given.data_ptr(), *slots])

    epilogue = epilogue_of(which, channels, seed % 1000, values)
    check_steps(values, epilogue, build, start.movedim(1, -1).contiguous(), 0)


@pytest.mark.parametrize("channels", [1, 17, 64, 512])
@pytest.mark.parametrize("pixels", [1, 49, 200])
@pytest.mark.parametrize("which", ["none", "everything"])
def test_global_avgpool(isa, channels, pixels, which, values):
    x = values(2, pixels, channels, specials=False)

    def build(*rest):
        program = runtime.native().Program(isa)
        program.global_avgpool(2, pixels, channels, 0, *rest)
        return lambda slots: program.run([x.data_ptr(), *slots])

    epilogue = epilogue_of(which, channels, 1, values)
    check_steps(values, epilogue, build, x.double().mean(1).float(), 1e-4)


@pytest.mark.parametrize("channels", [1, 17, 64, 100])
@pytest.mark.parametrize("pixels", [1, 67])
@pytest.mark.parametrize("which", ["none", "bias_relu", "everything"])
def test_multiply(isa, channels, pixels, which, values):
    x = values(3, 67, channels)
    by = values(3, 67 // pixels, channels, seed=1)

    def build(*rest):
        program = runtime.native().Program(isa)
        program.multiply(3 * 67, channels, 0, 4, pixels, *rest)
        return lambda slots: program.run([x.data_ptr(), *slots, by.data_ptr()])

    check_steps(values, epilogue_of(which, channels, 1, values), build, x * by, 0)


@pytest.mark.parametrize("channels", [1, 17, 64, 100])
@pytest.mark.parametrize("levels", [3, 7, 255])
@pytest.mark.parametrize("which", ["none", "everything"])
def test_level(isa, channels, levels, which, values):
    x = values(200, channels)
    x[::3] *= 0.3
    x[1] = torch.arange(channels) / (2 * levels) + 0.5 / levels  # ties
    start = (x.clamp(0, 1) * levels).round() - levels / 2
    for plane in range(levels.bit_length()):

        def build(*rest, plane=plane):
            program = runtime.native().Program(isa)
            program.level(200, channels, 0, levels, plane, *rest)
            return lambda slots: program.run([x.data_ptr(), *slots])

        check_steps(values, epilogue_of(which, channels, 1, values), build, start, 0)
        start = start - torch.where(start < 0, -1.0, 1.0) * ((levels + 1) / 2 ** (plane + 2))
    assert (start[~start.isnan()] == 0).all()


@pytest.mark.parametrize("channels", [(1,), (3, 64), (17, 1, 46), (64, 64), (128, 2, 100)])
@pytest.mark.parametrize("which", ["none", "bias_relu", "everything"])
def test_concat(isa, channels, which, values):
    inputs = [values(200, c, seed=i) for i, c in enumerate(channels)]
    slots = list(range(4, 4 + len(channels)))

    def build(*rest):
        program = runtime.native().Program(isa)
        program.concat(200, slots, list(channels), *rest)
        addresses = [x.data_ptr() for x in inputs]
        return lambda others: program.run([0, *others, *addresses])

    epilogue = epilogue_of(which, sum(channels), 1, values)
    check_steps(values, epilogue, build, torch.cat(inputs, -1), 0)


@pytest.mark.parametrize("channels", [1, 3, 16, 17, 100])
@pytest.mark.parametrize("pixels", [1, 15, 64, 3000])
def test_orders(isa, channels, pixels, values, same):
    x = values(2, channels, pixels)
    program = runtime.native().Program(isa)
    program.to_nhwc(2, channels, pixels, 0, 1)
    program.to_nchw(2, channels, pixels, 1, 2)
    nhwc, back = torch.empty(2, pixels, channels), torch.empty(2, channels, pixels)
    program.run([x.data_ptr(), nhwc.data_ptr(), back.data_ptr()])
    same(nhwc, x.movedim(1, -1).contiguous())
    same(back, x)


def test_nan_stays_in_its_window(isa, threads):
    shape = PoolShape(1, 4, 4, 20, 2, 2, 2, 2, 0, 0, 1, 1, 2, 2)
    for place in range(4):
        x = torch.randn(1, 4, 4, 20)
        x[0, place // 2, place % 2] = torch.nan
        program = runtime.native().Program(isa)
        program.maxpool2d(shape, 0, 1, -1, -1, None)
        out = torch.empty(1, 2, 2, 20)
        program.run([x.data_ptr(), out.data_ptr()])
        assert out[0, 0, 0].isnan().all()
        assert not out[0, 1:].isnan().any()


def test_one_program_from_many_threads(isa, values, same):
    shape = ConvShape(1, 30, 30, 3, 70, 3, 3, 2, 2, 1, 1, 1, 1, 1, 1)
    native = runtime.native()
    weight = values(70, 3, 3, 3, specials=False)
    panel = torch.empty(native.conv2d_panel_bytes(*shape, isa) // 4)
    native.make_conv2d_panel(*shape, weight.data_ptr(), panel.data_ptr(), isa)
    epilogue = Epilogue(bias=values(70, specials=False), first_activation="relu")
    program = native.Program(isa)
    program.conv2d(shape, True, 0, panel.data_ptr(), 1, -1, -1, steps(epilogue))
    program.maxpool2d(PoolShape(1, 15, 15, 70, 3, 3, 2, 2, 1, 1, 1, 1, 8, 8), 1, 2, 3, -1, None)
    program.global_avgpool(1, 64, 70, 2, 4, -1, -1, None)

    def run(x):
        buffers = [
            x, torch.empty(1, 15, 15, 70), torch.empty(1, 8, 8, 70),
            torch.empty(1, 8, 8, 2, dtype=torch.int64), torch.empty(1, 70),
        ]  # fmt: skip
        for _ in range(20):
            program.run([buffer.data_ptr() for buffer in buffers])
        return buffers

    inputs = [values(1, 3, 30, 30, seed=i) for i in range(16)]
    expected = [run(x) for x in inputs]
    with ThreadPoolExecutor(8) as pool:
        for given, wanted in zip(pool.map(run, inputs), expected, strict=True):
            for got, want in zip(given, wanted, strict=True):
                same(got, want)
