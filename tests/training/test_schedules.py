"""Schedules: each rate follows from the step's number alone."""

import itertools
import math

import pytest
import torch
from torch import nn

from bnn.errors import ConfigError, UnknownNameError
from bnn.training import SCHEDULES, Schedule, make_scheduler


def rates(schedule, total, warmup=0, **kwargs):
    return [schedule.factor(i, total, warmup, **kwargs) for i in range(total + 1)]


@pytest.mark.parametrize("name", ["cosine", "linear"])
@pytest.mark.parametrize("final", [0, 0.25])
def test_rates_fall_from_the_start_to_the_final_one(name, final):
    schedule = Schedule(name=name, args={"final": final})
    factors = rates(schedule, 10)
    assert factors[0] == 1
    assert factors[10] == schedule.factor(12, 10) == pytest.approx(final)
    assert factors == sorted(factors, reverse=True)


def test_formulas():
    assert Schedule(name="linear").factor(2, 8) == 0.75
    assert Schedule(name="cosine").factor(2, 8) == pytest.approx((1 + math.cos(math.pi / 4)) / 2)
    assert Schedule(name="constant").factor(7, 8) == 1


@pytest.mark.parametrize("name", list(SCHEDULES))
def test_every_registered_schedule_warms_up_and_never_rises_after(name):
    factors = rates(Schedule(name=name, warmup_epochs=2), 20, warmup=4, epochs=10)
    assert factors[:4] == pytest.approx([0.2, 0.4, 0.6, 0.8])
    assert factors[4] == 1
    assert all(0 <= b <= a for a, b in itertools.pairwise(factors[4:]))


def test_milestones_are_shares_of_the_whole_training():
    schedule = Schedule(name="step", args={"milestones": [0.75, 0.5], "factor": 0.5})
    assert rates(schedule, 8, warmup=2)[2:] == [1, 1, 0.5, 0.5, 0.25, 0.25, 0.25]


def test_each_milestone_may_have_a_factor_of_its_own():
    args = {"milestones": [0.25, 0.5, 0.75], "factor": [0.5, 0.2, 1]}
    expected = [1, 1, 0.5, 0.5, 0.1, 0.1, 0.1, 0.1, 0.1]
    assert rates(Schedule(name="step", args=args), 8) == pytest.approx(expected)


@pytest.mark.parametrize(("epochs", "every"), [(90, 30), (22, 3), (60, 7)])
@pytest.mark.parametrize("per_epoch", [1, 3, 7, 11])
def test_every_drops_at_the_first_step_of_an_epoch(epochs, every, per_epoch):
    schedule = Schedule(name="step", args={"every": every})
    for epoch in range(epochs):
        for index in (epoch * per_epoch, (epoch + 1) * per_epoch - 1):
            factor = schedule.factor(index, epochs * per_epoch, epochs=epochs)
            assert factor == pytest.approx(0.1 ** (epoch // every))


def test_the_most_drops_that_may_be_asked_for_are_counted():
    schedule = Schedule(name="step", args={"every": 1e-3})
    assert schedule.factor(99, 100, epochs=2**31) == 0


def test_milestones_with_one_factor_may_stand_in_any_order():
    schedule = Schedule(name="step", args={"milestones": [0.75, 0.25], "factor": 0.5})
    assert [schedule.factor(i, 100) for i in (10, 50, 90)] == [1, 0.5, 0.25]


def test_every_needs_the_number_of_epochs():
    with pytest.raises(ConfigError, match="number of epochs"):
        Schedule(name="step", args={"every": 2}).factor(0, 4)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"warmup_epochs": -1}, "warmup_epochs"),
        ({"warmup_epochs": float("inf")}, "warmup_epochs"),
        ({"warmup_epochs": True}, "warmup_epochs"),
        ({"args": 3}, "mapping"),
        ({"args": {"end": 0}}, "no argument 'end'"),
        ({"args": {"final": 2}}, "final"),
        ({"args": {"final": "0"}}, "final"),
        ({"name": "constant", "args": {"final": 0}}, "no argument"),
        ({"name": "step", "args": {"milestones": [0.5], "every": 3}}, "not both"),
        ({"name": "step", "args": {"milestones": [30, 60]}}, "shares"),
        ({"name": "step", "args": {"milestones": 0.5}}, "shares"),
        ({"name": "step", "args": {"every": 0}}, "every"),
        ({"name": "step", "args": {"every": 1e-320}}, "every must be at least 0.001 epochs"),
        ({"name": "step", "args": {"every": 10**400}}, "every"),
        ({"warmup_epochs": 10**400}, "warmup_epochs"),
        ({"name": "step", "args": {"factor": -1}}, "factor"),
        ({"name": "step", "args": {"factor": [0.5, 2]}}, "factor must be from 0 to 1; got 2"),
        ({"name": "step", "args": {"factor": [0.5]}}, "1 entries for 2 milestones"),
        ({"name": "step", "args": {"factor": [0.5], "every": 3}}, "not with every"),
        (
            {"name": "step", "args": {"milestones": [0.75, 0.25], "factor": [0.5, 0.1]}},
            r"milestones must rise where factor is a list; got \[0.75, 0.25\]",
        ),
    ],
)
def test_bad_values_are_named_when_it_is_made(values, words):
    with pytest.raises(ConfigError, match=words) as info:
        Schedule(**values)
    assert "\n" not in str(info.value)


def test_unknown_name():
    with pytest.raises(UnknownNameError, match="Did you mean 'cosine'"):
        Schedule(name="cosin")


def test_scheduler_drives_each_group():
    optimizer = torch.optim.SGD(
        [{"params": [nn.Parameter(torch.ones(1))], "lr": lr} for lr in (1.0, 0.5)]
    )
    schedule = Schedule(name="linear", warmup_epochs=1)
    scheduler = make_scheduler(optimizer, schedule, total=6, epochs=3)
    seen = []
    for _ in range(6):
        seen.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        scheduler.step()
    expected = [1 / 3, 2 / 3, 1, 0.75, 0.5, 0.25]
    assert [first for first, _ in seen] == pytest.approx(expected)
    assert [second for _, second in seen] == pytest.approx([0.5 * rate for rate in expected])


def test_scheduler_goes_on_from_its_state():
    def make():
        optimizer = torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=1.0)
        return optimizer, make_scheduler(optimizer, Schedule(), total=9, epochs=3)

    optimizer, scheduler = make()
    for _ in range(5):
        optimizer.step()
        scheduler.step()
    other, resumed = make()
    other.load_state_dict(optimizer.state_dict())
    resumed.load_state_dict(scheduler.state_dict())
    for one, schedule in ((optimizer, scheduler), (other, resumed)):
        one.step()
        schedule.step()
    assert optimizer.param_groups[0]["lr"] == other.param_groups[0]["lr"] == Schedule().factor(6, 9)


@pytest.mark.parametrize("warmup", [3, 5])
def test_a_warm_up_as_long_as_the_training_is_refused(warmup):
    optimizer = torch.optim.SGD([nn.Parameter(torch.ones(1))])
    with pytest.raises(ConfigError, match="warmup_epochs"):
        make_scheduler(optimizer, Schedule(warmup_epochs=warmup), total=30, epochs=3)
