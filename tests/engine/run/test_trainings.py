"""Doors of a user's own: several trainings, what goes on after a kill, and what is returned."""

import csv
import json
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.tuner import Tuner

import ways
from commands import Clock, composed
from engine.config.resolved import Config
from engine.errors import UserError
from engine.run import folders, summaries
from engine.run.checkpoint.choice import of_no_use
from engine.run.loggers import events
from engine.run.run import Run
from engine.steps.trainer import BlockTrainer
from identical import assert_bit_identical
from moments import as_killed
from resuming import RUN

Context = AbstractContextManager[Any]


@pytest.fixture
def config(monkeypatch: pytest.MonkeyPatch) -> Config:
    monkeypatch.setattr(events, "time", Clock())
    return composed([*RUN, "trainer.max_epochs=2"])


def train(
    config: Config, folder: Path, first: Context, second: Context, is_one: bool = False
) -> None:
    """Trains twice; the second training has one layer less to train.

    Args:
        config: the run's.
        folder: the run's.
        first: what holds in the first training.
        second: what holds in the second one.
        is_one: whether there is one Trainer for both.
    """

    def twice(run: Run) -> float:
        data = run.datamodule()
        module: Any = run.module(data)
        with first:
            trainer: Any = run.trainer()
            run.fit(trainer, module, data)
        module.network[0].requires_grad_(False)
        with second:
            trainer = trainer if is_one else run.trainer()
            trainer.fit_loop.max_epochs = 4 if is_one else 2
            run.fit(trainer, module, data)
        run.test(trainer, module, data)
        return run.objective(trainer)

    Run(config, folder, "project.train").execute(twice)


def steps(run_dir: Path) -> list[int]:
    with open(run_dir / "metrics.csv", newline="") as table:
        return [int(row["step"]) for row in csv.DictReader(table) if row["train/loss"]]


def test_the_rows_of_all_trainings_are_kept(
    config: Config, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As it happened: the second Trainer removed them, and missed the record of the data."""
    train(config, tmp_path / "run", nullcontext(), nullcontext())
    once = steps(tmp_path / "run")
    assert once[: len(once) // 2] == once[len(once) // 2 :]
    assert "are not compared" not in caplog.text
    said = "training 2 of this run: if it is stopped here, it cannot go on"
    assert caplog.messages.count(said) == 1


@pytest.mark.parametrize("is_one", [True, False], ids=["one Trainer", "two"])
def test_killed_in_the_first_it_goes_on_with_that_one(
    is_one: bool, config: Config, tmp_path: Path
) -> None:
    """As it happened: the second training began with the state of the first one's middle."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    train(config, whole, as_killed("on_train_batch_end:15", whole, killed), nullcontext(), is_one)
    train(config, killed, nullcontext(), nullcontext(), is_one)
    assert_bit_identical(killed, whole)


def test_killed_in_the_second_it_is_refused(config: Config, tmp_path: Path) -> None:
    """As it happened: the first training had no step to take, and the second one's weights."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    train(config, whole, nullcontext(), as_killed("on_train_batch_end:15", whole, killed))
    with pytest.raises(UserError, match=r"was stopped in its training 2, and what the earlier"):
        train(config, killed, nullcontext(), nullcontext())
    assert of_no_use(killed, config) == "is of its second or a later training"


@contextmanager
def interrupted() -> Iterator[None]:
    yield
    raise KeyboardInterrupt


def test_interrupted_in_the_second_it_says_how_to_run_it_anew(
    config: Config, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As it happened: it named a command that refused to go on."""
    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path / "run", nullcontext(), interrupted())
    said = f"run it anew, as it was in training 2: remove\n  {tmp_path / 'run'}"
    assert caplog.messages[-1].partition("; ")[2] == said


def returning(value: Any, folder: Path) -> float | None:
    """Runs a function that trains nothing and returns a value."""
    folder.mkdir(exist_ok=True)

    def train(run: Run) -> Any:
        run.module(run.datamodule())
        run.trainer()
        return value

    return Run(composed(RUN), folder, "project.train").execute(train)


@pytest.mark.parametrize("value", [torch.tensor(0.25), np.float32(0.25), np.array(0.25), 0.25])
def test_the_objective_may_be_a_tensor(value: Any, tmp_path: Path) -> None:
    """As it happened: the run ended with a traceback, after all its training."""
    returning(value, tmp_path / "run")
    assert json.loads((tmp_path / "run/summary.json").read_text())["objective"] == 0.25


@pytest.mark.parametrize(
    ("value", "kind"),
    [("0.5", "str"), ({"acc": 1}, "dict"), (torch.ones(2), "Tensor"), (10**400, "int")],
    ids=["word", "dict", "two numbers", "too large"],
)
def test_an_objective_that_is_no_number_is_refused(value: Any, kind: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"returns a {kind}: must be a number, such as run.obj"):
        returning(value, tmp_path / "run")


def test_without_an_objective_a_run_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    returning(None, tmp_path / "run")
    assert "train() returns nothing, so this run has no objective" in caplog.text


