import pytest
import torch
from torch import nn

from bnn.errors import CheckpointError, ConfigError, MissingExtraError
from bnn.training import Teacher, fit, load_checkpoint, load_teacher


@pytest.fixture
def folder(tiny, tmp_path):
    fit(tiny(batch_size=512, recipe="xnor-net"), progress=False)
    return str(tmp_path / "run")


def test_a_checkpoint_becomes_a_frozen_teacher(folder):
    teacher = load_teacher({"checkpoint": folder}, input_shape=(1, 8, 8), num_classes=10)
    assert isinstance(teacher, Teacher)
    holder = nn.ModuleList([teacher]).train()
    assert holder.training
    assert not any(m.training for m in teacher.modules())
    assert not any(p.requires_grad for p in teacher.parameters())
    images = torch.randn(3, 1, 8, 8, requires_grad=True)
    before = {name: t.clone() for name, t in teacher.state_dict().items()}
    logits = teacher(images)
    assert not logits.requires_grad
    assert torch.equal(logits, load_checkpoint(folder).model(images.detach()))
    assert all(torch.equal(before[n], t) for n, t in teacher.state_dict().items())


def test_another_number_of_classes_is_said(folder):
    with pytest.raises(ConfigError, match=r"gives \(2, 10\).*there are 7 classes"):
        load_teacher({"checkpoint": folder}, num_classes=7)


def test_images_that_it_does_not_take_are_said(folder):
    with pytest.raises(ConfigError, match=r"does not take images of \(3, 8, 8\)"):
        load_teacher({"checkpoint": folder}, input_shape=(3, 8, 8), num_classes=10)


def test_the_first_of_several_outputs_counts():
    class Two(nn.Module):
        def forward(self, x):
            return x + 1, x

    assert Teacher(Two())(torch.zeros(2)).tolist() == [1, 1]


@pytest.mark.parametrize(
    "spec",
    [
        {},
        {"checkpoint": ""},
        {"checkpoint": 3},
        {"checkpoint": "a", "weights": "b"},
        {"checkpoint": "a", "torchvision": "resnet18"},
        {"torchvision": "resnet18"},
        {"torchvision": "resnet18", "weights": None},
        {"file": "x"},
        "runs/float",
        None,
    ],
)
def test_a_spec_of_another_form(spec):
    with pytest.raises(ConfigError, match="^teacher"):
        load_teacher(spec)


def test_missing_and_foreign_files(tmp_path):
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        load_teacher({"checkpoint": str(tmp_path / "none.ckpt")})
    torch.save({"a": torch.ones(1)}, tmp_path / "other.pt")
    with pytest.raises(CheckpointError, match="not a checkpoint of bnn"):
        load_teacher({"checkpoint": str(tmp_path / "other.pt")})


def test_without_torchvision(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "torchvision", None)
    with pytest.raises(MissingExtraError, match=r"bnn-torch\[vision\]"):
        load_teacher({"torchvision": "resnet18", "weights": "DEFAULT"})
