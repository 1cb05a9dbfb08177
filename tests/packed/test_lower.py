"""Translation and fusion: what a model becomes, and that nothing is guessed."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import bnn
from bnn import BConfig, Identity, prepare_binary_model
from bnn.errors import PackedError
from bnn.layers import Conv1d, Conv2d, Linear
from bnn.ops import (
    BasicInputBinarizer,
    BasicScaleBinarizer,
    BinarizerBase,
    StochasticInputBinarizer,
    XNORScaleBinarizer,
    XNORWeightBinarizer,
)

BINARY = BConfig(BasicInputBinarizer, Identity, XNORWeightBinarizer)
SCALED = BConfig(BasicInputBinarizer, BasicScaleBinarizer, XNORWeightBinarizer)


def sane(model):
    """Give norms, slopes and scales values as after training, of both signs."""
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.running_mean.normal_(0, 0.5)
                module.running_var.uniform_(0.5, 2)
                module.weight.normal_(1, 0.8)
                module.bias.normal_(0, 0.5)
            if isinstance(module, nn.PReLU):
                module.weight.normal_(0.2, 0.2)
            if isinstance(module, BasicScaleBinarizer):
                module.alpha.normal_(1, 0.5)
    return model.eval()


def ops(packed):
    return [node.op for node in packed.graph.nodes]


def conv(channels=8, out=8, bconfig=BINARY, **options):
    options = {"padding": 1, "bias": False, **options}
    return Conv2d(channels, out, 3, bconfig=bconfig, **options)


def exact(model, *x, **report):
    """Pack, and compare to the last bit: no float sum whose order is open may be in ``model``."""
    model = sane(model)
    packed = bnn.pack(model, x)
    with torch.no_grad():
        assert torch.equal(packed(*x), model(*x))
    for field, expected in report.items():
        assert getattr(packed.report, field) == expected
    return packed


class TestFusion:
    def test_a_pre_activation_block_is_two_calls(self):
        class Block(nn.Module):
            def __init__(self):
                super().__init__()
                self.bn1, self.conv1, self.act1 = nn.BatchNorm2d(8), conv(), nn.PReLU(8)
                self.bn2, self.conv2, self.act2 = nn.BatchNorm2d(8), conv(), nn.PReLU(8)

            def forward(self, x):
                y = self.act1(self.conv1(self.bn1(x)))
                return self.act2(self.conv2(self.bn2(y))) + x

        packed = exact(Block(), torch.randn(2, 8, 7, 7))
        assert ops(packed) == ["pack", "binary_conv", "binary_conv"]
        assert packed.graph.nodes[1].output == "bits"

    @pytest.mark.parametrize("bconfig", [BINARY, SCALED], ids=["alpha", "alpha and scale"])
    def test_a_basic_block_is_two_calls(self, bconfig):
        class Block(nn.Module):
            def __init__(self):
                super().__init__()
                self.conv1, self.bn1 = conv(bconfig=bconfig), nn.BatchNorm2d(8)
                self.conv2, self.bn2 = conv(bconfig=bconfig), nn.BatchNorm2d(8)

            def forward(self, x):
                y = F.hardtanh(self.bn1(self.conv1(x)))
                return F.relu(self.bn2(self.conv2(y)) + x)

        packed = exact(Block(), torch.randn(2, 8, 7, 7))
        assert ops(packed) == ["pack", "binary_conv", "binary_conv"]
        assert packed.graph.nodes[-1].epilogue.residual_at == "before_activation"

    def test_floats_and_bits_where_both_are_read(self):
        class Two(nn.Module):
            def __init__(self):
                super().__init__()
                self.a, self.b, self.c = conv(), conv(), conv()

            def forward(self, x):
                y = self.a(x)
                return self.b(y) + self.c(y) + y

        packed = exact(Two(), torch.randn(1, 8, 5, 5))
        assert packed.graph.nodes[1].output == "float_and_bits"
        assert ops(packed).count("pack") == 1  # b and c read the same bits

    def test_layers_that_read_a_value_through_different_norms(self):
        class Norms(nn.Module):
            def __init__(self):
                super().__init__()
                self.a, self.b, self.c = conv(), conv(), conv()
                self.bn1, self.bn2 = nn.BatchNorm2d(8), nn.BatchNorm2d(8)

            def forward(self, x):
                y = self.a(x)
                return self.b(self.bn1(y)) + self.c(self.bn2(y))

        packed = exact(Norms(), torch.randn(1, 8, 5, 5))
        assert ops(packed).count("pack") == 2  # one set of bits comes from the convolution

    def test_max_pooling_moves_behind_the_sign(self):
        pooled = nn.Sequential(conv(), nn.MaxPool2d(2), conv())
        assert "binary_max_pool2d" in ops(exact(pooled, torch.randn(2, 8, 9, 9)))

    def test_max_pooling_stays_where_a_norm_turns_the_sign_round(self):
        model = nn.Sequential(conv(), nn.MaxPool2d(2), nn.BatchNorm2d(8), conv())
        with torch.no_grad():
            model[2].weight[3] = -1.0
        sane(model)
        with torch.no_grad():
            model[2].weight.copy_(torch.tensor([1.0, 1, 1, -1, 1, 1, 1, 1]))
        x = torch.randn(2, 8, 9, 9)
        packed = bnn.pack(model, x)
        assert "max_pool" in ops(packed)
        assert torch.equal(packed(x), model(x))
        with torch.no_grad():
            model[2].weight.abs_()
        packed = bnn.pack(model, x)
        assert "binary_max_pool2d" in ops(packed)
        assert torch.equal(packed(x), model(x))

    def test_two_norms_in_a_row_are_not_merged(self):
        model = nn.Sequential(conv(), nn.BatchNorm2d(8), nn.BatchNorm2d(8), conv())
        exact(model, torch.randn(2, 8, 6, 6))

    def test_more_steps_than_an_epilogue_has_room_for(self):
        model = nn.Sequential(
            conv(bconfig=SCALED, bias=True), nn.PReLU(8), nn.BatchNorm2d(8), nn.PReLU(8),
            nn.BatchNorm2d(8), nn.ReLU(), nn.Hardtanh(), nn.BatchNorm2d(8),
        )  # fmt: skip
        packed = exact(model, torch.randn(2, 8, 6, 6))
        assert "map" in ops(packed)

    def test_a_residual_that_is_computed_later(self):
        class Later(nn.Module):
            def __init__(self):
                super().__init__()
                self.a, self.b, self.bn = conv(), conv(), nn.BatchNorm2d(8)

            def forward(self, x):
                return self.a(x) + self.bn(self.b(x))

        exact(Later(), torch.randn(2, 8, 6, 6))

    def test_a_value_added_to_itself(self):
        class Twice(nn.Module):
            def __init__(self):
                super().__init__()
                self.a = conv()

            def forward(self, x):
                y = self.a(x)
                return y + y

        exact(Twice(), torch.randn(2, 8, 6, 6))


class TestStages:
    """Each kind of binary layer, by what its stages are."""

    @pytest.mark.parametrize("padding_value", [-1, 0, 1])
    def test_padding(self, padding_value):
        layer = conv(padding_value=padding_value)
        exact(nn.Sequential(layer), torch.randn(2, 8, 6, 6), binary=("0",))

    @pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
    def test_padding_modes(self, mode):
        exact(nn.Sequential(conv(padding_mode=mode)), torch.randn(2, 8, 6, 6), binary=("0",))

    @pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
    def test_same_padding_of_an_even_kernel(self):
        layer = Conv2d(8, 8, (4, 2), padding="same", bconfig=BINARY)
        exact(nn.Sequential(layer), torch.randn(2, 8, 6, 6), binary=("0",))

    @pytest.mark.parametrize(
        "options",
        [{"stride": 2}, {"dilation": 2}, {"groups": 2}, {"groups": 8}, {"bias": True}],
        ids=str,
    )
    def test_geometry(self, options):
        exact(nn.Sequential(conv(**options)), torch.randn(2, 8, 9, 9), binary=("0",))

    def test_one_axis(self):
        layer = Conv1d(5, 7, 3, stride=2, padding=1, bconfig=BINARY)
        exact(nn.Sequential(layer, nn.PReLU(7)), torch.randn(2, 5, 11), binary=("0",))

    def test_linear(self):
        layer = Linear(70, 9, bconfig=SCALED)
        exact(nn.Sequential(layer, nn.BatchNorm1d(9)), torch.randn(4, 70), binary=("0",))

    def test_linear_of_tokens(self):
        model = nn.Sequential(Linear(70, 66, bconfig=SCALED), Linear(66, 5, bconfig=BINARY))
        exact(model, torch.randn(2, 3, 70), binary=("0", "1"))

    def test_xnor_input_scale(self):
        config = BConfig(BasicInputBinarizer, XNORScaleBinarizer, XNORWeightBinarizer)
        for layer in (conv(bconfig=config), conv(bconfig=config, groups=2, stride=2)):
            model = nn.Sequential(layer)
            x = torch.randn(2, 8, 7, 7)
            packed = bnn.pack(model, x)
            assert packed.report.binary == ("0",)
            torch.testing.assert_close(packed(x), model.eval()(x))

    def test_scale_of_each_pixel(self):
        config = BConfig(
            BasicInputBinarizer, BasicScaleBinarizer.with_args(shape=(1, 8, 6, 6)), nn.Identity
        )
        layer = conv(bconfig=BConfig(BasicInputBinarizer, config.activation_post_process,
                                     XNORWeightBinarizer))  # fmt: skip
        exact(nn.Sequential(layer), torch.randn(2, 8, 6, 6), binary=("0",))

    def test_float_weights_of_a_two_step_recipe(self):
        layer = conv(bconfig=BConfig(BasicInputBinarizer))
        model = nn.Sequential(layer)
        x = torch.randn(2, 8, 6, 6)
        packed = bnn.pack(model, x)
        assert not packed.graph.opaque()
        torch.testing.assert_close(packed(x), model.eval()(x))

    def test_float_activations_run_with_one_bit_weights(self):
        layer = conv(bconfig=BConfig(weight_pre_process=XNORWeightBinarizer))
        model = nn.Sequential(layer)
        x = torch.randn(2, 8, 6, 6)
        packed = bnn.pack(model, x)
        assert ops(packed) == ["weight_only_conv"]
        torch.testing.assert_close(packed(x), model.eval()(x), atol=1e-5, rtol=1e-5)

    def test_stochastic_signs_are_packed_as_in_evaluation(self):
        layer = conv(bconfig=BConfig(StochasticInputBinarizer, Identity, XNORWeightBinarizer))
        exact(nn.Sequential(layer.train()), torch.randn(2, 8, 6, 6), binary=("0",))


class Squash(BinarizerBase):
    """A binarizer that the package does not know."""

    def forward(self, x):
        return torch.sign(x)


class TestUnknown:
    def test_an_unknown_binarizer_stays_emulated_and_is_named(self):
        model = nn.Sequential(conv(), conv(bconfig=BConfig(Squash, Identity, XNORWeightBinarizer)))
        packed = exact(model, torch.randn(2, 8, 6, 6), binary=("0",))
        assert "Squash" in packed.report.emulated["1"]
        assert "emulated: 1: " in str(packed.report)

    def test_a_subclass_of_a_float_layer_computes_its_own(self):
        class Doubled(nn.Conv2d):
            def forward(self, x):
                return 2 * super().forward(x)

        class Row(nn.Linear):
            def forward(self, x):
                return super().forward(x) + 1

        model = nn.Sequential(conv(), Doubled(8, 4, 1), nn.Flatten(), Row(144, 3))
        x = torch.randn(2, 8, 6, 6)
        packed = bnn.pack(model, x)
        assert packed.report.opaque == {}
        torch.testing.assert_close(packed(x), model.eval()(x))

    def test_hooks_run(self):
        model = nn.Sequential(conv(), nn.BatchNorm2d(8), conv())
        model[1].register_forward_hook(lambda module, args, output: output.abs())
        model[2].register_forward_pre_hook(lambda module, args: (args[0] - 1,))
        packed = exact(model, torch.randn(2, 8, 6, 6), binary=("0",))
        why = "it has hooks or a parametrization, which only a call runs"
        assert packed.report.opaque == {"1": f"BatchNorm2d: {why}"}
        assert "hooks" in packed.report.emulated["2"]

    def test_an_unknown_function_runs_as_it_was(self):
        class Odd(nn.Module):
            def __init__(self):
                super().__init__()
                self.a = conv()

            def forward(self, x):
                return torch.cumsum(self.a(x), dim=1)

        packed = exact(Odd(), torch.randn(2, 8, 6, 6))
        why = "no operation of packed networks computes it"
        assert packed.report.opaque == {"cumsum": f"cumsum: {why}"}
        assert f"run by Python as it was: cumsum: cumsum: {why}" in str(packed.report)

    def test_a_known_function_with_an_unknown_argument_runs_as_it_was(self):
        class Odd(nn.Module):
            def __init__(self):
                super().__init__()
                self.a = conv()

            def forward(self, x):
                y = self.a(x)
                return torch.add(y, y, alpha=3) + torch.mean(y) + F.dropout(y, training=False)

        packed = exact(Odd(), torch.randn(2, 8, 6, 6))
        for name, what in packed.report.opaque.items():
            assert what.startswith(f"{name}: "), what
            assert len(what) > len(name) + 5, "no reason is given"

    def test_a_layer_with_an_unknown_binarizer_says_why(self):
        class Odd(BasicInputBinarizer):
            def forward(self, x):
                return super().forward(x - 1)

        layer = Conv2d(8, 8, 3, bconfig=BConfig(Odd))
        packed = exact(nn.Sequential(layer), torch.randn(2, 8, 6, 6), binary=())
        assert set(packed.report.emulated) == {"0"}
        assert "Odd" in packed.report.emulated["0"]
        assert f"emulated: 0: {packed.report.emulated['0']}" in str(packed.report)

    def test_a_constant_of_another_type_says_why(self):
        class Shifted(nn.Module):
            def __init__(self):
                super().__init__()
                self.a = conv()
                self.register_buffer("by", torch.tensor(2))

            def forward(self, x):
                return self.a(x) + self.by

        packed = exact(Shifted(), torch.randn(2, 8, 6, 6))
        assert "torch.int64" in packed.report.opaque["by"]

    def test_control_flow_on_data_is_packed_layer_by_layer(self):
        class Branch(nn.Module):
            def __init__(self):
                super().__init__()
                self.a, self.b = conv(), nn.ModuleList([conv(), nn.Sequential(conv())])

            def forward(self, x):
                y = self.a(x)
                return self.b[0](y) if y.sum() > 0 else self.b[1](y)

        packed = exact(Branch(), torch.randn(2, 8, 6, 6), how="layers")
        assert packed.report.binary == ("a", "b.0", "b.1.0")
        assert "layer by layer" in str(packed.report)
        assert "not traced" in str(packed.report)

    def test_a_model_that_is_one_binary_layer(self):
        exact(conv(), torch.randn(2, 8, 6, 6))


class TestInPlace:
    def test_what_is_changed_in_place_is_changed_for_later_readers(self):
        class Changes(nn.Module):
            def __init__(self):
                super().__init__()
                self.a, self.b, self.relu = conv(), conv(), nn.ReLU(inplace=True)

            def forward(self, x):
                y = self.a(x)
                z = self.relu(y)
                y += 1
                return self.b(z) + y

        exact(Changes(), torch.randn(2, 8, 6, 6))

    def test_methods_that_end_in_an_underscore(self):
        class Changes(nn.Module):
            def __init__(self):
                super().__init__()
                self.a, self.b = conv(), conv()

            def forward(self, x):
                y = self.a(x)
                y.relu_()
                y.mul_(2)
                return self.b(x) + y

        exact(Changes(), torch.randn(2, 8, 6, 6))

    def test_a_changed_view_is_not_guessed(self):
        class Changes(nn.Module):
            def __init__(self):
                super().__init__()
                self.a = conv()

            def forward(self, x):
                y = self.a(x)
                part = y[:, :4]
                part.add_(1)
                return y

        exact(Changes(), torch.randn(2, 8, 6, 6), how="layers")

    def test_an_unknown_function_that_changes_its_input(self):
        class Changes(nn.Module):
            def __init__(self):
                super().__init__()
                self.a, self.b = conv(), conv()

            def forward(self, x):
                y = self.a(x)
                y.clamp_(-2, 3)
                torch.Tensor.exp_(y)
                return self.b(x) + y

        exact(Changes(), torch.randn(2, 8, 6, 6))


class TestShapes:
    def test_views_by_size(self):
        class Views(nn.Module):
            def __init__(self):
                super().__init__()
                self.a, self.fc = conv(), Linear(8 * 36, 5, bconfig=BINARY)

            def forward(self, x):
                y = self.a(x)
                batch, channels, height, width = y.shape
                y = y.view(batch, channels // 2, 2, height, width).transpose(1, 2)
                return self.fc(y.reshape(y.size(0), -1))

        packed = exact(Views(), torch.randn(2, 8, 6, 6))
        assert not packed.graph.opaque()
        model = sane(Views())
        packed = bnn.pack(model, torch.randn(2, 8, 6, 6))
        for batch in (1, 5):
            x = torch.randn(batch, 8, 6, 6)
            assert torch.equal(packed(x), model(x))

    def test_other_batches_and_image_sizes(self):
        model = sane(nn.Sequential(conv(), nn.MaxPool2d(2), conv(), nn.AdaptiveMaxPool2d(1)))
        packed = bnn.pack(model, torch.randn(1, 8, 16, 16))
        for shape in ((3, 8, 16, 16), (1, 8, 9, 31), (2, 8, 2, 2), (0, 8, 16, 16)):
            x = torch.randn(shape)
            assert torch.equal(packed(x), model(x)), shape

    def test_several_inputs_and_a_structure_of_outputs(self):
        class Two(nn.Module):
            def __init__(self):
                super().__init__()
                self.a, self.b = conv(), conv(4, 8)

            def forward(self, x, z):
                y = self.a(x) + self.b(z)
                return {"sum": y, "parts": [x, (self.a(x), torch.flatten(y, 1))]}

        model, x, z = sane(Two()), torch.randn(2, 8, 6, 6), torch.randn(2, 4, 6, 6)
        packed = bnn.pack(model, (x, z))
        got, expected = packed(x, z), model(x, z)
        assert got.keys() == expected.keys()
        assert torch.equal(got["sum"], expected["sum"])
        assert torch.equal(got["parts"][0], x)
        assert got["parts"][0].data_ptr() != x.data_ptr()
        for a, b in zip(got["parts"][1], expected["parts"][1], strict=True):
            assert torch.equal(a, b)

    def test_a_layer_that_is_used_twice(self):
        class Shared(nn.Module):
            def __init__(self):
                super().__init__()
                self.a = conv()

            def forward(self, x):
                return self.a(self.a(x))

        packed = exact(Shared(), torch.randn(2, 8, 6, 6))
        assert ops(packed) == ["pack", "binary_conv", "binary_conv"]

    def test_channel_operations(self):
        class Channels(nn.Module):
            def __init__(self):
                super().__init__()
                self.a, self.b = conv(), conv(16, 12)
                self.shift = nn.Parameter(torch.randn(1, 8, 1, 1))
                self.scale = nn.Parameter(torch.randn(8, 1, 1))

            def forward(self, x):
                y = self.a(x + self.shift) * self.scale
                y = torch.cat([y, x], 1)
                y = F.channel_shuffle(y, 4)
                left, right = self.b(y).chunk(2, dim=1)
                return torch.cat([right, F.pad(left, (0, 0, 0, 0, 0, 2))], dim=1)

        packed = exact(Channels(), torch.randn(2, 8, 6, 6))
        assert not packed.graph.opaque()


class TestErrors:
    def test_what_cannot_be_packed_is_said(self):
        x = torch.randn(1, 8, 6, 6)
        with pytest.raises(PackedError, match=r"weight is torch.float16; packed networks compute"):
            bnn.pack(nn.Sequential(conv()).half(), x)
        with pytest.raises(PackedError, match="example input 0 is torch.int64"):
            bnn.pack(nn.Sequential(conv()), x.long())
        with pytest.raises(PackedError, match="example_inputs is a NoneType"):
            bnn.pack(nn.Sequential(conv()), None)
        with pytest.raises(PackedError, match="does not run on the example") as caught:
            bnn.pack(nn.Sequential(conv()), torch.randn(1, 3, 6, 6))
        assert "While executing" not in str(caught.value)  # torch.fx's words
        assert len(str(caught.value).splitlines()) == 1

    def test_inputs_are_checked(self):
        packed = bnn.pack(nn.Sequential(conv()), torch.randn(1, 8, 6, 6))
        with pytest.raises(PackedError, match="takes 1 inputs, but 2 were given"):
            packed(torch.randn(1, 8, 6, 6), torch.randn(1))
        with pytest.raises(PackedError, match=r"input 0 is torch.float64; give float32"):
            packed(torch.randn(1, 8, 6, 6).double())
        with pytest.raises(PackedError, match="must have 4 axes"):
            packed(torch.randn(8, 6, 6))
        with pytest.raises(PackedError, match="input 0 is a list"):
            packed([1])
        with pytest.raises(PackedError, match="reads 7 channels; it has 8"):
            packed(torch.randn(1, 7, 6, 6))

    def test_the_model_is_not_changed(self):
        model = nn.Sequential(conv(), nn.BatchNorm2d(8), nn.Dropout()).train()
        before = {name: x.clone() for name, x in model.state_dict().items()}
        bnn.pack(model, torch.randn(1, 8, 6, 6))
        assert model.training
        assert all(p.requires_grad for p in model.parameters())
        assert all(torch.equal(before[name], x) for name, x in model.state_dict().items())


def test_the_readme_way_of_binarizing_is_packed():
    from bnn.models import PreBasicBlock, resnet18

    model = resnet18(block_type=PreBasicBlock, width=8, num_classes=7)
    model = prepare_binary_model(model, SCALED, ignore_layers_name=["_first_", "_last_"])
    x = torch.randn(2, 3, 64, 64)
    packed = bnn.pack(sane(model), x)
    assert not packed.graph.opaque()
    torch.testing.assert_close(packed(x), model(x), atol=1e-4, rtol=1e-4)


# --- what a review found ----------------------------------------------------------------------


def close(model, *x, **report):
    """Pack, and compare: to the last bit behind binary layers, closely behind float ones."""
    model = sane(model)
    with torch.no_grad():
        expected = model(*[item.clone() for item in x])
        packed = bnn.pack(model, x)
        for _ in range(2):  # the first run makes a plan
            got = packed(*[item.clone() for item in x])
            torch.testing.assert_close(got, expected, atol=1e-4, rtol=1e-4)
    for field, value in report.items():
        assert getattr(packed.report, field) == value
    return packed


class Apply(nn.Module):
    """A model of a function of modules and the input."""

    def __init__(self, function, **modules):
        super().__init__()
        self.function = function
        for name, module in modules.items():
            setattr(self, name, module)

    def forward(self, x):
        return self.function(self, x)


class TestResidualOfItsOwnInput:
    """op(y) + y must not be written over the y that op still reads."""

    @pytest.mark.parametrize(
        "op",
        [
            nn.MaxPool2d(3, 1, 1), nn.AvgPool2d(3, 1, 1), nn.Conv2d(16, 16, 3, padding=1),
            nn.Conv2d(16, 16, 7, padding=3, groups=16), nn.Conv2d(16, 16, 1), nn.BatchNorm2d(16),
        ],
        ids=lambda op: type(op).__name__,
    )  # fmt: skip
    def test_images(self, op):
        model = Apply(
            lambda m, x: m.z(m.op(y := m.a(x)) + y), a=nn.Conv2d(4, 16, 1), op=op,
            z=nn.Conv2d(16, 3, 1),
        )  # fmt: skip
        close(model, torch.randn(2, 4, 9, 9), how="graph")

    @pytest.mark.parametrize("batch", [1, 5])
    def test_rows(self, batch):
        model = Apply(
            lambda m, x: m.z(m.op(y := m.a(x)) + y), a=nn.Linear(30, 200), op=nn.Linear(200, 200),
            z=nn.Linear(200, 3),
        )  # fmt: skip
        close(model, torch.randn(batch, 30), how="graph")


CHANGES = {
    "sub_": lambda y: y.sub_(0.5),
    "relu_": lambda y: F.relu_(y),
    "part": lambda y: y[:, :2].sub_(1),
    "alpha": lambda y: y.add_(y.detach(), alpha=0.5),
    "celu": lambda y: F.celu(y, 2.0, True),
    "item": lambda y: y.__setitem__((slice(None), 0), 0.0),
    "sin_": lambda y: y.sin_(),
}


class TestChangesInPlaceThatAreNotKnown:
    @pytest.mark.parametrize("name", CHANGES)
    def test_functions(self, name):
        change = CHANGES[name]

        def forward(m, x):
            y = m.a(x)
            change(y)
            return m.b(y) + y

        close(Apply(forward, a=conv(), b=conv()), torch.randn(2, 8, 6, 6))

    def test_operators(self):
        def forward(m, x):
            y = m.a(x)
            z = y
            z -= 0.5
            z /= 2
            return m.b(y) * y

        close(Apply(forward, a=conv(), b=conv()), torch.randn(2, 8, 6, 6))

    def test_modules(self):
        model = nn.Sequential(nn.CELU(2.0, inplace=True), conv())
        x = torch.randn(2, 8, 6, 6)
        kept = x.clone()
        expected = sane(model)(x.clone())
        packed = bnn.pack(model, x)
        assert torch.equal(packed(x.clone()), expected)
        assert torch.equal(x, kept)

    def test_a_clone_is_a_value_of_its_own(self):
        def forward(m, x):
            y = m.a(x)
            kept = y.clone()
            y += 1
            return m.b(y) + kept

        packed = exact(Apply(forward, a=conv(), b=conv()), torch.randn(2, 8, 6, 6), how="graph")
        assert not packed.graph.opaque()


FOREIGN = {
    "mask": lambda m, x: m.a(x) + (x > 0).float(),
    "bool": lambda m, x: m.a(x) + (x > 0),
    "double": lambda m, x: m.a(x).double().relu().float(),
    "bfloat16": lambda m, x: F.max_pool2d(m.a(x).bfloat16(), 2).float(),
    "of a mask": lambda m, x: m.a((x > 0).float()),
    "mean of a mask": lambda m, x: (x > 0.5).float().mean((2, 3)),
    "number": lambda m, x: m.a(x) * (x.size(1) ** -0.5),
    "item": lambda m, x: m.a(x) / x.abs().max().item(),
    "numel": lambda m, x: m.a(x) / x.numel(),
    "infinite": lambda m, x: F.pad(m.a(x), (1, 1), value=float("-inf")).clamp(min=0, max=9e9),
    "squeeze": lambda m, x: F.adaptive_avg_pool2d(m.a(x), 1).squeeze((2, 3)),
    "log_softmax": lambda m, x: F.log_softmax(m.a(x), dim=1) + F.softmax(x, 1),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_values_that_are_no_float32_tensors(name):
    close(Apply(FOREIGN[name], a=conv()), torch.randn(2, 8, 6, 6))


class TestHooks:
    def test_of_the_model(self):
        model = nn.Sequential(conv())
        model.register_forward_hook(lambda module, args, out: -2 * out)
        exact(model, torch.randn(2, 8, 6, 6), how="layers")

    @pytest.mark.parametrize("which", [0, 1])
    def test_a_forward_of_the_instance(self, which):
        model = nn.Sequential(conv(), nn.ReLU())
        model[which].forward = lambda x: x * 2 - 1
        exact(model, torch.randn(2, 8, 6, 6))

    @pytest.mark.parametrize(
        "stage", ["activation_pre_process", "weight_pre_process", "activation_post_process"]
    )
    def test_of_a_stage(self, stage):
        model = nn.Sequential(conv(bconfig=SCALED))
        getattr(model[0], stage).register_forward_hook(
            lambda module, args, out: (-out[0], out[1]) if isinstance(out, tuple) else -out
        )
        packed = exact(model, torch.randn(2, 8, 6, 6))
        assert "hooks" in packed.report.emulated["0"]

    def test_of_a_container(self):
        model = nn.Sequential(nn.Sequential(conv(), nn.ReLU()), conv())
        model[0].register_forward_hook(lambda module, args, out: out - 3)
        packed = exact(model, torch.randn(2, 8, 6, 6), binary=("1",))
        assert "hooks" in packed.report.emulated["0.0"]

    def test_what_a_hook_keeps_is_not_overwritten(self):
        model = nn.Sequential(conv(), nn.Sigmoid(), conv(), conv())
        kept = []
        model[1].register_forward_hook(lambda module, args, out: kept.append(args[0]))
        x = torch.randn(2, 8, 6, 6)
        packed = bnn.pack(sane(model), x)
        packed(x)
        kept.clear()
        packed(x)
        with torch.no_grad():
            assert torch.equal(kept[0], model[0](x))


class TestLayerByLayer:
    def test_code_that_looks_into_layers(self):
        def forward(m, x):
            y = m.b(x)
            return y * m.b.weight.sum() if y.sum() > -1e9 else y

        packed = exact(Apply(forward, b=conv()), torch.randn(2, 8, 6, 6), how="layers")
        assert "looks into" in packed.report.emulated["b"]

    def test_hooks_of_layers(self):
        def forward(m, x):
            return m.b(x) if x.sum() > -1e9 else x

        model = Apply(forward, b=conv())
        model.b.register_forward_hook(lambda module, args, out: out * 2)
        packed = exact(model, torch.randn(2, 8, 6, 6), how="layers")
        assert "hooks" in packed.report.emulated["b"]


class TestOtherSizesThanTheExample:
    def other(self, model, example, *shapes):
        model = sane(model)
        packed = bnn.pack(model, example)
        for shape in shapes:
            x = torch.randn(shape)
            with torch.no_grad():
                torch.testing.assert_close(packed(x), model(x), atol=1e-4, rtol=1e-4)

    def test_an_addition_that_is_broadcast_for_other_batches(self):
        position = nn.Parameter(torch.randn(1, 5, 8))
        model = Apply(lambda m, x: m.a(x) + m.position, a=Linear(6, 8, bconfig=BINARY))
        model.position = position
        self.other(model, torch.randn(1, 5, 6), (1, 5, 6), (3, 5, 6))

    def test_an_addition_that_is_broadcast_for_other_images(self):
        def forward(m, x):
            y = m.a(x)
            return y + y.mean((2, 3), keepdim=True) + F.adaptive_avg_pool2d(y, 1)

        model = Apply(forward, a=conv())
        self.other(model, torch.randn(1, 8, 1, 1), (1, 8, 1, 1), (2, 8, 5, 6))

    def test_chunks_of_tokens(self):
        model = Apply(
            lambda m, x: torch.stack(m.a(x).chunk(2, dim=1)), a=Linear(8, 8, bconfig=BINARY)
        )
        self.other(model, torch.randn(2, 4, 8), (2, 4, 8), (2, 6, 8))

    @pytest.mark.parametrize("act", [nn.LeakyReLU(0.2), nn.PReLU()], ids=["leaky", "prelu"])
    def test_one_slope_for_any_number_of_tokens(self, act):
        model = nn.Sequential(Linear(8, 8, bconfig=BINARY), act)
        self.other(model, torch.randn(2, 4, 8), (2, 4, 8), (1, 7, 8))


def test_names_of_modules_that_the_network_uses_itself():
    model = nn.Sequential()
    for name in ("report", "profile", "tap", "save", "graph", "parts"):
        model.add_module(name, nn.Softshrink())
    model.add_module("forward_", conv())
    exact(model, torch.randn(2, 8, 6, 6))


@pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated:FutureWarning")
@pytest.mark.filterwarnings("ignore:.*torch.jit.trace.* is deprecated:DeprecationWarning")
def test_what_cannot_be_copied_traced_or_exported():
    model = nn.Sequential(nn.utils.weight_norm(nn.Conv2d(8, 8, 1)), conv())
    x = torch.randn(1, 8, 6, 6)
    with pytest.raises(PackedError, match="cannot be copied"):
        bnn.pack(model, x)
    with pytest.raises(PackedError, match="model is a OrderedDict; give the nn.Module"):
        bnn.pack(model.state_dict(), x)
    packed = bnn.pack(nn.Sequential(conv()), x)
    with pytest.raises(PackedError, match="packed already"):
        bnn.pack(packed, x)
    with pytest.raises(PackedError, match="neither traced nor exported"):
        torch.jit.trace(packed, x)
    with pytest.raises(Exception, match="neither traced nor exported"):
        torch.export.export(packed, (x,))


def test_a_loaded_state_dict_is_what_runs():
    x = torch.randn(2, 8, 6, 6)
    a, b = (
        bnn.pack(sane(nn.Sequential(conv(), nn.Conv2d(8, 4, 3), nn.Flatten(), nn.Linear(64, 3))), x)
        for _ in range(2)
    )
    a(x)
    a.load_state_dict(b.state_dict())
    assert torch.equal(a(x), b(x))


def test_what_follows_from_constants_alone_is_computed_once():
    class Shares(nn.Module):
        def __init__(self):
            super().__init__()
            self.share = nn.Parameter(torch.tensor([-0.5, 0.3, 1.5]).view(1, 3, 1, 1))

        def forward(self, x):
            share = self.share.clamp(0, 1)
            return x * share + x.relu() * (1 - share)

    model = Shares()
    x = torch.randn(2, 3, 4, 5)
    packed = bnn.pack(model, x)
    assert torch.equal(packed(x), model(x))
    operations = [node.op for node in packed.graph.nodes]
    assert not {"clamp", "scalar", "constant"} & set(operations)
    assert operations.count("binary") <= 1, "the sum; the products are scales of channels"
