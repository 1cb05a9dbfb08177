"""A binarized ResNet under everything that PyTorch does with networks."""

import copy
import io
import pickle
import subprocess
import sys

import pytest
import torch
from torch import nn

from bnn import BConfig, prepare_binary_model
from bnn.layers import set_compact
from bnn.models import resnet18
from bnn.models.blocks import PreBasicBlock
from bnn.ops import BasicInputBinarizer, BasicScaleBinarizer, XNORWeightBinarizer

CONFIG = BConfig(
    BasicInputBinarizer,
    BasicScaleBinarizer,
    XNORWeightBinarizer.with_args(center_weights=True),
)
IMAGES = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def binary_resnet18():
    torch.manual_seed(0)
    model = resnet18(block_type=PreBasicBlock, activation=nn.PReLU, width=8, num_classes=10)
    return prepare_binary_model(model, CONFIG, ignore_layers_name=["_first_", "_last_"])


def gradients(model, images):
    model.zero_grad()
    model(images).square().mean().backward()
    return {name: p.grad.clone() for name, p in model.named_parameters()}


@pytest.mark.parametrize("training", [True, False])
def test_compiles_without_a_graph_break(training):
    model = binary_resnet18().train(training)
    twin = copy.deepcopy(model)
    compiled = torch.compile(twin, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(IMAGES), model(IMAGES))
    if training:
        expected, got = gradients(model, IMAGES), gradients(compiled, IMAGES)
        for name, grad in expected.items():
            torch.testing.assert_close(got[f"_orig_mod.{name}"], grad, rtol=1e-3, atol=1e-4)
        with set_compact(False):  # compiled, a layer has plain operations, to the last bit
            plain = gradients(model, IMAGES)
        assert all(torch.equal(got[f"_orig_mod.{name}"], grad) for name, grad in plain.items())


@pytest.mark.slow
def test_inductor_gives_the_same_values():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3))
    model = prepare_binary_model(model, CONFIG).eval()
    compiled = torch.compile(model, fullgraph=True)
    torch.testing.assert_close(compiled(IMAGES), model(IMAGES), rtol=1e-4, atol=1e-4)


def test_exports_with_a_dynamic_batch():
    model = binary_resnet18().eval()
    batch = torch.export.Dim("batch", min=1, max=64)
    program = torch.export.export(model, (IMAGES,), dynamic_shapes=({0: batch},))
    for n in (1, 3):
        images = torch.randn(n, 3, 32, 32)
        torch.testing.assert_close(program.module()(images), model(images))


def test_saves_loads_copies_and_pickles():
    model = binary_resnet18()
    model(IMAGES)
    model.eval()
    expected = model(IMAGES)
    buffer = io.BytesIO()
    torch.save(model.state_dict(), buffer)
    fresh = binary_resnet18().eval()
    buffer.seek(0)
    fresh.load_state_dict(torch.load(buffer, weights_only=True))
    for twin in (fresh, copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(twin(IMAGES), expected)
    whole = io.BytesIO()
    torch.save(model, whole)
    whole.seek(0)
    assert torch.equal(torch.load(whole, weights_only=False)(IMAGES), expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_trains_under_autocast(dtype):
    model = binary_resnet18()
    seen = []
    layer = model.layer2[0].conv2
    layer.activation_pre_process.register_forward_hook(lambda _, args, out: seen.append(out))
    with torch.autocast("cpu", dtype=dtype):
        loss = model(IMAGES).float().square().mean()
    loss.backward()
    assert seen[0].abs().eq(1).all()
    assert all(p.grad.dtype == torch.float32 for p in model.parameters())
    assert all(p.grad.isfinite().all() for p in model.parameters())


def test_torch_func_gradients_are_autograds():
    model = binary_resnet18().eval()
    parameters = {name: p.detach() for name, p in model.named_parameters()}
    got = torch.func.grad(
        lambda p: torch.func.functional_call(model, p, (IMAGES,)).square().mean()
    )(parameters)
    for name, grad in gradients(model, IMAGES).items():
        torch.testing.assert_close(got[name], grad)


def test_per_sample_gradients():
    model = binary_resnet18().eval()
    parameters = {name: p.detach() for name, p in model.named_parameters()}

    def loss(p, image):
        return torch.func.functional_call(model, p, (image[None],)).square().mean()

    per_sample = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0))(parameters, IMAGES)
    name = "layer1.0.conv1.weight"
    for i in range(2):
        alone = torch.func.grad(loss)(parameters, IMAGES[i])[name]
        torch.testing.assert_close(per_sample[name][i], alone, rtol=1e-3, atol=1e-5)


def train_on_one_of_two(rank, folder):
    """Run in a process of its own: see the end of this file."""
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2
    )
    model = nn.parallel.DistributedDataParallel(binary_resnet18().eval())
    torch.manual_seed(1)
    images = torch.randn(2, 3, 32, 32)
    torch.save(gradients(model, images[rank : rank + 1]), f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_two_processes_average_their_gradients(tmp_path):
    processes = [
        subprocess.Popen([sys.executable, __file__, str(rank), str(tmp_path)]) for rank in range(2)
    ]
    assert [process.wait(timeout=120) for process in processes] == [0, 0]
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    model = binary_resnet18().eval()
    torch.manual_seed(1)
    images = torch.randn(2, 3, 32, 32)
    alone = [gradients(model, images[rank : rank + 1]) for rank in range(2)]
    for name in alone[0]:
        assert torch.equal(first[f"module.{name}"], second[f"module.{name}"])
        mean = (alone[0][name] + alone[1][name]) / 2
        torch.testing.assert_close(first[f"module.{name}"], mean, rtol=1e-4, atol=1e-5)


if __name__ == "__main__":
    train_on_one_of_two(int(sys.argv[1]), sys.argv[2])
