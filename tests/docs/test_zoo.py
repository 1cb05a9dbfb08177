"""The page of the zoo: every published network, with the figures of the registry to the digit."""

import importlib.util
import re
from pathlib import Path

import pytest

from bnn.executor import load_recipe, packaged_recipes
from bnn.models import MODELS

DOCS = Path(__file__).parents[2] / "docs"
PUBLISHED = [name for name in MODELS if MODELS[name].figures]


def hook(name):
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def page():
    return hook("published").on_page_markdown((DOCS / "zoo.md").read_text(encoding="utf-8"))


def rows(text, first):
    """Return the table whose first column has this name, as a list of mappings."""
    lines = text[text.index(f"| {first} |") :].splitlines()
    head = [cell.strip() for cell in lines[0].strip("|").split("|")]
    found = []
    for line in lines[2:]:
        if not line.startswith("|"):
            break
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        assert len(cells) == len(head), line
        found.append(dict(zip(head, cells, strict=True)))
    return found


def test_nothing_is_left_to_fill_in(page):
    assert "<!--" not in page


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_row_says_what_the_registry_says(page, name):
    entry = MODELS[name]
    (row,) = [row for row in rows(page, "Name") if row["Name"] == f"`{name}`"]
    assert int(row["Parameters"].replace(",", "")) == entry.figures.params
    assert int(row["Bytes"].replace(",", "")) == entry.figures.bytes
    macs = {
        int(head.split("-")[0]): int(cell.replace(",", ""))
        for head, cell in row.items()
        if head.endswith("-bit MACs") and cell
    }
    assert macs == entry.figures.macs
    assert float(row["Top-1"]) == entry.published.top1
    assert (float(row["Top-5"]) if row["Top-5"] else None) == entry.published.top5
    assert row["Of"] == entry.published.data
    assert row["Paper"].endswith(f"({entry.paper})")


def test_no_other_rows(page):
    assert [row["Name"] for row in rows(page, "Name")] == [f"`{name}`" for name in PUBLISHED]


def test_accuracies_are_said_to_be_published(page):
    assert re.search(r"\*\*published by others, not\s+measured here\*\*", page)


def test_each_network_has_one_way_to_prepare_images(page):
    named = [name for row in rows(page, "Size") for name in re.findall(r"\w+", row["Networks"])]
    assert sorted(named) == PUBLISHED
    for row in rows(page, "Size"):
        for name in re.findall(r"\w+", row["Networks"]):
            wanted = MODELS[name].preprocessing
            assert row["Size"] == "x".join(map(str, wanted.size))
            assert float(row["Crop"]) == wanted.crop
            assert row["Interpolation"].split(",")[0] == wanted.interpolation
            assert ("antialias" in row["Interpolation"]) == wanted.antialias
            for head, values in (("Mean", wanted.mean), ("Std", wanted.std)):
                assert tuple(map(float, row[head].split(", "))) == values


def test_each_recipe_of_the_zoo_has_a_row(page):
    wanted = [name for name in packaged_recipes() if load_recipe(name).needs_binary]
    found = {row["Recipe"].strip("`"): row for row in rows(page, "Recipe")}
    assert list(found) == wanted
    for name, row in found.items():
        recipe = load_recipe(name)
        assert f"`{recipe.model['name']}`" in row["Networks"]
        for step in recipe.steps:
            assert f"{step.name}: {step.epochs} epochs of {step.batch_size} images" in row["Steps"]


def test_the_other_table_of_networks_has_the_rest():
    text = hook("tables").on_page_markdown(
        (DOCS / "reference" / "registries.md").read_text(encoding="utf-8")
    )
    models = text[text.index("## Models") : text.index("## Recipes")]
    named = set(re.findall(r"^\| `(\w+)` \|", models, re.MULTILINE))
    assert {name for name in MODELS if not MODELS[name].figures} == named & set(MODELS)
