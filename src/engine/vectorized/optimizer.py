"""The optimisers of J jobs as one: every number of a job's is a cell of a column."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import SGD, Adam, AdamW, Optimizer


class StackedOptimizer(Optimizer):
    """Takes the steps of several optimisers of one class, over parameters (J, …) that hold those of all.

    Args:
        parameters: (J, …) each, in the order of the optimisers' own.
        singles: the jobs' own optimisers; only their numbers are read.
    """

    def __init__(self, parameters: Sequence[Tensor], singles: Sequence[Optimizer]) -> None:
        super().__init__(parameters, {})
        self.parameters, self.singles, self.steps = list(parameters), list(singles), 0
        self._columns: dict[str, Tensor] = {}

    def number(self, key: str) -> Tensor:
        """A number of each job's optimiser: (J,) in 64 bits, on the parameters' device."""
        if key not in self._columns:
            values = [single.param_groups[0][key] for single in self.singles]
            self._columns[key] = torch.tensor(values, dtype=torch.float64, device=self.parameters[0].device)
        return self._columns[key]

    def in_use(self, key: str) -> bool:
        """Whether any job's number is not zero."""
        return any(single.param_groups[0][key] for single in self.singles)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        loss = None
        if closure:
            with torch.enable_grad():
                loss = closure()
        self.steps += 1
        columns = {name: number.to(self.parameters[0].dtype) for name, number in self.columns().items()}
        for parameter in self.parameters:
            if parameter.grad is not None:
                cells = {name: column.view(-1, *[1] * (parameter.ndim - 1)) for name, column in columns.items()}
                self.update(parameter, parameter.grad, self.state[parameter], cells)
        return loss

    def state_of(self, job: int) -> dict[str, Any]:
        """The state_dict that a job's own optimiser would have now."""
        kept = {}
        for number, parameter in enumerate(self.parameters):
            if own := self.single_state(job, self.state[parameter]):
                kept[number] = own
        return {"state": kept, "param_groups": self.singles[job].state_dict()["param_groups"]}

    @abstractmethod
    def columns(self) -> dict[str, Tensor]:
        """What a step needs to know of each job: (J,) each."""

    @abstractmethod
    def update(self, parameter: Tensor, grad: Tensor, state: dict[str, Tensor], cells: dict[str, Tensor]) -> None:
        """Take a step; `cells` are the columns, (J, 1, …); `grad` may be changed."""

    @abstractmethod
    def single_state(self, job: int, state: dict[str, Tensor]) -> dict[str, Any]:
        """What torch's optimiser keeps for a parameter, if anything; after a step."""


class StackedSGD(StackedOptimizer):
    """torch.optim.SGD, with momentum and weight decay."""

    def columns(self) -> dict[str, Tensor]:
        return {key: self.number(key) for key in ("lr", "momentum", "weight_decay")}

    def update(self, parameter: Tensor, grad: Tensor, state: dict[str, Tensor], cells: dict[str, Tensor]) -> None:
        if self.in_use("weight_decay"):
            grad = grad.addcmul_(parameter, cells["weight_decay"])
        if self.in_use("momentum"):
            if not state:
                state["velocity"] = torch.zeros_like(parameter)
            grad = state["velocity"].mul_(cells["momentum"]).add_(grad)
        parameter.addcmul_(grad, cells["lr"], value=-1)

    def single_state(self, job: int, state: dict[str, Tensor]) -> dict[str, Any]:
        moves = self.singles[job].param_groups[0]["momentum"] != 0
        return {"momentum_buffer": state["velocity"][job].clone()} if moves else {}


class StackedAdam(StackedOptimizer):
    """torch.optim.Adam and AdamW."""

    def columns(self) -> dict[str, Tensor]:
        beta1, beta2 = self.number("betas").unbind(1)
        lr, decay = self.number("lr"), self.number("weight_decay")
        return {
            "weight_decay": decay, "kept": 1 - lr * decay, "new1": 1 - beta1, "beta2": beta2, "new2": 1 - beta2,
            "eps": self.number("eps"), "step": lr / (1 - beta1**self.steps), "root": (1 - beta2**self.steps).sqrt(),
        }  # fmt: skip

    def update(self, parameter: Tensor, grad: Tensor, state: dict[str, Tensor], cells: dict[str, Tensor]) -> None:
        if not state:
            state |= {"mean": torch.zeros_like(parameter), "square": torch.zeros_like(parameter)}
        if self.in_use("weight_decay"):
            if self.singles[0].param_groups[0]["decoupled_weight_decay"]:
                parameter.mul_(cells["kept"])
            else:
                grad = grad.addcmul_(parameter, cells["weight_decay"])
        state["mean"].lerp_(grad, cells["new1"].expand_as(grad))
        state["square"].mul_(cells["beta2"]).add_(grad.square().mul_(cells["new2"]))
        below = state["square"].sqrt().div_(cells["root"]).add_(cells["eps"])
        parameter.addcmul_(state["mean"].div(below), cells["step"], value=-1)

    def single_state(self, job: int, state: dict[str, Tensor]) -> dict[str, Any]:
        means = {"exp_avg": state["mean"][job].clone(), "exp_avg_sq": state["square"][job].clone()}
        return {"step": torch.tensor(float(self.steps)), **means}


NUMBERS = ("lr", "momentum", "weight_decay", "betas", "eps")  # that the jobs may differ in
STACKED: dict[type[Optimizer], type[StackedOptimizer]] = {SGD: StackedSGD, Adam: StackedAdam, AdamW: StackedAdam}
NEEDED = {"nesterov": False, "dampening": 0, "amsgrad": False, "maximize": False, "differentiable": False}


def why_not_stacked(single: Optimizer) -> str | None:
    """Why there is no stacked optimiser like this one, if so."""
    if type(single) not in STACKED:
        return f"optimizer {type(single).__name__}"
    if len(single.param_groups) > 1:
        return "an optimiser of several groups of parameters"
    group = single.param_groups[0]
    wrong = [f"optimizer.{key}={group[key]}" for key, value in NEEDED.items() if group.get(key, value) != value]
    return wrong[0] if wrong else None


def stack(parameters: Sequence[Tensor], singles: Sequence[Optimizer]) -> StackedOptimizer:
    """One optimiser for all of `singles`, which are of one class."""
    return STACKED[type(singles[0])](parameters, singles)
