"""The printed table."""

import io
import subprocess
import sys

import pytest
import torch
from torch import nn

from bnn import BConfig, prepare_binary_model
from bnn.inspect import count_ops, summary
from bnn.layers import Conv2d, Linear
from bnn.models import BasicBlock, PreBasicBlock
from bnn.models.resnet import ResNet
from bnn.ops import BasicInputBinarizer, XNORWeightBinarizer

BINARY = BConfig(BasicInputBinarizer, weight_pre_process=XNORWeightBinarizer)


def printed(model, x, width=100):
    file = io.StringIO()
    count = summary(model, x, file=file, width=width)
    return file.getvalue(), count


def small_resnet(block=PreBasicBlock, layers=(1, 1)):
    model = ResNet(block, layers, num_classes=10, width=16, stem_type="cifar")
    return prepare_binary_model(
        model, BINARY, ignore_layers_name=["_first_", "_last_", "$downsample$"]
    )


def row(text, name):
    return next(line.split() for line in text.splitlines() if line.split()[:1] == [name])


def test_rows_hold_the_numbers_of_each_layer():
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), Conv2d(8, 40, 3, bias=False, bconfig=BINARY)
    )
    x = torch.randn(1, 3, 9, 9)
    text, count = printed(model, x)
    assert [" ".join(row(text, name)) for name in ("0", "1", "2", "Total")] == [
        "0 Conv2d 32 1x8x7x7 - 224 0.90 - 10,584",
        "1 BatchNorm2d - 1x8x7x7 - 16 0.06 - -",
        "2 Conv2d 1 1x40x5x5 2,880 - 0.36 72,000 -",
        "Total 2,880 240 1.32 72,000 10,584",
    ]
    assert count == count_ops(model, x)


def test_totals_are_exact():
    model = nn.Sequential(nn.Linear(32, 1000), Linear(1000, 1000, bconfig=BINARY))
    model[0].requires_grad_(False)
    text, count = printed(model, torch.randn(1, 32), width=60)
    lines = dict(line.split("  ", 1) for line in text.splitlines() if line[:1].isalpha())
    assert lines["Parameters"].strip() == f"{count.params:,}" == "1,034,000"
    assert lines["MACs"].strip() == "1,032,000"
    assert lines["Size as it is"].strip() == "4.136 MB"
    assert lines["Size packed"].strip() == "261.000 kB (15.8x smaller)"
    assert "1,000,000 (96.90 %)" in text
    assert "1,001,000, 33,000" in text


def test_weight_only_column_appears_where_needed():
    x = torch.randn(1, 8)
    weight_only = Linear(8, 4, bconfig=BConfig(weight_pre_process=XNORWeightBinarizer))
    assert "1-bit w." in printed(weight_only, x)[0]
    assert "1-bit w." not in printed(Linear(8, 4, bconfig=BINARY), x)[0]


def test_parameters_are_named_by_their_bits():
    x = torch.randn(1, 8)
    assert "16-bit" in printed(nn.Linear(8, 4).bfloat16(), x.bfloat16())[0]
    mixed = nn.Sequential(nn.Linear(8, 4), nn.Linear(4, 4).double())
    mixed[1].register_forward_pre_hook(lambda _, args: (args[0].double(),))
    assert "float" in printed(mixed, x)[0]


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("layers", [(1, 1), (6, 6, 6, 6)])  # the second has more than 100 rows
def test_the_table_fits_the_width(width, layers):
    text, count = printed(small_resnet(layers=layers), torch.randn(1, 3, 32, 32), width)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    lines = text.partition("Parameters")[0].splitlines()
    for entry in count.per_layer:
        assert sum(line.split()[:1] == [entry.name] for line in lines) == 1, entry.name


def test_narrow_widths_do_not_fail():
    text, _ = printed(small_resnet(), torch.randn(1, 3, 32, 32), 40)
    assert "Parameters" in text


def test_relu_before_the_sign_is_warned_about():
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), Linear(8, 4, bconfig=BINARY))
    text, count = printed(model, torch.randn(5, 6))
    (line,) = [line for line in text.splitlines() if line.startswith("Warning:")]
    assert "one sign" in line
    assert "2 (+1 only)" in text
    assert "PreBasicBlock" in text
    assert "no data yet" not in text
    assert [entry.name for entry in count.one_sided] == ["2"]


def test_post_activation_blocks_with_relu_are_warned_about():
    text, count = printed(small_resnet(BasicBlock), torch.randn(2, 3, 16, 16))
    assert "layer1.0.conv1" in {entry.name for entry in count.one_sided}
    assert "no data yet" in " ".join(text.split())


def test_pre_activation_blocks_are_fine_once_the_norms_have_seen_data():
    model = small_resnet()
    model(torch.randn(8, 3, 16, 16))
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # the plain average: one batch is enough
            module.reset_running_stats()
    model(torch.randn(8, 3, 16, 16))
    text, count = printed(model, torch.randn(8, 3, 16, 16))
    assert not count.one_sided
    assert "Warning" not in text


def test_padding_is_no_sign():
    model = nn.Sequential(Conv2d(2, 4, 3, padding=2, padding_value=0, bconfig=BINARY))
    assert "Warning" not in printed(model, torch.randn(1, 2, 5, 5))[0]


def test_unused_and_repeated_layers_are_marked():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(4, 4)
            self.spare = nn.Linear(4, 2)

        def forward(self, x):
            return self.fc(self.fc(x))

    text, _ = printed(Net(), torch.randn(1, 4))
    assert row(text, "fc")[:3] == ["fc", "x2", "Linear"]
    assert "never called, so with parameters but no MACs: spare." in text


def test_names_are_not_taken_for_markup():
    model = nn.ModuleDict({"[bold]x[/bold]": nn.Linear(2, 2), ":smile:": nn.Linear(2, 2)})
    model.forward = lambda x: model[":smile:"](model["[bold]x[/bold]"](x))
    text, _ = printed(model, torch.randn(1, 2))
    assert "[bold]x[/bold] Linear" in text
    assert ":smile: Linear" in text


def test_a_single_layer_and_no_layer():
    assert row(printed(nn.Linear(2, 2), torch.randn(1, 2))[0], "(model)")
    assert row(printed(nn.ReLU(), torch.randn(1, 2))[0], "Total")


def test_standard_output_is_the_default(capsys):
    summary(nn.Linear(2, 2), torch.randn(1, 2))
    assert "Parameters" in capsys.readouterr().out


def test_importing_is_light():
    code = "import sys, torch; a = set(sys.modules); import bnn.inspect; print(*set(sys.modules)-a)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    new = {name.partition(".")[0] for name in done.stdout.split()}
    assert not new & {"rich", "matplotlib", "pandas"}
