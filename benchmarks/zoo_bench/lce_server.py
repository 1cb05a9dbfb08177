"""Larq Compute Engine as a process of its own, since it needs TensorFlow: see lce_peer.py.

    python -m benchmarks.zoo_bench.lce_server convert NETWORK FILE.tflite
    python -m benchmarks.zoo_bench.lce_server serve FILE.tflite THREADS XNNPACK

``convert`` makes Larq Zoo's network with random weights, converts it, and checks that the
interpreter computes it. ``serve`` answers each line on its input, a number of seconds, with the
seconds of each of the calls that fit into it, as JSON.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

SHAPE = (1, 224, 224, 3)
IMAGES = 8
ALIKE = 1e-3  # of the logits' spread
SHARE = 0.25  # of the images; of the others a sign, of a float next to 0, may fall another way


def interpreter(model: bytes, threads: int, xnnpack: bool) -> Any:
    """Return the engine's own interpreter, without what its Python class adds to each call."""
    from larq_compute_engine.tflite.python.interpreter import Interpreter

    made = Interpreter(model, threads, use_indirect_bgemm=True, use_xnnpack=xnnpack)
    return made.interpreter


def convert(name: str, file: Path) -> None:
    """Write the converted network, and print how far its logits are from Keras's."""
    from benchmarks.larq_parity.networks import build, logits_of

    import larq_compute_engine  # isort: skip - it finds its Keras where the line above put it

    rng = np.random.default_rng(0)
    model = logits_of(build(name, rng))
    converted = larq_compute_engine.convert_keras_model(model)
    images = rng.standard_normal((IMAGES, *SHAPE[1:])).astype(np.float32)
    expected = model.predict(images, verbose=0)
    for xnnpack in (False, True):
        run = interpreter(converted, 1, xnnpack)
        found = np.concatenate([run.predict([image[None]])[0] for image in images])
        spread = np.linalg.norm(expected - expected.mean(0)) / IMAGES**0.5
        apart = np.linalg.norm(found - expected, axis=1) / spread
        distance = float(np.quantile(apart, SHARE, method="higher"))
        if not distance <= ALIKE:
            sys.exit(f"{name}: its logits are {distance:.3g} of their spread away from Keras's")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(converted)
    print(json.dumps({"bytes": len(converted), "distance": distance}))


def serve(file: Path, threads: int, xnnpack: bool) -> None:
    """Time calls on demand."""
    run = interpreter(file.read_bytes(), threads, xnnpack)
    given = [np.random.default_rng(1).standard_normal(SHAPE).astype(np.float32)]
    run.predict(given)
    print("ready", flush=True)
    for line in sys.stdin:
        run.predict(given)  # the others' data were in the caches
        print(json.dumps(_slice(run, given, float(line))), flush=True)


def _slice(run: Any, given: list[np.ndarray], seconds: float) -> list[float]:
    times: list[float] = []
    end = time.perf_counter() + seconds
    while not times or time.perf_counter() < end:
        start = time.perf_counter()
        run.predict(given)
        times.append(time.perf_counter() - start)
    return times


if __name__ == "__main__":
    if sys.argv[1] == "convert":
        convert(sys.argv[2], Path(sys.argv[3]))
    else:
        serve(Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4] == "True")
