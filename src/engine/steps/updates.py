"""The optimisers' updates as functions of tensors, for steps that are compiled."""

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.optim import SGD, Adam, AdamW

Number = float | Tensor  # a tensor broadcasts against the parameter
State = dict[str, Tensor]


def sgd(
    parameter: Tensor, gradient: Tensor, state: State, *, lr: Number, momentum: Number, dampening: Number,
    weight_decay: Number, nesterov: bool,
) -> tuple[Tensor, State]:  # fmt: skip
    """A parameter after an update of torch.optim.SGD's, but for the first, which has no dampening; and its new state.

    Without a `momentum_buffer` in the state there is no momentum.
    """
    gradient = gradient + weight_decay * parameter
    if "momentum_buffer" not in state:
        return parameter - lr * gradient, state
    buffer = momentum * state["momentum_buffer"] + (1 - dampening) * gradient
    return parameter - lr * (gradient + momentum * buffer if nesterov else buffer), {"momentum_buffer": buffer}


def adam(
    parameter: Tensor, gradient: Tensor, state: State, *, lr: Number, beta1: Number, beta2: Number, eps: Number,
    weight_decay: Number, decoupled: bool,
) -> tuple[Tensor, State]:  # fmt: skip
    """A parameter after an update of torch.optim.Adam's, or AdamW's (`decoupled`), and its new state."""
    if decoupled:
        parameter = parameter * (1 - lr * weight_decay)
    else:
        gradient = gradient + weight_decay * parameter
    step = state["step"] + 1
    mean = state["exp_avg"] + (1 - beta1) * (gradient - state["exp_avg"])
    square = beta2 * state["exp_avg_sq"] + (1 - beta2) * gradient * gradient
    count = step.double()  # in 32 bits, 1 - beta2**count would lose digits in the first steps
    root = square.sqrt() / (1 - beta2**count).sqrt() + eps
    return parameter - lr / (1 - beta1**count) * mean / root, {"step": step, "exp_avg": mean, "exp_avg_sq": square}


KEYS = {SGD: ("momentum_buffer",), Adam: ("step", "exp_avg", "exp_avg_sq"), AdamW: ("step", "exp_avg", "exp_avg_sq")}


def numbers(group: dict[str, Any]) -> tuple[float, ...]:
    """Those numbers of a parameter group that the update takes, in the order of `rule`."""
    if "betas" in group:
        return (group["lr"], *group["betas"], group["eps"], group["weight_decay"])
    return (group["lr"], group["momentum"], group["dampening"], group["weight_decay"])


def rule(group: dict[str, Any]) -> Callable[[Tensor, Tensor, State, Tensor], tuple[Tensor, State]]:
    """The update of a group's parameters: of a parameter, its gradient, its state and the group's numbers."""
    if "betas" in group:
        decoupled = bool(group.get("decoupled_weight_decay"))
        names = "lr", "beta1", "beta2", "eps", "weight_decay"
        return lambda p, g, s, n: adam(p, g, s, decoupled=decoupled, **dict(zip(names, n.unbind(), strict=True)))
    nesterov = bool(group["nesterov"])
    words = "lr", "momentum", "dampening", "weight_decay"
    return lambda p, g, s, n: sgd(p, g, s, nesterov=nesterov, **dict(zip(words, n.unbind(), strict=True)))
