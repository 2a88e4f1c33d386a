"""The deep MLP, against a forward pass in NumPy and SciPy."""

import math
from typing import get_args

import numpy as np
import pytest
import torch
from scipy.special import erf, expit

from engine.errors import UserError
from project.analysis.watch import NONLINEAR
from project.modules.deep_mlp import ACTIVATIONS, Activation, DeepMLP

IN_NUMPY = {
    "tanh": np.tanh,
    "relu": lambda z: np.maximum(z, 0),
    "sigmoid": expit,
    "gelu": lambda z: z * (1 + erf(z / math.sqrt(2))) / 2,
}


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_forward_and_loss(activation: str) -> None:
    module = DeepMLP(
        in_features=4, width=6, depth=3, out_features=2, activation=activation
    ).double()
    x, y = np.random.default_rng(0).standard_normal((5, 4)), np.ones((5, 2))
    a = x
    *hidden, last = (p.detach().numpy() for p in module.parameters())
    assert [w.shape for w in (*hidden, last)] == [(6, 4), (6, 6), (6, 6), (2, 6)]
    for w in hidden:
        a = IN_NUMPY[activation](a @ w.T)
    predictions = module(torch.from_numpy(x))
    np.testing.assert_allclose(predictions.detach(), a @ last.T, rtol=1e-12)
    loss = module.loss(predictions, torch.from_numpy(y)).item()
    assert loss == pytest.approx(np.mean((a @ last.T - y) ** 2), rel=1e-12)
    names = [name for name, _ in module.network.named_children()]
    assert names == [
        "linear1",
        f"{activation}1",
        "linear2",
        f"{activation}2",
        "linear3",
        f"{activation}3",
        "output",
    ]


def test_an_unknown_activation() -> None:
    says = (
        r"no such activation function\. Did you mean relu\? "
        r"It is one of: tanh, relu, sigmoid, gelu\."
    )
    with pytest.raises(UserError, match=f"^activation=rely: {says}$"):
        DeepMLP(activation="rely")


def test_activations_are_the_same_wherever_they_are_named() -> None:
    assert get_args(Activation) == tuple(ACTIVATIONS)
    assert all(issubclass(activation, NONLINEAR) for activation in ACTIVATIONS.values())
