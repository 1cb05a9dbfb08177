"""prepare_binary_model: what it converts, what it keeps, what it refuses."""

import copy
import pickle
import warnings
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune

from bnn import (
    BConfig,
    conversion_report,
    get_modules_to_binarize,
    prepare_binary_model,
    swap_modules_by_name,
)
from bnn.convert import DEFAULT_MODULE_MAPPING, convert
from bnn.errors import ConfigError, LayerNotFoundError
from bnn.layers import BINARY_LAYERS, BinaryLayer, Conv2d, Linear
from bnn.ops import BasicInputBinarizer, BasicScaleBinarizer, XNORWeightBinarizer

CONFIG = BConfig(BasicInputBinarizer, BasicScaleBinarizer, XNORWeightBinarizer)
OTHER = BConfig(BasicInputBinarizer)


def small():
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.Flatten(), nn.Linear(4 * 16, 3)
    )


X = torch.randn(2, 1, 8, 8)


class OwnConv(nn.Conv2d):
    tag = "mine"

    def double(self):
        return 2 * self.weight


class OwnForward(nn.Conv2d):
    def forward(self, x):
        return super().forward(x) + 1


def test_converts_all_layers_in_place_and_returns_the_model():
    model = small()
    assert prepare_binary_model(model, CONFIG) is model
    assert [type(m).__module__ for m in (model[0], model[2], model[4])] == [
        "bnn.layers.conv",
        "bnn.layers.conv",
        "bnn.layers.linear",
    ]
    assert all(model[i].bconfig == CONFIG for i in (0, 2, 4))


def test_a_copy_leaves_the_original_float():
    model = small()
    before = model(X)
    binary = prepare_binary_model(model, CONFIG, inplace=False)
    assert not any(isinstance(m, BinaryLayer) for m in model.modules())
    assert torch.equal(model(X), before)
    assert isinstance(binary[0], Conv2d)


def test_get_modules_then_swap_is_the_same_as_prepare():
    model = small()
    found = get_modules_to_binarize(
        model, CONFIG, custom_config_layers_name={"_last_": OTHER}, ignore_layers_name=["_first_"]
    )
    assert found == {"2": CONFIG, "4": OTHER}
    assert not any(isinstance(m, BinaryLayer) for m in model.modules())
    swap_modules_by_name(model, found)
    assert [isinstance(model[i], BinaryLayer) for i in (0, 2, 4)] == [False, True, True]


def test_root_that_is_itself_a_layer():
    layer = nn.Linear(3, 2)
    assert prepare_binary_model(layer, CONFIG) is layer
    assert isinstance(layer, Linear)
    assert layer(torch.randn(4, 3)).shape == (4, 2)


def test_keeps_parameters_mode_dtype_requires_grad_and_extra_attributes():
    model = small().double().eval()
    model[2].requires_grad_(False)
    model[2].note = "kept"
    parameters = {name: id(p) for name, p in model.named_parameters()}
    prepare_binary_model(model, CONFIG)
    after = dict(model.named_parameters())
    assert all(id(after[name]) == address for name, address in parameters.items())
    assert not any(m.training for m in model.modules())
    assert {p.dtype for p in after.values()} == {torch.double}
    assert not model[2].weight.requires_grad
    assert model[2].note == "kept"


def test_hooks_still_fire_and_their_handles_still_remove_them():
    model, calls = small(), []
    handle = model[2].register_forward_hook(lambda *_: calls.append("forward"))
    model[2].register_forward_pre_hook(lambda *_: calls.append("pre"))
    prepare_binary_model(model, CONFIG)
    model(X)
    assert calls == ["pre", "forward"]
    handle.remove()
    model(X)
    assert calls == ["pre", "forward", "pre"]


def test_a_module_used_twice_stays_one():
    shared = nn.Linear(4, 4)
    model = nn.ModuleDict({"a": shared, "b": nn.Sequential(shared), "c": nn.Linear(4, 4)})
    prepare_binary_model(model, CONFIG)
    assert model["a"] is model["b"][0] is shared
    assert isinstance(shared, Linear)
    assert list(conversion_report(model).converted) == ["a", "c"]
    # Either name means it.
    again = prepare_binary_model(model, OTHER, ignore_layers_name=["b.0"])
    assert again["a"].bconfig == CONFIG
    assert again["c"].bconfig == OTHER


