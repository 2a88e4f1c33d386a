"""Joins the optimisers of J jobs: every number of a job's optimiser is a cell of a column."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from engine.steps.updates import RULES, flags, numbers

# Numbers that the jobs may differ in, as the config names them.
NUMBERS = ("lr", "momentum", "weight_decay", "betas", "eps")
# Options that must have these values.
NEEDED = {
    "nesterov": False,
    "dampening": 0,
    "amsgrad": False,
    "maximize": False,
    "differentiable": False,
}


class StackedOptimizer(Optimizer):
    """Takes the steps of J optimisers of one class, over the parameters of all jobs.

    Args:
        parameters: (J, …) each, in the order in which a job's optimiser has them.
        singles: the jobs' own optimisers; only their numbers are read.
    """

    evaluates_once = True  # for the Trainer: a step needs no closure

    def __init__(self, parameters: Sequence[Tensor], singles: Sequence[Optimizer]) -> None:
        super().__init__(parameters, {})
        self.parameters = list(parameters)
        self.singles = list(singles)
        self.steps = 0
        self.rule = RULES[type(singles[0])]
        self.flags = flags(singles[0].param_groups[0])
        rows = [numbers(single.param_groups[0]) for single in singles]
        columns = torch.tensor(rows, dtype=torch.float64, device=parameters[0].device).unbind(1)
        self.columns = dict(zip(self.rule.numbers, columns, strict=True))  # (J,) each
        # A weight decay or a momentum that is 0 in all jobs need not be computed.
        unused = [name for name in ("weight_decay", "momentum") if name in self.columns]
        self.unused = [name for name in unused if not self.columns[name].any()]
        self.kept = () if "momentum" in self.unused else self.rule.state

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        with torch.enable_grad():
            loss = closure() if closure else None
        self.steps += 1
        first = self.parameters[0]
        count = torch.tensor(float(self.steps), dtype=torch.float64, device=first.device)
        scalars = {
            name: column.to(first.dtype)
            for name, column in self.rule.scalars(count, **self.columns).items()
            if name not in self.unused
        }
        for parameter in self.parameters:
            if parameter.grad is None:
                continue
            state = self.state[parameter]
            if not state:
                state.update({name: torch.zeros_like(parameter) for name in self.kept})
            shape = (-1, *[1] * (parameter.ndim - 1))
            cells = {name: column.view(shape) for name, column in scalars.items()}  # (J, 1, …)
            self.rule.update(parameter, parameter.grad, state, cells, self.flags)
        return loss

    def state_of(self, job: int) -> dict[str, Any]:
        """Returns the state_dict that a job's own optimiser would have now."""
        own: dict[int, dict[str, Tensor]] = {}
        if "momentum" not in self.columns or self.columns["momentum"][job] != 0:
            for number, parameter in enumerate(self.parameters):
                if state := self.state[parameter]:
                    step = {"step": torch.tensor(float(self.steps))} if self.rule.counts else {}
                    own[number] = step | {name: state[name][job].clone() for name in self.kept}
        return {"state": own, "param_groups": self.singles[job].state_dict()["param_groups"]}


def why_not_stacked(single: Optimizer) -> str | None:
    """Returns the reason why there is no stacked optimiser like this one; None if there is one."""
    if type(single) not in RULES:
        return f"optimizer {type(single).__name__}"
    if len(single.param_groups) > 1:
        return "an optimiser of several groups of parameters"
    group = single.param_groups[0]
    wrong = [key for key, value in NEEDED.items() if group.get(key, value) != value]
    return f"optimizer.{wrong[0]}={group[wrong[0]]}" if wrong else None
