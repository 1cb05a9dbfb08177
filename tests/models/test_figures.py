"""What published networks cost, counted again on the networks themselves, to the digit."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from bnn import count_ops
from bnn.inspect.count import OpsCount
from bnn.models import MODELS, create

# Larq Zoo's figures: Keras's total of parameters, the same with batch norms fused, bytes, MACs by
# the bits of their operands; of shortcuts, gates and classifiers too.
LARQ = {
    "quicknet_small": (12_664_344, 12_655_688, 4_197_152, {1: 1_156_055_040, 32: 15_941_120}),
    "quicknet": (13_243_720, 13_234_088, 4_368_032, {1: 1_849_688_064, 32: 29_651_712}),
    "quicknet_large": (23_359_304, 23_342_248, 5_660_320, {1: 3_699_376_128, 32: 29_651_712}),
    "real_to_binary_net": (11_995_624, 11_986_920, 5_378_976, {1: 1_676_279_808, 32: 138_087_936}),
    "binary_densenet28": (5_150_504, 5_131_496, 4_241_312, {1: 3_587_383_296, 32: 202_484_224}),
    "binary_densenet37": (8_734_120, 8_702_248, 5_382_304, {1: 4_506_808_320, 32: 199_738_368}),
    "binary_densenet37_dilated": (
        *(8_734_120, 8_702_248, 5_382_304),
        {1: 7_774_470_144, 32: 452_625_408},
    ),
    "binary_densenet45": (13_939_240, 13_889_512, 7_703_968, {1: 6_430_556_160, 32: 244_103_424}),
    "meliusnet22": (6_969_672, 6_944_584, 4_065_568, {1: 4_624_220_160, 32: 136_388_608}),
    "binary_resnet_e18": (11_699_368, 11_689_640, 4_189_856, {1: 1_676_279_808, 32: 137_793_536}),
    "birealnet18": (11_699_112, 11_689_512, 4_189_344, {1: 1_676_279_808, 32: 137_793_536}),
    "xnornet": (62_396_768, 62_387_104, 23_880_320, {1: 1_025_744_896, 32: 113_379_328}),
    "binary_alexnet": (61_859_192, 61_848_720, 7_812_248, {1: 768_512_000, 32: 72_855_552}),
    "dorefanet": (62_403_912, 62_394_440, 23_909_664, {2: 2_924_609_536, 32: 125_028_352}),
}
# Parameters, binary ones of them, and, where the literature reports them, MACs.
PAPERS = {
    "reactnet_a": (29_343_592, 28_253_184, {1: 4_816_896_000, 32: 11_862_016}),
    "birealnet34": (21_797_672, 21_086_208, {1: 3_525_967_872, 32: 137_793_536}),
    "cifar_resnet20": (270_522, 267_264, None),
    "cifar_resnet18": (11_005_002, 10_985_472, None),
    "vgg_small": (4_661_770, 4_571_136, None),
}


@pytest.fixture(scope="module")
def counted():
    """Return a function that counts a network of full size, once."""
    known: dict[str, OpsCount] = {}

    def count(name: str) -> OpsCount:
        if name not in known:
            entry = MODELS[name]
            torch.manual_seed(0)
            with torch.device("meta"):  # drawing 184 million normal numbers takes long
                model = create(name)
            model.to_empty(device="cpu")
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter.uniform_(-1, 1)
                for buffer in model.buffers():
                    buffer.fill_(0.9 if buffer.is_floating_point() else 0)
            known[name] = count_ops(model, torch.randn(1, *entry.input_shape))
        return known[name]

    return count


@pytest.mark.parametrize("name", LARQ)
def test_as_larq_counts(counted, name):
    stored, fused, size, macs = LARQ[name]
    count = counted(name)
    assert (count.stored_params, count.fused_params) == (stored, fused)
    assert count.fused_bytes == size
    assert count.macs_by_bits == macs


@pytest.mark.parametrize("name", PAPERS)
def test_as_the_papers_count(counted, name):
    params, binary, macs = PAPERS[name]
    count = counted(name)
    assert (count.params, count.binary_params) == (params, binary)
    assert count.fused_params == params, "every norm has scale and shift"
    assert count.fused_bytes == binary // 8 + 4 * (params - binary)
    assert macs is None or count.macs_by_bits == macs


def test_operations_of_the_three_reactnets(counted):
    """The paper's table: 1e9 binary and 1e8 float operations, and 1e8 of both together."""
    for name, bops, flops, ops in (
        ("reactnet_a", 4.82, 0.12, 0.87),
        ("reactnet_b", 4.69, 0.44, 1.17),
        ("reactnet_c", 4.69, 1.40, 2.14),
    ):
        count = counted(name)
        assert round(count.binary_macs / 1e9, 2) == bops
        assert round(count.float_macs / 1e8, 2) == flops
        assert round(count.ops / 1e8, 2) == ops


@pytest.mark.parametrize("name", [name for name in MODELS if MODELS[name].figures])
def test_the_registry_says_the_same(counted, name):
    figures = MODELS[name].figures
    count = counted(name)
    assert figures.params == count.fused_params
    assert figures.bytes == count.fused_bytes
    assert figures.macs == count.macs_by_bits


def test_every_binary_network_has_figures_and_an_accuracy():
    for name in MODELS:
        entry = MODELS[name]
        model = create(name, **entry.tiny)
        binary = count_ops(model, torch.randn(2, *entry.tiny_shape)).binary_params > 0
        assert binary == (entry.figures is not None) == (entry.published is not None), name
        assert binary == (entry.preprocessing is not None), name
        if binary:
            assert entry.preprocessing.size == entry.input_shape[1:]
            assert 30 < entry.published.top1 < 95
            assert entry.published.top5 is None or entry.published.top5 > entry.published.top1


def test_first_and_last_layer_are_float_but_in_binary_alexnet():
    for name in MODELS:
        entry = MODELS[name]
        if entry.figures is None or name == "binary_alexnet":
            continue
        model = create(name, **entry.tiny)
        layers = [m for m in model.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
        assert type(layers[-1]) is nn.Linear, name
        assert type(layers[0]) is nn.Conv2d, name
