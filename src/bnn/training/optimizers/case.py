"""CaseOptimizer: several optimizers that look like one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

import torch

from bnn.errors import ConfigError


class CaseOptimizer(torch.optim.Optimizer):
    """Several optimizers, each with parameters of its own, as one.

    Its groups are theirs, one after the other: a scheduler scales each group's own rate, and a
    trainer that knows one optimizer trains with all of them.

    Args:
        optimizers: What it steps, in this order.

    Raises:
        ConfigError: If there is none, or two hold the same parameter.

    Example:
        >>> from bnn.training import Bop
        >>> a, b = torch.nn.Parameter(torch.ones(2)), torch.nn.Parameter(torch.ones(2))
        >>> optimizer = CaseOptimizer([Bop([a], gamma=0.5), torch.optim.SGD([b], lr=0.1)])
        >>> [group["lr"] for group in optimizer.param_groups]
        [0.5, 0.1]
        >>> loss = optimizer.step(lambda: (a + b).sum().backward())
        >>> a.data, b.data
        (tensor([-1., -1.]), tensor([0.9000, 0.9000]))
    """

    def __init__(self, optimizers: Iterable[torch.optim.Optimizer]) -> None:
        self.optimizers = tuple(optimizers)
        groups = [group for optimizer in self.optimizers for group in optimizer.param_groups]
        if not groups:
            raise ConfigError("CaseOptimizer got no optimizer; give at least one.")
        try:
            super().__init__([dict(group) for group in groups], {})
        except ValueError as error:  # torch's: "some parameters appear in more than one group"
            raise ConfigError(f"CaseOptimizer: {error}. Give each parameter once.") from error
        state = {key: value for one in self.optimizers for key, value in one.state.items()}
        self.state.update(state)
        self._share(groups)

    def _share(self, groups: Iterable[dict[str, Any]]) -> None:
        """Make these groups those of the parts too, and its state theirs."""
        self.param_groups = list(groups)
        rest: Iterator[dict[str, Any]] = iter(self.param_groups)
        for optimizer in self.optimizers:
            own = list(islice(rest, len(optimizer.param_groups)))
            optimizer.__setstate__({"state": self.state, "param_groups": own})

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "optimizers": self.optimizers}

    def __setstate__(self, state: dict[str, Any]) -> None:
        # Also torch's load_state_dict ends here.
        super().__setstate__(state)
        self._share(self.param_groups)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Refuse, once it is made: nothing says which optimizer the group is for.

        Raises:
            ConfigError: Always.
        """
        if len(self.param_groups) < sum(len(one.param_groups) for one in self.optimizers):
            super().add_param_group(param_group)
            return
        raise ConfigError(
            "a CaseOptimizer takes no further groups. Add the group to one of its `optimizers` "
            "before they are joined."
        )

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Step every optimizer; the closure runs once, before all of them.

        Args:
            closure: Computes the loss and its gradients anew.

        Returns:
            What ``closure`` returned, or None.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for optimizer in self.optimizers:
            optimizer.step()
        return loss
