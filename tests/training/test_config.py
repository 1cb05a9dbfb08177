import json

import pytest

from bnn.errors import ConfigError
from bnn.training import TrainConfig


def test_round_trip_through_json():
    config = TrainConfig(model_args={"width": 8, "layers": [1, 1]}, recipe="two-step", epochs=3)
    assert TrainConfig.from_dict(json.loads(json.dumps(config.as_dict()))) == config


def test_model_args_become_what_json_gives_back():
    given = {"layers": (1, 1, 1)}
    config = TrainConfig(model_args=given)
    assert config.model_args == {"layers": [1, 1, 1]}
    assert given == {"layers": (1, 1, 1)}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("model", ""),
        ("model", None),
        ("data", 3),
        ("recipe", ""),
        ("recipe", {"step0": {}}),
        ("data_dir", 5),
        ("epochs", 0),
        ("epochs", 1.5),
        ("epochs", True),
        ("batch_size", -1),
        ("seed", -1),
        ("seed", None),
        ("num_workers", -1),
        ("num_nodes", 0),
        ("devices", 0),
        ("devices", "two"),
        ("learning_rate", 0),
        ("learning_rate", float("nan")),
        ("learning_rate", "fast"),
        ("weight_decay", -1e-3),
        ("weight_decay", float("inf")),
        ("clamp_latent", 0.0),
        ("clamp_latent", True),
        ("schedule", "stair"),
        ("precision", "16-true"),
        ("precision", None),
        ("sync_batch_norm", "yes"),
        ("model_args", ["width"]),
        ("model_args", {1: 2}),
        ("model_args", {"width": object()}),
        ("model_args", {"width": float("nan")}),
    ],
)
def test_a_bad_value_names_the_setting(name, value):
    with pytest.raises(ConfigError, match=name) as info:
        TrainConfig(**{name: value})
    assert "\n" not in str(info.value)


def test_unknown_key_is_refused():
    with pytest.raises(ConfigError, match="Did you mean 'batch_size'"):
        TrainConfig.from_dict({"batchsize": 3})
