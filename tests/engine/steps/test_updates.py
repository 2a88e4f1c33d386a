"""The optimisers' updates as functions, against torch.optim."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim import Optimizer

from engine.steps import updates
from engine.steps.updates import numbers, rule
from fitting import OPTIMIZERS

STEPS = 1000


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-13), (torch.float32, 1e-5)], ids=str)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_thousand_updates_are_those_of_torch(name: str, dtype: torch.dtype, tolerance: float) -> None:
    """On gradients of a quadratic with noise, the learning rate ever smaller."""
    generator = torch.Generator().manual_seed(0)
    theirs = nn.Parameter(torch.randn(4, 3, generator=generator, dtype=dtype))
    optimizer: Optimizer = OPTIMIZERS[name]([theirs])
    group = optimizer.param_groups[0]
    ours, state, update = theirs.detach().clone(), None, rule(group)
    for _ in range(STEPS):
        theirs.grad = theirs.detach() + torch.randn(4, 3, generator=generator, dtype=dtype)
        if state is not None:
            ours, state = update(ours, theirs.grad.clone(), state, torch.tensor(numbers(group), dtype=torch.float64))
            ours = ours.to(dtype)
        optimizer.step()
        if state is None:  # the first step is torch's, and makes the state
            ours, made = theirs.detach().clone(), optimizer.state[theirs]
            state = {key: value.clone() for key, value in made.items() if value is not None}
        group["lr"] *= 0.999
    np.testing.assert_allclose(ours, theirs.detach(), rtol=tolerance, atol=tolerance)
    for key, value in state.items():
        np.testing.assert_allclose(value, optimizer.state[theirs][key], rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("update", [updates.sgd, updates.adam], ids=["sgd", "adam"])
def test_numbers_may_be_columns_one_for_each_of_several_networks(update: Any) -> None:
    generator = torch.Generator().manual_seed(0)
    parameter, gradient, mean = (torch.randn(5, 4, 3, generator=generator) for _ in range(3))
    state = {"momentum_buffer": mean, "step": torch.tensor(3.0), "exp_avg": mean, "exp_avg_sq": mean.square()}
    names, options = ["lr", "weight_decay", "beta1", "beta2", "eps"], {"decoupled": False}
    if update is updates.sgd:
        names, options = ["lr", "weight_decay", "momentum", "dampening"], {"nesterov": True}
    values = {name: torch.rand(5, 1, 1, generator=generator) * 0.9 for name in names}
    together, _ = update(parameter, gradient, state, **values, **options)
    for job in range(5):
        own = {key: value if value.dim() == 0 else value[job] for key, value in state.items()}
        alone, _ = update(parameter[job], gradient[job], own, **{n: v[job] for n, v in values.items()}, **options)
        torch.testing.assert_close(together[job], alone, rtol=1e-6, atol=0)
