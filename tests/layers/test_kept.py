"""Binarized weights that are kept in evaluation: never a stale one."""

from __future__ import annotations

import copy
import gc
import pickle

import pytest
import torch
from torch import nn

from bnn import BConfig, Identity
from bnn.layers import Conv2d, Linear
from bnn.layers.kept import _KEPT
from bnn.ops import (
    BasicInputBinarizer,
    BinarizerBase,
    StochasticInputBinarizer,
    XNORWeightBinarizer,
)


class Counted(XNORWeightBinarizer):
    """Counts how often it binarizes."""

    calls = 0

    def depends_on(self):
        return (self.compute_alpha, self.center_weights)

    def decompose(self, weight):
        type(self).calls += 1
        return super().decompose(weight)


@pytest.fixture
def layer():
    Counted.calls = 0
    config = BConfig(BasicInputBinarizer, Identity, Counted)
    return Conv2d(6, 4, 3, bconfig=config).eval()


def fresh(layer, x):
    """Compute without anything kept: gradients are on."""
    return layer(x).detach()


@torch.no_grad()
def test_it_is_binarized_once(layer):
    x = torch.randn(1, 6, 5, 5)
    first = layer(x)
    for _ in range(3):
        assert torch.equal(layer(x), first)
    assert Counted.calls == 1
    with torch.enable_grad():
        assert torch.equal(fresh(layer, x), first)
    assert Counted.calls == 2


CHANGES = {
    "copy_": lambda w: w.copy_(torch.randn_like(w)),
    "data": lambda w: w.data.mul_(-1),
    "rows of data": lambda w: w.data.copy_(w.data.flip(0)),
    "signs of half of data": lambda w: w.data[:, 1::2].neg_(),
    "one value of data": lambda w: w.data.view(-1)[5].neg_(),
    "numpy": lambda w: w.detach().numpy().__imul__(-1),
    "new data": lambda w: setattr(w, "data", torch.randn_like(w)),
    "other memory format": lambda w: setattr(
        w, "data", w.data.neg().contiguous(memory_format=torch.channels_last)
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_weight_is_binarized_again(layer, change):
    x = torch.randn(1, 6, 5, 5)
    with torch.no_grad():
        before = layer(x)
        CHANGES[change](layer.weight)
        after = layer(x)
    assert torch.equal(after, fresh(layer, x))
    assert not torch.equal(after, before)


def test_changes_of_the_layer_and_its_binarizer(layer):
    x = torch.randn(1, 6, 5, 5)
    other = copy.deepcopy(layer)
    with torch.no_grad():
        layer(x)
        nn.init.normal_(other.weight)
        layer.load_state_dict(other.state_dict())
        assert torch.equal(layer(x), other(x))
        layer.weight = nn.Parameter(torch.randn_like(layer.weight))
        assert torch.equal(layer(x), fresh(layer, x))
        layer.weight_pre_process.compute_alpha = False
        assert torch.equal(layer(x), fresh(layer, x))
        layer.weight_pre_process = BasicInputBinarizer()
        assert torch.equal(layer(x), fresh(layer, x))


def test_training_keeps_nothing(layer):
    x = torch.randn(1, 6, 5, 5)
    with torch.no_grad():
        layer(x)
        assert layer in _KEPT
        layer.train()(x)
        assert layer not in _KEPT


def test_an_optimizer_step_between_evaluations(layer):
    x = torch.randn(1, 6, 5, 5)
    optimizer = torch.optim.SGD(layer.parameters(), lr=10.0)
    for _ in range(3):
        layer.eval()
        with torch.no_grad():
            assert torch.equal(layer(x), fresh(layer, x))
        layer.train()
        optimizer.zero_grad()
        layer(x).square().sum().backward()
        optimizer.step()


def test_random_and_unknown_binarizers_are_called_every_time():
    class Own(BinarizerBase):
        calls = 0

        def forward(self, weight):
            Own.calls += 1
            return weight.sign()

    layer = Linear(4, 3, bconfig=BConfig(BasicInputBinarizer, Identity, Own)).eval()
    with torch.no_grad():
        layer(torch.randn(2, 4))
        layer(torch.randn(2, 4))
    assert Own.calls == 2
    layer = Linear(
        400, 3, bconfig=BConfig(BasicInputBinarizer, Identity, StochasticInputBinarizer)
    ).eval()
    layer.weight_pre_process.train()
    with torch.no_grad():
        layer.weight.zero_()
        x = torch.ones(1, 400)
        assert not torch.equal(layer(x), layer(x))


def test_a_subclass_with_a_forward_of_its_own_is_called_every_time():
    class Shifted(XNORWeightBinarizer):
        shift = 0.0

        def forward(self, weight, **_):
            return super().forward(weight) + self.shift

    layer = Linear(4, 3, bconfig=BConfig(BasicInputBinarizer, Identity, Shifted)).eval()
    x = torch.randn(2, 4)
    with torch.no_grad():
        layer(x)
        layer.weight_pre_process.shift = 2.0
        assert torch.equal(layer(x), fresh(layer, x))


def test_hooks_of_the_binarizer_run(layer):
    x = torch.randn(1, 6, 5, 5)
    calls = []
    layer.weight_pre_process.register_forward_hook(lambda *_: calls.append(1))
    with torch.no_grad():
        layer(x)
        layer(x)
    assert len(calls) == 2


def test_nothing_is_kept_under_transforms(layer):
    x = torch.randn(3, 1, 6, 5, 5)
    weights = torch.randn(3, *layer.weight.shape)
    with torch.no_grad():
        mapped = torch.vmap(
            lambda weight, x: torch.func.functional_call(layer, {"weight": weight}, (x,))
        )(weights, x)
        for i in range(3):
            layer.weight.copy_(weights[i])
            torch.testing.assert_close(layer(x[i]), mapped[i])


def test_copies_pickles_and_the_end(layer):
    x = torch.randn(1, 6, 5, 5)
    with torch.no_grad():
        expected = layer(x)
        for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
            assert other not in _KEPT
            assert torch.equal(other(x), expected)
    before = len(_KEPT)
    del other
    gc.collect()
    assert len(_KEPT) < before


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("features", [1, 3, 8])
def test_types_and_odd_sizes(dtype, features):
    config = BConfig(BasicInputBinarizer, Identity, XNORWeightBinarizer)
    layer = Linear(features, 3, bias=False, bconfig=config).to(dtype).eval()
    x = torch.randn(2, features, dtype=dtype)
    with torch.no_grad():
        layer(x)
        layer.weight.data.neg_()
        assert torch.equal(layer(x), fresh(layer, x))


@pytest.mark.parametrize("training", [True, False])
def test_compiled_code_knows_nothing_of_it(training):
    config = BConfig(BasicInputBinarizer, Identity, XNORWeightBinarizer)
    x = torch.randn(2, 4)
    _KEPT.clear()
    others = [Linear(4, 3, bconfig=config).eval()]
    with torch.no_grad():
        others[0](x)
    assert len(_KEPT) == 1

    def backend(graph, inputs):  # between tracing and the guards
        others.clear()
        gc.collect()
        return graph.forward

    layer = Linear(4, 3, bconfig=config).train(training)
    compiled = torch.compile(layer, fullgraph=True, backend=backend)
    assert torch.equal(compiled(x), layer(x))
    assert not others
