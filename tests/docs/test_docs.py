"""The pages under docs/: their code runs, their commands exist, their site builds."""

import contextlib
import doctest
import importlib.util
import inspect
import io
import os
import pkgutil
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
import typer.main

from bnn.cli import app
from bnn.ops import binarizers
from bnn.training import DATASETS

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs").rglob("*.md"))
FENCE = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE

# What a shell line may begin with, beside `bnn`; torchrun and srun start another one.
COMMANDS = {"python", "pip", "mkdocs", "tensorboard", "torchrun", "srun"}


@dataclass(frozen=True)
class Block:
    """One fenced block: its language, the rest of the fence, and where its code begins."""

    language: str
    attributes: str
    code: str
    line: int

    @property
    def runs(self):
        return self.language == "python" and 'title="needs ' not in self.attributes

    @property
    def is_output(self):
        return self.language == "text" and 'title="prints"' in self.attributes


def blocks(page):
    text = page.read_text(encoding="utf-8")
    return [Block(*m.groups(), text[: m.start(3)].count("\n")) for m in FENCE.finditer(text)]


def named(pages):
    return pytest.mark.parametrize(
        "page", pages, ids=lambda page: str(page.relative_to(ROOT / "docs").with_suffix(""))
    )


@pytest.fixture
def clean_slate(tmp_path, monkeypatch):
    """Run in an empty folder, on one core; undo what a page registers."""
    monkeypatch.chdir(tmp_path)
    for registry in (binarizers, DATASETS):
        monkeypatch.setattr(registry, "_items", dict(registry._items))
    monkeypatch.setenv("COLUMNS", "100")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@named([page for page in PAGES if any(block.runs for block in blocks(page))])
@pytest.mark.usefixtures("clean_slate")
def test_code_runs_and_prints_what_the_page_says(page):
    namespace = {"__name__": "__main__"}
    printed = ""
    for block in blocks(page):
        if block.runs:
            out = io.StringIO()
            padded = "\n" * block.line + block.code  # a traceback shows the line of the page
            with contextlib.redirect_stdout(out):
                exec(compile(padded, str(page), "exec"), namespace)
            printed = out.getvalue()
        elif block.is_output:
            assert doctest.OutputChecker().check_output(block.code, printed, FLAGS), (
                f"{page}:{block.line} shows\n{block.code}\nbut the block above prints\n{printed}"
            )


@named([page for page in PAGES if any(b.language == "python" for b in blocks(page))])
def test_blocks_that_do_not_run_say_why(page):
    for block in blocks(page):
        if block.language == "python" and not block.runs:
            assert re.search(r'title="needs \w[\w ]+"', block.attributes), block


@named([page for page in PAGES if any(b.language == "bash" for b in blocks(page))])
def test_shell_commands_exist(page):
    for block in blocks(page):
        if block.language == "bash":
            for line in block.code.splitlines():
                check_command(shlex.split(line, comments=True))


def check_command(words):
    if not words:
        return
    first = words[0]
    assert first == "bnn" or first in COMMANDS, words
    for script in [word for word in words if word.endswith(".py")]:
        assert (ROOT / script).is_file(), script
    if first in {"torchrun", "srun"} and "bnn" in words:
        check_command(words[words.index("bnn") :])
    elif first == "bnn":
        check_verb(words[1:])


def check_verb(words):
    command = typer.main.get_command(app)
    while hasattr(command, "commands") and words and not words[0].startswith("-"):
        name, *words = words
        if name in command.commands:
            command = command.commands[name]
        else:
            raise AssertionError(f"bnn has no verb {name}")
    known = {option for parameter in command.params for option in parameter.opts}
    for word in words:
        if word.startswith("-"):
            assert word.partition("=")[0] in known, f"{command.name} has no option {word}"


@named(PAGES)
def test_docstrings_shown_have_no_table_of_rst(page):
    for name in re.findall(r"^::: (bnn[\w.]*)", page.read_text(encoding="utf-8"), re.MULTILINE):
        text = inspect.getdoc(pkgutil.resolve_name(name)) or ""
        assert not re.search(r"^\s*={4,}", text, re.MULTILINE), name


@named(PAGES)
def test_links_lead_somewhere(page):
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    for target in LINK.findall(text):
        if not target.startswith(("http://", "https://", "#")):
            assert (page.parent / target.partition("#")[0]).is_file(), target


def test_every_page_is_in_the_navigation():
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    for page in PAGES:
        if page.parent.name != "decisions":  # docs/tables.py lists those
            assert str(page.relative_to(ROOT / "docs")) in navigation


@pytest.mark.parametrize("name", [name for name in binarizers if binarizers[name].stage == "value"])
def test_binarizer_is_plotted(name):
    picture = ROOT / "docs" / "assets" / "binarizers" / f"{name}.svg"
    assert picture.is_file(), "run: python docs/plots.py"


def test_site_builds(tmp_path):
    for package in ("mkdocs", "material", "mkdocstrings"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed: pip install 'bnn-torch[docs]'")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=80,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    pages = list((tmp_path / "site").rglob("*.html"))
    assert len(pages) > len(PAGES)
    for page in pages:
        html = page.read_text(encoding="utf-8")
        assert ":math:" not in html, page
        loaded = re.findall(r'<(?:script|link)[^>]+(?:src|href)="(https?://[^"]+)"', html)
        assert not loaded, f"{page} loads from the network: {loaded}"
