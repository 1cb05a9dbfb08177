"""Two processes on the CPU compute what one does with their batches together."""

import csv
import json
import os
import socket
import subprocess
import sys
import types
from pathlib import Path

import pytest
import torch
from torch import nn

from bnn.training import load_checkpoint, load_data, reestimate_batch_norm_
from bnn.training.data.module import TrainingData
from bnn.training.synchronized import BatchNormSync

EXAMPLE = Path(__file__).parents[2] / "examples" / "sharded.py"

NORMS = """
import torch
from torch import nn


def compute():
    # Sums over processes must leave nothing of the order of adding: float64.
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(),
        nn.Linear(16, 3), nn.BatchNorm1d(3, affine=False, momentum=None), nn.Linear(3, 1),
    ).double()
    images = torch.randn(10, 2, 4, 4, dtype=torch.float64)
    wanted = torch.randn(10, 1, dtype=torch.float64)
    return model, images, wanted
"""

RANK = """
import sys
import torch.distributed as dist
from bnn.training.synchronized import BatchNormSync


def main():
    rank = dist.get_rank()
    model, images, wanted = compute()
    BatchNormSync().apply(model)
    mine = slice(0, 6) if rank == 0 else slice(6, 10)  # shares of different sizes
    total = 0.0
    for _ in range(2):
        loss = (model(images[mine]) - wanted[mine]).square().sum()
        loss.backward()
        total += loss.item()
    for parameter in model.parameters():
        dist.all_reduce(parameter.grad)
    sum_of_losses = torch.tensor(total, dtype=torch.float64)
    dist.all_reduce(sum_of_losses)
    BatchNormSync().revert(model)
    if rank == 0:
        torch.save(
            {
                "loss": sum_of_losses,
                "grads": [p.grad for p in model.parameters()],
                "state": model.state_dict(),
                "types": [type(m).__name__ for m in model],
            },
            sys.argv[1],
        )


dist.init_process_group("gloo")
main()
dist.destroy_process_group()
"""

FIT = """
import dataclasses, json, sys
import torch
from bnn.training import DATASETS, TrainConfig, fit

torch.set_num_threads(1)
digits = DATASETS["digits"]


def load(data_dir, split_seed):
    # Random shifts are each process's own.
    return dataclasses.replace(digits.load(data_dir, split_seed), augment=None)


DATASETS.register("still-digits")(dataclasses.replace(digits, load=load))
fit(TrainConfig(**json.loads(sys.argv[1])), progress=False)
"""


def environment(**more):
    return {**os.environ, "OMP_NUM_THREADS": "1", **more}


def finish(*processes):
    for process in processes:
        _, talk = process.communicate(timeout=240)
        assert process.returncode == 0, talk


def start(program, argument, **more):
    return subprocess.Popen(
        [sys.executable, "-W", "error::UserWarning", str(program), argument],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(**more),
        text=True,
    )


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return str(one.getsockname()[1])


@pytest.mark.slow
def test_synchronized_norms_are_the_norms_of_the_whole_batch(tmp_path):
    program, result = tmp_path / "rank.py", tmp_path / "result.pt"
    program.write_text(NORMS + RANK)
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port(), "WORLD_SIZE": "2"}
    finish(*(start(program, str(result), RANK=str(rank), **place) for rank in range(2)))
    got = torch.load(result, weights_only=True)

    space = {}
    exec(NORMS, space)
    model, images, wanted = space["compute"]()
    total = 0.0
    for _ in range(2):
        loss = (model(images) - wanted).square().sum()
        loss.backward()
        total += loss.item()
    assert got["loss"].item() == pytest.approx(total)
    for name, a, b in zip(
        dict(model.named_parameters()),
        got["grads"],
        (p.grad for p in model.parameters()),
        strict=True,
    ):
        assert torch.allclose(a, b, rtol=1e-9, atol=1e-9), name
    for name, tensor in model.state_dict().items():
        assert torch.allclose(got["state"][name], tensor, rtol=1e-9), name
    assert got["types"] == [type(m).__name__ for m in model]


def test_one_process_is_not_changed():
    model = nn.Sequential(nn.BatchNorm2d(2), nn.GroupNorm(1, 2))
    x = torch.randn(4, 2, 3, 3)
    plain = nn.BatchNorm2d(2)(x)
    names = list(model.state_dict())
    BatchNormSync().apply(model)
    assert isinstance(model[0], nn.BatchNorm2d)
    assert list(model.state_dict()) == names
    assert torch.equal(model[0](x), plain)
    BatchNormSync().revert(model)
    assert [type(m) for m in model] == [nn.BatchNorm2d, nn.GroupNorm]


