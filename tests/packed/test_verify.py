"""verify: what agrees is counted as such, and what was made to differ is found where it is."""

import json

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import bnn
from bnn import BConfig, Identity
from bnn.errors import PackedError
from bnn.layers import Conv1d, Conv2d, Conv3d, Linear
from bnn.models import resnet8
from bnn.ops import (
    AdvancedInputBinarizer,
    BasicInputBinarizer,
    BasicScaleBinarizer,
    XNORScaleBinarizer,
    XNORWeightBinarizer,
)
from bnn.ops.sign import sign
from bnn.packed import functional

pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same'")  # torch, of even kernels

BINARY = BConfig(BasicInputBinarizer, BasicScaleBinarizer, XNORWeightBinarizer)
WEIGHTS_ONLY = BConfig(weight_pre_process=XNORWeightBinarizer)
CONFIGS = (
    BINARY,
    BConfig(BasicInputBinarizer, Identity, BasicInputBinarizer),
    BConfig(BasicInputBinarizer, XNORScaleBinarizer, XNORWeightBinarizer),
    BConfig(
        AdvancedInputBinarizer,
        Identity,
        XNORWeightBinarizer.with_args(center_weights=True),
    ),
)


def binary_resnet(recipe="xnor-net", **arguments):
    chef = bnn.BinaryChef(recipe)
    model = resnet8(in_channels=1, **arguments)
    for _ in range(len(chef)):
        model = chef.next(model)
    model.train()
    with torch.no_grad():
        model(torch.randn(16, 1, 8, 8))  # norms that have seen something
    return model.eval()


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(1)
    return binary_resnet(width=8)


@pytest.fixture
def packed(model):
    return bnn.pack(model, torch.randn(2, 1, 8, 8))


X = torch.randn(12, 1, 8, 8, generator=torch.Generator().manual_seed(5))


def node_of(packed, layer):
    (node,) = [
        node
        for node in packed.graph.nodes
        if node.op == "binary_conv" and node.name.split("#")[0] == layer
    ]
    return node


def names(agreement):
    return [layer.name for layer in agreement.layers]


@pytest.mark.parametrize("recipe", ["xnor-net", "xnor-net-plus-plus", "two-step"])
def test_recipes_agree(recipe):
    model = binary_resnet(recipe, width=8)
    agreement = bnn.verify(model, bnn.pack(model, X), X)
    assert agreement.agrees
    assert agreement.identical
    assert (agreement.top1, agreement.samples, agreement.top1_agreement) == (12, 12, 1.0)
    assert agreement.max_difference < 1e-4
    binary = [name for name, m in model.named_modules() if isinstance(m, Conv2d)]
    assert names(agreement) == binary
    assert not agreement.skipped
    assert all(layer.sums and layer.signs for layer in agreement.layers)


@pytest.mark.parametrize("config", CONFIGS, ids=range(len(CONFIGS)))
def test_kinds_of_layers(config):
    def spatial(dim):
        conv = (Conv1d, Conv2d)[dim - 1]
        return nn.Sequential(
            conv(3, 70, 3, padding=1, bconfig=config),
            conv(70, 8, 3, stride=2, groups=2, padding=2, dilation=2, bconfig=config),
            conv(8, 8, 3, padding=1, padding_value=-1, bconfig=config),
            conv(8, 8, 2, padding="same", bconfig=config),
        )

    for model, shape in ((spatial(1), (4, 3, 11)), (spatial(2), (4, 3, 7, 6))):
        x = torch.randn(shape)
        agreement = bnn.verify(model, bnn.pack(model, x), x)
        assert agreement.identical
        assert names(agreement) == ["0", "1", "2", "3"]
        assert [layer.different_signs for layer in agreement.layers] == [0] * 4


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
@pytest.mark.parametrize("traceable", [True, False])
def test_padding_from_the_input(mode, traceable):
    conv = Conv2d(3, 5, 3, padding=(2, 1), padding_mode=mode, bconfig=BINARY)
    model = conv if traceable else Untraceable(conv)
    model = nn.Sequential(model, nn.Flatten())
    x = torch.randn(2, 3, 6, 7)
    agreement = bnn.verify(model, bnn.pack(model, x), x)
    assert agreement.identical
    assert agreement.layers[0].signs == 2 * 3 * 10 * 9
    assert agreement.layers[0].different_signs == 0


