"""BATS: operations, genotypes, drop path, auxiliary classifier, odd sizes."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from bnn.errors import ConfigError
from bnn.models import (
    BATS_CIFAR_DEFAULT,
    BATS_IMAGENET_DEFAULT,
    BATSNetworkCIFAR,
    BATSNetworkImageNet,
    Cell,
    Genotype,
)
from bnn.models.bats.genotype import check_genotype
from bnn.models.bats.operations import (
    OPERATIONS,
    DropPath,
    FactorizedReduce,
    GroupConv,
    OperationSpec,
    make_edge,
)

NETWORKS = [BATSNetworkCIFAR, BATSNetworkImageNet]
TINY = {"C": 4, "num_classes": 3, "layers": 3, "groups": 2}


def spec(channels=4, stride=1, groups=2, activation=nn.PReLU):
    return OperationSpec(
        channels=channels, stride=stride, groups=groups, activation=activation, norm_layer=None
    )


def test_the_operations():
    assert set(OPERATIONS) == {
        "none",
        "skip_connect",
        "max_pool_3x3",
        "avg_pool_3x3",
        "group_conv_3x3",
        "group_conv_5x5",
        "dil_group_conv_3x3",
        "dil_group_conv_5x5",
    }


@pytest.mark.parametrize("size", [(8, 8), (7, 9), (2, 3), (1, 1)])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("name", sorted(OPERATIONS))
def test_every_operation_has_the_same_size(name, stride, size):
    """Nodes add operations, so at each stride all must agree, on odd sizes too."""
    y = make_edge(name, spec(), stride)(torch.randn(3, 4, *size))
    assert y.shape == (3, 4, -(-size[0] // stride), -(-size[1] // stride))


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("activation", [nn.PReLU, nn.ReLU, nn.Identity])
@pytest.mark.parametrize("name", sorted(set(OPERATIONS) - {"none"}))
def test_gradients_reach_everything(name, activation, stride):
    torch.manual_seed(0)
    edge = make_edge(name, spec(activation=activation), stride)
    x = torch.randn(3, 4, 7, 7, requires_grad=True)
    y = edge(x)
    (y * torch.randn_like(y)).sum().backward()
    assert x.grad.abs().sum() > 0
    for parameter_name, parameter in edge.named_parameters():
        assert parameter.grad.abs().sum() > 0, parameter_name


def test_none_is_zero_even_for_infinity():
    x = torch.full((1, 4, 3, 3), float("inf"))
    assert torch.equal(OPERATIONS["none"](spec(stride=2))(x), torch.zeros(1, 4, 2, 2))


@pytest.mark.parametrize("stride", [1, 2])
def test_pooling_does_not_average_its_padding(stride):
    x = torch.ones(1, 4, 5, 5)
    for name in ("avg_pool_3x3", "max_pool_3x3"):
        assert torch.equal(make_edge(name, spec(), stride).eval()(x).unique(), torch.ones(1))


@pytest.mark.parametrize("name", sorted(OPERATIONS))
def test_identity_inside_the_convolutions_only_at_stride_1(name):
    for stride in (1, 2):
        operation = OPERATIONS[name](spec(stride=stride))
        if not isinstance(operation, GroupConv):
            continue
        nn.init.zeros_(operation.conv.weight)
        x = torch.randn(2, 4, 6, 6)
        expected = x if stride == 1 else torch.zeros(2, 4, 3, 3)
        assert torch.equal(operation(x), expected)


def test_shuffle_lets_the_next_convolution_see_every_group():
    first, second = (OPERATIONS["group_conv_3x3"](spec(8, groups=4)) for _ in range(2))
    for operation in (first, second):
        operation.eval()
        operation.residual = False
    x = torch.randn(1, 8, 5, 5, requires_grad=True)
    second(first(x))[:, :2, 2, 2].sum().backward()
    reached = x.grad.abs().sum((0, 2, 3)) > 0
    assert reached.reshape(4, 2).any(1).sum() >= 2
    assert not isinstance(first.shuffle, nn.Identity)
    assert isinstance(OPERATIONS["group_conv_3x3"](spec(groups=1)).shuffle, nn.Identity)


def test_group_convolution_geometry():
    for name, kernel, dilation in [
        ("group_conv_3x3", 3, 1),
        ("group_conv_5x5", 5, 1),
        ("dil_group_conv_3x3", 3, 2),
        ("dil_group_conv_5x5", 5, 2),
    ]:
        conv = OPERATIONS[name](spec(12, groups=6)).conv
        assert (conv.kernel_size[0], conv.dilation[0], conv.groups) == (kernel, dilation, 6)


@pytest.mark.parametrize("size", [1, 2, 5, 6])
@pytest.mark.parametrize("channels", [2, 3, 4])
def test_factorized_reduce_reads_every_pixel(size, channels):
    reduce = FactorizedReduce(2, spec(channels, groups=1, activation=nn.Identity)).eval()
    x = torch.randn(1, 2, size, size, requires_grad=True)
    y = reduce(x)
    assert y.shape == (1, channels, -(-size // 2), -(-size // 2))
    (y * torch.randn_like(y)).sum().backward()
    even = x.grad[..., ::2, ::2].abs().sum(1)
    assert (even > 0).all()
    if size > 1:
        assert (x.grad[..., 1::2, 1::2].abs().sum(1) > 0).all()


def test_factorized_reduce_of_one_channel_is_refused():
    with pytest.raises(ConfigError, match="at least 2 channels"):
        FactorizedReduce(4, spec(1, groups=1))


# --- drop path ---------------------------------------------------------------------------------


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_drop_path_keeps_the_expectation_and_drops_whole_samples(p):
    torch.manual_seed(0)
    n = 20_000
    x = torch.arange(1.0, 4.0).repeat(n, 1)
    y = DropPath(p)(x)
    dropped = (y == 0).all(1)
    kept = torch.isclose(y, x / (1 - p)).all(1)
    assert (dropped ^ kept).all(), "a sample was dropped in part or scaled wrongly"
    # Five standard deviations of a share of n samples.
    assert abs(dropped.float().mean() - p) < 5 * math.sqrt(p * (1 - p) / n)
    torch.testing.assert_close(y.mean(0), x.mean(0), rtol=5 * math.sqrt(p / (1 - p) / n), atol=0)


def test_drop_path_is_nothing_in_evaluation_and_at_zero():
    x = torch.randn(5, 3)
    assert DropPath(0.9).eval()(x) is x
    assert DropPath()(x) is x


def test_drop_path_gradient_is_the_mask():
    torch.manual_seed(0)
    x = torch.randn(64, 2, requires_grad=True)
    y = DropPath(0.5)(x)
    y.sum().backward()
    assert torch.equal(x.grad, torch.where(y.detach() == 0, 0.0, 2.0))


def test_an_identity_is_never_dropped():
    assert isinstance(make_edge("skip_connect", spec(), 1), nn.Identity)
    for name in set(OPERATIONS) - {"skip_connect"}:
        assert any(isinstance(m, DropPath) for m in make_edge(name, spec(), 1).modules())
    assert any(isinstance(m, DropPath) for m in make_edge("skip_connect", spec(), 2).modules())


@pytest.mark.parametrize("network", NETWORKS)
def test_drop_path_prob_of_the_network(network):
    net = network(**TINY)
    assert net.drop_path_prob == 0.0
    net.drop_path_prob = 0.3
    assert {m.p for m in net.modules() if isinstance(m, DropPath)} == {0.3}
    assert {m.p for m in network(**TINY, drop_path_prob=0.2).modules() if hasattr(m, "p")} == {0.2}
    x = torch.randn(4, 3, 48, 48)
    torch.manual_seed(0)
    one = net(x)
    two = net(x)
    assert not torch.equal(one, two), "nothing was dropped in training"
    one.sum().backward()
    net.eval()
    assert torch.equal(net(x), net(x))
    y = net(x)
    net.drop_path_prob = 0.0
    assert torch.equal(net(x), y)


@pytest.mark.parametrize("value", [-0.1, 1.0, 2, math.nan])
def test_drop_path_prob_out_of_range_is_refused(value):
    net = BATSNetworkCIFAR(**TINY)
    with pytest.raises(ConfigError, match="drop_path_prob must be at least 0"):
        net.drop_path_prob = value
    assert net.drop_path_prob == 0.0
    with pytest.raises(ConfigError, match="drop_path_prob must be at least 0"):
        BATSNetworkCIFAR(**TINY, drop_path_prob=value)


@pytest.mark.parametrize("network", NETWORKS)
def test_states_start_at_a_moderate_scale(network):
    """No norm stands before the classifier, so the initial weights alone set the scale."""
    torch.manual_seed(0)
    net = network(C=12, layers=6, groups=12)
    scales = []
    for cell in net.cells:
        cell.register_forward_hook(lambda _m, _i, out: scales.append(out.std().item()))
    logits = net(torch.randn(4, 3, 32, 32))
    assert all(0.5 < scale < 4 for scale in scales), scales
    assert logits.std() < 2.5


# --- genotypes ---------------------------------------------------------------------------------


@pytest.mark.parametrize("genotype", [BATS_CIFAR_DEFAULT, BATS_IMAGENET_DEFAULT])
def test_default_genotypes_are_sound(genotype):
    check_genotype(genotype)
    for edges, concat in (genotype[:2], genotype[2:]):
        nodes = len(edges) // 2
        assert set(concat) == set(range(2, nodes + 2))
        assert {0, 1} <= {state for _, state in edges}, "an input of the cell is not used"
        assert all(name != "none" for name, _ in edges)


EDGES = (("group_conv_3x3", 0), ("skip_connect", 1))


@pytest.mark.parametrize(
    ("genotype", "message"),
    [
        (
            Genotype((("group_conv_3", 0), EDGES[1]), (2,), EDGES, (2,)),
            r"genotype.normal\[0\]: no operation 'group_conv_3'. Did you mean 'group_conv_3x3'",
        ),
        (
            Genotype(EDGES, (2,), (EDGES[0], ("none", 2)), (2,)),
            r"genotype.reduce\[1\]: state 2 is not one of 0 to 1",
        ),
        (Genotype((EDGES[0], ("none", -1)), (2,), EDGES, (2,)), "state -1 is not one of"),
        (Genotype(EDGES * 2, (2, 4), EDGES, (2,)), r"normal_concat: state 4 .*\(2 to 3\)"),
        (Genotype(EDGES, (1,), EDGES, (2,)), "state 1 is not a node"),
        (Genotype(EDGES, (), EDGES, (2,)), "normal_concat is empty"),
        (Genotype((), (2,), EDGES, (2,)), "two edges for each node, not 0"),
        (Genotype(EDGES, (2,), EDGES[:1], (2,)), "genotype.reduce needs two edges"),
        ("BATS_CIFAR_DEFAULT", "must be a bnn.models.Genotype, not str"),
        ((EDGES, (2,), EDGES, (2,)), "not tuple"),
    ],
)
def test_malformed_genotypes_are_refused(genotype, message):
    with pytest.raises(ConfigError, match=message):
        BATSNetworkCIFAR(**TINY, genotype=genotype)


@pytest.mark.parametrize("name", sorted(OPERATIONS))
def test_a_network_of_one_operation(name):
    edges = [(name, 0), (name, 1)]
    net = BATSNetworkCIFAR(**TINY, genotype=Genotype(edges, [2], edges, [2]), drop_path_prob=0.2)
    y = net(torch.randn(2, 3, 9, 11))
    assert y.shape == (2, 3)
    y.sum().backward()


def test_edges_keep_real_values_flowing():
    """In the default normal cells every node has an identity or residual path to its inputs."""
    for genotype in (BATS_CIFAR_DEFAULT, BATS_IMAGENET_DEFAULT):
        cell = Cell(genotype, 4, 4, 4, False, False, groups=2, activation=nn.Identity)
        for module in cell.edges.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.zeros_(module.weight)
        y = cell.eval()(torch.randn(1, 4, 6, 6), torch.randn(1, 4, 6, 6))
        assert (y.abs().sum((0, 2, 3)) > 0).all()


# --- cells and networks ------------------------------------------------------------------------


@pytest.mark.parametrize("reduction", [False, True])
@pytest.mark.parametrize("reduction_prev", [False, True])
@pytest.mark.parametrize("size", [5, 6])
def test_cell_sizes(reduction, reduction_prev, size):
    cell = Cell(BATS_CIFAR_DEFAULT, 6, 8, 4, reduction, reduction_prev, groups=2)
    before = 2 * size - 1 if reduction_prev else size
    y = cell(torch.randn(2, 6, before, before), torch.randn(2, 8, size, size))
    out = -(-size // 2) if reduction else size
    assert y.shape == (2, cell.out_channels, out, out) == (2, 16, out, out)


@pytest.mark.parametrize("layers", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("auxiliary", [False, True])
@pytest.mark.parametrize("network", NETWORKS)
def test_any_number_of_cells(network, auxiliary, layers):
    net = network(**{**TINY, "layers": layers}, auxiliary=auxiliary)
    x = torch.randn(2, 3, 33, 31)
    y = net(x)
    if auxiliary:
        assert isinstance(y, tuple)
        assert [part.shape for part in y] == [(2, 3), (2, 3)]
    else:
        assert y.shape == (2, 3)
    assert net.eval()(x).shape == (2, 3)


@pytest.mark.parametrize("network", NETWORKS)
def test_auxiliary_classifier_trains(network):
    torch.manual_seed(0)
    net = network(**TINY, auxiliary=True)
    logits, auxiliary = net(torch.randn(4, 3, 48, 48))
    labels = torch.tensor([0, 1, 2, 0])
    loss = nn.functional.cross_entropy(logits, labels)
    (loss + 0.4 * nn.functional.cross_entropy(auxiliary, labels)).backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("size", [(1, 1), (8, 8), (17, 23), (32, 32)])
def test_any_image_size(network, size):
    net = network(**TINY).eval()
    assert net(torch.randn(1, 3, *size)).shape == (1, 3)


@pytest.mark.parametrize("network", NETWORKS)
def test_norm_and_activation_reach_everywhere(network):
    net = network(**TINY, auxiliary=True, activation=nn.Hardtanh, norm_layer=nn.Identity)
    assert not any(isinstance(m, (nn.BatchNorm2d, nn.PReLU, nn.ReLU)) for m in net.modules())
    assert net.eval()(torch.randn(1, 3, 32, 32)).shape == (1, 3)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"C": 5}, "groups=2 must divide C=5"),
        ({"C": 0}, "C must be"),
        ({"groups": 0}, "groups must be"),
        ({"layers": 0}, "layers must be"),
        ({"num_classes": 0}, "num_classes must be"),
        ({"in_channels": 0}, "in_channels must be"),
        ({"activation": nn.PReLU()}, "activation must be a class"),
        ({"norm_layer": nn.BatchNorm2d(4)}, "norm_layer must be a class"),
    ],
)
@pytest.mark.parametrize("network", NETWORKS)
def test_bad_arguments_are_refused(network, kwargs, message):
    with pytest.raises(ConfigError, match=message):
        network(**{**TINY, **kwargs})
