import json

import pytest


def test_shows_what_it_runs_with(bnn):
    ran = bnn("info")
    assert ran.code == 0
    names = [line.split("  ")[0] for line in ran.stdout.splitlines()]
    assert names[:3] == ["cpu", "isa", "threads"]
    assert "depthwise" in names


def test_json(bnn):
    found = json.loads(bnn("info", "--json").stdout)
    assert found["isa"] in found["available_isas"]
    assert found["threads"] >= 1
    assert all("__" in kernel for kernel in found["kernels"].values())


@pytest.mark.parametrize(
    ("isa", "exit_code", "said"),
    [
        ("portable", 0, "isa              portable"),
        ("sse9", 2, "error: BNN_ISA=sse9: there is no such ISA. Runs here: portable"),
    ],
)
def test_isa_is_forced_by_name(process, isa, exit_code, said):
    ran = process("bnn info", BNN_ISA=isa)
    assert ran.code == exit_code
    assert said in ran.stdout + ran.stderr