def test_linear_layers_of_several_axes():
    model = nn.Sequential(Linear(70, 33, bconfig=BINARY), nn.Tanh(), Linear(33, 4, bconfig=BINARY))
    for shape in ((5, 70), (5, 3, 70), (2, 3, 2, 70)):
        x = torch.randn(shape)
        agreement = bnn.verify(model, bnn.pack(model, x), x)
        assert agreement.identical
        assert agreement.layers[0].signs == x.numel()
        assert (agreement.top1 is None) == (len(shape) > 2)


def test_a_wrong_weight_is_found_in_its_layer(model, packed):
    weight = node_of(packed, "layer2.0.conv1").tensors["weight"]
    weight[3, 1, 1, 0] ^= 1 << 5
    agreement = bnn.verify(model, packed, X)
    assert not agreement.identical
    assert not agreement.agrees
    wrong = [layer for layer in agreement.layers if not layer.identical]
    assert [layer.name for layer in wrong] == ["layer2.0.conv1"]
    # Of one filter of 16, every sum whose window has the tap inside: all of 4x4 at its centre.
    assert wrong[0].different_sums == 12 * 4 * 4
    assert wrong[0].different_signs == 0
    after = agreement.layers[names(agreement).index("layer2.0.conv2") :]
    assert any(layer.different_signs for layer in after)
    assert "differ in layer2.0.conv1" in str(agreement)


def test_signs_are_counted_one_by_one(model, packed):
    stem = packed.graph.nodes[0]
    with torch.no_grad():
        next(t for name, t in stem.tensors.items() if name == "weight").add_(0.02)
    agreement = bnn.verify(model, packed, X)
    assert agreement.identical  # of the same signs, the same sums

    got = {}
    node = node_of(packed, "layer1.0.conv1")

    def watch(seen, inputs, outputs):
        if seen is node:
            got["packed"] = functional.unpack(inputs[0], 8)

    packed.watch(watch, X)
    hook = model.layer1[0].conv1.register_forward_hook(
        lambda module, args, output: got.update(model=sign(args[0]))
    )
    with torch.no_grad():
        model(X)
    hook.remove()
    different = int((got["packed"] != got["model"]).sum())
    assert agreement.layers[0].different_signs == different > 0
    assert agreement.layers[0].signs == got["model"].numel()


def test_tap_is_the_run_itself(model, packed):
    values = list(packed.graph.output_values())
    bits = node_of(packed, "layer1.0.conv2").inputs[0]
    out, words = packed.tap([*values, bits], X)
    assert torch.equal(out, packed(X))
    assert words.dtype == torch.int64
    (again,) = packed.tap([bits], X)
    assert torch.equal(words, again)


def test_final_differences(model, packed):
    last = [node for node in packed.graph.nodes if node.op == "linear"][-1]
    last.tensors["bias"][0] += 100
    with torch.no_grad():
        expected = model(X)
    agreement = bnn.verify(model, packed, X)
    assert agreement.max_difference == pytest.approx(100, rel=1e-4)
    assert agreement.relative_difference == pytest.approx(100 / float(expected.abs().max()), 1e-4)
    assert agreement.top1 == int((expected.argmax(1) == 0).sum())
    assert not agreement.agrees


class Untraceable(nn.Module):
    def __init__(self, *layers):
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x):
        return self.layers(x) if x.sum() > -1e9 else x


