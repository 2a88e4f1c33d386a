"""A loss that is no mean over samples is told of, where it makes a difference."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.checks.fit import fit_to
from engine.supervised import SupervisedModule
from fitting import Arrays

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 4)).astype(np.float32)
Y = RNG.normal(size=(40, 1)).astype(np.float32)
LABELS = RNG.integers(0, 3, 40)
WEIGHTS = torch.tensor([1.0, 5.0, 0.2])


class RMSE(nn.Module):
    """Is the root of a mean."""

    def forward(self, predictions: Tensor, targets: Tensor) -> Tensor:
        return F.mse_loss(predictions, targets).sqrt()


class Focal(nn.Module):
    """Is a mean over samples, of a user's own."""

    def forward(self, predictions: Tensor, targets: Tensor) -> Tensor:
        each = F.cross_entropy(predictions, targets, reduction="none")
        return ((1 - (-each).exp()) ** 2 * each).mean()


class Correlation(nn.Module):
    """Is NaN of one sample, and not of two."""

    def forward(self, predictions: Tensor, targets: Tensor) -> Tensor:
        return 1 - (predictions - predictions.mean()).mul(targets - targets.mean()).sum() / (
            (len(targets) - 1) * predictions.std() * targets.std()
        )


class Unlabelled(nn.Module):
    """Is NaN where no target counts."""

    def forward(self, predictions: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(predictions, targets, ignore_index=0)


class Draws(RMSE):
    """Draws a random number."""

    def forward(self, predictions: Tensor, targets: Tensor) -> Tensor:
        return super().forward(predictions, targets) + torch.rand(())


def weighted(predictions: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(predictions, targets, weight=WEIGHTS)


def tried(loss: Any, targets: np.ndarray, **options: Any) -> SupervisedModule:
    """Makes a module with a loss, and tries it on data."""
    torch.manual_seed(0)
    module = SupervisedModule(nn.Linear(4, 1 if targets is Y else 3), loss)
    splits = dict.fromkeys(("train", "val", "test"), (X, targets))
    fit_to(module, Arrays(splits, batch_size=5, **options))
    return module


@pytest.mark.parametrize(
    ("loss", "targets", "name"),
    [
        (RMSE(), Y, "RMSE"),
        (weighted, LABELS, "weighted"),
        (Draws(), Y, "Draws"),
        (Correlation(), Y, "Correlation"),
        (Unlabelled(), np.sort(LABELS), "Unlabelled"),
    ],
    ids=["root", "weights", "draws", "of two", "not a number"],
)
def test_a_loss_that_depends_on_the_size_of_batches_is_told_of(
    loss: Any, targets: np.ndarray, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """As it happened: val/loss was another one with another eval_batch_size, without a word."""
    tried(loss, targets, eval_batch_size=39)
    drawn = torch.rand(3)
    (text,) = caplog.messages
    begins = f"val/loss and test/loss depend on datamodule.eval_batch_size=39: {name} of 16 samples"
    assert text.startswith(begins)
    assert text.endswith("With datamodule.eval_batch_size=40, they are of all samples at once.")
    tried(nn.MSELoss() if targets is Y else nn.CrossEntropyLoss(), targets)
    assert torch.equal(drawn, torch.rand(3))  # the try has drawn nothing


def test_where_all_samples_are_evaluated_at_once_nothing_is_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    tried(RMSE(), Y, eval_batch_size=40)
    assert caplog.messages == []


@pytest.mark.parametrize(
    ("loss", "targets"),
    [
        (nn.MSELoss(), Y),
        (nn.MSELoss(reduction="sum"), Y),
        (partial(F.mse_loss, reduction="sum"), Y),
        (F.mse_loss, Y),
        (Focal(), LABELS),
        (nn.CrossEntropyLoss(weight=WEIGHTS), LABELS),  # each batch weighs by its classes
    ],
    ids=["mean", "sum", "partial", "function", "focal", "weights"],
)
def test_a_mean_or_a_sum_over_samples_is_not_told_of(
    loss: Callable[..., Tensor], targets: np.ndarray, caplog: pytest.LogCaptureFixture
) -> None:
    tried(loss, targets, eval_batch_size=7)
    assert caplog.messages == []


class Warm:
    """Counts its calls; it is no nn.Module."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, predictions: Tensor, targets: Tensor) -> Tensor:
        self.calls += 1
        return F.mse_loss(predictions, targets) * self.calls


def test_a_try_does_not_count() -> None:
    loss = Warm()
    tried(loss, Y, eval_batch_size=7)
    with_one_batch = Warm()
    tried(with_one_batch, Y, eval_batch_size=40)
    assert loss.calls == with_one_batch.calls


def test_the_sum_of_a_partial_function_is_one() -> None:
    """As it happened: it was averaged over batches."""
    made = SupervisedModule(nn.Linear(1, 1), partial(F.mse_loss, reduction="sum"))  # type: ignore[arg-type]
    assert not made.averages_loss
    assert SupervisedModule(nn.Linear(1, 1), partial(F.mse_loss)).averages_loss  # type: ignore[arg-type]
    summed = SupervisedModule(nn.Linear(1, 1), partial(nn.MSELoss(reduction="sum")))  # type: ignore[arg-type]
    assert not summed.averages_loss
