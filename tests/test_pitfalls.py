"""One test for each defect that earlier implementations of this API had.

Deeper tests stand beside the modules; here each known way to fail has its one line of defence.
"""

import inspect
import pickle
import re
from pathlib import Path

import pytest
import torch
from torch import nn

import bnn.engine
import bnn.executor.engine
from bnn import BConfig, BinaryChef, conversion_report, count_ops, prepare_binary_model
from bnn.errors import LayerNotFoundError, RecipeError
from bnn.executor import load_recipe, packaged_recipes
from bnn.layers import BINARY_LAYERS, Conv2d, Linear
from bnn.models import (
    BATS_CIFAR_DEFAULT,
    BasicBlock,
    BATSNetworkCIFAR,
    HBlock,
    PreBasicBlock,
    resnet18,
    resnet34,
    resnet50,
)
from bnn.ops import (
    AdvancedInputBinarizer,
    BasicInputBinarizer,
    BasicScaleBinarizer,
    StochasticInputBinarizer,
    XNORScaleBinarizer,
    XNORWeightBinarizer,
    sign,
)
from bnn.training import clamp_latent_weights_

FULL = BConfig(BasicInputBinarizer, BasicScaleBinarizer, XNORWeightBinarizer)


def small():
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 3), nn.Flatten(), nn.Linear(64, 2))


# Numerics


def test_sign_of_zero_is_not_a_third_value():
    assert sign(torch.tensor([0.0, -0.0])).tolist() == [1, 1]


@pytest.mark.parametrize("value", [-1, 1])
def test_padding_need_not_put_a_third_value_into_the_convolution(value):
    signs = XNORWeightBinarizer.with_args(compute_alpha=False)
    config = BConfig(BasicInputBinarizer, weight_pre_process=signs)
    layer = Conv2d(1, 1, 3, padding=1, padding_value=value, bias=False, bconfig=config)
    assert (layer(torch.randn(1, 1, 4, 4)) % 2 == 1).all()  # nine terms of +-1 add up to odd


def test_relu_fed_into_sign_is_noticed_by_the_summary():
    model = nn.Sequential(nn.ReLU(), nn.Conv2d(2, 2, 1))
    prepare_binary_model(model, FULL)
    assert count_ops(model, torch.randn(1, 2, 4, 4)).one_sided
    assert not count_ops(model[1], torch.randn(1, 2, 4, 4)).one_sided
    assert "ReLU" in BasicBlock.__doc__


def test_stochastic_binarizer_keeps_its_input_and_has_a_gradient():
    x = torch.tensor([0.2, -0.2], requires_grad=True)
    StochasticInputBinarizer()(x).sum().backward()
    assert x.tolist() == pytest.approx([0.2, -0.2])
    assert x.grad.tolist() == [1, 1]


def test_advanced_binarizer_carries_a_gradient():
    x = torch.tensor([0.0], requires_grad=True)
    AdvancedInputBinarizer(torch.tanh, t=5)(x).backward()
    assert x.grad.item() == 5


def test_gradient_through_alpha_is_a_documented_choice():
    grads = []
    for detach in (False, True):
        w = torch.tensor([[0.5, -2.0]], requires_grad=True)
        XNORWeightBinarizer(detach_alpha=detach)(w).backward(torch.tensor([[1.0, 3.0]]))
        grads.append(w.grad.tolist())
    assert grads[0] != grads[1]
    assert grads[1][0][1] == 0
    assert "detach_alpha" in XNORWeightBinarizer.__doc__


def test_latent_weights_beyond_the_clip_can_be_clamped():
    layer = Linear(2, 1, bconfig=FULL)
    layer.weight.data.fill_(7)
    clamp_latent_weights_(layer)
    assert layer.weight.eq(1).all()


