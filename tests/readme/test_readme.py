"""Every Python block of the README runs; every command it shows exists."""

import json
import re
import shlex
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("block", blocks("python"))
def test_python_blocks_run_alone(block, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(compile(block, "README.md", "exec"), {})
    assert capsys.readouterr().out.count("Total") == block.count("summary(")


def test_links_lead_somewhere():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        if not target.startswith("https://"):
            assert (ROOT / target).exists(), target


def test_commands_exist():
    typer_main = pytest.importorskip("typer.main")
    from bnn.cli.app import app

    verbs = set(typer_main.get_command(app).commands)
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for line in "".join(blocks("sh")).splitlines():
        command, verb, *_ = shlex.split(line, comments=True)
        assert verb in {"bnn": verbs, "make": targets}[command], line


def test_accuracies_are_those_of_the_results():
    rows = json.loads((ROOT / "benchmarks/results/accuracy.json").read_text())["rows"]
    header = re.search(r"^\| images \|(.*)\|$", README, re.MULTILINE)[1]
    networks = [cell.strip(" `") for cell in header.split("|")]
    for data in ("digits", "mnist5k"):
        line = re.search(rf"^\| {data} .*?\|(.*)\|$", README, re.MULTILINE)[1]
        shown = dict(zip(networks, (float(cell) for cell in line.split("|")), strict=True))
        measured = {r["network"]: round(r["accuracy"], 2) for r in rows if r["data"] == data}
        assert shown == {name: measured[name] for name in networks}
    # Eight columns fit on a page; the count of the others is said above them.
    said = re.search(r"Six of (\d+) methods", README)
    assert len(networks) == 7
    assert int(said[1]) == len({r["network"] for r in rows} - {"float"})


def test_speeds_are_those_of_the_results():
    report = json.loads((ROOT / "benchmarks/results/networks-1-thread.json").read_text())
    rows = [row for row in report["rows"] if row["batch"] == 1]
    lines = re.findall(r"^\| (?:resnet18|VGG|ResNet-20).*?\|(.*)\|$", README, re.MULTILINE)
    facts = {found["network"]: found for found in report["networks"]}
    for row, line in zip(rows, lines, strict=True):
        ms = {name: time["minimum_us"] / 1e3 for name, time in row["times"].items()}
        torch_ms = min(ms["torch fp32"], ms["torch fp32 channels_last"])
        made = facts[row["network"]]
        assert [cell.strip() for cell in line.split("|")] == [
            f"{torch_ms:.2f}",
            f"{ms['OpenVINO fp32']:.2f}",
            f"{ms['OpenVINO int8']:.2f}",
            f"{ms['packed']:.2f}",
            f"{torch_ms / ms['packed']:.1f}x",
            f"{made['float_bytes'] / 1e6:.2f}",
            f"{made['file_bytes'] / 1e6:.2f}",
        ]


@pytest.mark.parametrize(
    ("network", "title"),
    [
        ("quicknet_small", "QuickNetSmall"),
        ("quicknet", "QuickNet"),
        ("birealnet18", "Bi-Real Net 18"),
    ],
)
def test_published_networks_are_as_fast_as_the_results_say(network, title):
    report = json.loads((ROOT / "benchmarks/results/zoo.json").read_text())
    (row,) = [r for r in report["rows"] if r["network"] == network and r["threads"] == 1]
    (facts,) = [found for found in report["networks"] if found["network"] == network]
    ms = {name: time["minimum_us"] / 1e3 for name, time in row["times"].items()}
    lce = min(time for name, time in ms.items() if name.startswith("LCE"))
    cells = re.search(rf"^\| {title} \|(.*)\|$", README, re.MULTILINE)[1].split("|")
    size = facts["file_bytes"] / 1e6
    wanted = [ms["packed"], lce, ms["emulated"], size]
    assert [cell.strip() for cell in cells] == [f"{value:.2f}" for value in wanted]


def test_ranges_of_published_networks_are_those_of_the_results():
    report = json.loads((ROOT / "benchmarks/results/zoo.json").read_text())
    times = [row["x_emulated"] for row in report["rows"] if row["threads"] == 1]
    count, least, most = re.search(
        r"all (\d+) packed\s+whole, (\d+) to (\d+) times", README
    ).groups()
    assert (int(count), int(least), int(most)) == (len(times), int(min(times)), int(max(times)))
    assert not any(found["emulated"] or found["opaque"] for found in report["networks"])


def test_training_figures_are_those_of_the_results():
    rows = json.loads((ROOT / "benchmarks/results/training.json").read_text())["results"]
    said = re.search(
        r"binary ResNet-18 takes ([\d.]+) .*?keeps ([\d.]+) .*?ResNet-20 ([\d.]+) and ([\d.]+):",
        README,
        re.DOTALL,
    ).groups()
    measured = [
        f"{row[key]:.2f}"
        for row in rows
        if row["way"] == "bnn, as in fit, its PReLU" and row["format"] == "NHWC"
        for key in ("time_ratio", "saved_ratio")
    ]
    assert list(said) == measured


def test_fits_on_a_page():
    assert len(README.splitlines()) <= 150
