"""Pruning, against medians and rungs by hand and the recursion of SGD."""

import contextlib
import logging
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
import torch
from lightning.pytorch.callbacks import GradientAccumulationScheduler
from optuna.trial import TrialState, create_trial

from engine.errors import Pruned
from engine.search import study
from engine.search.pruning import Pruning
from fitting import Arrays, columns, plain_trainer
from project.datamodules.line import LineDataModule
from project.modules.linear import LinearRegressor

LR, STEPS = 0.001, 30
SCALES = (10.0, 20.0, 40.0)  # of the finished trials' curves
NO_PRUNER = {"kind": "none", "trials": 0, "steps": 0, "keeps": 4}
MEDIAN = {**NO_PRUNER, "kind": "median", "trials": 3}


def own(step: int) -> float:
    """What the run reports after so many steps: the loss of the last, 14 (w - 2)², from w = 1."""
    return float(14 * (1 - 28 * LR) ** (2 * (step - 1)))


def curve(scale: float) -> dict[int, float]:
    return {step: scale * 0.85**step for step in range(1, STEPS + 1)}


def opened(folder: Path) -> optuna.Study:
    """A study with three finished trials, and one that runs."""
    made = optuna.create_study(study_name="s", storage=study.opened(str(folder / "study.log")))
    for scale in SCALES:
        values = curve(scale)
        made.add_trial(
            create_trial(state=TrialState.COMPLETE, value=values[STEPS], intermediate_values=values)
        )
    assert made.ask().number == 3
    return made


def pruning(folder: Path, monitor: str = "val/loss", number: int = 3, **pruner: Any) -> Pruning:
    return Pruning(str(folder / "study.log"), "s", number, {**MEDIAN, **pruner}, monitor)


def fit(
    folder: Path, callback: Pruning, splits: dict[str, Any] | None = None, **options: Any
) -> int:
    """Train from w = 1; the number of steps done."""
    module = LinearRegressor(optimizer=partial(torch.optim.SGD, lr=LR))
    torch.nn.init.constant_(module.network.weight, 1.0)
    data: Any = LineDataModule(seed=0, batch_size=3, steps_per_epoch=STEPS)
    if splits:
        data = Arrays(splits, steps_per_epoch=5)
    trainer = plain_trainer(folder, callbacks=[callback], **{"max_epochs": 1, **options})
    try:
        trainer.fit(module, data)
    finally:
        assert trainer.global_step == len(columns(folder, "train/loss")[0])
    return trainer.global_step


@pytest.mark.parametrize("warm_up", [0, 25])
def test_a_run_ends_at_the_first_step_where_it_is_worse_than_the_median(
    warm_up: int, tmp_path: Path
) -> None:
    made = opened(tmp_path)
    with pytest.raises(Pruned):
        fit(tmp_path, pruning(tmp_path, steps=warm_up))
    medians = {
        step: np.median([curve(scale)[step] for scale in SCALES]) for step in range(1, STEPS + 1)
    }
    stop = next(step for step in medians if step >= warm_up and own(step) > medians[step])
    assert stop == (3 if warm_up == 0 else 25)
    reported = made.trials[3].intermediate_values
    assert list(reported) == list(range(1, stop + 1))
    np.testing.assert_allclose(list(reported.values()), [own(step) for step in reported], rtol=1e-5)
    assert made.trials[3].user_attrs == {"pruned_at": stop}
    assert len(columns(tmp_path, "train/loss")[0]) == stop


def test_a_run_reports_at_each_row_only(tmp_path: Path) -> None:
    made = opened(tmp_path)
    callback = pruning(tmp_path, kind="none")
    module = LinearRegressor(optimizer=partial(torch.optim.SGD, lr=LR))
    data = LineDataModule(seed=0, batch_size=3, steps_per_epoch=STEPS)
    plain_trainer(tmp_path, callbacks=[callback], max_epochs=2, log_every_n_steps=20).fit(
        module, data
    )
    assert list(made.trials[3].intermediate_values) == [20, 30, 50, 60]


