"""Weights that were trained with Larq, for the networks of Larq Zoo."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from bnn.errors import CheckpointError, ConfigError
from bnn.interop.keras_file import KerasLayer, read
from bnn.interop.matching import complain, put
from bnn.layers import BinaryLayer
from bnn.models.blur_pool import BlurPool2d
from bnn.models.meliusnet import MeliusNet
from bnn.models.real_to_binary import RealToBinaryNet

Network = TypeVar("Network", bound=nn.Module)

#: Larq Zoo's name of each network that can be loaded -> its name in ``bnn.models``.
NETWORKS: Mapping[str, str] = {
    "QuickNetSmall": "quicknet_small",
    "QuickNet": "quicknet",
    "QuickNetLarge": "quicknet_large",
    "BinaryAlexNet": "binary_alexnet",
    "XNORNet": "xnornet",
    "DoReFaNet": "dorefanet",
    "BiRealNet": "birealnet18",
    "BinaryResNetE18": "binary_resnet_e18",
    "RealToBinaryNet": "real_to_binary_net",
    "MeliusNet22": "meliusnet22",
    "BinaryDenseNet28": "binary_densenet28",
    "BinaryDenseNet37": "binary_densenet37",
    "BinaryDenseNet37Dilated": "binary_densenet37_dilated",
    "BinaryDenseNet45": "binary_densenet45",
}


def load(model: Network, path: str | Path) -> Network:
    """Load a file of Keras weights (.h5) of a Larq Zoo network into the same network here.

    Kernels are turned from HWIO to OIHW, dense ones transposed, and the first dense layer's inputs
    reordered from Keras's (H, W, C) to (C, H, W). TensorFlow is not needed, h5py is.

    Real-to-Binary's and MeliusNet's layers are found by name. Keras has numbered those of the other
    networks: they are matched in the order in which they were made, kind by kind.

    Args:
        model: Made by ``bnn.models.create(name, padding="tf")``: TensorFlow lays windows of stride
            2 otherwise than PyTorch. Its weights are changed in place.
        path: What Keras 2's ``save_weights`` or ``save`` wrote.

    Returns:
        The model.

    Raises:
        ConfigError: If the model was not made with ``padding="tf"``.
        CheckpointError: If the file cannot be read, layers are missing or left over, or shapes
            differ; then the model is as it was.
        MissingExtraError: If h5py is not installed.
    """
    if getattr(model, "padding", None) != "tf":
        raise ConfigError(
            f"the {type(model).__name__} pads as PyTorch does, the weights were trained with "
            "TensorFlow's. Make the network with bnn.models.create(name, padding='tf')."
        )
    found = read(path)
    named = _NAMED.get(type(model))
    names = named(model, found) if named else _numbered(model, found, path)
    layers = {layer.name: layer for layer in found}
    wanted = [name for several in names.values() for name in several]
    complain(path, missing=set(wanted) - set(layers), unexpected=set(layers) - set(wanted))
    state = model.state_dict()
    new: dict[str, Tensor] = {}
    for place, several in names.items():
        module = model.get_submodule(place)
        for key, value in _converted(model, module, [layers[name] for name in several]):
            put(new, state, f"{place}.{key}", value, f"{path}: {several[0]}")
    left = [k for k in state if k not in new and not k.endswith("num_batches_tracked")]
    complain(path, missing=left, unexpected=())
    model.load_state_dict({**state, **new})
    return model


# --- values -----------------------------------------------------------------------------------


_NORM = {
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}


def _converted(
    model: nn.Module, module: nn.Module, layers: Sequence[KerasLayer]
) -> Iterator[tuple[str, Tensor]]:
    """Yield the module's tensors; several layers are the groups of one convolution."""
    for name in layers[0].weights:
        values = [layer.weights[name] for layer in layers]
        if isinstance(module, _BatchNorm) and name in _NORM:
            yield _NORM[name], values[0]
        elif isinstance(module, nn.PReLU) and name == "alpha":
            yield "weight", values[0].flatten()
        elif isinstance(module, BlurPool2d) and name == "depthwise_kernel":
            yield "kernel", values[0].permute(2, 3, 0, 1)
        elif name == "depthwise_kernel":
            yield "weight", values[0].permute(2, 3, 0, 1)
        elif name == "kernel" and isinstance(module, nn.Linear):
            yield "weight", _dense(model, module, values[0].flatten(0, -2))
        elif name == "kernel":
            yield "weight", torch.cat(values, -1).permute(3, 2, 0, 1)
        elif name == "bias":
            yield "bias", values[0]
        else:
            raise CheckpointError(
                f"{layers[0].name} has {name!r}, which a {type(module).__name__} does not."
            )


def _dense(model: nn.Module, module: nn.Linear, kernel: Tensor) -> Tensor:
    """Return the weight of a kernel of shape (in, out)."""
    flattened: tuple[int, int, int] | None = getattr(model, "flattened", None)
    first = next((m for m in model.modules() if isinstance(m, nn.Linear)), None)
    if flattened is not None and module is first and len(kernel) == module.in_features:
        channels, height, width = flattened
        kernel = kernel.view(height, width, channels, -1).permute(2, 0, 1, 3).flatten(0, 2)
    return kernel.t()


# --- names ------------------------------------------------------------------------------------


