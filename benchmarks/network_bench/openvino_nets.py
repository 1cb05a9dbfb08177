"""The float network in OpenVINO, in float32 and quantized to int8."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import sys
import warnings
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.kernel_bench.openvino_peer import UnfitError, configuration
from benchmarks.network_bench.competitors import Competitor

NNCF_INSTALL = 'pip install -e ".[bench]"'
CALIBRATION_IMAGES = 32


def nncf_version() -> str | None:
    """Return nncf's version, or None."""
    return version("nncf") if importlib.util.find_spec("nncf") else None


def convert(model: nn.Module, x: Tensor) -> Any:
    """Return OpenVINO's model of inputs of this shape."""
    import openvino as ov

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch.jit, by which it traces
        converted = ov.convert_model(model, example_input=x)
    converted.reshape(list(x.shape))
    return converted


def quantize(converted: Any, images: Tensor) -> Any:
    """Return the int8 model of a float one, calibrated with images, one batch at a time.

    Raises:
        UnfitError: If nncf is absent.
    """
    if nncf_version() is None:
        raise UnfitError("nncf is absent")
    import nncf

    nncf.set_log_level(logging.ERROR)
    batches = [part.numpy() for part in images.split(converted.inputs[0].shape[0])]
    # Its progress bars are no part of the result.
    with warnings.catch_warnings(), contextlib.redirect_stdout(sys.stderr):
        warnings.simplefilter("ignore")
        return nncf.quantize(converted, nncf.Dataset(batches), subset_size=len(batches))


def openvino(converted: Any, x: Tensor, threads: int, *, floats: bool) -> Competitor:
    """Return a compiled model.

    Args:
        converted: OpenVINO's model.
        x: What is timed.
        threads: How many.
        floats: Whether it must compute in float32. Where the CPU has bfloat16, OpenVINO would
            take that, twice as fast; whether it does with what int8 leaves is up to it.
    """
    import openvino as ov

    config = configuration(threads) | ({"INFERENCE_PRECISION_HINT": "f32"} if floats else {})
    request = ov.Core().compile_model(converted, "CPU", config).create_infer_request()
    given = request.get_input_tensor()

    def compute(images: Tensor) -> Tensor:
        given.data[:] = images.numpy()
        request.infer()
        return torch.tensor(request.get_output_tensor().data)

    compute(x)
    return Competitor(compute, lambda: request.infer(share_outputs=True))
