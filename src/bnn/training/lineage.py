"""Which network a step begins with, and which it learns from."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from bnn.errors import BnnError, CheckpointError, ConfigError
from bnn.executor.stages import UserModules
from bnn.training.checkpoint import build_model, convert_to_step, read_checkpoint
from bnn.training.config import TrainConfig
from bnn.training.data import DataSplits
from bnn.training.features import FeatureTap
from bnn.training.folder import RunFolder
from bnn.training.optimizers import make_optimizer
from bnn.training.plan import StepPlan
from bnn.training.start import load_start_
from bnn.training.teacher import Teacher, load_teacher


class Lineage:
    """The networks of a run's steps, and where each comes from.

    Args:
        config: The run's settings.
        recipe: The recipe's content, None for a float network.
        plans: The steps.
        splits: The data.
        folder: Where steps leave what later ones need.
        model: The float network, before any step.
        user_modules: The caller's own binarizers that the recipe names.
    """

    def __init__(
        self,
        config: TrainConfig,
        recipe: Mapping[str, Any] | None,
        plans: Sequence[StepPlan],
        splits: DataSplits,
        folder: RunFolder,
        model: nn.Module,
        user_modules: UserModules = (),
    ) -> None:
        self.config = config
        self.recipe = recipe
        self.plans = plans
        self.splits = splits
        self.folder = folder
        self.user_modules = user_modules
        #: Steps whose network later ones need, beside the next.
        self.kept = {plan.teacher for plan in plans if isinstance(plan.teacher, int)}
        self.kept |= {plan.line[-2] for plan in plans if _branches(plan)}
        # What a step has left is put into a copy of the float network.
        self._float = copy.deepcopy(model) if self.kept else None

    def converted(self, model: nn.Module, step: int, after: int | None = None) -> nn.Module:
        """Convert in place for a step and those on its line, from after step ``after`` on.

        Parameters of which a binarizer learns the size from its layer's output have it afterwards:
        optimizers, averages and checkpoints need it.
        """
        model = convert_to_step(
            model, self.recipe, step, self.config.seed, self.user_modules, after=after
        )
        if any(map(is_lazy, model.parameters())):
            self._logits(model)
        return model

    def begin(self, plan: StepPlan, model: nn.Module) -> nn.Module:
        """Return the network that a step begins with.

        Args:
            plan: The step.
            model: The network as the step before left it; converted in place, unless the step
                begins with another.

        Raises:
            CheckpointError: If what an earlier step has left, or a checkpoint, cannot be used.
        """
        source = self._left_by(plan.line[-2]) if _branches(plan) else model
        begun = self.converted(source, plan.index, plan.line[-2] if len(plan.line) > 1 else None)
        return begun if plan.start is None else load_start_(begun, plan.start)

    def teacher(self, plan: StepPlan) -> Teacher | None:
        """Return the network that a step learns from, None if there is none.

        Raises:
            CheckpointError: If its file cannot be used.
            ConfigError: If it does not fit the data.
        """
        source = plan.teacher
        if source is None:
            return None
        if isinstance(source, int):
            return Teacher(self._left_by(source))
        return self._load({"checkpoint": source.out} if isinstance(source, TrainConfig) else source)

    def check(self, model: nn.Module) -> None:
        """Try all steps on copies of the float network.

        Raises:
            RecipeError: If a step does not fit the network.
            ConfigError: If the network does not fit the data, or an optimizer the network.
            LayerNotFoundError: If a loss names a layer that network or teacher lack.
            CheckpointError: If a checkpoint that a step begins with or learns from is unusable.
        """
        trials: list[nn.Module] = []
        for plan in self.plans:
            after = plan.line[-2] if len(plan.line) > 1 else None
            trial = copy.deepcopy(model if after is None else trials[after])
            trials.append(self.converted(trial, plan.index, after))
            self._check_step(plan, trials)
        self._check_logits(trials[-1])

    def _check_step(self, plan: StepPlan, trials: Sequence[nn.Module]) -> None:
        """Try what a step asks of its network and of its teacher, where that is there already."""
        model, losses = trials[plan.index], plan.make_losses()
        try:
            make_optimizer(model, plan.optimizer, learning_rate=plan.learning_rate)
            FeatureTap(model, losses.layers).remove()
            if plan.start is not None:
                load_start_(model, plan.start)
            if isinstance(plan.teacher, int):
                FeatureTap(trials[plan.teacher], losses.teacher_layers).remove()
            elif isinstance(plan.teacher, Mapping):
                FeatureTap(self._load(plan.teacher).network, losses.teacher_layers).remove()
            elif plan.teacher is not None:
                network = build_model(
                    plan.teacher, self.splits.input_shape, self.splits.num_classes
                )
                FeatureTap(network, losses.teacher_layers).remove()
        except BnnError as error:
            raise type(error)(f"{plan.name}: {error}") from error

    def _check_logits(self, model: nn.Module) -> None:
        logits, classes = self._logits(model), self.splits.num_classes
        got = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
        if got != (2, classes):
            raise ConfigError(
                f"the network gives {got} for a batch of 2, but {self.config.data} has {classes} "
                f"classes: expected {(2, classes)}."
            )

    @torch.no_grad()
    def _logits(self, model: nn.Module) -> Any:
        """Return what a network makes, in evaluation, of two images of zeros."""
        images = torch.zeros(2, *self.splits.input_shape)
        modes = [(module, module.training) for module in model.modules()]
        try:
            logits = model.eval()(images)
        except Exception as error:
            raise ConfigError(
                f"the network does not take the images of {self.config.data}, "
                f"{tuple(images.shape)} as a batch of 2: {str(error).splitlines()[0]} If they are "
                "too small for it, enlarge_to (--enlarge-to) makes them larger."
            ) from error
        finally:
            for module, mode in modes:
                module.training = mode
        return logits[0] if isinstance(logits, tuple) else logits

    def _left_by(self, step: int) -> nn.Module:
        """Return the network that an earlier step has left."""
        path = self.folder.step_file(step)
        content = read_checkpoint(path)
        try:
            model = self.converted(copy.deepcopy(self._float), step)  # type: ignore[arg-type]  # it is there if any step is kept
            model.load_state_dict(content["model"])
        except (RuntimeError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"{path}: does not fit the run that {self.folder.path} describes."
            ) from error
        return model

    def _load(self, source: Mapping[str, str]) -> Teacher:
        return load_teacher(
            source,
            input_shape=self.splits.input_shape,
            num_classes=self.splits.num_classes,
            user_modules=self.user_modules,
        )


def _branches(plan: StepPlan) -> bool:
    """Say whether a step begins with the network of a step that is not the one before it."""
    return len(plan.line) > 1 and plan.line[-2] != plan.index - 1
