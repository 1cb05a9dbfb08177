"""Every key of a recipe, with what it may hold and what it means: the format's specification.

The reader and the table in docs/how-to/write-a-recipe.md both follow from these tables. Names of
optimizers, schedules and losses are looked up where training begins, since ``bnn.executor`` knows
nothing of :mod:`bnn.training`.
"""

from __future__ import annotations

from bnn.executor.schema import (
    Key,
    Keys,
    arguments,
    flag,
    listing,
    mapping,
    names,
    number,
    one_of,
    path,
    text,
    whole,
)

_positive = number(0, above=True)
_not_negative = number(0)

CASE: Keys = {
    "claims": Key(
        text,
        "which parameters: `binary_weights` (latent weights), `float_weights` (of the layers that "
        "stay float), `layer_weights` (both), `rest` (what no other case claims). Left out: `rest`",
    ),
    "name": Key(text, "an optimizer", required=True),
    "args": Key(arguments, "its further arguments"),
    "learning_rate": Key(_positive, "its own. Left out: the step's"),
    "weight_decay": Key(_not_negative, "its own. Left out: the step's"),
}

SCHEDULE: Keys = {
    "name": Key(text, "how the learning rate falls", required=True),
    "warmup_epochs": Key(
        _not_negative,
        "epochs in which it first rises from 0. They shrink and grow with the step's epochs, if a "
        "run has another number of them",
    ),
    "args": Key(arguments, "its further arguments"),
}

LOSS: Keys = {
    "name": Key(text, "a loss", required=True),
    "weight": Key(_positive, "what it is multiplied by in the sum. Left out: 1"),
    "args": Key(arguments, "its arguments"),
}

_NETWORK: Keys = {
    "name": Key(text, "a network", required=True),
    "args": Key(arguments, "its arguments, as `--model-arg` takes them"),
}

_ELSEWHERE = Key(mapping(_NETWORK), "`name` and `args` for other data than the recipe's `data`")

MODEL: Keys = {**_NETWORK, "elsewhere": _ELSEWHERE}

TEACHER: dict[str, Keys] = {
    "step": {"step": Key(text, "the network as that earlier step left it")},
    "checkpoint": {"checkpoint": Key(path, "path of a checkpoint, or of a run's folder")},
    "torchvision": {
        "torchvision": Key(text, "a network of torchvision"),
        "weights": Key(path, "a file with its state dict, or the name of torchvision's weights"),
    },
    "model": {
        "model": Key(text, "a float network that is trained first, on the same data"),
        "args": _NETWORK["args"],
        "elsewhere": _ELSEWHERE,
        "epochs": Key(whole(1), "how long it is trained"),
        "learning_rate": Key(_positive, "with Adam. Left out: the data set's"),
    },
}

SOURCE: dict[str, Keys] = {
    "step": {"step": Key(text, "the network as that earlier step left it")},
    "checkpoint": {"checkpoint": Key(path, "path of a checkpoint, or of a run's folder")},
}

CONVERSION: Keys = {
    "only_binary": Key(
        flag,
        "`true`: of the layers, only those that are binary when the network is made, as in the "
        "published networks of `bnn models`; the others stay float",
    ),
    "ignore_layer_names": Key(
        names, "layers that this step leaves as they are: [names](keep-layers-float.md)"
    ),
    "ignore_if_present": Key(
        names,
        "the same, for names that not every network has: one that matches no layer is passed over",
    ),
}

TRAINING: Keys = {
    "initialise_from": Key(
        one_of(SOURCE), "where the weights come from. Left out: the step before"
    ),
    "epochs": Key(whole(1), "Left out: the data set's, shared among the steps"),
    "batch_size": Key(whole(1), "samples per device and optimizer step. Left out: the data set's"),
    "learning_rate": Key(_positive, "at the start. Left out: the data set's"),
    "weight_decay": Key(_not_negative, "on the weights of layers. Left out: 0"),
    "optimizer": Key(
        listing(mapping(CASE), single=True),
        "one optimizer, or a list of cases that share the parameters. Left out: Adam",
    ),
    "schedule": Key(mapping(SCHEDULE), "of the learning rate. Left out: cosine"),
    "losses": Key(listing(mapping(LOSS)), "their weighted sum is trained. Left out: cross entropy"),
    "teacher": Key(one_of(TEACHER), "the network that losses compare with"),
    "clip_gradients": Key(_positive, "bound of the gradient's norm, over all parameters"),
    "clamp_latent": Key(_positive, "bound of the latent weights after each optimizer step"),
    "ema": Key(
        number(0, above=True, below=1),
        "decay of an average of the weights, with which the step is measured and which it leaves",
    ),
    "reestimate_batch_norm": Key(
        whole(1), "batches from which the norms' statistics are taken anew at the step's end"
    ),
}

STEP: Keys = {**CONVERSION, **TRAINING}

STAGES: dict[str, str] = {
    "pre_activation": "activation_pre_process",
    "post_activation": "activation_post_process",
    "weight": "weight_pre_process",
}
"""A step's key -> the field of :class:`bnn.BConfig` that it fills."""

STEP_KEYS = (*STAGES, *STEP)

TOP: Keys = {
    "name": Key(text, "Left out: the file's"),
    "description": Key(text, "one line for listings"),
    "reference": Key(text, "address of the paper"),
    "data": Key(
        text,
        "the data set for which epochs, batch sizes and network are given. On another one, its own "
        "epochs are shared among the steps in the same proportion, its own batch size counts",
    ),
    "model": Key(mapping(MODEL), "the network that `bnn train` takes where none is named"),
    "enlarge_to": Key(
        whole(1),
        "images whose shorter side has fewer pixels are enlarged to so many, for a network that "
        "halves them often",
    ),
}

SMOKE: Keys = {
    "model": Key(mapping(MODEL), "instead of the recipe's"),
    "epochs": Key(whole(1), "of every step, and of a teacher that is trained first"),
    "batch_size": Key(whole(1), "of every step"),
    "learning_rate": Key(_positive, "of every step"),
}
"""Beside them, ``smoke`` takes the name of a step: the keys there replace those of the step."""
