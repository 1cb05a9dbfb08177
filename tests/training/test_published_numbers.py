"""What packaged recipes say of training, beside the literature's numbers, written here again.

The numbers are those of the papers or of their authors' code. The small variants are bounded here
without training: epochs, images and multiplications follow from the files.
"""

import pytest
import torch

from bnn.executor import load_recipe, packaged_recipes
from bnn.inspect import count_ops
from bnn.models import create
from bnn.training import OptimizerCase, TrainConfig, load_data, with_recipe_network
from bnn.training.plan import plan_steps

SGD = ("sgd", {"momentum": 0.9})
ADAM = ("adam", {})
COSINE = ("cosine", 0, {})
LINEAR = ("linear", 0, {})

# data, then for each step: epochs, batch size, learning rate, weight decay, optimizer, schedule
PUBLISHED = {
    "adabin": ("cifar10", [(400, 128, 0.1, 1e-4, SGD, COSINE)]),
    "bi-real": ("imagenet", [(256, 512, 1e-3, 0, ADAM, LINEAR)]),
    "binary-densenet": (
        "imagenet",
        [(120, 256, 4e-3, 0, ADAM, ("step", 0, {"milestones": [0.8333, 0.9166], "factor": 0.1}))],
    ),
    "birealnet": ("imagenet", [(256, 512, 1e-3, 0, ADAM, LINEAR)]),
    "ir-net": ("cifar10", [(400, 128, 0.1, 1e-4, SGD, COSINE)]),
    "reactnet": (
        "imagenet",
        [(256, 256, 5e-4, 1e-5, ADAM, LINEAR), (256, 256, 5e-4, 0, ADAM, LINEAR)],
    ),
    "reactnet-a": (
        "imagenet",
        [(256, 256, 5e-4, 1e-5, ADAM, LINEAR), (256, 256, 5e-4, 0, ADAM, LINEAR)],
    ),
    "real-to-binary": (
        "imagenet",
        [
            (100, 256, 0.1, 1e-4, SGD, COSINE),
            (75, 256, 1e-3, 1e-5, ADAM, COSINE),
            (75, 256, 1e-3, 1e-5, ADAM, COSINE),
            (75, 256, 2e-4, 0, ADAM, COSINE),
        ],
    ),
    "real-to-binary-net": (
        "imagenet",
        [
            (100, 256, 0.1, 1e-4, SGD, COSINE),
            (75, 256, 1e-3, 1e-5, ADAM, COSINE),
            (75, 256, 1e-3, 1e-5, ADAM, COSINE),
            (75, 256, 2e-4, 0, ADAM, COSINE),
        ],
    ),
    "recu": ("cifar10", [(600, 256, 0.1, 5e-4, SGD, ("cosine", 5, {}))]),
    "xnor-net": (
        "imagenet",
        [
            (
                *(55, 800, 1e-3, 0, ADAM),
                (
                    "step",
                    0,
                    {
                        "milestones": [0.3273, 0.5273, 0.7819, 0.9455],
                        "factor": [0.5, 0.2, 0.5, 0.2],
                    },
                ),
            )
        ],
    ),
}

# Several optimizers: each has a test of its own.
BY_CASES = {"bnext", "bop", "quicknet"}

# What has no published numbers, or none that we could check: the data set's count.
UNBOUND = {"bnn-plus", "imagenet-baseline", "two-step", "xnor-net-plus-plus"}


def plans_at_home(name):
    recipe = load_recipe(name)
    return plan_steps(TrainConfig(recipe=name, data=recipe.data or "digits", data_dir="/nowhere"))


@pytest.mark.parametrize("name", PUBLISHED)
def test_on_its_own_data_a_recipe_trains_with_the_published_numbers(name):
    data, steps = PUBLISHED[name]
    assert load_recipe(name).data == data
    found = []
    for plan in plans_at_home(name):
        (case,) = plan.optimizer
        found.append(
            (
                *(plan.epochs, plan.batch_size, plan.learning_rate, case.weight_decay),
                (case.name, case.args),
                (plan.schedule.name, plan.schedule.warmup_epochs, plan.schedule.args),
            )
        )
    assert found == steps


