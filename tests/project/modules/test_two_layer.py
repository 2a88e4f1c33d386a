"""The two-layer regressor, against gradients written by hand in NumPy."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from fitting import columns, plain_trainer
from project.datamodules.random_regression import RandomRegressionDataModule
from project.modules.two_layer import TwoLayerRegressor

LR = 1e-4


def test_sgd_steps_equal_those_by_hand(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = TwoLayerRegressor(optimizer=partial(torch.optim.SGD, lr=LR))
    w1, b1, w2, b2 = (p.detach().double().numpy().copy() for p in module.network.parameters())
    assert [p.shape for p in (w1, b1, w2, b2)] == [(100, 1000), (100,), (10, 100), (10,)]
    data = RandomRegressionDataModule(seed=0, batch_size=64, steps_per_epoch=5)
    x, y = (t.double().numpy() for t in (data.splits["train"].inputs, data.splits["train"].targets))
    plain_trainer(tmp_path, max_epochs=1).fit(module, data)

    expected = []
    for _ in range(5):
        h = x @ w1.T + b1
        a = np.maximum(h, 0)
        p = a @ w2.T + b2
        expected.append(((p - y) ** 2).sum())
        grad_p = 2 * (p - y)
        grad_h = np.where(h > 0, grad_p @ w2, 0)
        w2 -= LR * grad_p.T @ a
        b2 -= LR * grad_p.sum(axis=0)
        w1 -= LR * grad_h.T @ x
        b1 -= LR * grad_h.sum(axis=0)
    (losses,) = columns(tmp_path, "train/loss")
    np.testing.assert_allclose(losses, expected, rtol=1e-4)
    for parameter, by_hand in zip(module.network.parameters(), (w1, b1, w2, b2), strict=True):
        np.testing.assert_allclose(parameter.detach(), by_hand, rtol=1e-3, atol=1e-5)
    assert 600 < losses[0] < 760
    assert losses[-1] < losses[0] - 50


def test_targets_of_another_width_are_an_error_not_a_broadcast() -> None:
    module = TwoLayerRegressor(in_features=4, hidden=5, out_features=3)
    with (
        pytest.warns(UserWarning, match="different to the input size"),
        pytest.raises(RuntimeError, match="must match the size"),
    ):
        module.loss(module(torch.zeros(8, 4)), torch.zeros(5, 3))
