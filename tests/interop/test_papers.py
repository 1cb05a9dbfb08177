"""State dicts as the authors' repositories name them, against what their papers compute.

The networks are written here once more, as functions of such a state dict.
"""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from bnn.errors import CheckpointError, ConfigError
from bnn.interop import papers
from bnn.models import create
from bnn.ops import sign


class State(dict):
    """Draws each tensor when it is first asked for, so that it holds just what a network reads."""

    def get_(self, name, *shape, low=-1.0, high=1.0):
        if name not in self:
            self[name] = torch.empty(shape).uniform_(low, high)
        return self[name]

    def norm(self, x, name):
        c = x.shape[1]
        mean, var = (
            self.get_(f"{name}.running_mean", c),
            self.get_(f"{name}.running_var", c, low=0.5),
        )
        weight, bias = self.get_(f"{name}.weight", c, low=0.5), self.get_(f"{name}.bias", c)
        self[f"{name}.num_batches_tracked"] = torch.tensor(3)
        return F.batch_norm(x, mean, var, weight, bias)

    def move(self, x, name):
        return x + self.get_(f"{name}.bias", 1, x.shape[1], 1, 1, low=-0.3, high=0.3)

    def prelu(self, x, name):
        return F.prelu(x, self.get_(f"{name}.weight", x.shape[1], low=0.0, high=0.4))

    def conv(self, x, name, out, kernel, stride=1, bias=False, **more):
        weight = self.get_(f"{name}.weight", out, x.shape[1], kernel, kernel)
        extra = self.get_(f"{name}.bias", out) if bias else None
        return F.conv2d(x, weight, extra, stride, kernel // 2)

    def binary(self, x, name, out, kernel, stride=1, *, flat=True, scaled=True):
        shape = (out, x.shape[1], kernel, kernel)
        count = out * x.shape[1] * kernel * kernel
        field = f"{name}.{'weights' if flat else 'weight'}"
        weight = self.get_(field, *((count, 1) if flat else shape)).view(shape)
        y = F.conv2d(sign(x), sign(weight), None, stride, kernel // 2)
        return y * weight.abs().mean((1, 2, 3)).view(-1, 1, 1) if scaled else y

    def classify(self, x, classes):
        x = x.mean((2, 3))
        return F.linear(
            x, self.get_("fc.weight", classes, x.shape[1]), self.get_("fc.bias", classes)
        )


def residual_network(state, x, layers, width, *, react):
    x = F.max_pool2d(state.norm(state.conv(x, "conv1", width, 7, 2), "bn1"), 3, 2, 1)
    for i, count in enumerate(layers):
        planes = width << i
        for j in range(count):
            name, stride = f"layer{i + 1}.{j}", 2 if i and not j else 1
            shortcut = x
            if stride == 2:
                shortcut = F.avg_pool2d(x, 2)
                shortcut = state.conv(shortcut, f"{name}.downsample.1", planes, 1)
                shortcut = state.norm(shortcut, f"{name}.downsample.2")
            y = state.move(x, f"{name}.move0") if react else x
            y = state.binary(y, f"{name}.binary_conv", planes, 3, stride, flat=not react)
            x = state.norm(y, f"{name}.bn1") + shortcut
            if react:
                x = state.prelu(state.move(x, f"{name}.move1"), f"{name}.prelu")
                x = state.move(x, f"{name}.move2")
    return state.classify(x, 5)


def reactnet(state, x, channels):
    x = state.norm(state.conv(x, "feature.0.conv1", channels[0], 3, 2), "feature.0.bn1")
    for i, out in enumerate(channels[1:], 1):
        name, inputs = f"feature.{i}", x.shape[1]
        stride = 2 if i > 1 and out != inputs else 1
        y = state.binary(state.move(x, f"{name}.move11"), f"{name}.binary_3x3", inputs, 3, stride)
        y = state.norm(y, f"{name}.bn1") + (F.avg_pool2d(x, 2) if stride == 2 else x)
        y = state.prelu(state.move(y, f"{name}.move12"), f"{name}.prelu1")
        y = state.move(y, f"{name}.move13")
        signs = state.move(y, f"{name}.move21")
        if out == inputs:
            z = state.norm(state.binary(signs, f"{name}.binary_pw", out, 1), f"{name}.bn2") + y
        else:
            halves = [
                state.norm(
                    state.binary(signs, f"{name}.binary_pw_down{k}", inputs, 1), f"{name}.bn2_{k}"
                )
                + y
                for k in (1, 2)
            ]
            z = torch.cat(halves, 1)
        z = state.prelu(state.move(z, f"{name}.move22"), f"{name}.prelu2")
        x = state.move(z, f"{name}.move23")
    return state.classify(x, 5)


def bnext_part(state, x, name, kernel, stride, *, attention):
    channels = x.shape[1]
    activated = state.prelu(x, f"{name}.activation1")  # stored everywhere, used in some parts
    shortcut = activated if attention else x
    y = state.binary(
        state.move(x, f"{name}.move"), f"{name}.binary_conv", channels, kernel, stride,
        flat=False, scaled=False,
    )  # fmt: skip
    state[f"{name}.binary_conv.temperature"] = torch.zeros(1)
    y = state.prelu(state.norm(y, f"{name}.norm1"), f"{name}.activation2")
    if stride == 2:
        x, shortcut = F.avg_pool2d(x, 2), F.avg_pool2d(shortcut, 2)
    share = state.get_(f"{name}.scale", 1, channels, 1, 1, low=0.1, high=0.9)
    gate = (share * x + (1 - share) * y).mean((2, 3), keepdim=True)
    gate = F.relu(state.conv(gate, f"{name}.se.se.1", channels // 8, 1, bias=True))
    gate = torch.sigmoid(state.conv(gate, f"{name}.se.se.3", channels, 1, bias=True))
    y = gate * y
    if attention:
        y = y * shortcut
    return state.norm(y, f"{name}.norm2") + shortcut


def bnext(state, x, channels):
    x = state.norm(state.conv(x, "feature.0.conv1", channels[0], 3, 2), "feature.0.bn1")
    state.prelu(x, "feature.0.prelu")  # stored, not used
    for i, out in enumerate(channels[1:], 1):
        name, inputs = f"feature.{i}", x.shape[1]
        stride = 2 if i > 1 and out != inputs else 1
        x = bnext_part(state, x, f"{name}.Attention", 3, stride, attention=i % 2 == 0)
        parts = ["FFN"] if out == inputs else ["FFN_1", "FFN_2"]
        x = torch.cat(
            [bnext_part(state, x, f"{name}.{p}", 1, 1, attention=False) for p in parts], 1
        )
    return state.classify(state.prelu(x, "prelu"), 5)


CHANNELS = (16, 32, 64, 64)
LAYERS = {"layers": (2, 2), "width": 16, "num_classes": 5}
CASES = {
    "reactnet_a": ({"channels": CHANNELS, "num_classes": 5}, lambda s, x: reactnet(s, x, CHANNELS)),
    "bnext_tiny": ({"channels": CHANNELS, "num_classes": 5}, lambda s, x: bnext(s, x, CHANNELS)),
    "react_resnet18": (LAYERS, lambda s, x: residual_network(s, x, (2, 2), 16, react=True)),
    "birealnet34": (LAYERS, lambda s, x: residual_network(s, x, (2, 2), 16, react=False)),
    "birealnet18": (
        {**LAYERS, "bn_eps": 1e-5},
        lambda s, x: residual_network(s, x, (2, 2), 16, react=False),
    ),
}


def drawn(name):
    arguments, forward = CASES[name]
    torch.manual_seed(0)
    state, x = State(), torch.randn(3, 3, 32, 32)
    return create(name, **arguments).eval(), state, x, forward(state, x)


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_computes_what_the_authors_code_does(tmp_path, name, wrapped):
    model, state, x, expected = drawn(name)
    content = dict(state)
    if wrapped:  # by DataParallel, in the checkpoint of a training script
        content = {"epoch": 7, "state_dict": {f"module.{k}": v for k, v in content.items()}}
    torch.save(content, tmp_path / "net.pth")
    with torch.no_grad():
        got = papers.load(model, tmp_path / "net.pth")(x)
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)
    assert got.std() > 0.1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("feature.2.move12.bias"), "missing: feature.2.move12.bias"),
        (lambda s: s.update(extra=torch.ones(1)), "unexpected: extra"),
        (
            lambda s: s.update({"fc.weight": torch.ones(4, 64)}),
            "the network has (5, 64)",
        ),
        (lambda s: s.update({"feature.1.move11.bias": torch.ones(3)}), "shape (3,)"),
    ],
)
def test_what_does_not_match_is_named_and_the_model_stays(tmp_path, change, message):
    model, state, *_ = drawn("reactnet_a")
    before = {k: v.clone() for k, v in model.state_dict().items()}
    change(state)
    torch.save(dict(state), tmp_path / "net.pth")
    with pytest.raises(CheckpointError) as caught:
        papers.load(model, tmp_path / "net.pth")
    assert message in str(caught.value)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


class Evil:
    def __reduce__(self):
        return (exec, ("raise SystemExit('it ran')",))


@pytest.mark.parametrize("content", [{"a": 1}, [1], Evil(), None])
def test_other_files_are_refused_and_nothing_runs(tmp_path, content):
    model, *_ = drawn("reactnet_a")
    path = tmp_path / "net.pth"
    if content is not None:
        torch.save(content, path)
    with pytest.raises(CheckpointError, match=r"no state dict|missing, damaged"):
        papers.load(model, path)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("quicknet", {}, "no repository's weights"),
        ("birealnet18", {}, "bn_eps=1e-05"),
        ("reactnet_b", {"channels": CHANNELS}, "ReActNet-A alone"),
    ],
)
def test_networks_without_published_weights_are_refused(tmp_path, name, arguments, message):
    with pytest.raises(ConfigError, match=message):
        papers.load(create(name, num_classes=5, **arguments), tmp_path / "net.pth")
