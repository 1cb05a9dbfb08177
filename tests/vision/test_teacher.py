"""Teachers from torchvision."""

from urllib.error import URLError

import pytest
import torch
from torchvision import models

from bnn.errors import CheckpointError, ConfigError
from bnn.training import load_teacher


@pytest.fixture
def weights(tmp_path):
    torch.manual_seed(0)
    torch.save(models.resnet18(num_classes=7).state_dict(), tmp_path / "resnet18.pt")
    return str(tmp_path / "resnet18.pt")


def spec(weights, name="resnet18"):
    return {"torchvision": name, "weights": weights}


def test_weights_from_a_file(weights):
    teacher = load_teacher(spec(weights), input_shape=(3, 32, 32), num_classes=7)
    torch.manual_seed(0)
    original = models.resnet18(num_classes=7).eval()
    images = torch.randn(2, 3, 32, 32)
    assert torch.equal(teacher(images), original(images))
    assert not teacher.network.training


def test_another_number_of_classes(weights):
    with pytest.raises(CheckpointError, match=r"resnet18.*size mismatch"):
        load_teacher(spec(weights), num_classes=10)


@pytest.mark.parametrize("content", [b"", b"not a file of weights", {"conv1": torch.ones(1)}])
def test_a_file_of_something_else(tmp_path, content):
    path = tmp_path / "other.pt"
    path.write_bytes(content) if isinstance(content, bytes) else torch.save(content, path)
    with pytest.raises(CheckpointError, match="not the state dict of torchvision's resnet18"):
        load_teacher(spec(str(path)))


def test_unknown_names():
    with pytest.raises(ConfigError, match="Did you mean 'resnet18'"):
        load_teacher(spec("DEFAULT", "resnet81"))
    with pytest.raises(ConfigError, match=r"neither a file nor .*IMAGENET1K_V1"):
        load_teacher(spec("imagenet"))


def test_weights_that_cannot_be_downloaded(monkeypatch):
    def refuse(*_args, **_kwargs):
        raise URLError("no network")

    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: "/nonexistent/hub")
    monkeypatch.setattr("os.makedirs", lambda *_args, **_kwargs: None)
    with pytest.raises(CheckpointError, match="could not be downloaded.*no network"):
        load_teacher(spec("IMAGENET1K_V1"))
