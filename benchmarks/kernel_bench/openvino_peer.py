"""OpenVINO's binary convolution, the fastest for x86 that we found.

Floats NCHW in and out: with NHWC around it, 2026.4.1 ends the process. FakeQuantize makes the bits;
OpenVINO fuses it into what feeds the convolution. It has no groups, and no scale here, so it does
less than ours. Run as a module, it prints the microseconds of one layer.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import numpy as np
import torch

from benchmarks.kernel_bench.layers import SIX, Problem
from benchmarks.kernel_bench.timing import interleave

INSTALL = 'pip install -e ".[bench]"'
PROBE = SIX[2]
LIMITS = {
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "ATEN_CPU_CAPABILITY": "avx2",
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",
}
"""What keeps OpenVINO and torch from AVX-512, if set before they are imported."""


def installed() -> str | None:
    """Return OpenVINO's version, or None."""
    return version("openvino") if importlib.util.find_spec("openvino") else None


class UnfitError(Exception):
    """OpenVINO has no such layer, or computes it wrongly."""


def openvino(problem: Problem, threads: int, pad_value: int = 0) -> Callable[[], object]:
    """Return the layer's inference, checked.

    Raises:
        UnfitError: If OpenVINO cannot take part.
    """
    layer = problem.layer
    if layer.groups > 1:
        raise UnfitError("no groups")
    request = _compile(problem, threads, pad_value).create_infer_request()
    request.get_input_tensor().data[:] = problem.x.numpy()
    request.infer()
    out = torch.from_numpy(request.get_output_tensor().data)
    if not torch.equal(out, problem.sums(pad_value)):
        raise UnfitError("wrong result")
    return lambda: request.infer(share_outputs=True)  # its default copies them


def _compile(problem: Problem, threads: int, pad_value: int) -> Any:
    import openvino as ov
    from openvino import opset8

    layer = problem.layer
    x = opset8.parameter(list(problem.x.shape), np.float32)
    zero, one = (opset8.constant(np.full((1, 1, 1, 1), v, np.float32)) for v in (0.0, 1.0))
    bits = opset8.fake_quantize(x, zero, zero, zero, one, 2)
    signs = (problem.signs.contiguous() > 0).flatten().to(torch.uint8).numpy()
    packed = np.packbits(signs, bitorder="little")
    weight = ov.op.Constant(ov.Tensor(packed, list(problem.weight.shape), ov.Type.u1))
    padding = [layer.padding] * 2
    y = opset8.binary_convolution(
        bits,
        weight,
        [layer.stride] * 2,
        padding,
        padding,
        [layer.dilation] * 2,
        "xnor-popcount",
        float(pad_value),
    )
    return ov.Core().compile_model(ov.Model([y], [x], "layer"), "CPU", configuration(threads))


def configuration(threads: int) -> dict[str, Any]:
    """Return OpenVINO's settings for the least time of one call."""
    return {
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": "1",
        "PERFORMANCE_HINT": "LATENCY",
    }


def probe() -> dict[str, float]:
    """Return the microseconds of one layer in fresh processes, with and without LIMITS."""
    free = {name: value for name, value in os.environ.items() if name not in LIMITS}
    environments = {"limited_us": {**free, **LIMITS}, "free_us": free}
    command = [sys.executable, "-m", "benchmarks.kernel_bench.openvino_peer"]
    return {
        name: float(
            subprocess.run(  # noqa: S603 - our own code
                command, env=environment, capture_output=True, check=True
            ).stdout
        )
        for name, environment in environments.items()
    }


if __name__ == "__main__":
    run = openvino(Problem(PROBE), threads=1)
    print(interleave({"probe": run}, seconds=0.3)["probe"].minimum_us)
