"""``bnn recipes``: the recipes that come with the package."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from bnn.cli import terminal
from bnn.cli.app import app, examples

if TYPE_CHECKING:
    from bnn.executor import Recipe

recipes_app = typer.Typer(
    invoke_without_command=True,
    epilog=examples(
        "bnn recipes",
        "bnn recipes show two-step",
        "bnn recipes show two-step > mine.yaml   # a start for your own",
        "bnn train --recipe mine.yaml",
    ),
)
app.add_typer(recipes_app, name="recipes")


@recipes_app.callback()
def recipes(
    context: typer.Context,
    json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """List the packaged recipes: the steps that make a network binary, and how each is trained."""
    if context.invoked_subcommand is not None:
        return
    from bnn.executor import load_recipe, packaged_recipes

    found = [load_recipe(name) for name in packaged_recipes()]
    if json:
        terminal.result_json(
            [
                {
                    "name": recipe.name,
                    "steps": len(recipe.steps),
                    "step_names": [step.name for step in recipe.steps],
                    "epochs": [step.epochs for step in recipe.steps],
                    "optimizers": _optimizers(recipe),
                    "losses": _losses(recipe),
                    "teacher": any(step.teacher is not None for step in recipe.steps),
                    "data": recipe.data or None,
                    "description": recipe.description,
                    "reference": recipe.reference,
                }
                for recipe in found
            ]
        )
        return
    terminal.result_rich(
        terminal.columns(
            [(recipe.name, _count(len(recipe.steps)), _described(recipe)) for recipe in found]
        )
    )


@recipes_app.command(
    epilog=examples("bnn recipes show xnor-net", "bnn recipes show xnor-net > mine.yaml")
)
def show(
    name: Annotated[str, typer.Argument(help="A name that `bnn recipes` lists.")],
) -> None:
    """Print the YAML of one packaged recipe, exactly."""
    import sys

    from bnn.cli.choices import unknown
    from bnn.executor import packaged_recipes

    texts = packaged_recipes()
    if name not in texts:
        raise typer.BadParameter(unknown("recipe", name, texts), param_hint="NAME")
    sys.stdout.write(texts[name])


def _count(steps: int) -> str:
    return f"{steps} step" if steps == 1 else f"{steps} steps"


def _described(recipe: Recipe) -> str:
    parts = [", ".join(_optimizers(recipe)), ", ".join(_losses(recipe))]
    return f"{recipe.description} ({'; '.join(parts)})"


def _optimizers(recipe: Recipe) -> list[str]:
    """Return the optimizers of all steps, each once; a step that names none has Adam."""
    given = [case["name"] for step in recipe.steps for case in step.optimizer or [{"name": "adam"}]]
    return list(dict.fromkeys(given))


def _losses(recipe: Recipe) -> list[str]:
    """Return the losses of all steps, each once; a step that names none has cross entropy."""
    default = [{"name": "cross_entropy"}]
    given = [loss["name"] for step in recipe.steps for loss in step.losses or default]
    return list(dict.fromkeys(given))
