"""Larq Zoo's networks with random weights. Runs where TensorFlow and Larq are: see the Makefile."""

from __future__ import annotations

import os
import sys
from unittest.mock import MagicMock

os.environ["TF_USE_LEGACY_KERAS"] = "1"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tf_keras
from tf_keras.src.applications import imagenet_utils

# Larq Zoo was written for the Keras that TensorFlow 2 had; data sets are not needed here.
sys.modules["keras"] = tf_keras
sys.modules["keras.applications"] = tf_keras.applications
sys.modules["keras.applications.imagenet_utils"] = imagenet_utils
sys.modules["tensorflow_datasets"] = MagicMock()

import larq_zoo  # noqa: E402 - it finds its Keras by the names above

# By its name Keras takes the function for a class and calls it without arguments.
_xnornet = sys.modules["larq_zoo.literature.xnornet"]
_xnornet.XNORNetFactory.kernel_quantizer = staticmethod(_xnornet.xnor_weight_scale)


def use_float64() -> None:
    """Let networks that are built from now on compute in float64."""
    tf_keras.backend.set_floatx("float64")


def build(name: str, rng: np.random.Generator) -> tf_keras.Model:
    """Return a network with random weights and batch norms."""
    tf_keras.utils.set_random_seed(0)
    factory = getattr(larq_zoo.sota, name, None) or getattr(larq_zoo.literature, name)
    model = factory(weights=None)
    _randomize_norms(model, rng)
    return model


def logits_of(model: tf_keras.Model) -> tf_keras.Model:
    """Return the network without its softmax."""
    return tf_keras.Model(model.input, model.layers[-1].input)


def _randomize_norms(model: tf_keras.Model, rng: np.random.Generator) -> None:
    """Draw the parameters and statistics of each batch norm.

    The statistics are those of its input on random images, times random factors: with any other
    ones all signs of a deep network would soon be alike, and a comparison would show nothing.
    """
    images = rng.standard_normal((2, 224, 224, 3))
    norms = [x for x in model.layers if isinstance(x, tf_keras.layers.BatchNormalization)]
    for norm in norms:
        values = tf_keras.Model(model.input, norm.input).predict(images, verbose=0)
        axes = tuple(range(values.ndim - 1))
        channels = values.shape[-1]
        if norm.scale:
            norm.gamma.assign(rng.uniform(0.5, 1.5, channels))
        if norm.center:
            norm.beta.assign(rng.normal(0, 0.3, channels))
        spread = values.std(axes) + 1e-3
        norm.moving_mean.assign(values.mean(axes) + rng.normal(0, 0.2, channels) * spread)
        norm.moving_variance.assign(spread**2 * rng.uniform(0.5, 1.5, channels))
