"""What the native part runs with, and what is said when it is missing."""

import subprocess
import sys

import pytest
import torch

import bnn
from bnn.errors import ConfigError
from bnn.packed import layout, runtime
from bnn.packed.shapes import ConvShape


def python(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    return done.stdout.strip() or done.stderr.strip().splitlines()[-1]


def test_info_is_readable():
    info = bnn.runtime_info()
    lines = repr(info).splitlines()
    assert lines[0].startswith("cpu  ")
    assert info.isa in lines[1]
    assert info.threads == bnn.get_num_threads()
    assert info.available_isas[0] == "portable"
    assert info.library_bytes > 10_000


def test_names_are_those_of_the_native_part():
    assert tuple(map(runtime.native().isa_name, range(len(runtime.ISAS)))) == runtime.ISAS
    assert runtime.native().isa_count == len(runtime.ISAS)


@pytest.fixture
def choose(monkeypatch):
    """Return a function that decides for an instruction set as a new process would."""

    def run(name):
        monkeypatch.setenv("BNN_ISA", name)
        runtime.isa.cache_clear()
        return runtime.ISAS[runtime.isa()]

    yield run
    runtime.isa.cache_clear()


@pytest.mark.parametrize("name", runtime.ISAS)
def test_isa_is_forced_by_name(name, choose):
    if name in runtime.available_isas():
        assert choose(name) == name
        assert bnn.runtime_info().isa == name
        return
    with pytest.raises(ConfigError, match=f"BNN_ISA={name}: this CPU does not run it. Runs here: "):
        choose(name)


def test_the_fastest_is_the_default(choose):
    assert choose("") == runtime.available_isas()[-1]


@pytest.mark.parametrize("name", ["sse9", "AVX2", "none"])
def test_unknown_isa_lists_what_runs(name, choose):
    with pytest.raises(ConfigError, match=f"BNN_ISA={name}: there is no such ISA.*portable"):
        choose(name)


def test_threads_are_torchs_when_first_used(monkeypatch):
    before = bnn.get_num_threads()
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    runtime.native.cache_clear()
    assert bnn.get_num_threads() == 3
    bnn.set_num_threads(before)


def test_without_the_native_part():
    block = "import sys; sys.modules['bnn._native'] = None; import torch; import bnn\n"
    use = "from bnn.packed import functional; functional.pack(torch.zeros(1, 3))"
    said = python(block + use)
    assert said.startswith("bnn.errors.NativePartError: bnn's native part is missing")
    assert "C++17 compiler" in said
    assert "Training and counting work without it" in said


def test_panels_are_recognised():
    shape = ConvShape(1, 8, 8, 100, 40, 3, 3)
    weight = layout.pack(torch.randn(40, 100, 3, 3))
    for name in runtime.available_isas():
        isa = runtime.ISAS.index(name)
        with torch.device("meta"):  # a panel is on the CPU whatever the default
            panel = runtime.make_panel(shape, weight, isa)
        assert runtime.panel_fits(shape, panel, isa)
        if panel is None:
            continue
        assert panel.data_ptr() % runtime.PANEL_ALIGN == 0
        assert panel.numel() == runtime.panel_bytes(shape, isa)
        assert not runtime.panel_fits(shape._replace(out_channels=41), panel, isa)
        assert not runtime.panel_fits(shape, panel[:-1], isa)
        assert not runtime.panel_fits(shape, None, isa)
        assert not runtime.panel_fits(shape, torch.zeros_like(panel), isa)
