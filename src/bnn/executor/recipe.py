"""Recipes: YAML -> checked dataclasses. Names are looked up, nothing in a file is executed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from bnn.config import BConfig
from bnn.errors import RecipeError
from bnn.executor.keys import STEP, STEP_KEYS, TOP
from bnn.executor.schema import Place, known_keys, mapping, plain
from bnn.executor.smoke import check_smoke, shrink
from bnn.executor.stages import Catalog, UserModules, catalog, read_stages
from bnn.executor.yaml_file import parse_yaml
from bnn.registry import did_you_mean
from bnn.values import cut, shown

Plain = Mapping[str, Any]
"""Checked content of a file: text, numbers, lists and mappings."""


@dataclass(frozen=True)
class RecipeStep:
    """One conversion and, where the file says so, how long and how to train after it.

    What is None or empty was left out of the file. The mappings have the keys that
    :mod:`bnn.executor.keys` lists; :func:`bnn.training.fit` looks up the names in them.

    Args:
        name: The step's key in the file.
        bconfig: The stages that its layers get.
        ignore_layer_names: Names and patterns of layers left as they are; each must match.
        only_binary: Convert only layers that are binary when the network is made.
        ignore_if_present: The same, but one that matches no layer is passed over: for a recipe
            that is not written for one network, for example ``$downsample$``.
        epochs: Epochs to train.
        learning_rate: Initial learning rate.
        weight_decay: Weight decay.
        initialise_from: ``step`` or ``checkpoint`` whose weights it begins with; None for those
            of the step before.
        batch_size: Samples for each device and optimizer step.
        optimizer: Cases that share the parameters.
        schedule: How the learning rate falls.
        losses: Terms of the sum that is trained.
        teacher: ``step``, ``checkpoint``, ``torchvision`` or ``model`` that losses compare with.
        clip_gradients: Bound of the gradient's norm.
        clamp_latent: Bound of the latent weights.
        ema: Decay of the average of the weights that the step leaves.
        reestimate_batch_norm: Batches from which the norms' statistics are taken at its end.
    """

    name: str
    bconfig: BConfig
    only_binary: bool = False
    ignore_layer_names: tuple[str, ...] = ()
    ignore_if_present: tuple[str, ...] = ()
    epochs: int | None = None
    learning_rate: float | None = None
    weight_decay: float | None = None
    initialise_from: Plain | None = None
    batch_size: int | None = None
    optimizer: tuple[Plain, ...] = ()
    schedule: Plain | None = None
    losses: tuple[Plain, ...] = ()
    teacher: Plain | None = None
    clip_gradients: float | None = None
    clamp_latent: float | None = None
    ema: float | None = None
    reestimate_batch_norm: int | None = None


@dataclass(frozen=True)
class Recipe:
    """Steps in the order of the file.

    Args:
        name: What the file says, else the file's name without its ending, else ``"recipe"``.
        steps: At least one.
        description: One line, or empty.
        reference: Address of the paper, or empty.
        source: The mapping it was read from, plain data: :func:`load_recipe` takes it again.
        data: The data set for which epochs, batch sizes and network are given, or empty.
        model: ``name``, ``args`` and ``elsewhere`` of the network that it is made for, or None.
        enlarge_to: Pixels to which images of a smaller side are enlarged, or None.
        file: What messages call it.
        folder: Where the file lies, to which paths in it are relative.
    """

    name: str
    steps: tuple[RecipeStep, ...]
    description: str
    reference: str
    source: Plain
    data: str = ""
    model: Plain | None = None
    enlarge_to: int | None = None
    file: str = "recipe"
    folder: Path = Path()

    def as_dict(self) -> dict[str, Any]:
        """Return the recipe as plain data, fit for JSON or a checkpoint."""
        return {"name": self.name, **self.source}

    @property
    def needs_binary(self) -> bool:
        """Whether it is for networks that are binary when they are made."""
        return any(step.only_binary for step in self.steps)

    def index(self, step: str) -> int:
        """Return the place of the step of this name, which must be there."""
        return [known.name for known in self.steps].index(step)

    def line(self, index: int) -> tuple[int, ...]:
        """Return the steps whose conversions a network has after step ``index``, in order.

        They are all before it, unless one of them begins with the network of an earlier step.

        Raises:
            RecipeError: If there is no such step.

        Example:
            >>> content = {"a": {}, "b": {}, "c": {"initialise_from": {"step": "a"}}}
            >>> [load_recipe(content).line(index) for index in range(3)]
            [(0,), (0, 1), (0, 2)]
        """
        if not 0 <= index < len(self.steps):
            raise RecipeError(
                f"{self.name}: there is no step {index}; it has {len(self.steps)}, counted from 0."
            )
        source = self.steps[index].initialise_from or {}
        before = self.index(source["step"]) if "step" in source else index - 1
        return (*(self.line(before) if before >= 0 else ()), index)


def packaged_recipes() -> dict[str, str]:
    """Return the text of each recipe that comes with the package, by name.

    Example:
        >>> "xnor-net" in packaged_recipes()
        True
    """
    files = resources.files("bnn").joinpath("recipes").iterdir()
    found = {
        Path(file.name).stem: file.read_text("utf-8")
        for file in files
        if file.name.endswith(".yaml")
    }
    return dict(sorted(found.items()))


def load_recipe(
    config: str | Path | Mapping[str, Any],
    user_modules: UserModules = (),
    *,
    smoke: bool = False,
) -> Recipe:
    """Read and check a whole recipe.

    Names of optimizers, schedules, losses and networks are checked where training begins.

    Args:
        config: A path, the name of a packaged recipe, or a mapping with a file's content.
        user_modules: Classes that the recipe names beside the package's own: an iterable (their
            class names count), or a mapping name -> class.
        smoke: Take the recipe's small variant: all steps, a few epochs each.

    Raises:
        RecipeError: If it is not found or malformed; the message names file, step and key, and
            what is allowed.

    Example:
        >>> load_recipe("xnor-net").steps[0].ignore_layer_names
        ('_first_', '_last_')
        >>> load_recipe({"step0": {"Weight": {"name": "XNORWeightBinarizer"}}})
        Traceback (most recent call last):
        bnn.errors.RecipeError: recipe: step0: unknown key 'Weight'. Did you mean 'weight'? \
