"""The operators in torch: opcheck, compile, export, other devices, gradients."""

import math

import pytest
import torch
from torch import nn

from bnn.errors import PackedError
from bnn.packed import Epilogue, conv_ops, functional, layout, ops, panels

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own, in compile

C, O = 70, 33  # noqa: E741 - as in the documentation


def samples():
    """Return, for each operator, its arguments and keywords."""
    x, weight = torch.randn(2, C, 6, 5), torch.randn(O, C, 3, 3)
    words, filters = layout.pack(x), layout.pack(weight)
    geometry = ([1, 1], [1, 1, 1, 1], [1, 1])
    conv = (words, filters, C, *geometry, 1, 0)
    steps = {
        "scale": torch.randn(O),
        "first_activation": "prelu",
        "first_slope": torch.rand(O),
        "bit_shift": torch.randn(O),
    }
    residual = {"residual": torch.randn(2, 6, 5, O), "residual_at": "before_activation"}
    return {
        "pack": ("pack", (x, None, None), {}),
        "pack, channels last": (
            "pack",
            (x.to(memory_format=torch.channels_last), torch.rand(C), None),
            {},
        ),
        "pack, two axes": ("pack", (x[:, :, 0, 0].half(), None, torch.rand(C)), {}),
        "unpack": ("unpack", (words, C, "bfloat16"), {}),
        "bconv, int32": ("bconv", (*conv, "int32"), {}),
        "bconv, float": ("bconv", (*conv, "float"), steps),
        "bconv, bits": ("bconv", (*conv, "bits"), {**steps, **residual}),
        "bconv, both": ("bconv", (*conv, "float_and_bits"), residual),
        "bconv, linear": (
            "bconv",
            (words[:, 0, 0], filters[:, 0, 0], C, [], [], [], 1, 0, "float_and_bits"),
            steps,
        ),
        "bconv, 1-d": (
            "bconv",
            (words[:, 0], filters[:, 0], C, [2], [0, 2], [1], 1, -1, "float"),
            {},
        ),
        "max_pool2d": ("max_pool2d", (words, C, [2, 2], [2, 2], [0, 1], [1, 1], True), {}),
        "global_avg_pool": ("global_avg_pool", (words, C), {}),
        "avg_pool2d": (
            "avg_pool2d",
            (torch.randn(2, 6, 5, 3), [2, 2], [2, 2], [0, 1], False, True),
            {},
        ),
        "concat": ("concat", ([words, layout.pack(x[:, :65])], [C, 65]), {}),
        "channel_shuffle": ("channel_shuffle", (words, C, 7), {}),
        "weight_only_conv": (
            "weight_only_conv",
            (torch.randn(2, 6, 5, C), filters, torch.rand(O), None, *geometry, 1),
            {},
        ),
    }


NAMES = list(samples())


@pytest.mark.parametrize("name", NAMES)
def test_opcheck(name):
    operator, arguments, keywords = samples()[name]
    torch.library.opcheck(getattr(torch.ops.bnn, operator).default, arguments, keywords)


def test_every_operator_is_in_the_samples():
    tested = {operator for operator, _, _ in samples().values()}
    assert tested == set(ops.__all__)


@pytest.mark.parametrize("name", NAMES)
def test_other_devices_compute_the_same(name):
    operator, arguments, keywords = samples()[name]
    expected = getattr(torch.ops.bnn, operator)(*arguments, **keywords)
    kernel = "_weight_only_other" if operator == "weight_only_conv" else f"_{operator}_other"
    other = getattr(conv_ops, kernel, None) or getattr(ops, kernel)
    given = other(*arguments, **keywords)
    tolerance = (
        {"rtol": 1e-4, "atol": 1e-4} if operator == "weight_only_conv" else {"rtol": 0, "atol": 0}
    )
    torch.testing.assert_close(given, expected, **tolerance)
    for a, b in zip(*(r if isinstance(r, list) else [r] for r in (given, expected)), strict=True):
        assert a.stride() == b.stride()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="cuda: this machine has no such device")