def test_the_rates_of_xnor_net_are_those_of_its_authors_code():
    (plan,) = plans_at_home("xnor-net")
    batches = 1_281_167 // 800
    rates = [
        plan.learning_rate * plan.schedule.factor(epoch * batches + batches // 2, 55 * batches)
        for epoch in range(55)
    ]
    expected = [1e-3] * 18 + [5e-4] * 11 + [1e-4] * 14 + [5e-5] * 9 + [1e-5] * 3
    assert rates == pytest.approx(expected)


def test_bop_flips_with_the_published_numbers():
    (plan,) = plans_at_home("bop")
    assert (plan.epochs, plan.batch_size) == (500, 50)
    bop, adam = plan.optimizer
    assert (bop.claims, bop.name, bop.args) == (
        "binary_weights",
        "bop",
        {"gamma": 1e-4, "threshold": 1e-8},
    )
    assert (adam.claims, adam.name, adam.learning_rate) == ("rest", "adam", 1e-2)
    assert plan.schedule.args == {"milestones": [0.2, 0.4, 0.6, 0.8], "factor": 0.1}


def test_quicknet_trains_binary_weights_with_adam_and_the_rest_with_sgd():
    (plan,) = plans_at_home("quicknet")
    assert (plan.epochs, plan.batch_size, plan.clamp_latent) == (600, 2048, 1.25)
    assert (plan.schedule.name, plan.schedule.warmup_epochs) == ("cosine", 5)
    assert plan.optimizer == (
        OptimizerCase(claims="binary_weights", name="adam", learning_rate=1e-2),
        OptimizerCase(claims="rest", name="sgd", learning_rate=0.1, args={"momentum": 0.9}),
    )


def test_bnext_decays_weights_less_than_the_rest():
    (plan,) = plans_at_home("bnext")
    assert (plan.epochs, plan.batch_size, plan.clamp_latent) == (512, 512, 1.5)
    assert plan.learning_rate == 1e-3
    assert (plan.schedule.name, plan.schedule.warmup_epochs) == ("cosine", 5)
    assert plan.optimizer == (
        OptimizerCase(claims="layer_weights", name="adamw", weight_decay=1e-8),
        OptimizerCase(claims="rest", name="adamw", weight_decay=1e-3),
    )


LOSSES = {
    "bnext": [[("distribution", 1)]],
    "bnn-plus": [[("cross_entropy", 1), ("bnn_plus", 1e-6)]],
    "reactnet": [[("distribution", 1)]] * 2,
    "reactnet-a": [[("distribution", 1)]] * 2,
    "real-to-binary": [
        [],
        [("cross_entropy", 1), ("attention", 30), ("logit_kd", 3)],
        [("cross_entropy", 1), ("attention", 30), ("logit_kd", 3)],
        [("cross_entropy", 1), ("logit_kd", 0.8)],
    ],
}
LOSSES["real-to-binary-net"] = LOSSES["real-to-binary"]


@pytest.mark.parametrize("name", packaged_recipes())
def test_losses_are_weighted_as_published(name):
    found = [[(one["name"], one.get("weight", 1)) for one in p.losses] for p in plans_at_home(name)]
    assert found == LOSSES.get(name, [[]] * len(found))


def test_binarizers_are_as_published():
    args = {
        name: [getattr(stage, "kwargs", {}) for stage in vars(step.bconfig).values()]
        for name in packaged_recipes()
        for step in load_recipe(name).steps
    }
    assert args["ir-net"] == [{"t_min": 1e-3, "t_max": 10.0}, {}, {"t_min": 1e-3, "t_max": 10.0}]
    assert args["recu"][2] == {"tau_min": 0.85, "tau_max": 0.99}
    assert args["bnn-plus"][0] == {"beta": 5.0}
    assert args["real-to-binary"][1] == {"reduction": 8}
    assert args["xnor-net-plus-plus"][1] == {"form": "channel_axes"}
    post = load_recipe("xnor-net").steps[0].bconfig.activation_post_process
    assert post.__name__ == "XNORScaleBinarizer"


def test_every_packaged_recipe_is_in_one_of_the_lists():
    assert {*PUBLISHED} | BY_CASES | UNBOUND == set(packaged_recipes())
    for name in UNBOUND:
        given = [step.batch_size for step in load_recipe(name).steps]
        assert given == [None] * len(given), f"{name} gives numbers: write them into this file"


# ---- the small variants

# Measured on one core: a step of the smallest network takes 15 ms, and what a large one has beyond
# that 0.2 ns for each multiplication of a forward pass. The bounds are half a minute together.
MOST_STEPS = 1000
MOST_MULTIPLICATIONS = 60e9


@pytest.mark.parametrize("name", packaged_recipes())
def test_the_small_variant_is_small(name):
    config = with_recipe_network(TrainConfig(recipe=name, smoke=True))
    splits = load_data("digits", enlarge_to=load_recipe(name).enlarge_to)
    runs = [(config, plan.epochs, plan.batch_size) for plan in plan_steps(config)]
    teachers = {
        plan.teacher.out: (plan.teacher, plan.teacher.epochs, plan.teacher.batch_size)
        for plan in plan_steps(config)
        if isinstance(plan.teacher, TrainConfig)
    }
    steps = multiplications = 0
    for settings, epochs, batch_size in (*runs, *teachers.values()):
        network = create(settings.model, **{**settings.model_args, "in_channels": 1})
        each = count_ops(network, torch.zeros(1, *splits.input_shape)).macs
        steps += epochs * (len(splits.train) // batch_size)
        multiplications += epochs * len(splits.train) * each
    assert steps <= MOST_STEPS
    assert multiplications <= MOST_MULTIPLICATIONS