def test_references_from_plain_lists_see_the_binary_layer():
    class Pyramid(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(1, 2, 1)
            self.order = [self.conv]

        def forward(self, x):
            return self.order[0](x)

    model = prepare_binary_model(Pyramid(), CONFIG)
    assert model.order[0] is model.conv
    assert isinstance(model.order[0], Conv2d)


def test_tied_weights_stay_tied():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    model[1].weight = model[0].weight
    prepare_binary_model(model, CONFIG)
    assert model[1].weight is model[0].weight


@pytest.mark.parametrize("wrap", [parametrizations.weight_norm, parametrizations.spectral_norm])
def test_parametrizations_are_kept_and_can_be_removed(wrap):
    model = nn.Sequential(wrap(nn.Linear(4, 4)), nn.Linear(4, 2)).eval()
    weight = model[0].weight.detach().clone()
    prepare_binary_model(model, CONFIG)
    assert isinstance(model[0], Linear)
    assert parametrize.is_parametrized(model[0], "weight")
    torch.testing.assert_close(model[0].weight, weight)
    x = torch.randn(3, 4)
    expected = model(x)
    torch.testing.assert_close(copy.deepcopy(model)(x), expected)
    prepare_binary_model(model, OTHER)
    prepare_binary_model(model, CONFIG)
    torch.testing.assert_close(model(x), expected)
    parametrize.remove_parametrizations(model[0], "weight")
    assert type(model[0]) is Linear
    torch.testing.assert_close(model(x), expected)


def test_pruning_is_kept():
    model = small()
    prune.l1_unstructured(model[2], "weight", amount=0.5)
    prepare_binary_model(model, BConfig())
    model(X).sum().backward()
    assert model[2].weight_orig.grad is not None
    assert (model[2].weight == 0).double().mean() == 0.5


def test_subclasses_are_converted_and_stay_what_they_were():
    model = nn.Sequential(OwnConv(1, 2, 3))
    prepare_binary_model(model, CONFIG)
    layer = model[0]
    assert isinstance(layer, Conv2d)
    assert isinstance(layer, OwnConv)
    assert layer.tag == "mine"
    assert torch.equal(layer.double(), 2 * layer.weight)
    twin = pickle.loads(pickle.dumps(model))
    assert type(twin[0]) is type(layer)
    assert torch.equal(twin(X), model(X))
    assert torch.equal(copy.deepcopy(model)(X), model(X))
    plain = nn.Sequential(nn.Conv2d(1, 2, 3))
    plain.load_state_dict({k: v for k, v in model.state_dict().items() if "alpha" not in k})
    assert torch.equal(prepare_binary_model(plain, CONFIG)(X), model(X))


def test_a_subclass_with_its_own_forward_is_left_alone_loudly():
    model = nn.Sequential(nn.Conv2d(1, 1, 1), OwnForward(1, 2, 3))
    with pytest.warns(UserWarning, match=r"'1': OwnForward has a forward of its own.*modules_mapp"):
        prepare_binary_model(model, CONFIG)
    assert type(model[1]) is OwnForward
    assert "forward of its own" in conversion_report(model).skipped["1"]
    with pytest.raises(LayerNotFoundError, match="cannot be converted: OwnForward"):
        prepare_binary_model(model, CONFIG, custom_config_layers_name={"1": OTHER})


def test_a_subclass_with_its_own_forward_can_be_mapped():
    class BinaryOwn(BinaryLayer, OwnForward):
        def _compute(self, x, weight, bias):
            return self._conv_forward(x, weight, bias) + 1

    model = nn.Sequential(OwnForward(1, 2, 3), nn.Conv2d(2, 2, 3))
    mapping = {**DEFAULT_MODULE_MAPPING, OwnForward: BinaryOwn}
    prepare_binary_model(model, BConfig(), modules_mapping=mapping)
    assert [type(m) for m in model] == [BinaryOwn, Conv2d]
    expected = nn.functional.conv2d(X, model[0].weight, model[0].bias) + 1
    assert torch.equal(model[0](X), expected)


def test_mapping_limits_what_is_converted():
    model = small()
    prepare_binary_model(model, CONFIG, modules_mapping={nn.Linear: Linear})
    assert [isinstance(model[i], BinaryLayer) for i in (0, 2, 4)] == [False, False, True]
    with pytest.raises(ConfigError, match="derives from a layer of bnn.layers"):
        prepare_binary_model(model, CONFIG, modules_mapping={nn.Linear: nn.Linear})


def test_attention_and_lazy_layers_are_left_alone_loudly():
    model = nn.ModuleDict({"a": nn.MultiheadAttention(4, 1), "b": nn.LazyLinear(3)})
    with pytest.warns(UserWarning, match=r"reads its weight without calling it.*no weight yet"):
        prepare_binary_model(model, CONFIG)
    assert set(conversion_report(model).skipped) == {"a.out_proj", "b"}


def test_fused_transformer_inference_does_not_bypass_the_binary_layers():
    encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2)
    with pytest.warns(UserWarning, match="MultiheadAttention"):
        prepare_binary_model(
            encoder, BConfig(BasicInputBinarizer, nn.Identity, XNORWeightBinarizer)
        )
    encoder.eval()
    x = torch.randn(2, 5, 8)
    mask = torch.tensor([[False] * 5, [False] * 3 + [True] * 2])
    slow = encoder(x, src_key_padding_mask=mask)
    with torch.inference_mode():
        fast = encoder(x, src_key_padding_mask=mask)
    torch.testing.assert_close(fast, slow)


