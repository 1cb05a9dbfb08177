"""Whole networks: agreement with their models, files, threads, memory, random architectures."""

from __future__ import annotations

import copy
import pickle
import resource
import subprocess
import sys
import threading

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import bnn
from bnn import BConfig, BinaryChef, Identity, prepare_binary_model
from bnn.executor import load_recipe, packaged_recipes
from bnn.layers import BinaryLayer
from bnn.models import MODELS, create
from bnn.ops import (
    BasicInputBinarizer,
    BasicScaleBinarizer,
    XNORWeightBinarizer,
    binarizers,
)
from bnn.packed import runtime
from bnn.packed.run.memory import ALIGN, Buffer, place

IMAGES = 256


def trained(model):
    """Give a network norms, slopes and scales of both signs, as training would."""
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.running_mean.normal_(0, 0.5)
                module.running_var.uniform_(0.5, 2)
                if module.weight is not None:
                    module.weight.normal_(1, 0.3)
                if module.bias is not None:
                    module.bias.normal_(0, 0.3)
            if isinstance(module, nn.PReLU):
                module.weight.normal_(0.2, 0.2)
            if isinstance(module, BasicScaleBinarizer):
                module.alpha.normal_(1, 0.3)
    return model.eval()


def binarized(name, recipe):
    torch.manual_seed(0)
    model = create(name, **MODELS[name].tiny)
    chef = BinaryChef(recipe)
    for _ in range(len(chef)):
        model = chef.next(model)
    return trained(model)


def small_network(bconfig=None, **options):
    bconfig = bconfig or BConfig(BasicInputBinarizer, Identity, XNORWeightBinarizer)
    torch.manual_seed(0)
    model = create("resnet8", **{"width": 8, "in_channels": 1, **options})
    return trained(prepare_binary_model(model, bconfig, ignore_layers_name=["_first_", "_last_"]))


@pytest.fixture(scope="module")
def digits():
    """Return the 8x8 images of handwritten digits that scikit-learn ships."""
    from bnn.training import load_data

    test = load_data("digits").test
    return torch.stack([test[i][0] for i in range(min(IMAGES, len(test)))])


def check_agreement(model, packed, x):
    agreement = bnn.verify(model, packed, x)
    assert agreement.identical
    assert agreement.top1 == agreement.samples == len(x)
    flipped = {layer.name: layer.different_signs for layer in agreement.layers}
    flipped = {name: count for name, count in flipped.items() if count}
    for name, count in flipped.items():  # a float stem rounds another way: only next to 0
        assert count <= near_zero(model, name, x)
    assert agreement.relative_difference < (1e-3 if flipped else 1e-5)
    return agreement


def near_zero(model, name, x):
    """Count the inputs of a binary layer whose sign the rounding of float32 could change."""
    seen = []
    handle = model.get_submodule(name).register_forward_pre_hook(
        lambda _, args: seen.append(args[0])
    )
    with handle:
        model(x)
    return sum(int((v.abs() <= 1e-6 * v.abs().max()).sum()) for v in seen)


def float_models():
    """Name the networks that a recipe makes binary; tests/models packs those that are binary."""
    with torch.device("meta"):
        made = {name: create(name, **MODELS[name].tiny) for name in MODELS}
    return [n for n, m in made.items() if not any(isinstance(x, BinaryLayer) for x in m.modules())]


@pytest.mark.parametrize(
    "recipe", [n for n in packaged_recipes() if not load_recipe(n).needs_binary]
)
@pytest.mark.parametrize("name", float_models())
def test_every_model_with_every_recipe(name, recipe):
    model = binarized(name, recipe)
    x = torch.randn(IMAGES, *MODELS[name].tiny_shape)
    packed = bnn.pack(model, x[:2])
    assert packed.report.binary
    assert not packed.report.emulated
    assert not packed.graph.opaque()
    check_agreement(model, packed, x)


