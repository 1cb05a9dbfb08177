"""The stages of every method of the accuracy benchmark, for the memory of its training steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from benchmarks.accuracy_bench.methods import METHODS
from bnn import BConfig, Identity
from bnn.config import Binarizer
from bnn.ops import binarizers


def method_configs() -> dict[str, BConfig]:
    """Return the stages of each method's last step; of several with the same, the first."""
    found: dict[str, BConfig] = {}
    for name, method in METHODS.items():
        if method.steps:
            config = _config(method.steps[-1])
            if config not in found.values():
                found[name] = config
    return found


def _config(step: Mapping[str, Any]) -> BConfig:
    def stage(key: str, default: Binarizer) -> Binarizer:
        given = step.get(key)
        if given is None:
            return default
        return binarizers[given["name"]].with_args(**given.get("args", {}))

    return BConfig(
        stage("pre_activation", nn.Identity),
        stage("post_activation", Identity),
        stage("weight", nn.Identity),
    )