def test_later_custom_configs_win_and_ignoring_wins_over_all():
    model = small()
    prepare_binary_model(
        model,
        CONFIG,
        custom_config_layers_name={"$.*$": OTHER, "2": BConfig()},
        ignore_layers_name=["_first_"],
    )
    assert type(model[0]) is nn.Conv2d
    assert model[2].bconfig == BConfig()
    assert model[4].bconfig == OTHER


def test_the_callers_arguments_are_not_changed():
    custom, ignore = {"_last_": OTHER}, ["_first_"]
    mapping = dict(DEFAULT_MODULE_MAPPING)
    prepare_binary_model(small(), CONFIG, mapping, custom, ignore)
    assert custom == {"_last_": OTHER}
    assert ignore == ["_first_"]
    assert mapping == DEFAULT_MODULE_MAPPING == BINARY_LAYERS


@pytest.mark.parametrize(
    "kwargs",
    [
        {"ignore_layers_name": ["nope"]},
        {"custom_config_layers_name": {"nope": OTHER}},
        {"custom_config_layers_name": {"0": BConfig(weight_pre_process=lambda: 1 / 0)}},
        {"custom_config_layers_name": {"0": "xnor"}},
        {"custom_config_layers_name": ["0"]},
        {"ignore_layers_name": "0"},
        {"ignore_layers_name": [0]},
    ],
    ids=range(7),
)
def test_an_error_leaves_the_model_as_it_was(kwargs):
    model = small()
    before = {name: (id(m), type(m), set(m.__dict__)) for name, m in model.named_modules()}
    with pytest.raises((ConfigError, LayerNotFoundError)):
        prepare_binary_model(model, CONFIG, **kwargs)
    after = {name: (id(m), type(m), set(m.__dict__)) for name, m in model.named_modules()}
    assert before == after


def test_a_forward_replaced_on_the_instance_is_left_alone_loudly():
    model = small()
    float_forward = model[2].forward
    model[2].forward = lambda x: float_forward(x)
    with pytest.warns(UserWarning, match="'2': this Conv2d had its forward replaced by hand"):
        prepare_binary_model(model, CONFIG)
    assert type(model[2]) is nn.Conv2d


def test_compiled_models_are_converted_under_their_own_names():
    model = small()
    compiled = torch.compile(model, backend="eager")
    assert prepare_binary_model(compiled, CONFIG, ignore_layers_name=["0"]) is compiled
    assert isinstance(model[2], Conv2d)
    assert set(conversion_report(compiled).ignored) == {"0"}
    assert torch.equal(compiled(X), model(X))


def test_conversion_under_inference_mode_gives_a_model_that_trains():
    model = small()
    with torch.inference_mode():
        prepare_binary_model(model, CONFIG)
    model(X).sum().backward()
    assert model[2].activation_post_process.alpha.grad is not None


def test_a_layer_that_watches_its_attributes_does_not_stop_the_conversion_halfway():
    class Watched(nn.Linear):
        def __setattr__(self, name, value):
            if name == "__class__":
                raise RuntimeError("not me")
            super().__setattr__(name, value)

    model = prepare_binary_model(nn.Sequential(nn.Linear(2, 2), Watched(2, 2)), CONFIG)
    assert all(isinstance(layer, Linear) for layer in model)


def test_a_class_that_cannot_be_extended_is_an_error_before_anything_changes():
    class Final(nn.Linear):
        def __init_subclass__(cls, *, secret, **kwargs):
            pass

    model = nn.Sequential(nn.Linear(2, 2), Final(2, 2))
    with pytest.raises(ConfigError, match="layer '1': a Final cannot become a Linear: .*secret"):
        prepare_binary_model(model, CONFIG)
    assert type(model[0]) is nn.Linear


class _Shift(nn.Module):
    def __init__(self, learnt=True):
        super().__init__()
        value = torch.zeros(1)
        if learnt:
            self.shift = nn.Parameter(value)
        else:
            self.register_buffer("shift", value)

    def forward(self, x):
        return x + self.shift


@pytest.mark.parametrize("learnt", [True, False])
def test_converting_again_copies_between_parameters_and_buffers(learnt):
    model = nn.Sequential(nn.Linear(2, 2))
    prepare_binary_model(model, BConfig(partial(_Shift, learnt=learnt)))
    model[0].activation_pre_process.shift.data.fill_(3)
    prepare_binary_model(model, BConfig(partial(_Shift, learnt=not learnt)))
    stage = model[0].activation_pre_process
    assert stage.shift.item() == 3
    assert isinstance(stage.shift, nn.Parameter) == (not learnt)


