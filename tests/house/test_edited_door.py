"""A vectorised sweep never ignores an edited `train()`: the jobs run one by one, with a message."""

import dataclasses
import logging
import sys
from pathlib import Path
from unittest import mock

import pytest

from engine import Run
from engine.vectorized.eligible import is_edited
from project.train import train
from together import CURVE, jobs, summary

log = logging.getLogger(__name__)


def decorated(function: object) -> object:
    """Stands for `@command(conf="conf")`."""
    return function


@decorated
def same_with_other_words(run: Run) -> float:
    """Does the same as the shipped function, with other comments."""
    data = run.datamodule()
    module = run.module(data)
    trainer = run.trainer()
    run.fit(trainer, module, data)  # train
    run.test(trainer, module, data)
    return run.objective(trainer)


@decorated
def another(run: Run) -> float:
    """Looks at the module before the training."""
    data = run.datamodule()
    module = run.module(data)
    log.info("%d parameters", sum(parameter.numel() for parameter in module.parameters()))
    trainer = run.trainer()
    run.fit(trainer, module, data)
    run.test(trainer, module, data)
    return 7.0


def test_other_comments_are_no_edit_and_any_other_statement_is_one() -> None:
    assert not is_edited(same_with_other_words)  # type: ignore[arg-type]
    assert is_edited(another)  # type: ignore[arg-type]
    assert is_edited(lambda run: 0.0)
    assert is_edited(len)  # whose source nobody can read


def test_jobs_of_an_edited_door_run_one_by_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    words = ["-m", "hydra/launcher=vectorized", *CURVE, "seed=0,1", "datamodule.steps_per_epoch=2"]
    with mock.patch.object(sys, "argv", ["train", *words, f"paths.log_dir={tmp_path}"]):
        dataclasses.replace(train, train=another)()  # type: ignore[arg-type]
    assert "2 of 2 jobs one by one: train() was edited" in caplog.text
    assert caplog.text.count("31 parameters\n") == 2
    (sweep,) = tmp_path.glob("sweeps/*")
    assert [summary(path)["objective"] for path in jobs(sweep).values()] == [7.0, 7.0]
    named = [summary(path)["objective_of"]["metric"] for path in jobs(sweep).values()]
    assert named == ["returned by train(run)"] * 2
