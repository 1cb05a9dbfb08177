"""Migrating from Larq: the page has every name, and its two sides compute the same logits."""

import contextlib
import io
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from bnn.interop import larq
from bnn.models import MODELS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "how-to" / "migrate-from-larq.md").read_text(encoding="utf-8")
# Written by benchmarks/larq_parity/guide.py, which runs the page's Larq side.
SAVED = ROOT / "tests" / "data" / "larq_guide"

# What larq 0.14, larq-zoo 2.3.2 and larq-compute-engine 0.16 export.
NAMES = [
    "QuantConv1D",
    "QuantConv2D",
    "QuantConv2DTranspose",
    "QuantConv3D",
    "QuantConv3DTranspose",
    "QuantDense",
    "QuantDepthwiseConv2D",
    "QuantLocallyConnected1D",
    "QuantLocallyConnected2D",
    "QuantSeparableConv1D",
    "QuantSeparableConv2D",
    "QuantizerBase",
    "QuantizerBaseConv",
    "QuantizerDepthwiseBase",
    "QuantizerSeparableBase",
    "ApproxSign",
    "DoReFa",
    "DoReFaQuantizer",
    "MagnitudeAwareSign",
    "NoOp",
    "NoOpQuantizer",
    "Quantizer",
    "SteHeaviside",
    "SteSign",
    "SteTern",
    "SwishSign",
    "WeightClip",
    "weight_clip",
    "Bop",
    "CaseOptimizer",
    "FlipRatio",
    "HyperparameterScheduler",
    "metrics_scope",
    "quantized_scope",
    "get_training_metrics",
    "should_quantize",
    "models.summary",
    "heaviside",
    "sign",
    "memory_as_readable_str",
    "patch_object",
    "register_alias",
    "register_keras_custom_object",
    "set_precision",
    "hard_tanh",
    "leaky_tanh",
    "decode_predictions",
    "preprocess_input",
    "convert_keras_model",
    "convert_saved_model",
    "lce.tflite",
    "lce.testing",
]


@pytest.mark.parametrize("name", [*NAMES, *larq.NETWORKS])
def test_every_name_has_a_row(name):
    rows = [line.split("|")[1] for line in PAGE.splitlines() if line.startswith("| ")]
    code = re.findall(r"`([^`]+)`", " ".join(rows))
    assert any(re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text) for text in code), name


def test_networks_stand_beside_ours():
    for theirs, ours in larq.NETWORKS.items():
        (row,) = [
            line
            for line in PAGE.splitlines()
            if line.startswith("| ") and re.search(rf"[`.]{theirs}`", line.split("|")[1])
        ]
        left, right = row.split("|")[1:3]
        their = [name.rsplit(".", 1)[-1] for name in re.findall(r"`([^`]+)`", left)]
        our = [re.search(r'"(\w+)"', name)[1] for name in re.findall(r"`([^`]+)`", right)]
        assert our[their.index(theirs)] == ours
        assert ours in MODELS


def blocks(title):
    found = re.findall(r"^```python([^\n]*)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    return [code for attributes, code in found if attributes.strip() == title]


def test_weights_of_larqs_side_give_its_logits(tmp_path, monkeypatch):
    shutil.copytree(SAVED, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    namespace = {}
    (loading,) = blocks('title="needs those files"')
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(blocks("")[0], namespace)
        exec(loading, namespace)
    assert printed.getvalue().endswith("tensor(True)\n")
    logits, expected = namespace["logits"], torch.from_numpy(np.load("logits.npy"))
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-3)
    labels = namespace["labels"][1500:]
    assert (logits.argmax(1) == labels).float().mean() > 0.9


def test_larqs_side_is_code():
    for block in blocks('title="needs Larq"'):
        compile(block, "migrate-from-larq.md", "exec")
    assert len(blocks('title="needs Larq"')) == 2