def test_wrong_arguments_are_named():
    with pytest.raises(ConfigError, match="modules_mapping must map float classes"):
        prepare_binary_model(small(), CONFIG, modules_mapping=[nn.Linear])
    with pytest.raises(ConfigError, match="layer '0': weight_pre_process: .* division by zero"):
        prepare_binary_model(small(), BConfig(weight_pre_process=lambda: 1 / 0))
    with pytest.raises(ConfigError, match="got a list"):
        prepare_binary_model(small(), CONFIG, custom_config_layers_name=["conv1"])
    with pytest.raises(ConfigError, match="got a function, not an nn.Module"):
        prepare_binary_model(small, CONFIG)
    with pytest.raises(ConfigError, match="bconfig must be a BConfig"):
        prepare_binary_model(small(), {"weight": "xnor"})


def test_a_model_without_layers_warns():
    with pytest.warns(UserWarning, match="no layer was converted"):
        prepare_binary_model(nn.Sequential(nn.ReLU()), CONFIG)


def test_report_of_an_unconverted_model_is_an_error():
    with pytest.raises(ConfigError, match="no conversion report"):
        conversion_report(small())


def test_converting_again_keeps_learnt_state_and_parameter_objects():
    model = small()
    step0 = BConfig(BasicInputBinarizer, BasicScaleBinarizer)
    prepare_binary_model(model, step0)
    with torch.no_grad():
        model[2].activation_post_process.alpha.fill_(3)
    alpha, weight = model[2].activation_post_process.alpha, model[2].weight
    prepare_binary_model(model, CONFIG)
    assert model[2].activation_post_process.alpha is alpha
    assert model[2].weight is weight
    assert isinstance(model[2].weight_pre_process, XNORWeightBinarizer)
    prepare_binary_model(
        model,
        BConfig(activation_post_process=BasicScaleBinarizer.with_args(shape=[1, 1, 1, 1])),
        ignore_layers_name=["_last_"],
    )
    assert model[2].activation_post_process.alpha.shape == (1, 1, 1, 1), "another shape is new"
    assert model[4].bconfig == CONFIG, "an ignored layer stays as it is"


def test_converting_twice_the_same_changes_nothing():
    model = prepare_binary_model(small(), CONFIG)
    before, modules = model(X), [id(m) for m in model.modules()]
    prepare_binary_model(model, CONFIG)
    assert torch.equal(model(X), before)
    assert [id(m) for m in model.modules()] == modules


def test_convert_takes_the_configs_from_the_layers():
    model = small()
    model[2].bconfig = CONFIG
    convert(model)
    assert [isinstance(model[i], BinaryLayer) for i in (0, 2, 4)] == [False, True, False]


def _leaf():
    return st.sampled_from(
        [
            lambda: nn.Linear(4, 4),
            lambda: nn.Conv1d(4, 4, 3, padding=1),
            lambda: nn.Conv2d(4, 4, 3, padding="same"),
            lambda: nn.ConvTranspose2d(4, 4, 1),
            lambda: OwnConv(4, 4, 1, groups=2),
            nn.ReLU,
            lambda: nn.BatchNorm1d(4),
            lambda: nn.Embedding(3, 4),
        ]
    ).map(lambda make: make())


def _nested():
    return st.recursive(
        _leaf(),
        lambda inner: st.one_of(
            st.lists(inner, max_size=4).map(lambda parts: nn.Sequential(*parts)),
            st.lists(inner, max_size=4).map(nn.ModuleList),
            st.dictionaries(st.sampled_from("abc"), inner, max_size=3).map(nn.ModuleDict),
        ),
        max_leaves=12,
    )


@settings(max_examples=80)
@given(model=_nested(), data=st.data())
def test_random_nested_models(model, data):
    convertible = [n for n, m in model.named_modules() if isinstance(m, tuple(BINARY_LAYERS))]
    ignored = data.draw(st.sets(st.sampled_from(convertible))) if convertible else set()
    modules = {n: (id(m), type(m)) for n, m in model.named_modules()}
    parameters = {n: id(p) for n, p in model.named_parameters()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        prepare_binary_model(model, BConfig(BasicInputBinarizer), ignore_layers_name=ignored)
    report = conversion_report(model)
    assert set(report.converted) == set(convertible) - ignored
    assert set(report.ignored) == ignored
    for name, module in model.named_modules():
        if name not in modules:
            continue  # a stage
        address, kind = modules[name]
        assert id(module) == address
        assert isinstance(module, kind)
        assert isinstance(module, BinaryLayer) == (name in report.converted)
    assert {n: id(p) for n, p in model.named_parameters()} == parameters