def test_input_scale_can_be_constructed_and_knows_the_convolution():
    config = BConfig(BasicInputBinarizer, XNORScaleBinarizer, XNORWeightBinarizer)
    layer = Conv2d(4, 4, 3, 2, 1, 2, groups=2, bconfig=config)
    assert layer(torch.randn(1, 4, 9, 9)).shape == (1, 4, 4, 4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
@pytest.mark.parametrize(
    ("cls", "shape"),
    [(nn.Conv1d, (2, 9)), (nn.Conv3d, (1, 2, 4, 4, 4)), (nn.Conv2d, (2, 5, 5))],
)
def test_learnt_scales_work_for_every_layer_dtype_and_unbatched(cls, shape, dtype):
    layer = BINARY_LAYERS[cls](2, 3, 3, bconfig=FULL).to(dtype)
    assert layer(torch.randn(shape).to(dtype)).dtype == dtype


def test_learnt_scales_work_for_three_dimensional_inputs_of_linear():
    assert Linear(4, 3, bconfig=FULL)(torch.randn(2, 5, 4)).shape == (2, 5, 3)


def test_learnt_scales_are_not_applied_in_place():
    scale = BasicScaleBinarizer(nn.Linear(2, 2))
    scale.alpha.data.fill_(2)
    out = torch.ones(1, 2)
    scale(out, None)
    assert out.eq(1).all()


# Conversion


def test_first_is_the_first_convertible_layer():
    model = prepare_binary_model(small(), FULL, ignore_layers_name=["_first_"])
    assert list(conversion_report(model).ignored) == ["0"]


def test_last_is_the_last_convertible_layer():
    model = prepare_binary_model(small(), FULL, ignore_layers_name=["_last_"])
    assert list(conversion_report(model).ignored) == ["3"]


def test_converting_again_does_not_reset_learnt_scales():
    model = prepare_binary_model(small(), BConfig(activation_post_process=BasicScaleBinarizer))
    model[1].activation_post_process.alpha.data.fill_(3)
    prepare_binary_model(model, FULL)
    assert model[1].activation_post_process.alpha.eq(3).all()


def test_eval_mode_device_dtype_requires_grad_and_hooks_are_kept():
    model = small().double().eval().requires_grad_(False)
    calls = []
    model[1].register_forward_hook(lambda *_: calls.append(1))
    prepare_binary_model(model, BConfig(BasicInputBinarizer))
    model(torch.randn(1, 1, 8, 8).double())
    assert calls == [1]
    assert not any(module.training for module in model.modules())
    assert not any(p.requires_grad or p.dtype != torch.double for p in model.parameters())


def test_a_module_used_twice_keeps_its_tie():
    conv = nn.Conv2d(1, 1, 3)
    model = prepare_binary_model(nn.Sequential(conv, nn.Sequential(conv)), FULL)
    assert model[0] is model[1][0]


def test_subclasses_are_not_skipped_in_silence():
    class Kept(nn.Conv2d):
        pass

    class Refused(nn.Conv2d):
        def forward(self, x):
            return x

    model = nn.Sequential(Kept(1, 1, 3), Refused(1, 1, 3))
    with pytest.warns(UserWarning, match="Refused has a forward of its own"):
        prepare_binary_model(model, FULL)
    assert isinstance(model[0], Conv2d)


@pytest.mark.parametrize("argument", ["ignore_layers_name", "custom_config_layers_name"])
def test_a_misspelt_name_shows_the_closest(argument):
    model = resnet18(width=8)
    with pytest.raises(
        LayerNotFoundError,
        match=rf"{argument} has 'layer1.0.conv3'(?s:.*)Closest names: 'layer1.0.conv",
    ):
        prepare_binary_model(model, FULL, **{argument: {"layer1.0.conv3": FULL}})


def test_custom_config_takes_a_mapping_with_all_three_kinds_of_names():
    custom = {"_first_": BConfig(), "_last_": BConfig(), "1": FULL, r"$\d$": FULL}
    model = prepare_binary_model(small(), BConfig(), custom_config_layers_name=custom)
    assert model[0].bconfig == FULL


def test_a_post_process_without_constructor_arguments_works():
    class Normalize(nn.Module):
        def __init__(self):
            super(Normalize, self).__init__()  # noqa: UP008 - as in the original README

        def forward(self, x_after, x_before):
            return nn.functional.normalize(x_after, p=2)

    layer = Linear(3, 2, bconfig=BConfig(activation_post_process=Normalize))
    torch.testing.assert_close(layer(torch.randn(4, 3)).norm(dim=1), torch.ones(4))


def test_explicit_usage_trains():
    model = prepare_binary_model(small(), FULL)
    model(torch.randn(2, 1, 8, 8)).square().sum().backward()
    assert all(p.grad is not None for p in model.parameters())


def test_nn_identity_works_as_post_process():
    layer = Linear(3, 2, bconfig=BConfig(activation_post_process=nn.Identity))
    assert layer(torch.randn(4, 3)).shape == (4, 2)


def test_with_args_pickles():
    config = BConfig(weight_pre_process=XNORWeightBinarizer.with_args(center_weights=True))
    model = prepare_binary_model(small(), config)
    assert pickle.loads(pickle.dumps(model))[1].bconfig == config


def test_the_callers_arguments_stay_as_they_are():
    custom, ignore = {"_last_": BConfig()}, ["_first_"]
    prepare_binary_model(small(), FULL, None, custom, ignore)
    assert (custom, ignore) == ({"_last_": BConfig()}, ["_first_"])


def test_no_default_argument_is_shared_and_mutable():
    for function in (prepare_binary_model, bnn.get_modules_to_binarize, BinaryChef.__init__):
        for parameter in inspect.signature(function).parameters.values():
            assert not isinstance(parameter.default, (list, dict, set))


# Recipes


def test_strings_of_a_recipe_are_not_evaluated():
    source = "".join(p.read_text() for p in Path(bnn.executor.__path__[0]).glob("*.py"))
    assert not re.search(r"\b(eval|exec|__import__)\(", source)
    with pytest.raises(RecipeError, match='no binarizer "__import__'):
        BinaryChef({"step0": {"weight": {"name": "__import__('os')"}}})


def test_a_key_in_the_wrong_case_names_file_step_key_and_what_is_allowed(tmp_path):
    path = tmp_path / "my.yaml"
    path.write_text("step0: {}\nstep1: {post_activation: {NAME: Identity}}")
    message = r"my.yaml: step1.post_activation: unknown key 'NAME'.*Allowed: args, name"
    with pytest.raises(RecipeError, match=message):
        BinaryChef(path)


def test_steps_run_in_order_resume_and_end_clearly(capsys):
    chef = BinaryChef({"b": {}, "a": {"ignore_layer_names": ["_first_"]}})
    model = chef.next(small())
    resumed = BinaryChef(chef.state_dict()["recipe"])
    resumed.load_state_dict(chef.state_dict())
    resumed.next(model)
    assert list(conversion_report(model).ignored) == ["0"]
    with pytest.raises(RecipeError, match="no step 2; it has 2"):
        resumed.next(model)
    assert capsys.readouterr().out == ""


def test_both_import_paths():
    assert bnn.engine.BinaryChef is bnn.executor.engine.BinaryChef


# Models


def test_resnet50_runs():
    model = resnet50(width=8, num_classes=4, activation=nn.PReLU).eval()
    assert model(torch.randn(1, 3, 64, 64)).shape == (1, 4)


@pytest.mark.parametrize("kwargs", [{}, {"stride": 2}, {"activation": nn.PReLU}], ids=str)
def test_hierarchical_block_runs_without_norm_layer_with_stride_with_prelu(kwargs):
    out = HBlock(8, 8, **kwargs)(torch.randn(2, 8, 7, 7))
    assert out.shape[1] == 8


@pytest.mark.parametrize("stem", ["basic", "dabnn", "cifar"])
def test_stems_take_prelu_and_need_no_norm_layer(stem):
    model = resnet18(width=8, stem_type=stem, stem_activation=nn.PReLU, layers=(1,))
    stem_modules = [m for name, m in model.named_modules() if not name.startswith("layer1")]
    assert any(isinstance(module, nn.PReLU) for module in stem_modules)
    assert model(torch.randn(1, 3, 32, 32)).shape == (1, 1000)


@pytest.mark.parametrize("size", [16, 17])
def test_bats_runs_with_drop_path_on_odd_sizes_with_our_genotype(size):
    network = BATSNetworkCIFAR(C=12, layers=3, num_classes=4, genotype=BATS_CIFAR_DEFAULT)
    network.drop_path_prob = 0.3
    assert network(torch.randn(2, 3, size, size)).shape == (2, 4)


@pytest.mark.parametrize(
    ("make", "count"),
    [
        (lambda: resnet18(), 11_689_512),
        (lambda: resnet18(activation=nn.PReLU), 11_693_352),
        (lambda: resnet18(block_type=PreBasicBlock), 11_688_616),
        (lambda: resnet18(block_type=PreBasicBlock, activation=nn.PReLU), 11_692_456),
        (
            lambda: resnet18(block_type=PreBasicBlock, activation=nn.PReLU, stem_type="dabnn"),
            11_693_288,
        ),
        (lambda: resnet34(), 21_797_672),
    ],
)
def test_parameter_counts(make, count):
    with torch.device("meta"):
        assert sum(p.numel() for p in make().parameters()) == count


def test_weights_of_a_hierarchical_block():
    weights = sum(m.weight.numel() for m in HBlock(64, 64).modules() if isinstance(m, nn.Conv2d))
    assert weights == 9 * 64**2 * (1 / 2 + 1 / 8 + 1 / 16)


# Counting


def test_float_convolutions_are_not_counted_as_binary_and_binary_linear_is():
    model = nn.Sequential(nn.Conv2d(2, 2, 1), nn.Flatten(), nn.Linear(8, 3))
    prepare_binary_model(model, FULL, ignore_layers_name=["_first_"])
    count = count_ops(model, torch.randn(1, 2, 2, 2))
    assert (count.float_macs, count.binary_macs) == (16, 24)


# Examples


def test_examples_have_no_relative_imports_and_small_images_no_large_stem():
    for path in Path(__file__).parents[1].joinpath("examples").glob("*.py"):
        assert not re.search(r"^\s*from \.", path.read_text(), re.MULTILINE), path
    from bnn.models import resnet8

    first = next(m for m in resnet8().modules() if isinstance(m, nn.Conv2d))
    assert (first.kernel_size, first.stride) == ((3, 3), (1, 1))
    assert not any(isinstance(m, nn.MaxPool2d) for m in resnet8().modules())


# The users' question


@pytest.mark.parametrize("name", [n for n in packaged_recipes() if not load_recipe(n).needs_binary])
def test_a_binary_network_is_smaller_once_packed(name):
    model, chef = small(), BinaryChef(name)
    for _ in range(len(chef)):
        model = chef.next(model)
    count = count_ops(model, torch.randn(1, 1, 8, 8))
    assert count.binary_params == 4 * 4 * 9
    assert count.packed_bytes == 4 * (count.params - 144) + 144 / 8
