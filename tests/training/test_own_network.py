"""Networks, binarizers and Trainers of the caller's own."""

import lightning.pytorch as pl
import pytest
import torch
from torch import nn

from bnn import BinaryChef
from bnn.errors import CheckpointError, ConfigError, RecipeError
from bnn.layers import BinaryLayer
from bnn.ops import BinarizerBase, SignActivation
from bnn.training import Classifier, TrainConfig, evaluate, fit, load_checkpoint

RECIPE = """
step0:
  pre_activation: {name: Halved, args: {by: 2.0}}
  weight: {name: XNORWeightBinarizer}
  ignore_layer_names: [_first_, _last_]
"""


class Halved(BinarizerBase):
    def __init__(self, by=1.0):
        super().__init__()
        self.by = by

    def forward(self, x):
        return SignActivation.apply(x / self.by)


def network():
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Flatten(),
        *(nn.Linear(64, 32), nn.BatchNorm1d(32)),
        *(nn.Linear(32, 32), nn.BatchNorm1d(32), nn.PReLU()),
        nn.Linear(32, 10),
    )


@pytest.fixture
def config(tmp_path):
    (tmp_path / "mine.yaml").write_text(RECIPE)
    return TrainConfig(recipe=str(tmp_path / "mine.yaml"), epochs=2, out=str(tmp_path / "run"))


def test_trains_resumes_loads_and_evaluates(config):
    own = {"user_modules": [Halved]}
    model = network()
    result = fit(config, model=model, progress=False, **own)
    assert isinstance(model[3], BinaryLayer)
    loaded = load_checkpoint(config.out, model=network(), **own)
    x = torch.randn(3, 1, 8, 8)
    assert torch.equal(loaded.model(x), model.eval()(x))
    measured = evaluate(result.checkpoint, model=network(), **own)
    assert measured.accuracy == pytest.approx(result.test_accuracy)
    again = fit(config, model=network(), resume=True, progress=False, **own)
    assert again.test_accuracy == result.test_accuracy


def test_what_is_missing_is_named(config):
    with pytest.raises(RecipeError, match="Halved.*Pass classes of your own as user_modules"):
        fit(config, model=network(), progress=False)
    fit(config, model=network(), user_modules=[Halved], progress=False)
    with pytest.raises(
        CheckpointError, match=r"load_checkpoint\(path, model=...\) with a float one"
    ):
        load_checkpoint(config.out, user_modules=[Halved])
    other = nn.Sequential(*(nn.Linear(2, 2) for _ in range(3)))
    with pytest.raises(CheckpointError, match=r"run/final\.ckpt"):
        load_checkpoint(config.out, model=other, user_modules=[Halved])


def test_a_recipe_that_does_not_fit_leaves_no_run_behind(tmp_path):
    recipe = tmp_path / "bad.yaml"
    recipe.write_text("one: {}\ntwo: {ignore_layer_names: [$nothing$]}")
    config = TrainConfig(recipe=str(recipe), epochs=1, out=str(tmp_path / "run"))
    with pytest.raises(RecipeError, match="bad: two: ignore_layers_name has"):
        fit(config, progress=False)
    assert not (tmp_path / "run").exists()


def test_an_accelerator_that_is_none_leaves_no_run_behind(tmp_path):
    config = TrainConfig(accelerator="abacus", epochs=1, out=str(tmp_path / "run"))
    with pytest.raises(ConfigError, match="abacus"):
        fit(config, progress=False)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (nn.Sequential(nn.Flatten(), nn.Linear(64, 4)), r"gives \(2, 4\).*expected \(2, 10\)"),
        (nn.Linear(3, 10), r"does not take the images of digits, \(2, 1, 8, 8\)"),
    ],
)
def test_a_network_that_does_not_fit_the_data_leaves_no_run_behind(tmp_path, model, message):
    with pytest.raises(ConfigError, match=message):
        fit(TrainConfig(epochs=1, out=str(tmp_path / "run")), model=model, progress=False)
    assert not (tmp_path / "run").exists()


def test_an_auxiliary_head_adds_to_the_loss_only(tmp_path):
    config = TrainConfig(
        model="bats_cifar",
        model_args={"C": 12, "layers": 2, "auxiliary": True},
        epochs=1,
        batch_size=512,
        out=str(tmp_path / "run"),
    )
    assert 0 <= fit(config, progress=False).test_accuracy <= 1


def test_the_checks_do_not_change_the_network(tmp_path):
    model = network()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    config = TrainConfig(recipe="xnor-net", epochs=1, out=str(tmp_path))
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ConfigError, match="already holds a run"):
        fit(config, model=model, progress=False)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(isinstance(module, BinaryLayer) for module in model.modules())


@pytest.mark.filterwarnings("ignore:.*does not have many workers")
@pytest.mark.filterwarnings("ignore:.*`isinstance.treespec, LeafSpec.` is deprecated")
def test_classifier_in_a_trainer_of_ones_own(tmp_path):
    model = BinaryChef("two-step").next(network())
    data = torch.utils.data.TensorDataset(torch.randn(64, 1, 8, 8), torch.randint(10, (64,)))
    loader = torch.utils.data.DataLoader(data, batch_size=32)
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=1,
    )
    before = model[3].weight.detach().clone()
    trainer.fit(Classifier(model, num_classes=10, learning_rate=0.1), loader, loader)
    assert not torch.equal(model[3].weight, before)
    assert {"train_loss", "test_accuracy"} <= set(trainer.callback_metrics)
