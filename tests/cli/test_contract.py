"""What every verb keeps to, checked the moment that a verb is registered."""

import re

import pytest
import typer.main

import bnn.cli
from bnn.cli import app


def _walk(command, path=()):
    yield path, command
    for name, child in getattr(command, "commands", {}).items():
        yield from _walk(child, (*path, name))


COMMANDS = dict(_walk(typer.main.get_command(app)))


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_help_explains_itself_on_eighty_columns(bnn, path):
    ran = bnn(*path, "--help")
    assert ran.code == 0
    assert ran.stderr == ""
    assert ran.stdout.startswith("Usage: ")
    assert max(map(len, ran.stdout.splitlines())) <= 80
    examples = ran.stdout.partition("Examples:\n")[2]
    assert re.match(r"    bnn ", examples)


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_examples_name_real_verbs_and_options(bnn, path):
    examples = bnn(*path, "--help").stdout.partition("Examples:\n")[2]
    for line in examples.replace("\\\n", " ").splitlines():
        words = re.split(r"#|\||2?>", line)[0].split()
        if not words:
            continue
        assert words[0] == "bnn"
        verb = tuple(words[1:2])
        assert verb in COMMANDS
        known = {option for p in COMMANDS[verb].params for option in p.opts} | {"--help"}
        used = {word for word in words if word.startswith("-")}
        assert used <= known


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_option_has_a_help_text(path):
    for parameter in COMMANDS[path].params:
        if parameter.name != "help":
            assert parameter.help, parameter.name
            assert parameter.help.endswith("."), parameter.name


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_unknown_option_is_wrong_usage(fails, path):
    message = fails(*path, "--no-such-option", code=2)
    assert "--no-such-option" in message
    assert "--help" in message


def test_every_verb_module_registers_a_command():
    modules = {command.callback.__module__ for path, command in COMMANDS.items() if path}
    assert modules == {module.__name__ for module in bnn.cli.VERBS}


def test_unknown_verb_names_the_closest(fails):
    assert "recipes" in fails("recipe", code=2)


def test_no_verb_shows_the_help(bnn):
    ran = bnn()
    assert ran.code == 2
    assert "Commands:" in ran.stdout


def test_version(bnn):
    ran = bnn("--version")
    assert ran.code == 0
    assert re.fullmatch(r"bnn \d+\.\d+.*\n", ran.stdout)
