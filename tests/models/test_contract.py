"""What every registered network must do. A new one is covered once it is registered."""

from __future__ import annotations

import copy
import io
import itertools
import math

import pytest
import torch
from torch import nn

from bnn.layers import BinaryLayer
from bnn.models import MODELS, create

# Those whose small instances differ: quicknet_large's is quicknet's.
NAMES = list(
    {str(create(name, **MODELS[name].tiny)): name for name in reversed(list(MODELS))}.values()
)
ACTIVATIONS = [(name, None) for name in NAMES] + [
    (name, activation)
    for name in NAMES
    if "activation" in MODELS[name].keywords
    for activation in ("PReLU", "Identity")
]


def tiny(name: str, **kwargs: object) -> nn.Module:
    torch.manual_seed(0)
    return create(name, **{**MODELS[name].tiny, **kwargs})


def images(name: str, batch: int = 4) -> torch.Tensor:
    torch.manual_seed(1)
    return torch.randn(batch, *MODELS[name].tiny_shape)


def classes(name: str) -> int:
    entry = MODELS[name]
    return int(entry.tiny.get("num_classes", entry.num_classes))


@pytest.mark.parametrize(("name", "activation"), ACTIVATIONS)
def test_one_step_of_training(name, activation):
    model = tiny(name, **({"activation": activation} if activation else {})).train()
    x = images(name)
    before = x.clone()
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    loss = nn.functional.cross_entropy(model(x), torch.arange(4) % classes(name))
    loss.backward()
    assert math.isfinite(loss.item())
    for parameter_name, parameter in model.named_parameters():
        assert parameter.requires_grad, parameter_name
        assert parameter.grad is not None, f"no gradient reaches {parameter_name}"
        assert parameter.grad.isfinite().all(), parameter_name
        assert parameter.grad.abs().sum() > 0, f"the gradient of {parameter_name} is zero"
    optimizer.step()
    assert nn.functional.cross_entropy(model(x), torch.arange(4) % classes(name)).isfinite()
    assert torch.equal(x, before), "the network changed its input"


# No shortcut carries floats past their signs, so that they learn slowly and with noise.
SLOW = {"binary_alexnet": 0.001, "dorefanet": 0.003, "xnornet": 0.003}


@pytest.mark.parametrize("name", NAMES)
def test_a_few_steps_lower_the_loss(name):
    model = tiny(name).train()
    x, labels = images(name), torch.arange(4) % classes(name)
    steps = 32 if name in SLOW else 8
    optimizer = torch.optim.Adam(model.parameters(), SLOW.get(name, 0.003))
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    if name in SLOW:
        assert sum(losses[-6:]) / 6 < 0.85 * sum(losses[:4]) / 4, losses
    else:
        assert losses[-1] < 0.6 * losses[0], losses


@pytest.mark.parametrize("name", NAMES)
def test_evaluation_is_deterministic_and_independent_of_the_batch(name):
    model = tiny(name).eval()
    x = images(name)
    with torch.no_grad():
        y = model(x)
        assert y.shape == (4, classes(name))
        assert y.isfinite().all()
        assert torch.equal(model(x), y)
        one_by_one = torch.cat([model(x[i : i + 1]) for i in range(4)])
    torch.testing.assert_close(one_by_one, y, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_the_input_matters(name, calibrate):
    """A path that is cut somewhere would give one answer to every image."""
    model = calibrate(tiny(name), images(name, 16), passes=1)
    y = model(images(name))
    assert y.std(dim=0).min() > 0


@pytest.mark.parametrize("name", NAMES)
def test_state_dict_round_trip(name):
    model = tiny(name).eval()
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    other = create(name, **MODELS[name].tiny).eval()
    other.load_state_dict(torch.load(file, weights_only=True))
    x = images(name, 1)
    assert torch.equal(other(x), model(x))


@pytest.mark.parametrize("name", NAMES)
def test_deepcopy_and_pickle_are_equal_and_separate(name):
    model = tiny(name).eval()
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    x = images(name, 1)
    y = model(x)
    for other in (copy.deepcopy(model), torch.load(file, weights_only=False)):
        assert torch.equal(other(x), y)
        with torch.no_grad():
            for parameter in other.parameters():
                parameter.zero_()
        assert torch.equal(model(x), y)


@pytest.mark.parametrize("name", NAMES)
def test_parameters_have_one_name_each(name):
    model = tiny(name)
    named = list(model.named_parameters(remove_duplicate=False))
    assert len({n for n, _ in named}) == len(named)
    assert len({id(p) for _, p in named}) == len(named), "two names share a parameter"
    modules = list(model.named_modules(remove_duplicate=False))
    assert len({id(m) for _, m in modules}) == len(modules), "a module is used in two places"


@pytest.mark.parametrize("name", NAMES)
def test_torch_export(name):
    model = tiny(name).eval()
    x = images(name, 2)
    batch = torch.export.Dim("batch", min=1, max=64)
    program = torch.export.export(model, (x,), dynamic_shapes=({0: batch},))
    torch.testing.assert_close(program.module()(images(name, 3)), model(images(name, 3)))


@pytest.mark.parametrize("name", NAMES)
def test_fx_trace(name):
    class Tracer(torch.fx.Tracer):
        def is_leaf_module(self, m, module_qualified_name):
            return (
                m.__module__.startswith("bnn.layers")
                or isinstance(m, BinaryLayer)
                or super().is_leaf_module(m, module_qualified_name)
            )

    model = tiny(name).eval()
    x = images(name, 2)
    traced = torch.fx.GraphModule(model, Tracer().trace(model))
    torch.testing.assert_close(traced(x), model(x))


@pytest.mark.parametrize("name", NAMES)
def test_odd_image_and_other_channels(name):
    _, height, width = MODELS[name].tiny_shape
    size = (height + 1, width + 3)
    more = {"input_size": size} if "input_size" in MODELS[name].keywords else {}
    model = tiny(name, in_channels=2, **more).eval()
    assert model(torch.randn(1, 2, *size)).shape == (1, classes(name))


@pytest.mark.parametrize("name", NAMES)
def test_no_bias_before_a_norm(name):
    """It would be undone by the norm that follows."""
    model = tiny(name).eval()
    called = []
    for module in model.modules():
        if not list(module.children()) or isinstance(module, (nn.Conv2d, nn.Linear)):
            module.register_forward_hook(lambda module, args, out: called.append(module))
    model(images(name))
    norms = (nn.BatchNorm2d, nn.BatchNorm1d)
    before = [a for a, b in itertools.pairwise(called) if isinstance(b, norms)]
    layers = [m for m in before if isinstance(m, (nn.Conv2d, nn.Linear))]
    assert all(layer.bias is None for layer in layers), layers


@pytest.mark.parametrize("name", NAMES)
def test_first_and_last_convertible_layers_are_stem_and_classifier(name):
    """``_first_`` and ``_last_`` rely on the order of the modules."""
    model = tiny(name, in_channels=2)
    layers = [m for m in model.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    assert layers[0].in_channels == 2
    assert isinstance(layers[-1], nn.Linear)
    assert layers[-1].out_features == classes(name)
