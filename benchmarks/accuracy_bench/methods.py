"""What is compared: the settings that all share, and what each method adds to them.

A method for activations stands beside the same weights (XNOR-Net's, alpha detached), one for
weights beside the same activations (ApproxSign), unless its paper has both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "digits": {"model_args": {"width": 24}, "epochs": 40, "learning_rate": 1e-2},
    # The basic stem's strides make the 28x28 images 7x7, which costs a tenth.
    "mnist5k": {
        "model_args": {"width": 32, "stem_type": "basic"},
        "epochs": 24,
        "learning_rate": 1e-2,
    },
}

Stage = Mapping[str, Any] | None
"""A stage as a recipe writes it: ``{"name": ..., "args": {...}}``."""


@dataclass(frozen=True)
class Method:
    """One row of the table.

    Args:
        steps: The steps of its recipe; none for the float network.
        model_args: Arguments of the network beside the common ones.
        one_bit: Whether weights and activations have two values each.
    """

    steps: Sequence[Mapping[str, Any]] = ()
    model_args: Mapping[str, Any] = field(default_factory=dict)
    one_bit: bool = True

    @property
    def recipe(self) -> dict[str, Any] | None:
        """The recipe as plain data, None for the float network."""
        if not self.steps:
            return None
        return {f"step{index}": dict(step) for index, step in enumerate(self.steps)}

    @property
    def binarizers(self) -> list[str]:
        """The names of the classes of bnn.ops that its last step uses."""
        stages = ("pre_activation", "weight", "post_activation")
        last = self.steps[-1] if self.steps else {}
        return [last[key]["name"] for key in stages if key in last]


def _stage(name: str, **args: Any) -> dict[str, Any]:
    return {"name": name, "args": args} if args else {"name": name}


def _step(pre: Stage, weight: Stage, post: Stage = None, **more: Any) -> dict[str, Any]:
    """Return a step: first and last layer and stem stay float."""
    stages = {"pre_activation": pre, "weight": weight, "post_activation": post}
    return {
        **{key: stage for key, stage in stages.items() if stage is not None},
        "ignore_layer_names": ["_first_", "_last_"],
        "ignore_if_present": ["$downsample$", "$^stem_$"],
        **more,
    }


_STE = _stage("BasicInputBinarizer")
_APPROX = _stage("ApproxSignBinarizer")
_ALPHA = _stage("XNORWeightBinarizer", detach_alpha=True)
_SIGNS = _stage("XNORWeightBinarizer", compute_alpha=False)


def _one(pre: Stage, weight: Stage, post: Stage = None, **more: Any) -> tuple[dict[str, Any], ...]:
    return (_step(pre, weight, post, **more),)


METHODS: Mapping[str, Method] = {
    "float": Method(one_bit=False),
    # activations
    "ste": Method(_one(_STE, _ALPHA)),
    "tanh-ste": Method(_one(_stage("AdvancedInputBinarizer"), _ALPHA)),
    "approx-sign": Method(_one(_APPROX, _ALPHA)),
    "swish-sign": Method(_one(_stage("SwishSignBinarizer"), _ALPHA)),
    "fda": Method(_one(_stage("FDABinarizer"), _ALPHA)),
    "ede": Method(_one(_stage("EDEBinarizer"), _ALPHA)),
    "progressive-sign": Method(_one(_stage("ProgressiveSignBinarizer"), _ALPHA)),
    "heaviside": Method(_one(_stage("HeavisideInputBinarizer"), _ALPHA)),
    "rsign": Method(_one(_stage("RSignInputBinarizer"), _ALPHA)),
    # weights
    "plain-signs": Method(_one(_APPROX, _SIGNS)),
    "stochastic-weights": Method(_one(_APPROX, _stage("StochasticInputBinarizer"))),
    "lsq": Method(_one(_APPROX, _stage("LSQWeightBinarizer"))),
    "biper": Method(_one(_APPROX, _stage("BiPerWeightBinarizer"))),
    "ternary": Method(_one(_APPROX, _stage("TernaryWeightBinarizer")), one_bit=False),
    # both, as published
    "xnor-net": Method(_one(_STE, _stage("XNORWeightBinarizer", center_weights=True))),
    "xnor-net-k": Method(
        _one(
            _STE,
            _stage("XNORWeightBinarizer", center_weights=True),
            _stage("XNORScaleBinarizer"),
        )
    ),
    "xnor-net++": Method(_one(_STE, _SIGNS, _stage("XNORPlusPlusScaleBinarizer"))),
    "bi-real": Method(_one(_APPROX, _stage("MagnitudeAwareWeightBinarizer"))),
    "recu": Method(_one(_APPROX, _stage("ReCUWeightBinarizer"), _stage("BasicScaleBinarizer"))),
    "ir-net": Method(_one(_stage("EDEBinarizer"), _stage("IRNetWeightBinarizer"))),
    "adabin": Method(_one(_stage("AdaBinInputBinarizer"), _stage("AdaBinWeightBinarizer"))),
    "real-to-binary-gate": Method(_one(_STE, _SIGNS, _stage("RealToBinaryGateBinarizer"))),
    "dorefa-1w2a": Method(
        _one(_stage("DoReFaInputBinarizer", bits=2), _stage("DoReFaWeightBinarizer", bits=1)),
        one_bit=False,
    ),
    # more than binarizers
    "two-step": Method((_step(_STE, None), _step(_STE, _ALPHA))),
    "reactnet": Method(
        (_step(_stage("RSignInputBinarizer"), None), _step(_stage("RSignInputBinarizer"), _ALPHA)),
        model_args={"activation": "RPReLU"},
    ),
    "bop": Method(
        _one(
            _APPROX,
            _SIGNS,
            optimizer=[
                {"claims": "binary_weights", "name": "bop", "args": {"threshold": 1e-6}},
                {"claims": "rest", "name": "adam"},
            ],
        )
    ),
}