def test_packed_layer_by_layer():
    model = Untraceable(
        Conv2d(3, 8, 3, bconfig=BINARY),
        nn.BatchNorm2d(8),
        Conv2d(8, 6, 3, bconfig=BINARY),
        nn.Flatten(),
        Linear(6 * 4 * 4, 5, bconfig=BINARY),
    ).eval()
    x = torch.randn(7, 3, 8, 8)
    packed = bnn.pack(model, x)
    assert packed.report.how == "layers"
    agreement = bnn.verify(model, packed, [x[:4], x[4:]])
    assert agreement.agrees
    assert names(agreement) == ["layers.0", "layers.2", "layers.4"]
    assert [layer.signs for layer in agreement.layers] == [7 * 3 * 64, 7 * 8 * 36, 7 * 96]
    assert [layer.different_signs for layer in agreement.layers] == [0, 0, 0]
    (call,) = [node.call for node in packed.graph.nodes]
    call.target.layers[2].weight[0] ^= 1
    agreement = bnn.verify(model, packed, x)
    assert [layer.identical for layer in agreement.layers] == [True, False, True]


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = Conv2d(6, 6, 3, padding=1, bconfig=BINARY)
        self.alias = self.conv

    def forward(self, x):
        return self.alias(self.conv(x) - 0.5)


def test_a_layer_that_is_called_twice_under_two_names():
    model, x = Twice(), torch.randn(2, 6, 5, 5)
    agreement = bnn.verify(model, bnn.pack(model, x), x)
    (layer,) = agreement.layers
    assert layer.identical
    assert layer.sums == layer.signs == 2 * x.numel()
    assert layer.different_signs == 0


def test_what_has_no_sums_is_named():
    class Own(BasicInputBinarizer):
        def forward(self, x):
            return torch.tanh(x)

    model = nn.Sequential(
        Conv2d(3, 4, 3, bconfig=BConfig(Own, Identity, XNORWeightBinarizer)),
        Conv2d(4, 4, 3, bconfig=WEIGHTS_ONLY),
        Conv2d(4, 4, 3, bconfig=BConfig(BasicInputBinarizer)),
        Conv2d(4, 4, 3, bconfig=BINARY),
    )
    x = torch.randn(2, 3, 12, 12)
    agreement = bnn.verify(model, bnn.pack(model, x), x)
    assert names(agreement) == ["3"]
    assert "Own" in agreement.skipped["0"]
    assert "float activations" in agreement.skipped["1"]
    assert "float weights" in agreement.skipped["2"]
    assert "not compared        0: " in str(agreement)


def test_layers_without_a_kernel():
    model = nn.Sequential(Conv3d(2, 3, 2, bconfig=BINARY), nn.Flatten())
    x = torch.randn(2, 2, 3, 3, 3)
    agreement = bnn.verify(model, bnn.pack(model, x), x)
    assert not agreement.layers
    assert "no 1-bit kernel" in agreement.skipped["0"]
    assert "no 1-bit layer" in str(agreement)