def test_a_norm_of_ones_own_is_left_alone():
    class Own(nn.BatchNorm1d):
        def forward(self, x):
            return x

    model = nn.Sequential(Own(2))
    BatchNormSync().apply(model)
    assert type(model[0]) is Own


EVERYTHING = """
everything:
  pre_activation: {name: BasicInputBinarizer}
  weight: {name: XNORWeightBinarizer}
  ignore_layer_names: [_first_, _last_]
  optimizer:
    - {claims: binary_weights, name: bop, args: {gamma: 1.0e-2}}
    - {claims: rest, name: sgd}
  schedule: {name: linear, warmup_epochs: 1}
  losses:
    - {name: cross_entropy}
    - {name: bnn_plus, weight: 1.0e-3}
  ema: 0.9
  reestimate_batch_norm: 3
"""


@pytest.mark.slow
@pytest.mark.parametrize("recipe", [None, "xnor-net", "everything"])
def test_two_processes_have_the_loss_curve_of_one(tmp_path, recipe):
    if recipe == "everything":
        recipe = str(tmp_path / "everything.yaml")
        Path(recipe).write_text(EVERYTHING)
    program = tmp_path / "program.py"
    program.write_text(FIT)
    settings = {
        "data": "still-digits",
        "model_args": {"width": 4},
        "recipe": recipe,
        "epochs": 3,
    }
    two = {"batch_size": 64, "devices": 2, "strategy": "ddp", "sync_batch_norm": True}
    curves, norms = [], []
    for name, more in (("one", {"batch_size": 128}), ("two", two)):
        out = tmp_path / name
        finish(start(program, json.dumps({**settings, **more, "out": str(out)})))
        with (out / "history.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        curves.append([float(row[key]) for row in rows for key in ("train_loss", "test_loss")])
        state = load_checkpoint(out).model.state_dict()
        norms.append({key: value for key, value in state.items() if "running" in key})
    for key, value in norms[0].items():
        assert torch.allclose(norms[1][key], value, rtol=0.01, atol=0.01), key
    assert len(curves[0]) == 6
    assert curves[1] == pytest.approx(curves[0], rel=1e-5 if recipe is None else 1e-3)
    assert type(load_checkpoint(tmp_path / "two").model.bn1) is nn.BatchNorm2d


@pytest.mark.slow
def test_statistics_estimated_anew_are_those_of_both_processes(tmp_path):
    """Norms that are not synchronized would keep those of the first one's batches."""
    recipe, program, out = (tmp_path / name for name in ("recipe.yaml", "program.py", "out"))
    recipe.write_text("step0:\n  ignore_layer_names: [$.$]\n  reestimate_batch_norm: 3\n")
    program.write_text(FIT)
    settings = {"data": "still-digits", "model_args": {"width": 4}, "epochs": 1, "batch_size": 32}
    two = {"devices": 2, "strategy": "ddp", "recipe": str(recipe), "out": str(out)}
    finish(start(program, json.dumps({**settings, **two})))

    def running(model):
        return {k: v.clone() for k, v in model.state_dict().items() if "running" in k}

    loaded = load_checkpoint(out)
    saved = running(loaded.model)
    data = TrainingData(
        load_data("digits"), batch_size=32, num_workers=0, seed=loaded.config.seed, step=0
    )
    shares = []
    for rank in range(2):
        data.trainer = types.SimpleNamespace(world_size=2, global_rank=rank)
        shares.append(running(reestimate_batch_norm_(loaded.model, data.norm_batches(3))))
    assert saved
    for name, value in saved.items():
        mean = (shares[0][name] + shares[1][name]) / 2
        assert torch.allclose(value, mean, rtol=1e-4, atol=1e-5), name
        assert not torch.allclose(shares[0][name], mean, rtol=1e-4, atol=1e-5), name


@pytest.mark.slow
def test_divided_parameters_have_the_loss_curve_of_one_process(tmp_path):
    """FSDP, as examples/sharded.py does it; and what it saves is the whole network."""
    curves, states = [], []
    for count in (1, 2):
        out = tmp_path / f"{count}.pt"
        done = subprocess.run(
            [
                *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
                *("--nproc-per-node", str(count)),
                *(str(EXAMPLE), "--smoke", "--out", str(out)),
            ],
            capture_output=True,
            env=environment(),
            text=True,
            timeout=240,
        )
        assert done.returncode == 0, done.stderr
        lines = [line for line in done.stdout.splitlines() if line.startswith("step")]
        curves.append([float(line.split()[-1]) for line in lines])
        states.append(torch.load(out, weights_only=True))
    assert len(curves[0]) == 2
    assert curves[1] == pytest.approx(curves[0], rel=1e-4)
    one, two = states
    assert list(one) == list(two)
    assert all(one[name].shape == two[name].shape for name in one)
    assert torch.allclose(one["fc.weight"], two["fc.weight"], atol=1e-4)
