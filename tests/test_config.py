"""BConfig: what it takes, what it refuses, and that it compares and pickles."""

import copy
import pickle

import pytest
import torch
from torch import nn

import bnn.ops
from bnn import BConfig, Identity
from bnn.errors import ConfigError
from bnn.ops import BasicInputBinarizer, BasicScaleBinarizer, BinarizerBase, XNORWeightBinarizer


class Holder(BinarizerBase):
    def __init__(self, value):
        super().__init__()


CONFIG = BConfig(
    activation_pre_process=BasicInputBinarizer,
    activation_post_process=BasicScaleBinarizer.with_args(shape=[1, 3, 1, 1]),
    weight_pre_process=XNORWeightBinarizer.with_args(center_weights=True),
)


def test_pickles_and_copies_equal():
    assert pickle.loads(pickle.dumps(CONFIG)) == CONFIG
    assert copy.deepcopy(CONFIG) == CONFIG


def test_compares_by_what_it_builds():
    center = XNORWeightBinarizer.with_args(center_weights=True)
    assert BConfig(weight_pre_process=center) == BConfig(
        weight_pre_process=XNORWeightBinarizer.with_args(center_weights=True)
    )
    assert BConfig(weight_pre_process=center) != BConfig(weight_pre_process=XNORWeightBinarizer)
    assert BConfig() == BConfig(nn.Identity, nn.Identity, nn.Identity)
    assert len({BConfig(), BConfig(), CONFIG}) == 2


def test_compares_lists_with_tuples_and_tensors_by_value():
    assert BasicScaleBinarizer.with_args(shape=[1, 3]) == BasicScaleBinarizer.with_args(
        shape=(1, 3)
    )
    ones, twos = torch.ones(3), torch.full((3,), 2.0)
    assert Holder.with_args(value=ones) == Holder.with_args(value=ones.clone())
    assert Holder.with_args(value=ones) != Holder.with_args(value=twos)
    assert Holder.with_args(value={"a": [ones]}) == Holder.with_args(value={"a": (ones.clone(),)})
    assert Holder.with_args(value=ones.numpy()) != Holder.with_args(value=twos.numpy())
    assert Holder.with_args(value=1) != Holder


def test_is_frozen():
    with pytest.raises(AttributeError):
        CONFIG.weight_pre_process = nn.Identity


@pytest.mark.parametrize(
    "stage", ["activation_pre_process", "activation_post_process", "weight_pre_process"]
)
def test_refuses_instances_and_what_is_no_factory(stage):
    with pytest.raises(
        ConfigError, match=rf"BConfig.{stage} got an instance of XNORWeightBinarizer"
    ):
        BConfig(**{stage: XNORWeightBinarizer()})
    with pytest.raises(ConfigError, match=rf"BConfig.{stage} got 'XNOR'"):
        BConfig(**{stage: "XNOR"})
    with pytest.raises(ConfigError, match=f"BConfig.{stage} got <built-in method sign.*a class of"):
        BConfig(**{stage: torch.sign})


def test_identity_takes_further_arguments():
    x = torch.ones(2)
    assert Identity()(x) is x
    assert Identity(4, a=3)(x, torch.zeros(2)) is x
    assert isinstance(Identity(), nn.Identity)
    assert bnn.ops.Identity is Identity


def test_with_args_chains_and_the_later_value_wins():
    factory = XNORWeightBinarizer.with_args(center_weights=True).with_args(compute_alpha=False)
    assert factory == XNORWeightBinarizer.with_args(compute_alpha=False, center_weights=True)
    built = factory(center_weights=False)
    assert (built.compute_alpha, built.center_weights) == (False, False)
    assert (
        repr(factory) == "XNORWeightBinarizer.with_args(center_weights=True, compute_alpha=False)"
    )


def test_with_args_names_a_misspelt_argument():
    with pytest.raises(ConfigError, match=r"'centre_weights'.*'center_weights'.*Allowed: compute_"):
        XNORWeightBinarizer.with_args(centre_weights=True)
