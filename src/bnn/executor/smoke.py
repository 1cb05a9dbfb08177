"""The small variant of a recipe: the same steps and losses, a few epochs each."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from bnn.executor.keys import SMOKE, STAGES, STEP_KEYS
from bnn.executor.schema import Place, known_keys, mapping

DEFAULT_EPOCHS = 1


def check_smoke(value: Any, place: Place, steps: Iterable[str]) -> dict[str, Any]:
    """Return the ``smoke`` part of a recipe, checked but for the steps' own keys.

    Raises:
        RecipeError: If it has a key that is neither one of ``smoke`` nor a step's name, or looks
            like a step of that name.
    """
    if isinstance(value, dict) and set(value) & {*STAGES}:
        raise place.error("is the small variant of the recipe. Give the step another name.")
    names = [name for name in steps if name not in SMOKE]
    given = known_keys(value, place, [*SMOKE, *names])
    own: dict[str, Any] = mapping(SMOKE)({k: v for k, v in given.items() if k in SMOKE}, place)
    for name in names:
        if given.get(name) is not None:
            own[name] = known_keys(given[name], place.at(name), STEP_KEYS)
    return own


def shrink(content: dict[str, Any], smoke: dict[str, Any], steps: Iterable[str]) -> dict[str, Any]:
    """Return the content of a recipe, which was checked, with the small variant's values in it.

    Example:
        >>> content = {"first": {"epochs": 200, "schedule": {"name": "cosine", "warmup_epochs": 5}}}
        >>> shrink(content, {"epochs": 2}, ["first"])
        {'first': {'epochs': 2, 'schedule': {'name': 'cosine', 'warmup_epochs': 0.05}}}
    """
    epochs = smoke.get("epochs", DEFAULT_EPOCHS)
    everywhere = {"epochs": epochs}
    everywhere |= {key: smoke[key] for key in ("batch_size", "learning_rate") if key in smoke}
    shrunk = dict(content)
    if "model" in smoke:
        shrunk["model"] = smoke["model"]
    for name in steps:
        before, own = content[name], smoke.get(name, {})
        step = {**before, **everywhere}
        schedule, teacher = before.get("schedule") or {}, before.get("teacher") or {}
        if before.get("epochs") and schedule.get("warmup_epochs"):
            share = float(schedule["warmup_epochs"]) / float(before["epochs"])
            step["schedule"] = {**schedule, "warmup_epochs": share * epochs}
        if "model" in teacher:
            step["teacher"] = {**teacher, "epochs": epochs}
        shrunk[name] = {**step, **own}
    return shrunk