def fitted_past(config: Config, folder: Path, *before: Callable[..., Any], **options: Any) -> None:
    """Trains by the Trainer's own `fit`, as Lightning's documents do, after other calls."""

    def past(run: Run) -> float:
        data = run.datamodule()
        module = run.module(data)
        trainer = run.trainer()
        for call in before:
            call(run, trainer, module, data)
        trainer.fit(module, data, **options)
        return run.objective(trainer)

    Run(config, folder, "project.train").execute(past)


def test_a_training_past_the_run_is_refused_before_its_first_step(
    config: Config, tmp_path: Path
) -> None:
    """As it happened: resumed, the run began anew, and metrics.csv had its steps once more."""
    run_dir = tmp_path / "run"
    with pytest.raises(UserError, match=r"^train\(\) calls trainer\.fit, .*\nWrite run\.fit\("):
        fitted_past(config, run_dir)
    assert not run_dir.exists()


def test_so_is_one_after_the_run_s_own(config: Config, tmp_path: Path) -> None:
    """Its checkpoints would count as those of the first training."""
    run_dir = tmp_path / "run"
    with pytest.raises(UserError, match=r"^train\(\) calls trainer\.fit"):
        fitted_past(config, run_dir, Run.fit, ckpt_path=run_dir / "checkpoints/last.ckpt")
    assert max(steps(run_dir)) == 19  # of two epochs of 10 steps
    train(config, run_dir, nullcontext(), nullcontext())
    assert json.loads((run_dir / "summary.json").read_text())["status"] == "finished"


def test_trainers_of_a_user_s_own_and_searches_are_not(config: Config, tmp_path: Path) -> None:
    found = []

    def search(run: Run, trainer: Trainer, module: Any, data: Any) -> None:
        tuner = Tuner(trainer)
        tuner.scale_batch_size(module, datamodule=data, max_trials=1, init_val=4)
        found.append(data.batch_size)  # it was 5

    def other(run: Run, trainer: Trainer, module: Any, data: Any) -> None:
        for kind in (Trainer, BlockTrainer):
            own = kind(max_steps=3, logger=False, enable_checkpointing=False)
            own.fit(module, data)
            found.append(own.global_step)

    with pytest.raises(UserError, match=r"^train\(\) calls trainer\.fit"):
        fitted_past(config, tmp_path / "run", search, other)
    assert found == [4, 3, 3]


@pytest.mark.parametrize("call", [Run.fit, Run.test])
def test_a_trainer_that_is_not_the_run_s_is_refused(
    call: Callable[..., None], config: Config, tmp_path: Path
) -> None:
    """As it happened: AttributeError: 'NoneType' object has no attribute 'checkpoint_callbacks'."""

    def own(run: Run) -> None:
        data = run.datamodule()
        trainer = Trainer(max_epochs=1, logger=False, enable_checkpointing=False)
        call(run, trainer, run.module(data), data)

    run_dir = tmp_path / "run"
    said = r"^train\(\) has made this Trainer itself: use run\.trainer\(\)\.\nconf/trainer has"
    with pytest.raises(UserError, match=said):
        Run(config, run_dir, "project.train").execute(own)
    assert not run_dir.exists()


def test_what_was_tested_last_is_recorded(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """As it happened: the end said "with best.ckpt" of any test, and `ckpt_path="best"` failed."""
    run_dir = tmp_path / "run"
    found = []

    def tests(run: Run) -> float:
        data = run.datamodule()
        module = run.module(data)
        trainer: Any = run.trainer()
        run.fit(trainer, module, data)
        for test in (
            partial(trainer.test, module, data, verbose=False),
            partial(trainer.test, datamodule=data, ckpt_path="best", verbose=False),
            partial(run.test, trainer, module, data),
            partial(trainer.test, module, data, os.path.relpath(run_dir / folders.LAST)),
        ):
            test()
            loss = trainer.callback_metrics["test/loss"].item()
            found.append((summaries.tested_with(trainer, run_dir), loss))
        return run.objective(trainer)

    caplog.set_level("INFO")
    config = composed([*RUN, "callbacks.checkpoints.mode=max"])  # the first epoch is best
    Run(config, run_dir, "project.train").execute(tests)
    losses = {}
    split = ways.Points(seed=0, batch_size=5).load()["test"]
    for path in (folders.BEST, folders.LAST):
        saved = torch.load(run_dir / path, weights_only=True)["state_dict"]
        network = ways.Small(optimizer=None).eval()
        network.load_state_dict(saved)
        loss = (network.network(split.inputs) - split.targets).square().mean()
        losses[path.name] = pytest.approx(loss.item(), rel=1e-6)
    assert found[1][1] > 1.2 * found[0][1]
    assert found == [
        ("the weights that the module had", losses["last.ckpt"]),
        ("best.ckpt", losses["best.ckpt"]),
        ("best.ckpt", losses["best.ckpt"]),
        ("last.ckpt", losses["last.ckpt"]),
    ]
    summary = json.loads((run_dir / "summary.json").read_text())
    assert summary["tested"] == "last.ckpt"
    assert summaries.tested(summary) == {}
    assert "test: with last.ckpt; train: the last row" in caplog.text