@pytest.mark.parametrize("name", NAMES)
def test_cuda_computes_the_same(name):
    operator, arguments, keywords = samples()[name]

    def moved(value):
        if isinstance(value, list):
            return [moved(item) for item in value]
        return value.cuda() if isinstance(value, torch.Tensor) else value

    function = getattr(torch.ops.bnn, operator)
    expected = function(*arguments, **keywords)
    given = function(*map(moved, arguments), **{k: moved(v) for k, v in keywords.items()})
    tolerance = 1e-4 if operator == "weight_only_conv" else 0
    torch.testing.assert_close(
        given, moved(expected), rtol=tolerance, atol=tolerance, check_stride=True
    )


@pytest.mark.parametrize("name", NAMES)
def test_empty_batch(name):
    operator, arguments, keywords = samples()[name]

    def cut(value):
        if isinstance(value, list):
            return [cut(item) for item in value]
        batched = isinstance(value, torch.Tensor) and value.dim() > 1 and len(value) == 2
        return value[:0] if batched else value

    function = getattr(torch.ops.bnn, operator)
    full = function(*arguments, **keywords)
    empty = function(*map(cut, arguments), **{k: cut(v) for k, v in keywords.items()})
    for a, b in zip(*(r if isinstance(r, list) else [r] for r in (full, empty)), strict=True):
        assert b.shape == (0, *a.shape[1:])
        assert a.dtype == b.dtype


