import pickle
import signal
import subprocess
import sys
import time
import zipfile

import pytest
import torch

from bnn.errors import CheckpointError, ConfigError
from bnn.training import TrainConfig, load_checkpoint
from bnn.training.checkpoint import (
    FORMAT,
    VERSION,
    build_model,
    convert_to_step,
    read_checkpoint,
    remove_partial,
    write_checkpoint,
)

SHAPE = (1, 8, 8)


def content(step=1, recipe_name="two-step", **changes):
    from bnn.executor.engine import BinaryChef

    config = TrainConfig(model_args={"width": 4}, recipe=recipe_name)
    recipe = BinaryChef(recipe_name).recipe.as_dict()
    model = convert_to_step(build_model(config, SHAPE, 10), recipe, step, 0)
    values = {
        "format": FORMAT,
        "version": VERSION,
        "config": config.as_dict(),
        "recipe": recipe,
        "data": {"input_shape": list(SHAPE), "num_classes": 10},
        "step": step,
        "epoch": 3,
        "history": [],
        "own_model": False,
        "model": model.state_dict(),
    }
    return {**values, **changes}, model


def written(tmp_path, **changes):
    path = tmp_path / "last.ckpt"
    values, model = content()
    values.update(changes)
    write_checkpoint(values, path)
    return path, model


@pytest.mark.parametrize("step", [0, 1])
def test_rebuilds_the_network_of_each_step(tmp_path, step):
    values, model = content(step)
    path = tmp_path / "a.ckpt"
    write_checkpoint(values, path)
    loaded = load_checkpoint(path)
    x = torch.randn(3, *SHAPE)
    assert torch.equal(loaded.model(x), model.eval()(x))
    assert not loaded.model.training
    assert (loaded.step, loaded.epoch) == (step, 3)
    assert loaded.config.recipe == "two-step"
    assert loaded.input_shape == SHAPE
    binary = [m for m in loaded.model.modules() if hasattr(m, "bconfig")]
    assert len(binary) == 6


def test_loading_does_not_touch_the_random_state(tmp_path):
    path, _ = written(tmp_path)
    before = torch.get_rng_state()
    load_checkpoint(path)
    assert torch.equal(before, torch.get_rng_state())


def one_line_error(path, match=None):
    with pytest.raises(CheckpointError, match=match) as info:
        load_checkpoint(path)
    text = str(info.value)
    assert "\n" not in text
    assert str(path) in text
    assert "weights_only" not in text  # torch advises to switch the protection off


def test_missing_file_and_folder(tmp_path):
    one_line_error(tmp_path / "none.ckpt", "no such checkpoint")
    one_line_error(tmp_path, "is a folder")


@pytest.mark.parametrize("size", [0, 1, 7, 1000, 100_000])
def test_random_bytes(tmp_path, size):
    path = tmp_path / "noise.ckpt"
    generator = torch.Generator().manual_seed(size)
    path.write_bytes(bytes(torch.randint(256, (size,), generator=generator).tolist()))
    one_line_error(path, "not a checkpoint")


@pytest.mark.parametrize("share", [0.01, 0.3, 0.9, 0.999])
def test_truncated_file(tmp_path, share):
    path, _ = written(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    one_line_error(path, "not a checkpoint|damaged")


def test_flipped_bytes_never_end_in_another_error(tmp_path):
    path, _ = written(tmp_path)
    whole = bytearray(path.read_bytes())
    generator = torch.Generator().manual_seed(0)
    for _ in range(40):
        damaged = bytearray(whole)
        for place in torch.randint(len(whole), (20,), generator=generator).tolist():
            damaged[place] ^= 0xFF
        path.write_bytes(damaged)
        try:
            load_checkpoint(path)  # right too: damage in a tensor's bytes cannot be seen
        except CheckpointError as error:
            assert "\n" not in str(error)


class Harmful:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.mark.parametrize("kind", ["pickle", "torch"])
def test_code_in_a_file_is_not_run(tmp_path, kind):
    path, sign = tmp_path / "evil.ckpt", tmp_path / "was-run"
    values, _ = content()
    values["history"] = [Harmful(sign)]
    if kind == "pickle":
        path.write_bytes(pickle.dumps(values))
    else:
        torch.save(values, path)
    one_line_error(path, "not a checkpoint")
    assert not sign.exists()


def test_other_files_of_torch(tmp_path):
    path = tmp_path / "weights.pt"
    torch.save({"conv.weight": torch.zeros(2)}, path)
    one_line_error(path, "not a checkpoint of bnn's training")
    torch.save([1, 2], path)
    one_line_error(path, "not a checkpoint of bnn's training")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.txt", "hello")
    one_line_error(path, "not a checkpoint")


def test_another_version(tmp_path):
    path, _ = written(tmp_path, version=99)
    one_line_error(path, "version 99")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("config", None),
        ("config", {"model": "no-such-net"}),
        ("config", {"modle": "resnet8"}),
        ("config", {"model": "resnet8", "model_args": {"depth": 3}}),
        ("recipe", "two-step"),
        ("recipe", {"step0": {"weight": {"name": "os.system"}}}),
        ("recipe", None),
        ("data", {}),
        ("data", {"input_shape": [1, 8], "num_classes": 10}),
        ("data", {"input_shape": [1, 8, "8"], "num_classes": 10}),
        ("data", {"input_shape": [1, 8, 8], "num_classes": 7}),
        ("step", -1),
        ("step", 5),
        ("step", "1"),
        ("step", True),
        ("epoch", None),
        ("history", {}),
        ("model", {}),
        ("model", {"fc.weight": 3}),
        ("model", [1]),
    ],
)
def test_damaged_content(tmp_path, key, value):
    path, _ = written(tmp_path, **{key: value})
    one_line_error(path)


def test_a_write_that_fails_leaves_the_old_file(tmp_path):
    path, _ = written(tmp_path)
    before = path.read_bytes()
    with pytest.raises((AttributeError, pickle.PicklingError, TypeError)):
        write_checkpoint({"a": torch.zeros(1000), "b": lambda: None}, path)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["last.ckpt"]


def test_kill_while_writing_leaves_a_whole_file(tmp_path):
    path = tmp_path / "last.ckpt"
    program = (
        "import sys, torch, pathlib\n"
        "from bnn.training.checkpoint import write_checkpoint\n"
        "path = pathlib.Path(sys.argv[1])\n"
        "for i in range(10**6):\n"
        "    write_checkpoint({'format': 'bnn-training', 'version': 0, 'i': i,\n"
        "                      'x': torch.full((300_000,), float(i))}, path)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", program, str(path)])
    try:
        deadline = time.monotonic() + 60
        while not path.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(0.2)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    whole = torch.load(path, weights_only=True)
    assert whole["x"].eq(whole["i"]).all()
    remove_partial(tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["last.ckpt"]


def test_read_checkpoint_gives_plain_content(tmp_path):
    path, _ = written(tmp_path)
    assert read_checkpoint(path)["epoch"] == 3


def test_model_args_may_not_contradict_the_data():
    with pytest.raises(ConfigError, match="num_classes=3"):
        build_model(TrainConfig(model_args={"num_classes": 3}), SHAPE, 10)


def test_start_weights_follow_the_seed():
    first, again, other = (
        build_model(TrainConfig(model_args={"width": 4}, seed=seed), SHAPE, 10)
        for seed in (0, 0, 1)
    )
    assert torch.equal(first.conv1.weight, again.conv1.weight)
    assert not torch.equal(first.conv1.weight, other.conv1.weight)
