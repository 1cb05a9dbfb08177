"""Programs: the native part's list of operations, against the operators one by one."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

import bnn
from bnn.packed import Epilogue, functional, layout, runtime
from bnn.packed.epilogue import ACTIVATIONS, FIELDS, RESIDUAL_AT
from bnn.packed.shapes import ConvShape, PoolShape, words


@pytest.fixture(autouse=True)
def _same_threads_afterwards():
    before = bnn.get_num_threads()
    yield
    bnn.set_num_threads(before)


def steps(epilogue):
    """Return the epilogue as a program takes it."""
    numbers = {**ACTIVATIONS, **RESIDUAL_AT}
    fields = [getattr(epilogue, name) for name in FIELDS]
    return tuple(
        value.data_ptr() if isinstance(value, torch.Tensor) else numbers.get(value, 0)
        for value in fields
    )


def run(program, *buffers):
    program.run([buffer.data_ptr() for buffer in buffers])


class Net:
    """pack -> bconv2d with a residual -> bmaxpool2d -> bconcat -> shuffle -> mean, and unpack."""

    def __init__(self, isa, signs, values):
        self.shape = ConvShape(2, 9, 7, 65, 70, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0)
        self.weight = layout.pack(signs(70, 65, 3, 3))
        self.panel = runtime.make_panel(self.shape, self.weight, isa)
        self.scale, self.shift = values(65, specials=False), values(65, seed=1, specials=False)
        self.epilogue = Epilogue(
            scale=values(70, specials=False),
            second_activation="prelu",
            second_slope=values(70, seed=1, specials=False),
            residual_at="before_activation",
            bit_shift=values(70, seed=2, specials=False),
        )
        self.pool = PoolShape(2, 9, 7, 70, 3, 3, 2, 2, 1, 1, 1, 1, 5, 4)
        p = self.program = runtime.native().Program(isa)
        panel = 0 if self.panel is None else self.panel.data_ptr()
        scale, shift = self.scale.data_ptr(), self.shift.data_ptr()
        p.pack(0, 2, 65, 63, False, scale, shift, 2)
        p.bconv2d(
            self.shape, 2, self.weight.data_ptr(), panel, 3, 4, 1, steps(self.epilogue)
        )  # fmt: skip
        p.bmaxpool2d(self.pool, 4, 5)
        p.bconcat(40, [5, 5], [70, 70], 6)
        p.bchannel_shuffle(40, 140, 2, 6, 7)
        p.bglobal_avgpool(2, 20, 140, 7, 8)
        p.unpack(7, 2, 140, 20, True, 9)

    def outputs(self):
        return [
            torch.empty(2, 9, 7, words(65), dtype=torch.int64),
            torch.empty(2, 9, 7, 70),
            torch.empty(2, 9, 7, 2, dtype=torch.int64),
            torch.empty(2, 5, 4, 2, dtype=torch.int64),
            torch.empty(2, 5, 4, 3, dtype=torch.int64),
            torch.empty(2, 5, 4, 3, dtype=torch.int64),
            torch.empty(2, 140),
            torch.empty(2, 5, 4, 140),
        ]

    def expected(self, x, residual):
        packed = functional.pack(x, self.scale, self.shift)
        out, bits = functional.bconv2d(
            packed, self.weight, 65, padding=1, epilogue=self.epilogue,
            residual=residual.movedim(-1, 1), output="float_and_bits",
        )  # fmt: skip
        pooled = functional.max_pool2d(bits, 70, 3, 2, 1)
        joined = functional.concat([pooled, pooled], [70, 70])
        shuffled = functional.channel_shuffle(joined, 140, 2)
        mean = functional.global_avg_pool(shuffled, 140)
        unpacked = functional.unpack(shuffled, 140).movedim(1, -1)
        return [packed, out.movedim(1, -1), bits, pooled, joined, shuffled, mean, unpacked]


def test_bits_equal_the_operators(isa, signs, values, same):
    net = Net(isa, signs, values)
    for seed in range(3):
        x, residual = values(2, 65, 9, 7, seed=seed), values(2, 9, 7, 70, seed=seed + 9)
        outputs = net.outputs()
        run(net.program, x, residual, *outputs)
        for given, wanted in zip(outputs, net.expected(x, residual), strict=True):
            same(given, wanted.contiguous())


@pytest.mark.parametrize("threads", [1, 3])
def test_one_program_from_many_threads(isa, threads, signs, values, same):
    bnn.set_num_threads(threads)
    net = Net(isa, signs, values)
    inputs = [(values(2, 65, 9, 7, seed=i), values(2, 9, 7, 70, seed=i + 50)) for i in range(16)]
    expected = [net.expected(*each) for each in inputs]

    def one(each):
        outputs = net.outputs()
        for _ in range(20):
            run(net.program, *each, *outputs)
        return outputs

    with ThreadPoolExecutor(8) as pool:
        for given, wanted in zip(pool.map(one, inputs), expected, strict=True):
            for got, want in zip(given, wanted, strict=True):
                same(got, want.contiguous())


@pytest.mark.parametrize("pad_value", [-1, 0, 1])
@pytest.mark.parametrize("groups", [1, 2, 66])
def test_bconv2d_with_copies_of_its_input(isa, groups, pad_value, signs, same):
    shape = ConvShape(1, 6, 6, 66, 66, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, groups, pad_value)
    x, weight = layout.pack(signs(1, 66, 6, 6)), layout.pack(signs(66, 66 // groups, 3, 3))
    panel = runtime.make_panel(shape, weight, isa)
    program = runtime.native().Program(isa)
    at = 0 if panel is None else panel.data_ptr()
    program.bconv2d(shape, 0, weight.data_ptr(), at, 1, -1, -1, None)
    out = torch.empty(1, 6, 6, 66)
    for _ in range(2):
        run(program, x, out)
        same(out, layout.bconv2d(shape, x, weight).float())


def test_weight_only(isa, signs, values):
    shape = ConvShape(2, 5, 6, 20, 33, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0)
    x, weight = values(2, 5, 6, 20, specials=False), signs(33, 20, 3, 3)
    packed, bias = layout.pack(weight), values(33, specials=False)
    program = runtime.native().Program(isa)
    program.weight_only_conv2d(shape, 0, packed.data_ptr(), 0, bias.data_ptr(), 1)
    out = torch.empty(2, 5, 6, 33)
    run(program, x, out)
    expected = torch.nn.functional.conv2d(x.movedim(-1, 1), weight, bias, padding=1)
    torch.testing.assert_close(out.movedim(-1, 1), expected, rtol=1e-4, atol=1e-4)


def test_describes_and_times_its_operations(isa, signs, values):
    net = Net(isa, signs, values)
    program = net.program
    assert len(program) == 7
    assert program.slots == 10
    names = [program.describe(i) for i in range(len(program))]
    assert names[0] == "pack"
    assert names[1] == f"bconv2d {runtime.bconv2d_kernel(net.shape, isa)}"
    with pytest.raises(IndexError):
        program.describe(7)
    buffers = [values(2, 65, 9, 7), values(2, 9, 7, 70), *net.outputs()]
    times = program.run_timed([buffer.data_ptr() for buffer in buffers])
    assert len(times) == 7
    assert all(time >= 0 for time in times)
    assert sum(times) > 0


def test_an_empty_program_runs():
    program = runtime.native().Program(0)
    program.run([])
    assert program.run_timed([]) == []


def test_too_few_addresses(isa):
    program = runtime.native().Program(isa)
    program.pack(0, 1, 1, 1, True, 0, 0, 3)
    with pytest.raises(ValueError, match="the program has 4 slots, but 3 addresses are given"):
        program.run([0, 0, 0])


def test_is_closed_once_it_has_run(isa):
    program = runtime.native().Program(isa)
    program.run([])
    with pytest.raises(ValueError, match="cannot be changed"):
        program.pack(0, 1, 1, 1, True, 0, 0, 1)
