"""Blocks of steps: the same run, bit by bit, in fewer calls."""

import logging
import random
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import (
    BatchSizeFinder,
    Callback,
    GradientAccumulationScheduler,
)
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.utilities.types import LRSchedulerConfig
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset

from engine.run.folders import LAST
from engine.run.loggers.table import MetricsCSV
from engine.signals import Interrupted
from engine.steps import trainer as trainer_of_blocks
from engine.steps.callback import StepCallback
from engine.supervised import SupervisedModule
from fenced import Net, Sized, loader
from fitting import Arrays, Crashes, columns, plain_trainer
from stepping import SGD, Classifier, X, Y, assert_same, data, fit, left, without_hurry

VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "clipping": {"gradient_clip_val": 0.1},
    "clipping by value": {"gradient_clip_val": 0.01, "gradient_clip_algorithm": "value"},
    "double": {"precision": "64-true"},
    "validation within epochs": {"val_check_interval": 4},
    "validation over epochs": {"val_check_interval": 7, "check_val_every_n_epoch": None},
    "an early end": {"max_steps": 21},
    "part of the batches": {"limit_train_batches": 8},
    "a row a step": {"log_every_n_steps": 1},
    "a row an epoch": {"log_every_n_steps": 50},
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_run_is_the_same_for_every_size(
    variant: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_hurry(monkeypatch)
    singly = fit(tmp_path / "1", 1, **VARIANTS[variant])
    for steps in (2, 7, 100):
        folder = tmp_path / str(steps)
        together = fit(folder, steps, **VARIANTS[variant])
        assert_same(left(folder), left(tmp_path / "1"), str(steps))
        assert sum(count for _, count in together.calls) == len(singly.calls)
        assert len(together.calls) < len(singly.calls) * (0.85 if steps == 2 else 0.75)


@pytest.mark.parametrize("optimizer", [SGD, torch.optim.AdamW], ids=["sgd", "adamw"])
@pytest.mark.parametrize(
    "batch_size", [31, 1], ids=["all samples in one batch", "one sample a batch"]
)
def test_whatever_the_optimiser_and_the_batch(
    batch_size: int, optimizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_hurry(monkeypatch)
    network = nn.Sequential(nn.ReLU(inplace=True), nn.Linear(6, 3))  # writes into its input
    for steps in (1, 100):
        torch.manual_seed(0)
        network[1].reset_parameters()
        module = SupervisedModule(network, nn.CrossEntropyLoss(), optimizer=optimizer)
        fit(tmp_path / str(steps), steps, module, data(batch_size=batch_size))
    assert left(tmp_path / "1")[0] == left(tmp_path / "100")[0]
    assert_same(left(tmp_path / "1")[1], left(tmp_path / "100")[1])


def noisy(inputs: Tensor) -> Tensor:
    """Writes into its input what torch's, Python's and NumPy's generators draw for each sample."""
    return inputs.add_(torch.rand(len(inputs), 1) + random.random() + np.random.rand())


@pytest.mark.parametrize("batch_size", [4, 31], ids=["batches of 4", "all samples in one batch"])
def test_augmented_steps_are_the_same_for_every_size(
    batch_size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each step draws after its seed, and before its forward pass, which draws, too."""
    without_hurry(monkeypatch)
    fit(tmp_path / "plain", 100, served=data(batch_size=batch_size))
    for size in (1, 2, 7, 100):
        module = Classifier(augment={"noisy": noisy, "masked": nn.Dropout(0.2)})
        calls = fit(tmp_path / str(size), size, module, data(batch_size=batch_size)).calls
        assert (max(count for _, count in calls) > 1) == (size > 1)
        assert_same(left(tmp_path / str(size)), left(tmp_path / "1"), str(size))
    assert left(tmp_path / "1")[0] != left(tmp_path / "plain")[0]


@pytest.mark.parametrize(
    "sizes", [(63, 65, 63, 10, 22), (23, 51, 23, 7, 23), (7, 16, 16, 14, 86), (29, 55, 9, 9, 62)]
)
def test_shapes_of_all_kinds(
    sizes: tuple[int, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Batches of a block begin anywhere in memory, where products of matrices round differently."""
    without_hurry(monkeypatch)
    features, hidden, outputs, batch_size, samples = sizes
    numbers = torch.Generator().manual_seed(0)
    x, y = (
        torch.randn(samples, features, generator=numbers),
        torch.randn(samples, outputs, generator=numbers),
    )
    for steps in (1, 100):
        torch.manual_seed(0)
        network = nn.Sequential(nn.Linear(features, hidden), nn.Tanh(), nn.Linear(hidden, outputs))
        served = Arrays({"train": (x, y), "val": (x, y)}, batch_size=batch_size, steps_per_epoch=25)
        module = SupervisedModule(network, nn.MSELoss())
        fit(tmp_path / str(steps), steps, module, served, max_epochs=1)
    assert left(tmp_path / "1")[0] == left(tmp_path / "100")[0]
    assert_same(left(tmp_path / "100")[1], left(tmp_path / "1")[1])


@pytest.mark.filterwarnings("ignore:.*is smaller than the logging interval")
def test_gradients_that_begin_to_accumulate_on_the_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_hurry(monkeypatch)
    for steps in (1, 100):
        fit(
            tmp_path / str(steps),
            steps,
            max_epochs=3,
            callbacks=[GradientAccumulationScheduler({1: 3})],
        )
    assert_same(left(tmp_path / "100")[1], left(tmp_path / "1")[1])


@pytest.mark.parametrize("at", [0, 3, 9], ids=["first step", "within a block", "second pass"])
def test_divergence_ends_the_run_at_its_step(
    at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_hurry(monkeypatch)

    class Diverges(nn.CrossEntropyLoss):
        """Infinite at one step."""

        step = 0

        def forward(self, predictions: Tensor, targets: Tensor) -> Tensor:
            self.step += predictions.requires_grad
            return super().forward(predictions, targets) * (
                float("inf") if self.step == at + 1 else 1.0
            )

    for steps in (1, 100):
        torch.manual_seed(0)
        module = SupervisedModule(nn.Linear(6, 3), Diverges(), optimizer=SGD)
        calls = fit(tmp_path / str(steps), steps, module, log_every_n_steps=1)
        assert (len(calls.calls) < at + 1) == (steps == 100 and at > 0)
    assert left(tmp_path / "1")[0] == left(tmp_path / "100")[0]
    assert_same(left(tmp_path / "100")[1], left(tmp_path / "1")[1])
    assert left(tmp_path / "100")[1]["global_step"] == at + 1


def test_without_anybody_to_stop_it_a_diverged_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_hurry(monkeypatch)
    y = np.eye(3)[Y].astype(np.float32)
    y[7] = np.nan
    for steps in (1, 100):
        torch.manual_seed(0)
        module = SupervisedModule(nn.Linear(6, 3), nn.MSELoss())
        (tmp_path / str(steps)).mkdir()
        trainer = plain_trainer(tmp_path / str(steps), steps_per_call=steps, max_epochs=2)
        trainer.fit(module, Arrays({"train": (X, y)}, batch_size=4))
        assert trainer.global_step == 16
    texts = [(tmp_path / str(steps) / "metrics.csv").read_text() for steps in (1, 100)]
    assert texts[0] == texts[1]
    assert "nan" in texts[0]


@pytest.fixture
def whole(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run by single steps that nobody ends, made once."""
    without_hurry(monkeypatch)
    folder = tmp_path_factory.getbasetemp() / "by single steps"
    if not folder.exists():
        begun = folder.with_name("begun")
        fit(begun, 1, callbacks=[Crashes(99)])
        begun.rename(folder)
    return folder


@pytest.mark.parametrize(("before", "afters"), [(100, (1, 100)), (1, (100,)), (3, (7,))])
@pytest.mark.parametrize("step", [7, 13, 18])
def test_a_run_resumes_with_blocks_of_any_size(
    step: int,
    before: int,
    afters: tuple[int, ...],
    whole: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    without_hurry(monkeypatch)
    with pytest.raises(RuntimeError, match="crash"):
        fit(tmp_path / "ended", before, callbacks=[Crashes(step)])
    at = torch.load(tmp_path / "ended" / LAST, weights_only=True)["global_step"]
    for after in afters:
        parts = Path(shutil.copytree(tmp_path / "ended", tmp_path / str(after)))
        table = MetricsCSV(parts, purge_step=at)  # as a resumed run's
        fit(parts, after, last=parts / LAST, callbacks=[Crashes(99)], logger=table)
        assert_same(left(parts), left(whole), str(after))


def test_rows_that_a_logger_has_in_memory_are_written_before_a_checkpoint(tmp_path: Path) -> None:
    """A kill after the checkpoint would lose them: a resumed run does not log them again."""
    logger = CSVLogger(tmp_path, version=0)
    data = Arrays({"train": (X, Y)}, batch_size=8)
    trainer = plain_trainer(tmp_path, logger=logger, max_epochs=1, log_every_n_steps=100)
    trainer.fit(Classifier(), data)
    logger.log_metrics({"late": 1.0}, 3)
    written = Path(logger.log_dir, "metrics.csv")
    assert "late" not in written.read_text()
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    assert "late" in written.read_text()


class Once(IterableDataset[Any]):
    """Gives its samples in one pass only."""

    def __init__(self) -> None:
        self.samples = iter([torch.ones(1)] * 6)

    def __iter__(self) -> Any:
        return self.samples


def test_an_epoch_without_a_batch_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """As it happened: a run of three epochs took the steps of one, and was finished."""
    trainer = plain_trainer(tmp_path, max_epochs=3, logger=False)
    trainer.fit(Net(), DataLoader(Once(), batch_size=2), loader(1))
    assert trainer.global_step == 3
    said = "the loader of training has given no batch in epoch"
    assert [text for text in caplog.messages if said in text] == [f"{said} 2", f"{said} 3"]


class StopsAtStart(Callback):
    """Ends training as an epoch begins, before the loader is asked."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def on_train_epoch_start(self, trainer: Any, *_: Any) -> None:
        trainer.should_stop = trainer.current_epoch == self.epoch


@pytest.mark.parametrize("epoch", [0, 1])
def test_an_epoch_that_a_callback_ends_is_not_the_loaders(
    epoch: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trainer = plain_trainer(tmp_path, max_epochs=3, logger=False, callbacks=[StopsAtStart(epoch)])
    trainer.fit(Net(), loader(2), loader(1))
    assert "has given no batch" not in caplog.text


def test_a_search_of_lightnings_has_epochs_of_its_own(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As it happened: each trial behind the first was said to have no batch."""
    finder = BatchSizeFinder(max_trials=3, init_val=2)
    trainer = plain_trainer(tmp_path, max_epochs=2, logger=False, callbacks=[finder])
    trainer.fit(Net(), Sized(48, batch_size=2))
    assert finder.optimal_batch_size == 8
    assert trainer.global_step == 2 * 6
    assert "has given no batch" not in caplog.text


@pytest.mark.parametrize(
    ("windows", "steps", "lines"), [({0: 1, 1: 2, 2: 4}, 16, 1), ({0: 2}, 16, 1), ({}, 32, 0)]
)
def test_a_number_of_steps_that_is_not_lightnings_is_told_once(
    windows: dict[int, int],
    steps: int,
    lines: int,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Asks(Net):
        def configure_optimizers(self) -> Any:
            asked.extend(self.trainer.estimated_stepping_batches for _ in range(2))
            return super().configure_optimizers()

    asked: list[float] = []
    caplog.set_level("INFO")
    changes = [GradientAccumulationScheduler(windows)] if windows else []
    trainer = plain_trainer(tmp_path, max_epochs=4, logger=False, callbacks=changes)
    trainer.fit(Asks(), loader(8), loader(1))
    assert asked == [trainer.global_step] * 2 == [steps] * 2
    said = "trainer.estimated_stepping_batches is 16, the steps to come; Lightning counts 32"
    assert caplog.messages.count(said) == caplog.text.count("Lightning counts") == lines


def test_an_empty_epoch_after_a_resume_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    options: dict[str, Any] = {"logger": False}
    first = plain_trainer(tmp_path, max_epochs=1, **options)
    first.fit(Net(), loader(2), loader(1))
    first.save_checkpoint(tmp_path / "x.ckpt")
    again = plain_trainer(tmp_path / "again", max_epochs=3, **options)
    nothing = Once()
    nothing.samples = iter([])
    checkpoint = tmp_path / "x.ckpt"
    again.fit(Net(), DataLoader(nothing), loader(1), ckpt_path=checkpoint, weights_only=True)
    said = "the loader of training has given no batch in epoch"
    assert [text for text in caplog.messages if said in text] == [f"{said} 2", f"{said} 3"]


class LooksTwice(torch.optim.SGD):
    """Takes the gradient a step away from the weights, as sharpness-aware minimisation does."""

    def step(self, closure: Any = None) -> Any:
        loss = closure() if closure else None
        weights = [own for own in self.param_groups[0]["params"] if own.grad is not None]
        with torch.no_grad():
            steps = [0.05 * own.grad.sign() for own in weights if own.grad is not None]
            for own, step in zip(weights, steps, strict=True):
                own.add_(step)
        if closure:
            closure()
        with torch.no_grad():
            for own, step in zip(weights, steps, strict=True):
                own.sub_(step)
        super().step()
        return loss


class Shrinks(Callback):
    """An ordinary callback, which changes the weights after each step."""

    def on_train_batch_end(self, trainer: Any, module: Any, *args: Any) -> None:
        with torch.no_grad():
            module.network[0].weight.mul_(0.9)


class ShrinksAtSteps(StepCallback):
    """Looks at one step of an epoch, and names the steps that begin within blocks."""

    def __init__(self, batches: list[int]) -> None:
        self.batches = batches

    def watches(self, trainer: Any, step: int, batch_idx: int) -> bool:
        return batch_idx == 5

    def on_train_batch_end(
        self, trainer: Any, module: Any, outputs: Any, batch: Any, index: int
    ) -> None:
        if index == 5:
            Shrinks().on_train_batch_end(trainer, module)

    def on_step_start(self, trainer: Any, module: Any, batch: int) -> None:
        self.batches.append(batch)


class Meddles(StepCallback):
    """Changes something of the training at the start of its second epoch."""

    def __init__(self, change: Callable[[Any, Any], Any]) -> None:
        self.change = change

    def on_train_epoch_start(self, trainer: Any, module: Any) -> None:
        if trainer.current_epoch == 1:
            self.change(trainer, module)


def replace(optimizer: Callable[..., Any]) -> Callable[[Any, Any], Any]:
    def change(trainer: Any, module: Any) -> None:
        trainer.optimizers = [optimizer(module.parameters())]

    return change


def halve(optimizer: Any, *args: Any) -> None:
    for own in optimizer.param_groups[0]["params"]:
        if own.grad is not None:
            own.grad.mul_(0.5)


def treble(trainer: Any, module: Any) -> None:
    backward = trainer.strategy.backward
    trainer.strategy.backward = lambda loss, *args, **options: backward(3 * loss, *args, **options)


CHANGES: dict[str, tuple[Callable[[Any, Any], Any], str | None]] = {
    "a closure": (replace(partial(torch.optim.LBFGS, lr=0.1, max_iter=3)), "LBFGS may evaluate"),
    "two closures": (replace(partial(LooksTwice, lr=0.05)), "LooksTwice may evaluate"),
    "a callback": (
        lambda trainer, _: trainer.callbacks.append(Shrinks()),
        "Shrinks.on_train_batch_end wants every step",
    ),
    "a callback of some steps": (
        lambda trainer, _: trainer.callbacks.append(ShrinksAtSteps([])),
        None,
    ),
    "a hook": (
        lambda trainer, _: trainer.optimizers[0].register_step_pre_hook(halve),
        "SGD has a step, zero_grad or hooks before it of its own",
    ),
    "gradients that stay": (
        lambda trainer, _: setattr(trainer.optimizers[0], "zero_grad", lambda *args: None),
        "SGD has a step, zero_grad or hooks before it of its own",
    ),
    "a backward pass": (treble, "SingleDeviceStrategy may change a step"),
}


@pytest.mark.filterwarnings("ignore:.*lr_scheduler.step.. before .optimizer.step:UserWarning")
@pytest.mark.parametrize("name", CHANGES)
def test_what_comes_on_the_way_is_as_in_single_steps(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As it happened: what blocks rule out was asked for at the start of training only."""
    without_hurry(monkeypatch)
    caplog.set_level(logging.INFO, logger="engine")
    change, reason = CHANGES[name]
    for steps in (1, 100):
        callbacks = [Meddles(change)]
        calls = fit(tmp_path / str(steps), steps, callbacks=callbacks)
        assert (max(count for first, count in calls.calls if first < 13) > 1) == (steps == 100)
    assert {count > 1 for first, count in calls.calls if first >= 13} == (
        {False} if reason else {True, False}
    )
    told = [text for text in caplog.messages if text.startswith("one step a call")]
    assert [reason in text for text in told if reason] == [True] * bool(reason)
    assert_same(*(left(tmp_path / steps)[1]["state_dict"] for steps in ("100", "1")))
    assert left(tmp_path / "100")[0] == left(tmp_path / "1")[0]


def test_a_callback_of_a_callback_is_told_of_each_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_hurry(monkeypatch)
    batches: list[int] = []
    appends = Meddles(lambda trainer, _: trainer.callbacks.append(ShrinksAtSteps(batches)))
    fit(tmp_path, 100, callbacks=[appends], val_check_interval=13)
    # Blocks begin at batches 13 and 19 (checkpoints end others); 18 is watched, a step by itself.
    assert set(batches) < set(range(14, 26))
    assert not {13, 18} & set(batches)
    assert len(batches) == len(set(batches)) > 3


class TwoPhases(SupervisedModule):
    """Makes an optimiser whose rate is halved every three steps as its second epoch begins."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        super().__init__(nn.Linear(6, 3), nn.CrossEntropyLoss(), optimizer=SGD)

    def on_train_epoch_start(self) -> None:
        if self.current_epoch == 1:
            self.trainer.strategy.setup_optimizers(self.trainer)

    def configure_optimizers(self) -> Any:
        optimizer: Any = super().configure_optimizers()
        if self.trainer.current_epoch == 0:
            return optimizer
        schedule = torch.optim.lr_scheduler.StepLR(optimizer, 3, 0.5)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def test_a_schedule_that_begins_with_an_epoch_counts_each_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_hurry(monkeypatch)
    calls = fit(tmp_path, 100, TwoPhases(), log_every_n_steps=1)
    assert max(count for first, count in calls.calls if first > 13) > 3
    rates = columns(tmp_path, "lr")[0]
    assert rates == [0.05] * 13 + [0.05 * 0.5 ** (step // 3) for step in range(13)]


class Stops(Classifier):
    """Its network asks for the end of training at step 16."""

    def forward(self, inputs: Tensor) -> Tensor:
        if self.training and self.global_step == 16:
            self.trainer.should_stop = True
        predictions: Tensor = super().forward(inputs)
        return predictions


@pytest.mark.parametrize(("least", "end"), [(None, 17), (17, 17), (18, 18)])
def test_a_network_that_stops_training_ends_it_with_its_step(
    least: int | None, end: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it happened: at the end of the block, whose length goes by the clock."""
    without_hurry(monkeypatch)
    for steps in (1, 100):
        fit(tmp_path / str(steps), steps, Stops(), max_epochs=3, min_steps=least)
    assert_same(left(tmp_path / "100"), left(tmp_path / "1"))
    assert left(tmp_path / "100")[1]["global_step"] == end


def anneal(trainer: Any, module: Any) -> None:
    scheduler = torch.optim.lr_scheduler.ExponentialLR(trainer.optimizers[0], 0.5)
    trainer.strategy.lr_scheduler_configs = [LRSchedulerConfig(scheduler, interval="step")]


def end_at_18(trainer: Any, module: Any) -> None:
    trainer.fit_loop.epoch_loop.max_steps = 18


def end_epoch_at_18(trainer: Any, module: Any) -> None:
    trainer.fit_loop.max_batches = 5


class Sets(Classifier):
    """Its network changes the training at step 17, in the midst of a block."""

    configure_optimizers = SupervisedModule.configure_optimizers  # without a schedule

    def __init__(self, change: Callable[[Any, Any], Any]) -> None:
        super().__init__()
        self.change = change

    def forward(self, inputs: Tensor) -> Tensor:
        if self.training and self.global_step == 17:
            self.change(self.trainer, self)
        predictions: Tensor = super().forward(inputs)
        return predictions


WITHIN: dict[str, tuple[Callable[[Any, Any], Any], int]] = {
    "nothing": (lambda trainer, _: None, 26),
    "clip": (lambda trainer, _: setattr(trainer, "gradient_clip_val", 0.01), 26),
    "window": (lambda trainer, _: setattr(trainer, "accumulate_grad_batches", 3), 22),
    "optimizers": (replace(partial(torch.optim.Adam, lr=0.1)), 26),
    "schedules": (anneal, 26),
    "a callback": (CHANGES["a callback"][0], 26),
    "the last step": (end_at_18, 18),
    "the last batch": (end_epoch_at_18, 18),
    "rows": (lambda trainer, _: setattr(trainer, "log_every_n_steps", 5), 26),
}


@pytest.mark.filterwarnings("ignore:.*lr_scheduler.step... before .optimizer.step:UserWarning")
@pytest.mark.parametrize("name", WITHIN)
def test_what_a_network_changes_counts_from_its_step_on(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it happened: from the end of the block on, whose length goes by the clock, or never."""
    without_hurry(monkeypatch)
    change, end = WITHIN[name]
    for steps in (1, 100):
        calls = fit(tmp_path / str(steps), steps, Sets(change))
    assert_same(left(tmp_path / "100"), left(tmp_path / "1"))
    assert left(tmp_path / "100")[1]["global_step"] == end
    assert (16, 3) in calls.calls


class StopsAtStep(StepCallback):
    """Stops training as step 5 begins, within a block or as its first."""

    def __init__(self, step: int = 5) -> None:
        self.step = step

    def on_step_start(self, trainer: Any, module: Any, batch: int) -> None:
        trainer.should_stop = trainer.should_stop or batch == self.step

    def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, batch_idx: int) -> None:
        trainer.should_stop = trainer.should_stop or trainer.global_step == self.step


@pytest.mark.parametrize("step", [15, 16, 17])  # one of three is the first of its block
def test_a_callback_that_stops_training_as_a_step_begins_ends_it_with_this_step(
    step: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_hurry(monkeypatch)
    for steps in (1, 3):
        fit(tmp_path / str(steps), steps, callbacks=[StopsAtStep(step)], max_epochs=3)
    assert_same(left(tmp_path / "3"), left(tmp_path / "1"))
    assert left(tmp_path / "3")[1]["global_step"] == step + 1


class LooksAtData(Callback):
    """Looks at the batches of training before it, as a search of Lightning's does."""

    def on_fit_start(self, trainer: Any, module: Any) -> None:
        self.seen = len([*trainer.datamodule.train_dataloader()])


def test_batches_are_there_before_training(tmp_path: Path) -> None:
    looks = LooksAtData()
    fit(tmp_path, 100, callbacks=[looks])
    assert looks.seen == 13


class AsksForMetrics(Classifier):
    """Weighs its outputs by the loss of the last row."""

    def __init__(self, shown: str) -> None:
        super().__init__()
        self.shown = shown

    def forward(self, inputs: Tensor) -> Tensor:
        last = getattr(self.trainer, self.shown).get("train/loss", 1.0) if self.training else 1.0
        predictions: Tensor = super().forward(inputs) * (1 + 0.1 * float(last))
        return predictions


@pytest.mark.parametrize("every", [1, 3])
@pytest.mark.parametrize("shown", ["callback_metrics", "progress_bar_metrics"])
def test_a_network_that_asks_for_metrics_is_told_those_of_the_last_row(
    shown: str, every: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it happened: those of the last block."""
    without_hurry(monkeypatch)
    for steps in (1, 100):
        module = AsksForMetrics(shown)
        calls = fit(tmp_path / str(steps), steps, module, log_every_n_steps=every)
    assert max(count for _, count in calls.calls) > 3
    assert_same(left(tmp_path / "100"), left(tmp_path / "1"))


def test_an_error_within_a_block_leaves_no_row_to_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever asks for metrics then, asks in a hook where nothing may be logged."""
    without_hurry(monkeypatch)
    asked: list[int] = []

    class Fails(Classifier):
        def augmented(self, inputs: Tensor) -> Tensor:
            if self.global_step == 6:
                raise RuntimeError("fails")
            return super().augmented(inputs)

    class Asks(Callback):
        def on_exception(self, trainer: Any, *args: Any) -> None:
            asked.append(len(trainer.callback_metrics))

    with pytest.raises(RuntimeError, match="fails"):
        fit(tmp_path, 100, Fails(), callbacks=[Asks()], log_every_n_steps=1)
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("error", "ends"), [(KeyboardInterrupt(), 1), (Interrupted(130), 1), (ValueError(), 0)]
)
def test_what_ends_the_further_processes_before_lightning_does(
    error: BaseException, ends: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it happened: a user's KeyboardInterrupt was told as "process 1 of the run was killed"."""
    ended: list[Any] = []
    monkeypatch.setattr(trainer_of_blocks, "kill_children", ended.append)
    trainer = plain_trainer(tmp_path)
    for callback in trainer.callbacks:
        if isinstance(callback, trainer_of_blocks._Begins):
            callback.on_exception(trainer, Net(), error)
    assert ended == [trainer] * ends
