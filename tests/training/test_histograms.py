"""What LayerHistograms writes, read back from the event file."""

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from bnn import BConfig, prepare_binary_model
from bnn.ops import BasicInputBinarizer, XNORWeightBinarizer
from bnn.training import Classifier, LayerHistograms, binary_weight_signs, flip_rate
from bnn.training.quiet import quiet_lightning


def net(weight=XNORWeightBinarizer):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 6), nn.Linear(6, 6), nn.Linear(6, 3))
    config = BConfig(BasicInputBinarizer, weight_pre_process=weight)
    return prepare_binary_model(model, config, ignore_layers_name=["_first_", "_last_"])


def run(model, callback, logger, epochs=2, rate=0.2):
    images = torch.rand(12, 1, 2, 2)
    data = TensorDataset(images, torch.arange(12) % 3)
    held_out = TensorDataset(-1000 * images, torch.arange(12) % 3)
    with quiet_lightning():
        trainer = pl.Trainer(
            accelerator="cpu",
            max_epochs=epochs,
            logger=logger,
            callbacks=[callback],
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            log_every_n_steps=1,
        )
        trainer.fit(
            Classifier(model, num_classes=3, learning_rate=rate),
            DataLoader(data, batch_size=12),
            DataLoader(held_out, batch_size=6),
        )


def test_every_layer_and_epoch_is_written(tmp_path):
    model = net()
    with torch.no_grad():
        model[1].bias.fill_(50.0)  # what the binary layer sees in training is positive
        model[2].weight[0, 0] = 5.0
    start = binary_weight_signs(model)
    run(model, LayerHistograms(before=3), TensorBoardLogger(tmp_path, name="", version=""))
    board = EventAccumulator(str(tmp_path), size_guidance={"histograms": 0})
    board.Reload()
    assert [event.step for event in board.Histograms("latent/2")] == [4, 5]
    assert board.Histograms("latent/2")[-1].histogram_value.num == 36
    for tag in ("saturated/2", "flip_rate/2", "negative/2"):
        assert [event.step for event in board.Scalars(tag)] == [4, 5], tag
    assert board.Scalars("negative/2")[0].value == 0, "the held-out images would be negative"
    assert board.Scalars("saturated/2")[0].value > 0
    flipped = sum(event.value for event in board.Scalars("flip_rate/2"))
    assert flipped >= flip_rate(start, binary_weight_signs(model)) > 0
    assert not any(tag.endswith("/1") for tag in board.Tags()["scalars"]), "that layer is float"


@pytest.mark.parametrize(("clip", "clamp"), [(1.0, 1.0), (1.25, 1.5), (1.25, 0.75), (None, 0.5)])
def test_clamped_weights_are_saturated_at_the_clip_or_the_clamp(tmp_path, clip, clamp):
    model = net(weight=BasicInputBinarizer.with_args(clip=clip))
    at = min(clamp, clip or clamp)
    with torch.no_grad():
        model[2].weight.fill_(0.01)
        model[2].weight[0] = clamp  # where the clamp has put them: 6 of 36
        model[2].weight[1] = at
    histograms = LayerHistograms(clamp=clamp)
    run(model, histograms, TensorBoardLogger(tmp_path, name="", version=""), epochs=1, rate=1e-9)
    board = EventAccumulator(str(tmp_path)).Reload()
    assert board.Scalars("saturated/2")[0].value == pytest.approx(12 / 36)


def test_without_tensorboard_it_leaves_no_trace():
    model = net()
    run(model, LayerHistograms(), logger=False, epochs=1)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_no_hook_stays_after_an_interrupted_epoch():
    class Fails(nn.Module):
        def forward(self, x):
            if self.training:
                raise RuntimeError("broken")
            return x

    model = net()
    model.append(Fails())
    with pytest.raises(RuntimeError, match="broken"):
        run(model, LayerHistograms(), logger=False)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
