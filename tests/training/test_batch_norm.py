import pytest
import torch
from torch import nn

from bnn.errors import ConfigError
from bnn.training import reestimate_batch_norm_


def net(seed=0):
    torch.manual_seed(seed)
    model = nn.Sequential(
        nn.Conv2d(1, 3, 3),
        nn.BatchNorm2d(3, momentum=0.3),
        nn.Dropout(0.5),
        nn.Flatten(),
        nn.Linear(12, 5),
        nn.BatchNorm1d(5),
    )
    for norm in (model[1], model[5]):
        norm.running_mean.normal_()
        norm.running_var.uniform_(1, 2)
        norm.num_batches_tracked.fill_(7)
    return model


def batches(count=4):
    random = torch.Generator().manual_seed(3)
    return [torch.randn(6, 1, 4, 4, generator=random) for _ in range(count)]


def test_statistics_are_the_means_over_the_batches():
    model = net()
    means, variances = [], []
    for images in batches():
        x = model[0](images)
        means.append(x.mean((0, 2, 3)))
        variances.append(x.transpose(0, 1).flatten(1).var(1))  # unbiased, as torch keeps it
    assert reestimate_batch_norm_(model, batches()) is model
    assert torch.allclose(model[1].running_mean, torch.stack(means).mean(0), atol=1e-6)
    assert torch.allclose(model[1].running_var, torch.stack(variances).mean(0), atol=1e-6)


def test_a_later_norm_sees_the_batchs_own_statistics_before_it_and_no_dropout():
    model = net()
    means = []
    for images in batches():
        x = model[0](images)
        centred = x - x.mean((0, 2, 3), keepdim=True)
        var = x.var((0, 2, 3), keepdim=True, correction=0)
        x = centred / (var + model[1].eps).sqrt()
        means.append(model[4](x.flatten(1)).mean(0))
    reestimate_batch_norm_(model, batches())
    assert torch.allclose(model[5].running_mean, torch.stack(means).mean(0), atol=1e-5)


def test_the_same_batches_give_the_same_statistics_whatever_was_before():
    first, second = net(), net()
    second[1].running_mean.fill_(100)
    second.eval()
    torch.manual_seed(1)
    reestimate_batch_norm_(first, batches())
    torch.manual_seed(2)
    reestimate_batch_norm_(second, batches())
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, second.state_dict()[name]), name


def test_modes_and_momenta_are_kept_and_nothing_gets_a_gradient():
    model = net()
    model[5].eval()
    reestimate_batch_norm_(model, batches())
    assert [m.training for m in model] == [True] * 5 + [False]
    assert (model[1].momentum, model[5].momentum) == (0.3, 0.1)
    assert all(p.grad is None for p in model.parameters())
    assert not model[1].running_mean.requires_grad


def test_takes_what_a_loader_gives():
    first, second = net(), net()
    reestimate_batch_norm_(first, batches())
    reestimate_batch_norm_(second, ([images, torch.zeros(6)] for images in batches()))
    assert torch.equal(first[1].running_mean, second[1].running_mean)


@pytest.mark.parametrize("fails", [[], [torch.zeros(6, 1, 4, 4), torch.zeros(6, 2, 4, 4)]])
def test_after_an_error_all_is_as_it_was(fails):
    model = net()
    before = {name: t.clone() for name, t in model.state_dict().items()}
    with pytest.raises(ConfigError if not fails else RuntimeError):
        reestimate_batch_norm_(model, fails)
    assert all(torch.equal(before[n], t) for n, t in model.state_dict().items())
    assert (model[1].momentum, model.training) == (0.3, True)


def test_a_network_without_such_norms_is_not_run():
    def unread():
        raise AssertionError("read")
        yield

    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2, track_running_stats=False))
    assert reestimate_batch_norm_(model, unread()) is model