class Block(nn.Module):
    """Every function once, as a user would compose them with torch."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.register_buffer("weight", layout.pack(torch.randn(64, 64, 3, 3)))
        self.register_buffer("pointwise", layout.pack(torch.randn(32, 64, 1, 1)))
        self.register_buffer("scale", torch.randn(64))
        self.register_buffer("slope", torch.rand(64))
        self.register_buffer("along", layout.pack(torch.randn(16, 64, 3)))
        self.register_buffer("flat", layout.pack(torch.randn(9, 128)))
        self.head = nn.Conv2d(32, 5, 1).requires_grad_(requires_grad=False)

    def forward(self, x):
        bits = functional.pack(x, self.scale, self.slope)
        bits = functional.max_pool2d(bits, 64, 2)
        epilogue = Epilogue(
            scale=self.scale, second_activation="prelu", second_slope=self.slope,
            residual_at="before_activation",
        )  # fmt: skip
        residual = functional.avg_pool2d(x, 2)
        y, bits = functional.bconv2d(
            bits, self.weight, 64, padding=1, epilogue=epilogue, residual=residual,
            output="float_and_bits",
        )  # fmt: skip
        bits = functional.channel_shuffle(bits, 64, 4)
        z = functional.bconv2d(bits, self.pointwise, 64)
        mean = functional.global_avg_pool(functional.concat([bits, bits], [64, 64]), 128)
        back = functional.unpack(bits, 64) * y
        rows = functional.bconv1d(bits.flatten(1, 2), self.along, 64, padding=1)
        flat = functional.blinear(functional.pack(mean), self.flat, 128)
        floats = functional.weight_only_conv2d(y, self.pointwise, padding=1)
        others = functional.weight_only_linear(mean, self.flat)
        return self.head(z).sum((2, 3)), mean, back.relu(), rows, flat, floats, others


@pytest.fixture
def block():
    return Block().eval(), torch.randn(3, 64, 8, 8)


def test_compiles_into_one_graph(block, same):
    module, x = block
    torch._dynamo.reset()
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
    with torch.no_grad():
        for given, expected in zip(compiled(x), module(x), strict=True):
            same(given, expected)
        larger = torch.cat([x, x])  # another batch, then as a symbol
        for given, expected in zip(compiled(larger), module(larger), strict=True):
            same(given, expected)


def test_compiles_with_inductor(block):
    module, x = block
    torch._dynamo.reset()
    compiled = torch.compile(module, fullgraph=True)
    with torch.no_grad():
        for given, expected in zip(compiled(x), module(x), strict=True):
            torch.testing.assert_close(given, expected)


def test_exports_with_any_batch(block, same):
    module, x = block
    batch = torch.export.Dim("batch", max=4096)
    with torch.no_grad():
        program = torch.export.export(module, (x,), dynamic_shapes=({0: batch},))
    names = {str(node.target) for node in program.graph.nodes}
    assert {"bnn.pack.default", "bnn.bconv.default", "bnn.max_pool2d.default"} <= names
    for count in (1, 3, 8):
        x = torch.randn(count, 64, 8, 8)
        for given, expected in zip(program.module()(x), module(x), strict=True):
            torch.testing.assert_close(given, expected)


@pytest.mark.parametrize("argument", ["x", "scale"])
def test_a_gradient_is_refused_with_the_remedy(argument):
    tensors = {"x": torch.randn(2, 3), "scale": torch.rand(3)}
    tensors[argument].requires_grad_()
    with pytest.raises(PackedError, match=f"{argument} requires a gradient.*torch.no_grad"):
        functional.pack(**tensors)
    with torch.no_grad():
        functional.pack(**tensors)
    with torch.inference_mode():
        functional.pack(**tensors)


def test_residual_that_requires_a_gradient_is_refused():
    with pytest.raises(PackedError, match="residual requires a gradient"):
        functional.bconv2d(
            torch.zeros(1, 2, 2, 1, dtype=torch.int64),
            torch.zeros(3, 1, 1, 1, dtype=torch.int64),
            64,
            residual=torch.zeros(1, 3, 2, 2, requires_grad=True),
            epilogue=Epilogue(residual_at="after_activation"),
        )


class TestPanels:
    """The cache of weights in the kernels' order."""

    def run(self, x, weight):
        return functional.bconv2d(x, weight, 64, output="int32")

    @pytest.fixture
    def bits(self, signs):
        return layout.pack(signs(1, 64, 5, 5)), layout.pack(signs(40, 64, 3, 3, seed=1))

    def test_made_once_and_gone_with_the_weight(self, bits):
        x, weight = bits
        before = len(panels._ENTRIES)
        self.run(x, weight)
        made = panels.panel_nbytes(weight)
        self.run(x, weight)
        assert panels.panel_nbytes(weight) == made
        assert len(panels._ENTRIES) == before + 1
        del weight, bits
        assert panels.panel_nbytes(x) == 0

    def test_made_again_when_the_weight_changes(self, bits, same):
        x, weight = bits
        first = self.run(x, weight)
        weight.bitwise_not_()
        same(self.run(x, weight), -first)
        with torch.no_grad():
            weight.set_(weight.bitwise_not())
        same(self.run(x, weight), first)
        weight.data = weight.bitwise_not()
        same(self.run(x, weight), -first)

    def test_weight_of_inference_mode(self, bits, same):
        x, weight = bits
        first = self.run(x, weight)
        with torch.inference_mode():
            fresh = weight.clone()
            same(self.run(x, fresh), first)
            fresh.bitwise_not_()
            same(self.run(x, fresh), -first)

    def test_forgets_weights_that_are_gone(self, bits):
        x, weight = bits
        before = len(panels._ENTRIES)
        for _ in range(5):
            self.run(x, weight.clone())
        assert len(panels._ENTRIES) <= before + 1


def test_more_than_two_to_the_31_elements():
    """Indices into such a tensor do not fit 32 bits."""
    if _free_memory() < 6 * 2**30:
        pytest.skip("needs 6 GiB of free memory")
    x = torch.zeros(2**25 + 1, 64, dtype=torch.int8)
    x[-1, 5] = -1
    x[2**25 - 1, 3] = -1
    words = functional.pack(x)
    assert words[-1].item() == 32
    assert words[2**25 - 1].item() == 8
    assert words.count_nonzero() == 2


def _free_memory():
    try:
        with open("/proc/meminfo") as lines:  # noqa: PTH123
            return next(int(line.split()[1]) * 1024 for line in lines if "MemAvailable" in line)
    except (OSError, StopIteration):
        return math.nan
