"""The optimisers' updates as functions, against torch.optim."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, Optimizer, RMSprop

from engine.steps.updates import RULES, flags, numbers
from fitting import OPTIMIZERS

STEPS = 200


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-13), (torch.float32, 1e-5)], ids=str
)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_many_updates_are_those_of_torch(name: str, dtype: torch.dtype, tolerance: float) -> None:
    """On gradients of a quadratic with noise, the learning rate ever smaller."""
    generator = torch.Generator().manual_seed(0)
    theirs = nn.Parameter(torch.randn(4, 3, generator=generator, dtype=dtype))
    optimizer: Optimizer = OPTIMIZERS[name]([theirs])
    group = optimizer.param_groups[0]
    rule = RULES[type(optimizer)]
    ours = theirs.detach().clone()
    state: dict[str, Tensor] | None = None
    for step in range(1, STEPS + 1):
        theirs.grad = theirs.detach() + torch.randn(4, 3, generator=generator, dtype=dtype)
        if state is not None:
            values = torch.tensor(numbers(group), dtype=torch.float64)
            scalars = rule.scalars(torch.tensor(float(step)).double(), *values.unbind())
            by = {key: scalar.to(dtype) for key, scalar in scalars.items()}
            rule.update(ours, theirs.grad.clone(), state, by, flags(group))
        optimizer.step()
        if state is None:  # the first step is torch's, and makes the state
            ours = theirs.detach().clone()
            made = optimizer.state[theirs]
            state = {key: made[key].clone() for key in rule.state if made.get(key) is not None}
        group["lr"] *= 0.999
    np.testing.assert_allclose(ours, theirs.detach(), rtol=tolerance, atol=tolerance)
    assert state is not None
    for key, value in state.items():
        np.testing.assert_allclose(
            value, optimizer.state[theirs][key], rtol=tolerance, atol=tolerance
        )


@pytest.mark.parametrize("kind", [SGD, Adam, RMSprop], ids=lambda kind: kind.__name__)
def test_numbers_may_be_columns_one_for_each_of_several_networks(kind: type[Optimizer]) -> None:
    generator = torch.Generator().manual_seed(0)
    rule = RULES[kind]
    parameter, gradient, mean = (torch.randn(5, 4, 3, generator=generator) for _ in range(3))
    values = {name: torch.rand(5, 1, 1, generator=generator) * 0.9 for name in rule.numbers}
    switches = {"nesterov": True, "decoupled_weight_decay": False}
    count = torch.tensor(4.0)
    # Of RMSprop, the mean square must not be below the square of the mean.
    state = dict.fromkeys(rule.state, mean.abs().clamp(max=0.9))
    own = {key: value.clone() for key, value in state.items()}
    together = parameter.clone()
    rule.update(together, gradient.clone(), own, rule.scalars(count, **values), switches)
    for job in range(5):
        alone = parameter[job].clone()
        cells = rule.scalars(count, **{name: value[job] for name, value in values.items()})
        mine = {key: value[job].clone() for key, value in state.items()}
        rule.update(alone, gradient[job].clone(), mine, cells, switches)
        torch.testing.assert_close(together[job], alone, rtol=1e-6, atol=0)
