"""Functions call the native part without torch's dispatch where that makes no difference."""

import pytest
import torch
from torch import nn
from torch.fx.experimental.proxy_tensor import make_fx
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from bnn.errors import PackedError
from bnn.packed import Epilogue, conv_ops, functional, library
from bnn.packed.functional import convolution, words

C, O = 70, 33  # noqa: E741 - as in the documentation


class Seen(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.names.append(str(function))
        return function(*args, **(kwargs or {}))


class SeenFunctions(TorchFunctionMode):
    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_function__(self, function, types, args=(), kwargs=None):
        self.names.append(str(function))
        return function(*args, **(kwargs or {}))


class Marked(torch.Tensor):
    """Has torch call it for every function."""

    seen = ()

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        cls.seen = (*cls.seen, str(function))
        return super().__torch_function__(function, types, args, kwargs or {})


def negated(x):
    """Return ``x`` as a view that is negated when it is read."""
    return torch.view_as_complex(torch.stack([x, -x], -1)).conj().imag


@pytest.fixture
def layer():
    x, weight = torch.randn(2, C, 6, 5), torch.randn(O, C, 3, 3)
    return functional.pack(x), functional.pack(weight), torch.randn(O)


def convolve(words, weight, scale=None, output="float", **options):
    return functional.bconv2d(
        words, weight, C, epilogue=Epilogue(scale=scale), output=output, **options
    )


@pytest.fixture
def operators(monkeypatch):
    """Count the calls that go through torch."""
    calls = []
    for module, name in ((convolution, "bconv"), (words, "pack")):
        original = getattr(module.ops, name)

        def call(*args, original=original, name=name, **kwargs):
            calls.append(name)
            return original(*args, **kwargs)

        monkeypatch.setattr(module.ops, name, call)
    return calls


def test_ordinary_tensors_take_it(layer, operators):
    convolve(*layer)
    functional.pack(torch.randn(2, C))
    functional.pack(nn.Parameter(torch.randn(2, C), requires_grad=False))
    with torch.inference_mode():
        convolve(functional.pack(torch.randn(2, C, 6, 5)), *layer[1:])
    assert operators == []


@pytest.mark.parametrize(
    "make",
    [
        lambda x: x.to("meta"),
        negated,
        lambda x: x.as_subclass(Marked),
        torch._to_functional_tensor,
        lambda x: torch._efficientzerotensor(x.shape),
    ],
    ids=["meta", "negated", "subclass", "functional", "zero"],
)
def test_other_tensors_do_not(make):
    other = make(torch.randn(2, C))
    assert not library.is_plain(other)
    assert not Epilogue(scale=other).is_plain


def test_a_negated_scale_is_read_right(layer, operators, same):
    x, weight, scale = layer
    same(convolve(x, weight, negated(scale)), convolve(x, weight, scale.clone()))
    same(convolve(x, weight, -scale), convolve(x, weight, negated(-scale)))
    assert operators == ["bconv", "bconv"]


def test_modes_see_the_operators(layer):
    x = torch.randn(2, C)
    with Seen() as seen:
        functional.pack(x)
        convolve(*layer)
    assert {"bnn.pack.default", "bnn.bconv.default"} <= set(seen.names)
    with SeenFunctions() as seen:
        functional.pack(x)
        convolve(*layer)
    assert {"bnn.pack.default", "bnn.bconv.default"} <= set(seen.names)
    functional.pack(x.as_subclass(Marked))
    assert "bnn.pack.default" in Marked.seen
    traced = make_fx(lambda x: functional.pack(x))(x)
    assert "bnn.pack.default" in {str(node.target) for node in traced.graph.nodes}
    with torch.profiler.profile() as profile:
        functional.pack(x)
    assert "bnn::pack" in {event.name for event in profile.events()}


def test_default_device_and_type_change_nothing(layer, same):
    x = torch.randn(2, C)
    expected = functional.pack(x), convolve(*layer)
    fresh = layer[1].clone()  # its panel is made here
    try:
        torch.set_default_device("meta")
        torch.set_default_dtype(torch.float64)
        given = functional.pack(x), convolve(layer[0], fresh, layer[2])
    finally:
        torch.set_default_device(None)
        torch.set_default_dtype(torch.float32)
    for a, b in zip(given, expected, strict=True):
        same(a, b)


def test_results_are_those_of_the_operators(layer, monkeypatch, same):
    x, weight, scale = layer
    residual = torch.randn(2, O, 4, 3)
    steps = Epilogue(scale=scale, residual_at="after_activation")

    def run():
        yield functional.pack(residual)
        for output in ("float", "bits"):
            yield convolve(x, weight, scale, output)
        yield convolve(x, weight, output="int32", stride=(2, 1), padding=(0, 1, 2, 3))
        yield from functional.bconv2d(
            x, weight, C, epilogue=steps, residual=residual, output="float_and_bits"
        )
        yield functional.bconv1d(x[0], weight[:, 0], C, padding=1, pad_value=-1)
        yield from functional.blinear(x[0], weight[:, 0, 0], C, output="float_and_bits")
        yield functional.blinear(x[0, 0], weight[:, 0, 0], C)

    short = list(run())
    for module in (convolution, words):
        monkeypatch.setattr(module, "is_plain", lambda *_: False)
    for given, expected in zip(short, run(), strict=True):
        same(given, expected)
        assert given.stride() == expected.stride()


class TestKnownSizes:
    """What was checked once is not checked again, and nothing else slips through with it."""

    @pytest.fixture(autouse=True)
    def _known(self, layer):
        self.x, self.weight, self.scale = layer
        self.expected = convolve(*layer)

    def test_tensors_are(self):
        cases = [
            ((self.x.float(), self.weight, self.scale), "x is torch.float32"),
            ((self.x, self.weight.double(), self.scale), "weight is torch.float64"),
            ((self.x, self.weight, self.scale.double()), "scale is torch.float64"),
            ((self.x, self.weight, self.scale[:-1]), "scale has shape (32,)"),
            ((self.x, self.weight, self.scale[None]), "scale has shape (1, 33)"),
            ((self.x, self.weight, self.scale.to("meta")), "scale is on meta, but x on cpu"),
            ((self.x, self.weight, self.scale.clone().requires_grad_()), "requires a gradient"),
        ]
        for arguments, said in cases:
            with pytest.raises(PackedError) as caught:
                convolve(*arguments)
            assert said in str(caught.value)

    def test_numbers_that_are_equal_are_not_the_same(self):
        for stride in (True, 1.0, (1, True), (1.0, 1)):
            with pytest.raises(PackedError, match="stride"):
                convolve(self.x, self.weight, self.scale, stride=stride)
        with pytest.raises(PackedError, match="stride is .1, 1, 0.; it must be 2 numbers"):
            torch.ops.bnn.bconv(
                self.x, self.weight, C, [1, 1, 0], [0, 0, 0], [1, 1], 1, 0, "float",
                scale=self.scale,
            )  # fmt: skip

    def test_a_scale_that_changes_is_seen(self, same):
        epilogue = Epilogue(scale=self.scale)

        def run():
            return functional.bconv2d(self.x, self.weight, C, epilogue=epilogue)

        same(run(), self.expected)
        self.scale.mul_(2)
        same(run(), self.expected * 2)
        self.scale.data = torch.stack([self.scale, self.scale], -1)[:, 0]
        same(run(), self.expected * 2)
        self.scale.data = torch._neg_view(-self.scale)
        same(run(), self.expected * 2)
        self.scale.data = self.scale[:5].clone()
        with pytest.raises(PackedError, match=r"scale has shape \(5,\)"):
            run()
        self.scale.data = torch.ones(O)
        self.scale.untyped_storage().resize_(4)
        with pytest.raises(PackedError, match="scale has less memory than its shape"):
            run()
        self.scale.untyped_storage().resize_(4 * O)  # pytest may print it

    def test_the_table_stays_small(self):
        for count in range(library._MOST_REMEMBERED + 10):
            library.remember(conv_ops._PLANS, count, None)
        assert len(conv_ops._PLANS) <= library._MOST_REMEMBERED
        conv_ops._PLANS.clear()
