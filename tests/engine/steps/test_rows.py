"""How many rows of training metrics a run has."""

import math

import pytest
import torch
from torchmetrics import MeanSquaredError, MetricCollection, R2Score

from engine.steps.rows import joined, metrics, pack, steps_of_a_row, unpack


@pytest.mark.parametrize(
    ("steps_per_epoch", "max_epochs", "max_steps", "expected"),
    [
        pytest.param(600, 5, -1, 30, id="20 rows in each of 5 epochs"),
        pytest.param(12_500, 5, -1, 625, id="longer epochs"),
        pytest.param(13, 30, -1, 5, id="3 rows in each of 30 epochs, the last a bit shorter"),
        pytest.param(100, 1, -1, 1, id="a row a step"),
        pytest.param(20, 1, -1, 1, id="fewer than 100 steps"),
        pytest.param(10, 1000, -1, 10, id="a row an epoch, at least"),
        pytest.param(600, 5, 60, 1, id="an end within the first epoch"),
        pytest.param(600, -1, 3000, 30, id="a number of steps only"),
        pytest.param(math.inf, -1, 500, 5, id="a stream with an end"),
        pytest.param(math.inf, 3, -1, 50, id="a stream without an end"),
        pytest.param(600, None, -1, 50, id="no end"),
        pytest.param(3.25, 4, -1, 1, id="accumulated gradients"),
    ],
)
def test_steps_of_a_row(
    steps_per_epoch: float, max_epochs: int | None, max_steps: int, expected: int
) -> None:
    assert steps_of_a_row(steps_per_epoch, max_epochs, max_steps) == expected


@pytest.mark.parametrize("epochs", [1, 2, 3, 7, 30, 60, 100])
@pytest.mark.parametrize("steps", [100, 101, 399, 1000, 12_345])
def test_a_run_has_some_100_rows(steps: int, epochs: int) -> None:
    """Counts the rows of all epochs, each of which ends with one."""
    rows = epochs * math.ceil(steps / steps_of_a_row(steps, epochs, -1))
    assert 50 < rows < 150


def test_of_one_sample_a_metric_that_needs_more_is_nan() -> None:
    """As it happened: a batch of one sample at the end of a pass ended the run."""
    collection = MetricCollection(
        {"mse": MeanSquaredError(), "r2": R2Score()}, prefix="train/", compute_groups=False
    )
    one = metrics(collection, [[torch.tensor([1.0]), torch.tensor([3.0])]])
    assert one["train/mse"] == 4.0
    assert math.isnan(one["train/r2"])
    targets = torch.tensor([1.0, 2.0, 4.0])
    assert metrics(collection, [[targets, targets]]) == {"train/mse": 0.0, "train/r2": 1.0}


def test_a_metric_that_fails_on_several_samples_fails() -> None:
    class Refuses(R2Score):
        def compute(self) -> torch.Tensor:
            raise ValueError("never")

    with pytest.raises(ValueError, match="never"):
        metrics(MetricCollection({"r2": Refuses()}), [[torch.rand(2), torch.rand(2)]])


def test_steps_of_other_lengths_are_measured_and_packed() -> None:
    """As it happened: a row of two padded batches ended the run, and so would a checkpoint."""
    collection = MetricCollection({"mse": MeanSquaredError()}, prefix="train/")
    seen = [(torch.rand(2, length), torch.rand(2, length)) for length in (3, 5)]
    expected = sum(float((p - t).square().sum()) for p, t in seen) / 16
    assert metrics(collection, joined(seen))["train/mse"] == pytest.approx(expected)
    steps = [(0.5, 2, own) for own in seen]
    for before, after in zip(steps, unpack(pack(steps)), strict=True):
        assert before[:2] == after[:2]
        assert all(map(torch.equal, before[2], after[2]))
