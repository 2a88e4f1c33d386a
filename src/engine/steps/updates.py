"""Has the update rules of SGD, Adam, AdamW and RMSprop, as torch.optim has them.

torch.optim is the ordinary run's optimiser. These rules serve the compiled step, where an
optimiser's numbers are tensors, and jobs that train together, where they are columns with a row for
each job.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.optim import SGD, Adam, AdamW, RMSprop

State = dict[str, Tensor]
Scalars = Mapping[str, Tensor]  # each broadcasts against the parameter


@dataclass(frozen=True)
class Rule:
    """Holds the update rule for parameters of one group.

    Args:
        state: the names of the tensors that the optimiser keeps for a parameter, without its count
            of steps.
        counts: whether the optimiser counts steps.
        numbers: the names of the group's numbers, such as "lr" per step; each of the `betas` has a
            name.
        scalars: maps the count after this step, and the numbers, to the scalars of an update. All
            have 64 bits: in 32 bits, 1 - beta2**step would lose digits in the first steps.
        update: changes a parameter and its state in place, by its gradient and the scalars.
    """

    state: tuple[str, ...]
    counts: bool
    numbers: tuple[str, ...]
    scalars: Callable[..., dict[str, Tensor]]
    update: Callable[..., None]


def _sgd_scalars(
    step: Tensor | None, lr: Tensor, momentum: Tensor, dampening: Tensor, weight_decay: Tensor
) -> dict[str, Tensor]:
    return {"lr": lr, "momentum": momentum, "fresh": 1 - dampening, "weight_decay": weight_decay}


def _sgd(
    parameter: Tensor, gradient: Tensor, state: State, by: Scalars, flags: Mapping[str, bool]
) -> None:
    """Steps as torch.optim.SGD (Sutskever et al. 2013) does, after its first step.

    Without a `momentum_buffer` in the state there is no momentum.
    """
    if "weight_decay" in by:
        gradient = gradient.addcmul(parameter, by["weight_decay"])
    if "momentum_buffer" in state:
        buffer = state["momentum_buffer"].mul_(by["momentum"]).addcmul_(gradient, by["fresh"])
        gradient = gradient.addcmul(buffer, by["momentum"]) if flags["nesterov"] else buffer
    parameter.addcmul_(gradient, by["lr"], value=-1)


def _adam_scalars(
    step: Tensor, lr: Tensor, beta1: Tensor, beta2: Tensor, eps: Tensor, weight_decay: Tensor
) -> dict[str, Tensor]:
    return {
        "weight_decay": weight_decay,
        "kept": 1 - lr * weight_decay,
        "fresh1": 1 - beta1,
        "beta2": beta2,
        "fresh2": 1 - beta2,
        "eps": eps,
        "size": lr / (1 - beta1**step),
        "root": (1 - beta2**step).sqrt(),
    }


def _adam(
    parameter: Tensor, gradient: Tensor, state: State, by: Scalars, flags: Mapping[str, bool]
) -> None:
    """Steps as torch.optim.Adam (Kingma & Ba 2015) or AdamW (Loshchilov & Hutter 2019) does."""
    if "weight_decay" in by:
        if flags["decoupled_weight_decay"]:
            parameter.mul_(by["kept"])
        else:
            gradient = gradient.addcmul(parameter, by["weight_decay"])
    state["exp_avg"].lerp_(gradient, by["fresh1"].expand_as(gradient))
    state["exp_avg_sq"].mul_(by["beta2"]).add_(gradient * gradient * by["fresh2"])
    below = state["exp_avg_sq"].sqrt().div_(by["root"]).add_(by["eps"])
    parameter.addcmul_(state["exp_avg"] / below, by["size"], value=-1)


def _rmsprop_scalars(
    step: Tensor, lr: Tensor, alpha: Tensor, eps: Tensor, weight_decay: Tensor, momentum: Tensor
) -> dict[str, Tensor]:
    return {
        "lr": lr,
        "alpha": alpha,
        "fresh": 1 - alpha,
        "eps": eps,
        "weight_decay": weight_decay,
        "momentum": momentum,
    }


def _rmsprop(
    parameter: Tensor, gradient: Tensor, state: State, by: Scalars, flags: Mapping[str, bool]
) -> None:
    """Steps as torch.optim.RMSprop (Hinton 2012; Graves 2013 if centred) does."""
    if "weight_decay" in by:
        gradient = gradient.addcmul(parameter, by["weight_decay"])
    mean_square = state["square_avg"].mul_(by["alpha"]).add_(gradient * gradient * by["fresh"])
    if "grad_avg" in state:
        mean = state["grad_avg"].lerp_(gradient, by["fresh"].expand_as(gradient))
        mean_square = mean_square - mean * mean
    step = gradient / mean_square.sqrt().add_(by["eps"])
    if "momentum_buffer" in state:
        step = state["momentum_buffer"].mul_(by["momentum"]).add_(step)
    parameter.addcmul_(step, by["lr"], value=-1)


_SGD = Rule(
    ("momentum_buffer",),
    False,
    ("lr", "momentum", "dampening", "weight_decay"),
    _sgd_scalars,
    _sgd,
)
_ADAM = Rule(
    ("exp_avg", "exp_avg_sq"),
    True,
    ("lr", "beta1", "beta2", "eps", "weight_decay"),
    _adam_scalars,
    _adam,
)
_RMSPROP = Rule(
    ("square_avg", "momentum_buffer", "grad_avg"),  # in torch's order
    True,
    ("lr", "alpha", "eps", "weight_decay", "momentum"),
    _rmsprop_scalars,
    _rmsprop,
)
RULES: dict[type[torch.optim.Optimizer], Rule] = {
    SGD: _SGD,
    Adam: _ADAM,
    AdamW: _ADAM,
    RMSprop: _RMSPROP,
}


def numbers(group: Mapping[str, Any]) -> tuple[float, ...]:
    """Returns the numbers of a parameter group, in the order of its rule's `numbers`."""
    if "betas" in group:
        return (group["lr"], *group["betas"], group["eps"], group["weight_decay"])
    rule = _RMSPROP if "alpha" in group else _SGD
    return tuple(group[name] for name in rule.numbers)


def why_not_plain(optimizer: torch.optim.Optimizer) -> str | None:
    """Returns which number of an optimiser with a rule is a tensor; None if all are plain numbers.

    A tensor changes in place, and whoever has read the number before does not see it.
    """
    names = RULES[type(optimizer)].numbers
    for group in optimizer.param_groups:
        for name, number in zip(names, numbers(group), strict=True):
            if isinstance(number, Tensor):
                return f"{type(optimizer).__name__}'s {name} is a tensor"
    return None


def flags(group: Mapping[str, Any]) -> dict[str, bool]:
    """Returns the switches of a parameter group that its rule looks at."""
    return {key: bool(group.get(key)) for key in ("nesterov", "decoupled_weight_decay")}
