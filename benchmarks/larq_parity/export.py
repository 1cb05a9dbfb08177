"""Build a Larq Zoo network with random weights; write its .h5, images, and logits.

Runs where TensorFlow and Larq are: see the Makefile's larq-parity. Everything is in float64, so
that no sign next to 0 is rounded one way there and the other way here.

    python benchmarks/larq_parity/export.py QuickNet OUT_FOLDER
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
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

IMAGES = 4


def main(name: str, folder: Path) -> None:
    """Write ``<name>.h5`` and ``<name>.npz``."""
    tf_keras.backend.set_floatx("float64")
    tf_keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    build = getattr(larq_zoo.sota, name, None) or getattr(larq_zoo.literature, name)
    model = build(weights=None)
    randomize_norms(model, rng)
    images = rng.standard_normal((IMAGES, 224, 224, 3))
    before_softmax = tf_keras.Model(model.input, model.layers[-1].input)
    logits = before_softmax.predict(images, verbose=0)
    folder.mkdir(parents=True, exist_ok=True)
    model.save_weights(folder / f"{name}.h5")
    np.savez(folder / f"{name}.npz", images=images, logits=logits)
    print(name, model.count_params(), logits.shape, logits.dtype)


def randomize_norms(model: tf_keras.Model, rng: np.random.Generator) -> None:
    """Draw the parameters and statistics of each batch norm.

    The statistics are those of its input on random images, times random factors: with any other
    ones all signs of a deep network would soon be alike, and the comparison would show nothing.
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


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
