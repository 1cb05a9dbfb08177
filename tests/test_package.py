"""The package as a whole: its names, its imports, its native part."""

import ast
import importlib
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import bnn

LAZY = ("lightning", "torchmetrics", "matplotlib", "rich", "typer", "sklearn", "torchvision")


def test_every_public_name_exists_and_is_documented():
    for name in bnn.__all__:
        item = getattr(bnn, name)
        if callable(item):
            assert item.__doc__, name


def test_lazy_names_are_all_public_names_and_type_checkers_see_the_same():
    assert {*bnn._HOME, "__version__"} == set(bnn.__all__) <= set(dir(bnn))
    tree = ast.parse(Path(bnn.__file__).read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {alias.name: node.module for node in block.body for alias in node.names}
    assert seen == {**bnn._HOME, **dict.fromkeys(bnn._MODULES, "bnn")}
    assert not {*bnn._MODULES} & {*bnn.__all__}
    with pytest.raises(AttributeError, match="has no attribute 'prepare'"):
        bnn.prepare  # noqa: B018


@pytest.mark.parametrize("name", ["models.create", "training.fit", "interop.larq.load"])
def test_modules_are_imported_when_they_are_first_used(name):
    code = (
        f"import sys, bnn; assert 'torch' not in sys.modules; assert callable(bnn.{name})\n"
        "for m in bnn._MODULES: assert getattr(bnn, m) is sys.modules['bnn.' + m]\n"
        "print([n for n in bnn.__all__ if type(getattr(bnn, n)).__name__ == 'module'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_modules_of_the_reference_are_reached():
    pages = (Path(__file__).parents[1] / "docs/reference").glob("*.md")
    found = {m for page in pages for m in re.findall(r"^::: bnn\.(\w+)\.", page.read_text(), re.M)}
    assert found <= {*bnn._MODULES, *bnn.__all__}


def test_help_does_not_wait_for_torch():
    code = "import sys, bnn.cli; bnn.cli.main(['--help']); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


@pytest.mark.parametrize("module", ["bnn.ops", "bnn.layers", "bnn.models", "bnn.executor"])
def test_all_lists_what_there_is(module):
    package = importlib.import_module(module)
    for name in package.__all__:
        assert hasattr(package, name)


def test_older_import_paths():
    names = {
        "bnn.engine": "BinaryChef",
        "bnn.layers": "Linear Conv1d Conv2d Conv3d",
        "bnn.ops": "BasicInputBinarizer BasicScaleBinarizer XNORWeightBinarizer SignActivation",
        "bnn.models.resnet": "resnet18 resnet34 resnet50 BasicBlock Bottleneck PreBasicBlock "
        "PreBottleneck HBlock BasicStem DaBNNStem",
    }
    for path, known in names.items():
        module = importlib.import_module(path)
        for name in known.split():
            assert hasattr(module, name), f"{path}.{name}"


def test_every_module_has_a_docstring():
    for module in pkgutil.walk_packages(bnn.__path__, "bnn."):
        if module.name != "bnn._native":
            assert importlib.import_module(module.name).__doc__, module.name


def test_import_loads_nothing_heavy_and_works_without_the_native_part():
    code = (
        "import sys; sys.modules['bnn._native'] = None\n"
        "import bnn, bnn.models\n"
        "from bnn import *\n"
        f"print([m for m in {LAZY} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_native_part_has_the_packages_version():
    native = importlib.import_module("bnn._native")
    assert native.version() == bnn.__version__


FLOORS = [  # each imports from those before it only
    {"errors"},
    {"patterns", "values"},
    {"registry"},
    {"config", "select"},
    {"ops"},
    {"layers"},
    {"convert", "inspect", "packed"},
    {"executor", "models"},
    {"training", "engine", "interop"},
    {"cli"},
]


def test_imports_point_one_way():
    floor = {name: i for i, names in enumerate(FLOORS) for name in names}
    root = Path(bnn.__file__).parent
    for path in root.rglob("*.py"):
        place = path.relative_to(root).with_suffix("").parts[0]
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("bnn."):
                target = node.module.split(".")[1]
                below = place == "__init__" or floor[target] < floor[place]
                assert place == target or below, f"{path} imports {node.module}"
