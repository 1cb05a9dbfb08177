"""Build a Larq Zoo network with random weights; write its .h5, images, and logits.

Runs where TensorFlow and Larq are: see the Makefile's larq-parity. Everything is in float64, so
that no sign next to 0 is rounded one way there and the other way here.

    python -m benchmarks.larq_parity.export QuickNet OUT_FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from benchmarks.larq_parity.networks import build, logits_of, use_float64

IMAGES = 4


def main(name: str, folder: Path) -> None:
    """Write ``<name>.h5`` and ``<name>.npz``."""
    use_float64()
    rng = np.random.default_rng(0)
    model = build(name, rng)
    images = rng.standard_normal((IMAGES, 224, 224, 3))
    logits = logits_of(model).predict(images, verbose=0)
    folder.mkdir(parents=True, exist_ok=True)
    model.save_weights(folder / f"{name}.h5")
    np.savez(folder / f"{name}.npz", images=images, logits=logits)
    print(name, model.count_params(), logits.shape, logits.dtype)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
