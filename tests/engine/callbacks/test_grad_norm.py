"""Norms of gradients, against NumPy on linear regression, whose gradient has a formula."""

from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule
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


class Two(LightningModule):
    """Trains two numbers by two optimisers; the loss of the first has a gradient by both."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.made, self.judge = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
        nn.init.constant_(self.made.weight, 1.0)
        nn.init.constant_(self.judge.weight, 2.0)

    def configure_optimizers(self) -> Any:
        return [torch.optim.SGD(own.parameters(), lr=0.1) for own in (self.made, self.judge)]

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Is not called: there is nothing to validate on."""

    def training_step(self, batch: Any, batch_idx: int) -> None:
        a, b = self.made.weight, self.judge.weight
        for optimizer, loss in zip(
            cast(Any, self.optimizers()),
            (lambda: (a * b).square().sum(), lambda: (b - a.detach()).square().sum()),
            strict=True,
        ):
            optimizer.zero_grad()
            self.manual_backward(loss())
            optimizer.step()


def test_each_of_two_optimisers_has_the_norms_of_what_it_updates(tmp_path: Path) -> None:
    """As it happened: the second had no record, and the first had gradients of both."""
    trainer = plain_trainer(tmp_path, max_epochs=1, callbacks=[GradNorm(4)])
    trainer.fit(Two(), Arrays({"train": (X, Y)}, steps_per_epoch=4))
    assert trainer.global_step == 8
    a, b = 1.0, 2.0
    norms = []
    for _ in range(4):
        of_made = 2 * a * b * b
        a -= 0.1 * of_made
        of_judge = 2 * (b - a)
        b -= 0.1 * of_judge
        norms.append((abs(of_made), abs(of_judge)))
    for number, name in enumerate(("made", "judge")):
        norm, total, step = columns(
            tmp_path, f"grad_norm/{name}", f"grad_norm/total_{number}", "step"
        )
        assert step == [0, 2]  # the batches, under which losses are logged, too
        np.testing.assert_allclose(norm, [norms[0][number], norms[2][number]], rtol=1e-5)
        assert total == norm


class Critic(Two):
    """Gives the second optimiser two steps for each of the first one's."""

    def training_step(self, batch: Any, batch_idx: int) -> None:
        made, judge = cast(Any, self.optimizers())
        for optimizer, own in ((judge, self.judge), (judge, self.judge), (made, self.made)):
            optimizer.zero_grad()
            self.manual_backward(own.weight.square().sum())
            optimizer.step()


def test_optimisers_that_take_no_turns_have_a_record_in_each_window(tmp_path: Path) -> None:
    """As it happened: the one that steps last in a batch hardly had any."""
    trainer = plain_trainer(tmp_path, max_epochs=1, callbacks=[GradNorm(6)])
    trainer.fit(Critic(), Arrays({"train": (X, Y)}, steps_per_epoch=6))
    assert trainer.global_step == 18
    for number, (name, steps) in enumerate((("made", [0, 2, 4]), ("judge", [0, 2, 4]))):
        assert columns(tmp_path, f"grad_norm/{name}", "step")[1] == steps
        assert columns(tmp_path, f"grad_norm/total_{number}", "step")[1] == steps


def test_two_such_callbacks_keep_their_windows_apart(tmp_path: Path) -> None:
    coarse, fine = GradNorm(4), GradNorm(1)
    trainer = plain_trainer(tmp_path, max_epochs=1, callbacks=[coarse, fine])
    module = SupervisedModule(nn.Linear(3, 2), nn.MSELoss())
    data = {"train": (X.astype(np.float32), Y.astype(np.float32))}
    trainer.fit(module, Arrays(data, steps_per_epoch=6))
    states = [own.state_dict() for own in (coarse, fine)]
    assert states == [{"windows": {0: 1}}, {"windows": {0: 5}}]
    assert coarse.state_key != fine.state_key
    again = GradNorm(4)
    again.load_state_dict(states[0])
    assert again.state_dict() == states[0]
