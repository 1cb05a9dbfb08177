"""Recipes: the steps that binarize a model, as data, and the engine that runs them."""

from bnn.executor.engine import BinaryChef
from bnn.executor.recipe import Recipe, RecipeStep, load_recipe, packaged_recipes

__all__ = ["BinaryChef", "Recipe", "RecipeStep", "load_recipe", "packaged_recipes"]
