"""Small runs on digits that every test of training shares."""

import functools

import pytest
import torch

from bnn.training import TrainConfig

# The second step's weights are random: a resumed run is only the same if all draws are.
STOCHASTIC_RECIPE = """\
first:
  pre_activation: {name: BasicInputBinarizer}
  weight: {name: Identity}
  ignore_layer_names: [_first_, _last_]
  weight_decay: 1.0e-4
second:
  pre_activation: {name: BasicInputBinarizer}
  post_activation: {name: BasicScaleBinarizer}
  weight: {name: StochasticInputBinarizer}
  ignore_layer_names: [_first_, _last_]
"""


@pytest.fixture(autouse=True)
def _one_thread():
    """Threads that wait for each other on busy cores make tiny networks 10 times slower."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "stochastic.yaml"
    path.write_text(STOCHASTIC_RECIPE)
    return str(path)


@pytest.fixture
def tiny(tmp_path):
    """Return a function that makes the config of a tiny run in its own folder."""
    return functools.partial(
        TrainConfig,
        model_args={"width": 4},
        epochs=1,
        batch_size=128,
        out=str(tmp_path / "run"),
    )