Allowed: pre_activation, post_activation, weight, ...
    """
    name, file, folder, content = _read(config)
    place, known = Place(file), catalog(user_modules)
    content = plain(content, place)
    names = [key for key in content if key not in TOP and key != "smoke"]
    small = check_smoke(content.pop("smoke", None), place.at("smoke"), names)
    steps = tuple(_step(key, content[key], place.at(key), known) for key in names)
    if not steps:
        raise place.error("no step. Give at least one, for example step0.")
    if smoke:
        content = shrink(content, small, names)
        steps = tuple(_step(key, content[key], place.at(key), known) for key in names)
    top = mapping(TOP)({key: content[key] for key in TOP if key in content}, place)
    _check_references(steps, place)
    return Recipe(
        top.get("name", name),
        steps,
        top.get("description", ""),
        top.get("reference", ""),
        source=content,
        data=top.get("data", ""),
        model=top.get("model"),
        enlarge_to=top.get("enlarge_to"),
        file=file,
        folder=folder,
    )


def _step(name: str, content: Any, place: Place, known: Catalog) -> RecipeStep:
    if not isinstance(content, dict):
        raise place.error(f"a step must be a mapping, got {shown(content)}.")
    content = known_keys(content, place, STEP_KEYS)
    settings = mapping(STEP)({key: content[key] for key in STEP if key in content}, place)
    return RecipeStep(name, read_stages(content, place, known), **settings)


def _check_references(steps: tuple[RecipeStep, ...], place: Place) -> None:
    """Refuse a step that refers to one that is not before it."""
    for index, step in enumerate(steps):
        earlier = [known.name for known in steps[:index]]
        for key in ("initialise_from", "teacher"):
            wanted = (getattr(step, key) or {}).get("step")
            if wanted is not None and wanted not in earlier:
                raise (
                    place.at(step.name)
                    .at(key)
                    .at("step")
                    .error(
                        f"no earlier step {shown(wanted)}.{did_you_mean(wanted, earlier)} "
                        f"Earlier steps: {', '.join(map(cut, earlier)) or 'none'}."
                    )
                )


def _read(config: str | Path | Mapping[str, Any]) -> tuple[str, str, Path, Any]:
    """Return the recipe's name, what messages call it, its folder, and its unchecked content."""
    if isinstance(config, Mapping):
        return "recipe", "recipe", Path(), dict(config)
    if not isinstance(config, (str, Path)):
        raise RecipeError(
            f"a recipe is a path, a packaged name or a mapping; got a {type(config).__name__}."
        )
    packaged = packaged_recipes()
    if str(config) in packaged:
        file = f"{config}.yaml"
        return str(config), file, Path(), parse_yaml(packaged[str(config)], file)
    path = Path(config)
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise RecipeError(recipe_not_found(config)) from error
    except OSError as error:
        raise RecipeError(
            f"cannot read the recipe {str(config)!r}: {error.strerror or error}."
        ) from error
    return path.stem, path.name, path.parent, parse_yaml(data, path.name)


def recipe_not_found(wanted: str | Path) -> str:
    """Say that there is no such recipe, or no such file if the words are those of a file.

    Example:
        >>> recipe_not_found("two-stp").partition(" Packaged")[0]
        "there is no recipe 'two-stp'. Did you mean 'two-step'?"
        >>> recipe_not_found("mine/two-step.yaml").partition(" Packaged")[0]
        "there is no file mine/two-step.yaml. The package has one of this name: use 'two-step'."
    """
    packaged, path = packaged_recipes(), Path(wanted)
    near = (
        f" The package has one of this name: use {path.stem!r}."
        if path.stem in packaged
        else did_you_mean(path.stem, packaged)
    )
    is_file = path.suffix in (".yaml", ".yml") or path.name != str(wanted)
    what = f"file {wanted}" if is_file else f"recipe {str(wanted)!r}"
    end = "" if is_file else " Or give a YAML file."
    return f"there is no {what}.{near} Packaged recipes: {', '.join(packaged)}.{end}"