@pytest.mark.parametrize("name", list(binarizers))
def test_every_binarizer_on_real_images(name, digits):
    binarizer = binarizers[name]
    if binarizer.stage == "output":
        config = BConfig(BasicInputBinarizer, binarizer, XNORWeightBinarizer)
    elif binarizer.operand == "weight":
        config = BConfig(BasicInputBinarizer, Identity, binarizer)
    elif binarizer.operand == "input":
        config = BConfig(binarizer, Identity, XNORWeightBinarizer)
    else:
        config = BConfig(binarizer, Identity, binarizer)
    model = small_network(config)
    packed = bnn.pack(model, digits[:2])
    assert not packed.report.emulated, packed.report
    check_agreement(model, packed, digits)


def test_saved_networks_run_in_a_process_without_the_code_that_trained_them(tmp_path):
    for name in MODELS:
        model = binarized(name, "xnor-net")
        x = torch.randn(4, *MODELS[name].tiny_shape)
        packed = bnn.pack(model, x)
        packed.save(tmp_path / f"{name}.bnn")
        torch.save({"x": x, "y": packed(x)}, tmp_path / f"{name}.pt")
    code = """
import pathlib, sys, torch
from bnn.packed import load
files = sorted(pathlib.Path(sys.argv[1]).glob("*.bnn"))
for file in files:
    expected = torch.load(file.with_suffix(".pt"))
    assert torch.equal(load(file)(expected["x"]), expected["y"]), file
assert not [name for name in sys.modules if name.startswith(("bnn.models", "bnn.training"))]
print(len(files))
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == len(MODELS)


def test_isas_agree(isa, digits):
    model = small_network()
    packed = bnn.pack(model, digits[:2])
    check_agreement(model, packed, digits)


# --- random networks --------------------------------------------------------------------------

STEPS = (
    "conv", "depthwise", "grouped", "strided", "one_by_one", "float_conv", "norm", "prelu", "relu",
    "hardtanh", "max_pool", "avg_pool", "dropout", "remember", "add", "cat", "shuffle", "scale",
    "sigmoid",
)  # fmt: skip


class RandomNetwork(nn.Module):
    """A network of these steps; ``remember`` keeps a value that ``add`` and ``cat`` use."""

    def __init__(self, steps, channels, bconfig):
        super().__init__()
        self.steps = []
        self.layers = nn.ModuleList()
        kept = None
        for step in steps:
            before = channels
            layer, channels, kept = self.make(step, channels, kept)
            if (step == "add" and kept != channels) or (step == "cat" and channels == before):
                step = "dropout"  # there is nothing to add, or too much to concatenate
            self.steps.append(step)
            self.layers.append(layer)
        self.head = nn.Linear(channels, 7)
        for i, layer in enumerate(self.layers):
            if isinstance(layer, nn.Conv2d) and self.steps[i] != "float_conv":
                self.layers[i] = bnn.layers.Conv2d.from_module(layer, bconfig)

    @staticmethod
    def make(step, channels, kept):
        conv = {
            "conv": lambda: nn.Conv2d(channels, 12, 3, padding=1),
            "depthwise": lambda: nn.Conv2d(channels, channels, 3, padding=1, groups=channels),
            "grouped": lambda: nn.Conv2d(channels, 8, 3, padding=2, dilation=2, groups=2),
            "strided": lambda: nn.Conv2d(channels, 70, 3, stride=2, padding=1, bias=False),
            "one_by_one": lambda: nn.Conv2d(channels, 16, 1, bias=False),
            "float_conv": lambda: nn.Conv2d(channels, 10, 3, padding=1, bias=False),
        }
        if step == "grouped" and channels % 2:
            step = "conv"
        if step in conv:
            layer = conv[step]()
            return layer, layer.out_channels, kept
        if step == "remember":
            return nn.Identity(), channels, channels
        if step == "cat" and kept is not None and channels + kept <= 200:
            return nn.Identity(), channels + kept, kept
        layers = {
            "norm": lambda: nn.BatchNorm2d(channels), "prelu": lambda: nn.PReLU(channels),
            "relu": nn.ReLU, "hardtanh": nn.Hardtanh, "sigmoid": nn.Sigmoid,
            "dropout": nn.Dropout, "max_pool": lambda: nn.MaxPool2d(3, 1, padding=1),
            "avg_pool": lambda: nn.AvgPool2d(3, 1, padding=1),
            "shuffle": lambda: nn.ChannelShuffle(2 if channels % 2 == 0 else 1),
        }  # fmt: skip
        return layers.get(step, nn.Identity)(), channels, kept

    def forward(self, x):
        kept = None
        for step, layer in zip(self.steps, self.layers, strict=True):
            x = layer(x)
            if step == "remember":
                kept = x
            if step == "add":
                x = x + kept
            if step == "cat":
                x = torch.cat([x, kept], dim=1)
            if step == "scale":
                x = x * 0.5
        return self.head(F.adaptive_avg_pool2d(x, 1).flatten(1))


@settings(max_examples=100)
@given(
    steps=st.lists(st.sampled_from(STEPS), min_size=1, max_size=14),
    scaled=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_random_networks(steps, scaled, seed):
    torch.manual_seed(seed)
    # The shape of what is concatenated must be known when the network is made.
    steps = [step for step in steps if step != "strided" or "remember" not in steps]
    bconfig = BConfig(
        BasicInputBinarizer, BasicScaleBinarizer if scaled else Identity, XNORWeightBinarizer
    )
    model = trained(RandomNetwork(steps, 6, bconfig))
    x = torch.randn(3, 6, 9, 9)
    packed = bnn.pack(model, x)
    assert packed.report.how == "graph"
    assert not packed.graph.opaque()
    agreement = bnn.verify(model, packed, x)
    assert agreement.identical
    disagreements = sum(layer.different_signs or 0 for layer in agreement.layers)
    if disagreements == 0:
        torch.testing.assert_close(packed(x), model(x), atol=1e-3, rtol=1e-3)
        other = torch.randn(1, 6, 12, 8)
        if not sum(a.different_signs or 0 for a in bnn.verify(model, packed, other).layers):
            torch.testing.assert_close(packed(other), model(other), atol=1e-3, rtol=1e-3)
    # Floats that a float sum or a sigmoid rounds another way may lie next to 0.
    assert disagreements <= 2


# --- how it behaves ---------------------------------------------------------------------------


def test_threads_give_the_results_of_one(digits):
    packed = bnn.pack(small_network(), digits[:2])
    expected = {n: packed(digits[:n]) for n in (1, 5, 64)}
    wrong = []

    def work(n):
        wrong.extend(n for _ in range(30) if not torch.equal(packed(digits[:n]), expected[n]))

    threads = [threading.Thread(target=work, args=((1, 5, 64)[i % 3],)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_result_is_not_overwritten_by_the_next_run(digits):
    packed = bnn.pack(small_network(), digits[:2])
    first = packed(digits[:4])
    kept = first.clone()
    packed(digits[4:8])
    assert torch.equal(first, kept)


def test_memory_does_not_grow(digits):
    packed = bnn.pack(small_network(), digits[:1])
    x = digits[:1].contiguous()
    for _ in range(500):
        packed(x)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(10_000):
        packed(x)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 4096, f"{grown} KiB"


def test_the_number_of_kept_plans_is_limited(digits):
    packed = bnn.pack(small_network(), digits[:1])
    for n in range(1, 40):
        packed(digits[:n])
    assert len(packed._plans) <= 16
    model = small_network()
    assert torch.equal(packed(digits[:3]).argmax(1), model(digits[:3]).argmax(1))


def test_copies_pickles_and_devices(digits):
    packed = bnn.pack(small_network(), digits[:2])
    expected = packed(digits)
    assert torch.equal(copy.deepcopy(packed)(digits), expected)
    assert torch.equal(pickle.loads(pickle.dumps(packed))(digits), expected)
    assert torch.equal(packed.half().double().to("cpu")(digits), expected)
    assert packed.train().training is False
    moved = copy.deepcopy(packed).to("meta")
    assert moved(digits.to("meta")).shape == expected.shape
    with pytest.raises(bnn.BnnError, match="input 0 is on cpu, but the network on meta"):
        moved(digits)


def test_eager_and_planned_agree(digits):
    from bnn.packed.run import run_eagerly

    packed = bnn.pack(small_network(), digits[:2])
    torch.testing.assert_close(
        run_eagerly(packed.graph, [digits]), packed(digits), atol=1e-4, rtol=1e-4
    )


def test_without_the_native_part_it_runs_in_plain_torch(digits, monkeypatch):
    from bnn.errors import NativePartError

    packed = bnn.pack(small_network(), digits[:2])
    expected = packed(digits)
    fresh = copy.deepcopy(packed)

    def missing(*_):
        raise NativePartError("not built")

    monkeypatch.setattr("bnn.packed.run.plan.runtime.native", missing)
    monkeypatch.setattr("bnn.packed.network.Plan", missing)
    meta = fresh.to("meta")
    assert meta(digits.to("meta")).shape == expected.shape


def test_noncontiguous_and_channels_last_inputs(digits):
    model = small_network(in_channels=3)
    x = torch.randn(4, 3, 16, 16)
    packed = bnn.pack(model, x)
    expected = packed(x)
    assert torch.equal(packed(x.contiguous(memory_format=torch.channels_last)), expected)
    assert torch.equal(packed(x.flip(-1).flip(-1).transpose(2, 3).transpose(2, 3)), expected)
    wide = torch.randn(8, 3, 16, 16)
    assert torch.equal(packed(wide[::2]), packed(wide[::2].clone()))


def test_profile_and_peak(digits):
    packed = bnn.pack(small_network(), digits[:2])
    timings = packed.profile(digits[:2])
    assert {timing.name.partition("#")[0] for timing in timings} >= set(packed.report.binary)
    assert all(timing.microseconds >= 0 for timing in timings)
    assert packed.peak_bytes() < packed.peak_bytes((64, 1, 8, 8))
    assert packed.nbytes < 50_000


def test_grad_mode_and_inference_mode(digits):
    packed = bnn.pack(small_network(), digits[:2])
    expected = packed(digits)
    x = digits.clone().requires_grad_()
    assert not packed(x).requires_grad
    with torch.inference_mode():
        assert torch.equal(packed(digits), expected)
        again = bnn.pack(small_network(), digits[:2])
    assert torch.equal(again(digits), expected)


def test_packing_needs_no_gradients_and_keeps_none():
    model = small_network()
    packed = bnn.pack(model, torch.randn(1, 1, 8, 8))
    assert not list(packed.parameters())
    assert all(not buffer.requires_grad for buffer in packed.buffers())


@settings(max_examples=200)
@given(
    st.lists(
        st.builds(
            lambda size, first, length: Buffer(size, first, first + length),
            st.integers(0, 1000), st.integers(0, 20), st.integers(0, 8),
        ),
        max_size=25,
    )
)  # fmt: skip
def test_buffers_that_live_together_do_not_overlap(buffers):
    offsets, total = place(buffers)
    for i, a in enumerate(buffers):
        assert offsets[i] % ALIGN == 0
        assert offsets[i] + a.size <= total or not a.size
        for j, b in enumerate(buffers[:i]):
            if a.size and b.size and a.first <= b.last and b.first <= a.last:
                assert offsets[i] + a.size <= offsets[j] or offsets[j] + b.size <= offsets[i]


def test_threads_of_the_native_part(digits):
    packed = bnn.pack(small_network(), digits[:2])
    expected = packed(digits)
    before = runtime.get_num_threads()
    try:
        runtime.set_num_threads(2 if before == 1 else 1)
        assert torch.equal(packed(digits), expected)
    finally:
        runtime.set_num_threads(before)