Names = dict[str, tuple[str, ...]]  # of a module here: those of the Keras layers that it holds


def _numbered(model: nn.Module, found: Sequence[KerasLayer], path: str | Path) -> Names:
    """Match layers that Keras has numbered, kind by kind, in the order in which they were made."""
    groups: dict[str, list[KerasLayer]] = {}
    for layer in sorted(found, key=lambda layer: layer.number):
        groups.setdefault(layer.base, []).append(layer)
    wanted: dict[str, list[str]] = {}
    for place, module in model.named_modules():
        kind = _kind(module, groups)
        if kind is not None:
            wanted.setdefault(kind, []).append(place)
    names: Names = {}
    for kind in sorted({*wanted, *groups}):
        places, layers = wanted.get(kind, []), groups.get(kind, [])
        if len(places) != len(layers):
            complain(
                path,
                missing=[f"{kind} for {place}" for place in places[len(layers) :]],
                unexpected=[layer.name for layer in layers[len(places) :]],
            )
        names.update({p: (layer.name,) for p, layer in zip(places, layers, strict=True)})
    return names


def _kind(module: nn.Module, groups: Mapping[str, object]) -> str | None:
    """Return how Larq's networks name a layer's kind; QuickNet's float layers are "quant" too."""
    binary = isinstance(module, BinaryLayer)
    if isinstance(module, _BatchNorm):
        return "batch_normalization"
    if isinstance(module, BlurPool2d):
        return "depthwise_conv2d"
    if isinstance(module, nn.Conv2d):
        if module.groups > 1 and module.groups == module.in_channels:
            return "quant_depthwise_conv2d"
        return "quant_conv2d" if binary or "conv2d" not in groups else "conv2d"
    if isinstance(module, nn.Linear):
        if "dense" not in groups and "quant_dense" not in groups:
            return "quant_conv2d"  # of 1x1, on what is flat
        return "quant_dense" if binary or "dense" not in groups else "dense"
    return None


def _of_real_to_binary(model: nn.Module, found: Sequence[KerasLayer]) -> Names:
    """Return ``<network>_block_<n><a or b>_<layer>``."""
    first = next((x.name for x in found if x.name.endswith("_block_1_conv2d")), "r2b_bnn_block_1_")
    prefix = first[: first.rindex("block_1_")]
    names: Names = {
        "stem.0": (f"{prefix}block_1_conv2d",),
        "stem.1": (f"{prefix}block_1_batch_norm",),
        "stem.2": (f"{prefix}block_1_prelu",),
    }
    parts = {
        "conv": "conv2d",
        "bn": "batch_norm",
        "act": "prelu",
        "conv.activation_post_process.reduce": "scaling_dense_reduce",
        "conv.activation_post_process.expand": "scaling_dense_expand",
        "downsample.1": "shortcut_conv2d",
        "downsample.2": "shortcut_batch_norm",
    }
    places = [
        f"stages.{i}.{j}"
        for i, stage in enumerate(model.get_submodule("stages").children())
        for j, _ in enumerate(stage.children())
    ]
    for i, place in enumerate(places):
        block = f"{prefix}block_{2 + i // 2}{'ab'[i % 2]}"
        for part, keras in parts.items():
            if _has(model, f"{place}.{part}"):
                names[f"{place}.{part}"] = (f"{block}_{keras}",)
    names["fc"] = (f"{prefix}block_{2 + len(places) // 2}_logits",)
    return names


def _has(model: nn.Module, place: str) -> bool:
    try:
        model.get_submodule(place)
    except AttributeError:
        return False
    return True


def _of_meliusnet(model: nn.Module, found: Sequence[KerasLayer]) -> Names:  # noqa: ARG001
    """Return ``stem_...``, ``section_<i>_block_<j>_<dense or improve>_...`` and ``head_...``."""
    names: Names = {
        "stem.0": ("stem_s0_conv",),
        "stem.1": ("stem_s0_bn",),
        "stem.3": tuple(f"stem_s1_groupconv_conv{i}" for i in range(4)),
        "stem.4": ("stem_s1_bn",),
        "stem.6": tuple(f"stem_s2_groupconv_conv{i}" for i in range(8)),
        "stem.7": ("stem_s2_bn",),
        "head.0": ("head_bn",),
        "head.4": ("head_dense",),
    }
    stages = model.get_submodule("stages")
    for i, stage in enumerate(stages.children()):
        for j, block in enumerate(stage.children()):
            place = f"stages.{i}.{j}"
            if isinstance(block, nn.Sequential):  # the transition
                last = len(block) - 1
                names[f"{place}.0"] = (f"section_{i}_transition_bn",)
                names[f"{place}.{last}"] = (f"section_{i}_transition_pw",)
            else:
                for kind in ("dense", "improve"):
                    keras = f"section_{i}_block_{j}_{kind}"
                    names[f"{place}.{kind}.bn"] = (f"{keras}_bn",)
                    names[f"{place}.{kind}.conv"] = (f"{keras}_binconv",)
    return names


_NAMED: dict[type[nn.Module], Callable[[nn.Module, Sequence[KerasLayer]], Names]] = {
    RealToBinaryNet: _of_real_to_binary,
    MeliusNet: _of_meliusnet,
}
