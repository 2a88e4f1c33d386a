"""Norms of gradients, against NumPy on linear regression, whose gradient has a formula."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from engine.callbacks.grad_norm import GradNorm
from engine.supervised import SupervisedModule
from fitting import Arrays, columns, plain_trainer

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(12, 3)), RNG.normal(size=(12, 2))


def run(folder: Path, clip: float | None = None, optimizer: object = None) -> SupervisedModule:
    def sgd(parameters: object) -> torch.optim.Optimizer:
        return torch.optim.SGD(parameters, lr=0.05)  # type: ignore[arg-type]

    network = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2, bias=False)).double()
    module = SupervisedModule(network, nn.MSELoss(), optimizer=optimizer or sgd)  # type: ignore[arg-type]
    trainer = plain_trainer(
        folder,
        max_epochs=1,
        precision="64-true",
        callbacks=[GradNorm(3)],
        gradient_clip_val=clip,
        log_every_n_steps=100,
    )
    trainer.fit(module, Arrays({"train": (X, Y)}, steps_per_epoch=8))
    return module


@pytest.mark.parametrize("clip", [None, 0.01], ids=["", "before clipping"])
def test_norms_are_those_of_the_formula(clip: float | None, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2, bias=False)).double()
    w, b, v = (p.detach().numpy().copy() for p in network.parameters())
    torch.manual_seed(0)
    run(tmp_path, clip)
    expected = []
    for _ in range(8):
        hidden = X @ w.T + b
        error = 2 * (hidden @ v.T - Y) / Y.size
        grad_v, grad_hidden = error.T @ hidden, error @ v
        grad_w, grad_b = grad_hidden.T @ X, grad_hidden.sum(0)
        first = np.sqrt((grad_w**2).sum() + (grad_b**2).sum())
        second = np.linalg.norm(grad_v)
        total = np.hypot(first, second)
        expected.append([first, second, total])
        size = 0.05 * (min(1, clip / (total + 1e-6)) if clip else 1)
        w, b, v = w - size * grad_w, b - size * grad_b, v - size * grad_v
    names = ["grad_norm/0", "grad_norm/1", "grad_norm/total"]
    first, second, total, step = columns(tmp_path, *names, "step")
    assert step == [0, 3, 6]
    np.testing.assert_allclose(np.transpose([first, second, total]), expected[::3], rtol=1e-10)


def test_a_step_of_lbfgs_has_one_record_of_its_first_gradients(tmp_path: Path) -> None:
    run(tmp_path, optimizer=torch.optim.LBFGS)
    total, step = columns(tmp_path, "grad_norm/total", "step")
    assert step == [0, 3, 6]
    assert total[0] > total[1] > 0
