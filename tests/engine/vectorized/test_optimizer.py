"""Stacked optimisers against torch's own, each over one job's parameters."""

from typing import Any

import pytest
import torch
from torch import Tensor

from engine.vectorized import NotStacked
from engine.vectorized.optimizer import StackedOptimizer, StackedSchedule, why_not_stacked

HALF: Any = torch.tensor(0.5)  # what a schedule multiplies a rate by

CASES: list[tuple[type[torch.optim.Optimizer], list[dict[str, Any]]]] = [
    (torch.optim.SGD, [{"lr": lr} for lr in (0.1, 0.01, 1.0)]),
    (
        torch.optim.SGD,
        [{"lr": 0.1, "momentum": m, "weight_decay": d} for m, d in ((0, 0), (0.9, 0.1), (0.5, 0))],
    ),
    (
        torch.optim.Adam,
        [{"lr": 0.1, "betas": b, "eps": e} for b, e in (((0.9, 0.999), 1e-8), ((0.0, 0.5), 0.1))],
    ),
    (torch.optim.Adam, [{"lr": lr, "weight_decay": d} for lr, d in ((1e-3, 0.1), (0.1, 0))]),
    (
        torch.optim.Adam,
        [{"lr": lr, "weight_decay": 0.5, "decoupled_weight_decay": True} for lr in (1e-3, 0.1)],
    ),
    (
        torch.optim.AdamW,
        [{"lr": lr, "weight_decay": d} for lr, d in ((1e-3, 0.1), (0.1, 0), (0.01, 1.0))],
    ),
    (torch.optim.RMSprop, [{"alpha": a, "weight_decay": d} for a, d in ((0.9, 0.1), (0.5, 0))]),
    (torch.optim.RMSprop, [{"momentum": m, "centered": True} for m in (0.9, 0)]),
]
SHAPES = (3, 4), (5,), (2, 3, 2, 2)
IDS = ["lr", "momentum and decay", "betas", "Adam with decay", "Adam as AdamW", "AdamW"]
IDS += ["RMSprop", "RMSprop, centred"]


def parameters(jobs: int) -> list[Tensor]:
    numbers = torch.Generator().manual_seed(1)
    return [torch.randn(jobs, *shape, generator=numbers, dtype=torch.float64) for shape in SHAPES]


@pytest.mark.parametrize(("kind", "options"), CASES, ids=IDS)
def test_every_row_is_the_job_alone(
    kind: type[torch.optim.Optimizer], options: list[dict[str, Any]]
) -> None:
    """Parameters and state, which torch's optimiser takes over and goes on with."""
    jobs = len(options)
    together = [tensor.requires_grad_() for tensor in parameters(jobs)]
    alone = [
        [tensor[job].clone().requires_grad_() for tensor in parameters(jobs)] for job in range(jobs)
    ]
    fused = {} if kind is torch.optim.RMSprop else {"fused": True}
    singles = [kind(own, **fused, **option) for own, option in zip(alone, options, strict=True)]  # type: ignore[arg-type, call-arg]
    ours = StackedOptimizer(together, singles)
    numbers = torch.Generator().manual_seed(2)
    for _ in range(7):
        for number, parameter in enumerate(together):
            parameter.grad = torch.randn(parameter.shape, generator=numbers, dtype=torch.float64)
            for job in range(jobs):
                alone[job][number].grad = parameter.grad[job].clone()
        ours.step()
        for single in singles:
            single.step()
    for job in range(jobs):
        for mine, theirs in zip(together, alone[job], strict=True):
            torch.testing.assert_close(mine[job], theirs, rtol=1e-13, atol=1e-13)
        theirs_state, state = singles[job].state_dict(), ours.state_of(job)
        assert state["param_groups"] == theirs_state["param_groups"]
        assert list(state["state"]) == list(theirs_state["state"])
        for number, values in theirs_state["state"].items():
            assert list(state["state"][number]) == list(values)
            for key, value in values.items():
                torch.testing.assert_close(
                    state["state"][number][key], value, rtol=1e-13, atol=1e-13
                )


def test_what_is_not_stacked() -> None:
    weight = [torch.zeros(2, requires_grad=True)]
    assert why_not_stacked(torch.optim.SGD(weight, lr=0.1, momentum=0.9, fused=True)) is None
    assert why_not_stacked(torch.optim.LBFGS(weight)) == (
        "optimizer LBFGS: not one of SGD, Adam, AdamW, RMSprop"
    )
    assert (
        why_not_stacked(torch.optim.SGD(weight, lr=0.1, momentum=0.9, nesterov=True))
        == "optimizer.nesterov=True"
    )
    assert (
        why_not_stacked(torch.optim.SGD(weight, momentum=0.9, dampening=0.5))
        == "optimizer.dampening=0.5"
    )
    assert why_not_stacked(torch.optim.SGD(weight, maximize=True)) == "optimizer.maximize=True"
    assert why_not_stacked(torch.optim.Adam(weight, amsgrad=True)) == "optimizer.amsgrad=True"
    rate = torch.tensor(0.1)
    assert why_not_stacked(torch.optim.Adam(weight, lr=rate)) == "Adam's lr is a tensor"
    betas: Any = torch.tensor([0.9, 0.99]).unbind()
    assert why_not_stacked(torch.optim.AdamW(weight, betas=betas)) == "AdamW's beta1 is a tensor"
    groups = torch.optim.SGD([{"params": weight}, {"params": [torch.zeros(1)]}], lr=0.1)
    assert why_not_stacked(groups) == "an optimiser of several groups of parameters"
    mixed = [*weight, torch.zeros(2, dtype=torch.float64, requires_grad=True)]
    assert why_not_stacked(torch.optim.SGD(mixed)) == "parameters of several dtypes"


def test_a_schedule_that_puts_a_tensor_in_the_place_of_a_rate_ends_a_stack() -> None:
    """Whoever changes the tensor in place changes what was read of it, too."""
    stack = [tensor.requires_grad_() for tensor in parameters(1)]
    single = torch.optim.SGD([tensor[0].requires_grad_() for tensor in parameters(1)], lr=0.1)
    ours = StackedOptimizer(stack, [single])
    config = {"scheduler": torch.optim.lr_scheduler.LambdaLR(single, lambda epoch: HALF)}
    with pytest.raises(NotStacked, match="SGD's lr is a tensor"):
        StackedSchedule(ours, [config])
