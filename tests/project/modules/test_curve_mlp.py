"""The curve-fitting MLP, against back-propagation written by hand in NumPy."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from fitting import columns, plain_trainer
from project.datamodules.parabola import ParabolaDataModule
from project.modules.curve_mlp import CurveMLP

LR = 0.2


@pytest.mark.parametrize("hidden", [10, 3])
def test_a_hundred_steps_equal_those_by_hand(hidden: int, tmp_path: Path) -> None:
    torch.manual_seed(1)
    module = CurveMLP(hidden, optimizer=partial(torch.optim.SGD, lr=LR))
    w1, b1, w2, b2 = (p.detach().double().numpy().copy() for p in module.network.parameters())
    assert sum(p.size for p in (w1, b1, w2, b2)) == 3 * hidden + 1
    data = ParabolaDataModule(seed=1, batch_size=100, steps_per_epoch=100)
    x, y = (t.double().numpy() for t in (data.splits["train"].inputs, data.splits["train"].targets))
    plain_trainer(tmp_path, max_epochs=1).fit(module, data)

    expected = []
    for _ in range(100):
        h = x @ w1.T + b1
        a = np.maximum(h, 0)
        p = a @ w2.T + b2
        expected.append(((p - y) ** 2).mean())
        grad_p = 2 * (p - y) / len(x)
        grad_h = np.where(h > 0, grad_p @ w2, 0)
        w2 -= LR * grad_p.T @ a
        b2 -= LR * grad_p.sum(axis=0)
        w1 -= LR * grad_h.T @ x
        b1 -= LR * grad_h.sum(axis=0)
    (losses,) = columns(tmp_path, "train/loss")
    np.testing.assert_allclose(losses, expected, rtol=2e-3)
    np.testing.assert_allclose(module.network[0].weight.detach(), w1, atol=2e-3)
    # no fit is better than the noise, of variance 0.2² / 12
    assert 0.003 < losses[-1] < losses[0] / 3
