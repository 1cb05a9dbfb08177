"""Outputs that the backward pass computes again: the same gradients, fewer bytes."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.autograd import graph
from torch.multiprocessing.reductions import StorageWeakRef

from bnn import BConfig, prepare_binary_model
from bnn.layers import Conv2d, Linear, recompute_outputs, set_compact
from bnn.models import resnet8
from bnn.ops import (
    ApproxSignBinarizer,
    BasicInputBinarizer,
    BasicScaleBinarizer,
    Identity,
    XNORWeightBinarizer,
    binarizers,
)

BINARY = BConfig(BasicInputBinarizer, Identity, XNORWeightBinarizer)
FOLLOWERS = {
    "prelu": nn.PReLU,
    "batch norm": lambda: nn.BatchNorm2d(32),
    "in place": lambda: nn.ReLU(inplace=True),
    "twice": lambda: nn.Sequential(nn.PReLU(), nn.PReLU()),
    "square": lambda: _Square(),
}


class _Square(nn.Module):
    def forward(self, x):
        return x * x


def net(follower, post=Identity):
    torch.manual_seed(0)
    config = BConfig(BasicInputBinarizer, post, XNORWeightBinarizer)
    return nn.Sequential(
        nn.BatchNorm2d(64),
        Conv2d(64, 32, 3, padding=1, bconfig=config),
        follower(),
        nn.BatchNorm2d(32),
        Conv2d(32, 8, 3, bias=False, bconfig=config),
        nn.PReLU(8),
    )


def gradients(model, x):
    model.zero_grad()
    x = x.detach().clone(memory_format=torch.preserve_format).requires_grad_()
    loss = model(x).square().sum()
    return loss, x


def finish(model, loss, x):
    loss.backward()
    return [loss.detach(), x.grad, *(p.grad.clone() for p in model.parameters())]


def net_with(name):
    """Return a network in which each layer has a registered binarizer, behind a batch norm."""
    torch.manual_seed(0)
    cls, weight = binarizers[name], XNORWeightBinarizer
    if cls.stage == "output":
        config = BConfig(BasicInputBinarizer, cls, weight)
    elif cls.operand == "weight":
        config = BConfig(ApproxSignBinarizer, Identity, cls)
    else:
        config = BConfig(cls, Identity, weight)
    model = nn.Sequential(
        nn.BatchNorm2d(64),
        Conv2d(64, 32, 3, padding=1, bconfig=config),
        nn.PReLU(32),
        nn.BatchNorm2d(32),
        Conv2d(32, 8, 3, bias=False, bconfig=config),
        nn.BatchNorm2d(8),
    )
    model(torch.randn(2, 64, 9, 8))  # scales may take the size of what they see
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("name", binarizers)
def test_every_registered_binarizer(name, layout, training):
    model, x = net_with(name).train(training), torch.randn(2, 64, 9, 8)
    x = x.contiguous(memory_format=layout)
    torch.manual_seed(1)  # of what is drawn
    expected = finish(model, *gradients(model, x))
    torch.manual_seed(1)
    with recompute_outputs():
        loss, x = gradients(model, x)
    got = finish(model, loss, x)
    assert all(torch.equal(a, b) for a, b in zip(got, expected, strict=True))


@pytest.mark.parametrize("name", binarizers)
def test_what_a_batch_norm_gives_is_not_kept(name, monkeypatch):
    monkeypatch.setattr(graph, "saved_tensors_hooks", _Counted)
    model, x = net_with(name), torch.randn(2, 64, 9, 8)
    sizes = {(2, 64, 9, 8): 0, (2, 32, 9, 8): 0, (2, 8, 7, 6): 0}

    def note(part):
        if tuple(part.shape) in sizes and 0 not in part.stride():
            storages.setdefault(part.untyped_storage().data_ptr(), part)

    storages = {}
    monkeypatch.setattr(_Counted, "note", staticmethod(note))
    with recompute_outputs():
        gradients(model, x)
    soft = binarizers[name].soft_in_training  # what follows keeps its output
    # The batch norms' inputs (the image, and what the PReLU gives), and what the loss squares.
    assert len(storages) == (5 if soft else 3), {tuple(p.shape) for p in storages.values()}


def test_a_batch_norm_whose_scale_changes_is_as_it_was():
    model, x = net_with("ApproxSignBinarizer"), torch.randn(2, 64, 9, 8)
    expected = finish(model, *gradients(model, x))
    with recompute_outputs():
        loss, x = gradients(model, x)
    with torch.no_grad():
        model[0].bias.data.add_(5)
    got = finish(model, loss, x)
    assert all(torch.equal(a, b) for a, b in zip(got, expected, strict=True))


class _Counted(graph.saved_tensors_hooks):
    """Counts the bytes of floats that are put by."""

    bytes = 0

    @staticmethod
    def note(part):
        """Do more with what is put by."""

    def __init__(self, pack, unpack):
        def pack_and_count(tensor):
            value = pack(tensor)
            for part in value.operands:
                if part is not None and part.is_floating_point() and part.dim() > 1:
                    type(self).bytes += part.nbytes
                    type(self).note(part)
            return value

        super().__init__(pack_and_count, unpack)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("post", [Identity, BasicScaleBinarizer])
@pytest.mark.parametrize("follower", FOLLOWERS.values(), ids=list(FOLLOWERS))
def test_gradients_are_the_same_to_the_last_bit(follower, post, layout):
    model, x = net(follower, post), torch.randn(2, 64, 9, 8).contiguous(memory_format=layout)
    expected = finish(model, *gradients(model, x))
    with recompute_outputs():
        loss, x = gradients(model, x)
    got = finish(model, loss, x)
    assert all(torch.equal(a, b) for a, b in zip(got, expected, strict=True))


@pytest.mark.parametrize("follower", ["prelu", "batch norm", "square"])
def test_the_output_is_not_kept(follower, monkeypatch):
    monkeypatch.setattr(graph, "saved_tensors_hooks", _Counted)
    model, x = net(FOLLOWERS[follower]), torch.randn(2, 64, 9, 8)

    def kept(enabled):
        _Counted.bytes = 0
        with set_compact(enabled), recompute_outputs():
            gradients(model, x)
        return _Counted.bytes

    outputs = 4 * (2 * 32 * 9 * 8 + 2 * 8 * 7 * 6)
    inputs = 4 * (2 * 64 * 9 * 8 + 2 * 32 * 9 * 8)
    assert kept(False) >= kept(True) + outputs + inputs


def test_an_output_that_was_changed_is_kept_as_it_is():
    layer = Linear(64, 8, bconfig=BINARY)
    x = torch.randn(4, 64)
    expected = layer(x).add(1).square().sum()
    expected.backward()
    grad, layer.weight.grad = layer.weight.grad, None
    with recompute_outputs():
        out = layer(x)
        out.add_(1)
        out.square().sum().backward()
    assert torch.equal(layer.weight.grad, grad)


def test_memory_of_an_output_that_is_gone_belongs_to_others():
    layer = Linear(64, 8, bconfig=BINARY)
    x = torch.randn(4, 64)
    for _ in range(50):
        with recompute_outputs():
            layer(x)  # freed at once; the next tensor of this size lies where it was
            other = torch.randn(4, 8, requires_grad=True)
            slope = torch.rand(1, requires_grad=True)
            y = nn.functional.prelu(other, slope)
        y.sum().backward()
        assert torch.equal(slope.grad, other.detach().clamp_max(0).sum().view(1))


def test_vectors_may_change_before_the_backward_pass():
    layer = Linear(64, 8, bconfig=BINARY)
    x = torch.randn(4, 64)
    y = torch.nn.PReLU()
    y(layer(x)).sum().backward()
    expected = y.weight.grad.clone()
    y.weight.grad = None
    with recompute_outputs():
        out = y(layer(x))
    layer.bias.data.add_(100)
    out.sum().backward()
    assert torch.equal(y.weight.grad, expected)


@pytest.mark.parametrize("change", ["weight", "exp", "sigmoid"])
def test_what_was_changed_before_the_backward_pass_is_refused(change):
    """Torch compares no versions where tensors are kept by hooks."""
    layer, x = Linear(64, 8, bconfig=BINARY), torch.randn(4, 64, requires_grad=True)
    with recompute_outputs():
        out = layer(x)
        if change == "weight":
            with torch.no_grad():
                layer.weight.mul_(-1)
        elif change == "exp":
            out = (2 * out).exp().add_(5)
        else:
            hidden = out.sigmoid()
            out = nn.functional.linear(hidden, torch.ones(2, 8, requires_grad=True))
            hidden.mul_(0)
    with pytest.raises(RuntimeError, match=r"modified by an inplace operation.*expected version"):
        out.sum().backward()


def test_a_result_that_is_not_used_is_freed():
    with recompute_outputs():
        out = torch.randn(4, requires_grad=True).exp()  # keeps its own result
    storage = StorageWeakRef(out.untyped_storage())
    del out
    assert storage.expired()


def test_blocks_nest_and_end():
    layer = Linear(64, 8, bconfig=BINARY)
    with recompute_outputs():
        with recompute_outputs():
            layer(torch.randn(4, 64)).square().sum().backward()
        layer(torch.randn(4, 64)).square().sum().backward()
    with pytest.raises(ZeroDivisionError), recompute_outputs():
        _ = 1 / 0
    layer(torch.randn(4, 64)).square().sum().backward()


@pytest.mark.parametrize("compiled", [False, True])
def test_a_network(compiled):
    torch.manual_seed(0)
    model = prepare_binary_model(
        resnet8(width=32), BINARY, ignore_layers_name=["_first_", "_last_"]
    )
    x = torch.randn(4, 3, 16, 16)
    twin = copy.deepcopy(model)
    with set_compact(False):
        plain = finish(twin, *gradients(twin, x))
    run = torch.compile(model, backend="aot_eager") if compiled else model
    with recompute_outputs():
        loss, inner = gradients(run, x)
    got = finish(model, loss, inner)
    torch.testing.assert_close(got[0], plain[0], rtol=1e-5, atol=0)
    for a, b in zip(got, plain, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-3 * max(b.abs().max().item(), 1e-3))