class Several(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = Conv2d(3, 8, 3, bconfig=BINARY)

    def forward(self, x, y):
        z = self.conv(x) + y
        return {"map": z, "rest": (z.mean((2, 3)), z.relu())}


def test_several_inputs_and_outputs():
    model, pair = Several(), (torch.randn(2, 3, 6, 6), torch.randn(2, 8, 4, 4))
    packed = bnn.pack(model, pair)
    agreement = bnn.verify(model, packed, pair)
    assert agreement.agrees
    assert agreement.top1 is None
    assert agreement.top1_agreement is None
    assert "3 outputs" in agreement.no_top1
    assert "does not apply: the model has 3 outputs" in str(agreement)
    assert bnn.verify(model, packed, [pair, list(pair)]).samples == 4


@pytest.mark.parametrize("width", [1, None])
def test_outputs_that_are_no_classes(width):
    tail = [nn.Flatten(), nn.Linear(8 * 16, width)] if width else []
    model = nn.Sequential(Conv2d(3, 8, 3, bconfig=BINARY), *tail)
    x = torch.randn(2, 3, 6, 6)
    agreement = bnn.verify(model, bnn.pack(model, x), x)
    assert agreement.top1 is None
    assert "shape" in agreement.no_top1
    assert agreement.agrees


def test_batches_add_up(model, packed):
    labels = torch.zeros(12, dtype=torch.int64)
    whole = bnn.verify(model, packed, X)
    for batches in (
        [X[:5], X[5:]],
        X.split(4),  # a tuple, but not of one input
        (x for x in X.split(1)),
        ((x, torch.zeros(len(x))) for x in X.split(7)),
        DataLoader(TensorDataset(X, labels), batch_size=5),
    ):
        parts = bnn.verify(model, packed, batches)
        assert parts.layers == whole.layers
        assert (parts.samples, parts.top1) == (whole.samples, whole.top1)


def test_one_batch_at_a_time(model, packed):
    taken = []

    def batches():
        for x in X.split(4):
            taken.append(len(x))
            yield x

    assert bnn.verify(model, packed, batches()).samples == sum(taken) == 12


def test_the_model_is_left_as_it_was(model, packed):
    model.train()
    model.bn1.eval()
    before = {name: module.training for name, module in model.named_modules()}
    state = {name: value.clone() for name, value in model.state_dict().items()}
    bnn.verify(model, packed, X)
    with pytest.raises(PackedError):
        bnn.verify(model, packed, torch.randn(2, 3, 8, 8))
    assert before == {name: module.training for name, module in model.named_modules()}
    assert not any(module._forward_pre_hooks for module in model.modules())
    for name, value in model.state_dict().items():
        assert torch.equal(value, state[name])
    model.eval()


def test_numbers_and_table(model, packed):
    agreement = bnn.verify(model, packed, X)
    found = json.loads(json.dumps(agreement.as_dict()))
    assert found["agrees"] is True
    assert found["layers"][0].items() >= {"name": "layer1.0.conv1", "identical": True}.items()
    text = str(agreement)
    assert max(map(len, text.splitlines())) <= 80
    assert "12 of 12 samples (100.00%)" in text
    assert "identical in all layers" in text
    assert "\x1b" not in text


def test_the_same_nan_is_no_difference():
    class Nan(nn.Module):
        def forward(self, x):
            return torch.where(x < 0, torch.nan, x) / 0

    x = torch.tensor([[1.0, -1.0, 2.0]])
    agreement = bnn.verify(Nan(), bnn.pack(Nan(), x), x)
    assert agreement.max_difference == 0


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ("images", "inputs is a str; give a tensor"),
        (3, "inputs is a int"),
        (None, "inputs is a NoneType"),
        ([], "inputs is empty"),
        ((), "inputs is empty"),
        (torch.zeros(0, 1, 8, 8), "inputs is empty"),
        ([X, 3], "batch 1 is a int"),
        ((X, torch.zeros(12)), "the model does not run on the inputs"),
        ([[]], "batch 0 is a list"),
        ({"x": X}, "inputs is a dict"),
        (torch.zeros(2, 3, 8, 8), "the model does not run on the inputs"),
        (torch.zeros(2, 1, 8, 8).double(), "the model does not run on the inputs"),
    ],
)
def test_what_cannot_be_compared(model, packed, inputs, said):
    with pytest.raises(PackedError, match=said):
        bnn.verify(model, packed, inputs)


def test_what_does_not_belong_together(model, packed):
    with pytest.raises(PackedError, match="model is a str"):
        bnn.verify("model", packed, X)
    with pytest.raises(PackedError, match="packed is a ResNet"):
        bnn.verify(model, model, X)
    with pytest.raises(PackedError, match=r"has a Conv2d of that name. Give the model that was"):
        bnn.verify(resnet8(in_channels=1, width=8), packed, X)
    with pytest.raises(PackedError, match=r"'layer1.0.conv1', but the model has nothing"):
        bnn.verify(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), packed, X)
    with pytest.raises(PackedError, match="has shape"):
        bnn.verify(binary_resnet(width=16), packed, X)
    with pytest.raises(PackedError, match="the model returns"):
        bnn.verify(binary_resnet(width=8, num_classes=3), packed, X)


def test_another_model_of_the_same_form_does_not_agree(packed):
    agreement = bnn.verify(binary_resnet(width=8), packed, X)
    assert not agreement.identical