def test_with_validation_it_reports_the_monitored_metric(tmp_path: Path) -> None:
    x = np.array([[1.0], [2.0], [3.0]], dtype=np.float32)
    splits = {"train": (x, 2 * x), "val": (x[:1], 3 * x[:1])}
    made = opened(tmp_path)
    fit(tmp_path, pruning(tmp_path, kind="none"), splits, max_epochs=3)
    reported = made.trials[3].intermediate_values
    assert list(reported) == [5, 10, 15]
    for step, value in reported.items():
        w = 2 - (1 - 28 * LR) ** step
        np.testing.assert_allclose(value, (w - 3) ** 2, rtol=1e-5)


def test_before_the_first_validation_it_reports_nothing(tmp_path: Path) -> None:
    """As it happened: the losses of training, of which one study compared some and val/loss."""
    x = np.array([[1.0], [2.0], [3.0]], dtype=np.float32)
    splits = {"train": (x, 2 * x), "val": (x[:1], 3 * x[:1])}
    made = opened(tmp_path)
    options = {"max_epochs": 5, "check_val_every_n_epoch": 2}
    fit(tmp_path, pruning(tmp_path, kind="none"), splits, **options)
    assert list(made.trials[3].intermediate_values) == [10, 20]


@pytest.mark.parametrize(
    ("windows", "first_judged", "steps"),
    [({0: 3, 1: 1}, 20, 20), ({1: 3}, 17, 17), ({1: 3}, 20, 20)],
    ids=["at its end", "before its end", "at its end, of fewer"],
)
def test_where_windows_of_gradients_change_the_end_is_known(
    windows: dict[int, int], first_judged: int, steps: int, tmp_path: Path
) -> None:
    """Of two epochs of 15 batches. At its end, a run is not pruned."""
    opened(tmp_path)
    callbacks = [pruning(tmp_path, steps=first_judged), GradientAccumulationScheduler(windows)]
    trainer = plain_trainer(tmp_path, callbacks=callbacks, max_epochs=2)
    data = LineDataModule(seed=0, batch_size=3, steps_per_epoch=15)
    with pytest.raises(Pruned) if steps < 20 else contextlib.nullcontext():
        trainer.fit(LinearRegressor(optimizer=partial(torch.optim.SGD, lr=LR)), data)
    assert trainer.global_step == steps


def test_a_run_that_has_come_to_its_end_is_not_pruned(tmp_path: Path) -> None:
    made = opened(tmp_path)
    assert fit(tmp_path, pruning(tmp_path, steps=STEPS)) == STEPS
    assert list(made.trials[3].intermediate_values) == list(range(1, STEPS + 1))
    assert own(STEPS) > np.median([curve(scale)[STEPS] for scale in SCALES])


def test_a_resumed_run_reports_nothing_twice_and_is_judged_where_it_was_not(tmp_path: Path) -> None:
    made = opened(tmp_path)
    for step in (1, 2, 3, 4, 5):  # killed between the report of the fifth and the pruner's answer
        made._storage.set_trial_intermediate_value(made.trials[3]._trial_id, step, own(step))
    with pytest.raises(
        Pruned
    ):  # a second report of a step would be a warning, which is an error here
        fit(tmp_path, pruning(tmp_path))
    assert list(made.trials[3].intermediate_values) == [1, 2, 3, 4, 5]
    assert made.trials[3].user_attrs == {"pruned_at": 5}


def test_successive_halving_stops_at_a_rung_and_again_after_a_kill(tmp_path: Path) -> None:
    made = opened(tmp_path)
    for value in (1.0, 2.0):  # two that came to the first rung, at 8 steps
        made._storage.set_trial_system_attr(made.ask()._trial_id, "completed_rung_0", value)
    for _ in (1, 2):
        (tmp_path / "metrics.csv").unlink(missing_ok=True)
        with pytest.raises(Pruned):
            fit(tmp_path, pruning(tmp_path, kind="halving", steps=8, keeps=2))
        assert max(made.trials[3].intermediate_values) == 8
        assert len(columns(tmp_path, "train/loss")[0]) == 8


def test_a_trial_that_has_ended_is_left_alone(tmp_path: Path) -> None:
    made = opened(tmp_path)
    before = made.trials[0].intermediate_values
    assert fit(tmp_path, pruning(tmp_path, number=0)) == STEPS
    assert made.trials[0].intermediate_values == before


def test_a_run_goes_on_where_the_study_is_gone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, logger="engine"):
        assert fit(tmp_path, pruning(tmp_path)) == STEPS
    assert [r.getMessage() for r in caplog.records] == [
        f"not pruned: {tmp_path / 'study.log'} has no study s"
    ]
