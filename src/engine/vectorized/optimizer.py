"""Joins the optimisers of J jobs, and their learning rates that change.

Every number of a job's optimiser is a cell of a column.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from engine.steps.updates import RULES, flags, numbers, why_not_plain
from engine.vectorized import NotStacked, first_of

# Numbers that the jobs may differ in, as the config names them.
NUMBERS = ("lr", "momentum", "weight_decay", "betas", "eps", "alpha")
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
        self.options = list(map(_options, self.singles))
        self.read_numbers()
        # A weight decay or a momentum that is 0 in all jobs need not be computed.
        unused = [name for name in ("weight_decay", "momentum") if name in self.columns]
        self.unused = [name for name in unused if not self.columns[name].any()]
        without = {"momentum_buffer"} if "momentum" in self.unused else set()
        without |= set() if singles[0].param_groups[0].get("centered") else {"grad_avg"}
        self.kept = [name for name in self.rule.state if name not in without]

    def read_numbers(self) -> None:
        """Reads the numbers of the jobs' optimisers, which a schedule may have changed.

        Raises:
            NotStacked: if a schedule has put a tensor in a number's place.
        """
        if reason := next(filter(None, map(why_not_plain, self.singles)), None):
            raise NotStacked(reason)
        self.rows = [numbers(single.param_groups[0]) for single in self.singles]
        device = self.parameters[0].device
        columns = torch.tensor(self.rows, dtype=torch.float64, device=device).unbind(1)
        self.columns = dict(zip(self.rule.numbers, columns, strict=True))  # (J,) each

    def check_numbers(self) -> None:
        """Refuses numbers that somebody else than a schedule has changed."""
        if self.rows != [numbers(single.param_groups[0]) for single in self.singles]:
            raise NotStacked("a callback changes a number of the optimiser")

    def check_options(self) -> None:
        """Refuses what anybody has changed of the jobs' optimisers beside numbers."""
        if self.options != list(map(_options, self.singles)):
            raise NotStacked("training changes an option or the parameters of the optimiser")

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
        step = {"step": torch.tensor(float(self.steps))} if self.rule.counts else {}
        has_momentum = "momentum" in self.columns and self.columns["momentum"][job] != 0
        names = [name for name in self.kept if name != "momentum_buffer" or has_momentum]
        for number, parameter in enumerate(self.parameters):
            if self.state[parameter] and (names or step):
                cells = {name: self.state[parameter][name][job].clone() for name in names}
                own[number] = {key: value.clone() for key, value in step.items()} | cells
        (group,) = self.singles[job].param_groups
        groups = [{**group, "params": list(range(len(self.parameters)))}]  # as state_dict() does
        return {"state": own, "param_groups": groups}


class StackedSchedule:
    """Changes the numbers of J jobs' optimisers: each by the job's own scheduler.

    Args:
        optimizer: of all jobs.
        configs: the jobs' own `lr_scheduler` configs, as Lightning takes them.
    """

    def __init__(self, optimizer: StackedOptimizer, configs: Sequence[Mapping[str, Any]]) -> None:
        self.optimizer = optimizer
        self.singles = [config["scheduler"] for config in configs]
        for single in optimizer.singles:
            single.step()  # takes none, without gradients: a scheduler warns if it is the first
        optimizer.read_numbers()

    def step(self) -> None:
        self.optimizer.check_numbers()
        for single in self.singles:
            single.step()
        self.optimizer.read_numbers()
        for name in self.optimizer.unused:
            if self.optimizer.columns[name].any():
                raise NotStacked(f"a schedule changes {name}, which was 0")

    def state_dict(self) -> dict[str, Any]:
        """Returns nothing: each job's checkpoint has the state of the job's own scheduler."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Loads nothing: no stack resumes."""


def switches(single: Optimizer) -> list[Any]:
    """Returns an optimiser's class, and what it has been told beside its numbers."""
    group = single.param_groups[0]
    return [type(single), {key: group.get(key) for key in single.defaults if key not in NUMBERS}]


def _options(single: Optimizer) -> list[Any]:
    """Returns what stays equal of a job's optimiser while it is only its numbers that change."""
    return [switches(single), [list(map(id, group["params"])) for group in single.param_groups]]


def why_not_stacked(single: Optimizer) -> str | None:
    """Returns the reason why there is no stacked optimiser like this one; None if there is one."""
    if type(single) not in RULES:
        known = ", ".join(kind.__name__ for kind in RULES)
        return f"optimizer {type(single).__name__}: not one of {known}"
    group = single.param_groups[0]
    dtypes = {parameter.dtype for parameter in group["params"]}
    given = {key: group[key] for key in NEEDED if key in group}
    reasons = {
        "an optimiser of several groups of parameters": len(single.param_groups) > 1,
        "complex parameters": any(dtype.is_complex for dtype in dtypes),
        "parameters of several dtypes": len(dtypes) > 1,  # the columns have one
        **{f"optimizer.{key}={own}": own != NEEDED[key] for key, own in given.items()},
    }
    return first_of(reasons) or why_not_plain(single)
