"""Learning rates that change, against their formulas and against Lightning's own calls."""

import itertools
import math
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import GradientAccumulationScheduler
from torch import nn
from torch.optim import LBFGS, SGD, Adam, Optimizer
from torch.optim.lr_scheduler import ExponentialLR, LRScheduler
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from commands import only_run, own_schedule, run_train
from engine import schedules
from engine.errors import UserError
from engine.steps.callback import StepCallback
from engine.supervised import SupervisedModule
from fitting import Arrays, columns, plain_trainer

LR = 0.3


def sgd(**options: Any) -> Optimizer:
    return SGD([nn.Parameter(torch.zeros(1))], lr=LR, **options)


def numbers(optimizer: Optimizer, schedule: Any, steps: int, name: str = "lr") -> list[float]:
    """Returns a number of an optimiser at each of some steps, as training would have it."""
    scheduler: LRScheduler = schedule(optimizer, lambda interval, frequency: steps)["scheduler"]
    seen = []
    for _ in range(steps):
        group = optimizer.param_groups[0]
        seen.append(group["betas"][0] if name == "betas" else group[name])
        optimizer.step()
        scheduler.step()
    return seen


@pytest.mark.parametrize("steps", [1, 2, 100, 2_000])
@pytest.mark.parametrize(("warmup", "floor"), [(0.05, 0.0), (0.0, 0.2), (0.999, 0.0)])
def test_cosine_is_its_formula(warmup: float, floor: float, steps: int) -> None:
    found = numbers(sgd(), partial(schedules.cosine, warmup=warmup, floor=floor), steps)
    rising = int(warmup * steps)
    k = np.arange(steps)
    cosine = (1 + np.cos(np.pi * (k - rising) / (steps - rising))) / 2
    expected = LR * np.where(k <= rising, (k + 1) / (rising + 1), floor + (1 - floor) * cosine)
    np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize(("steps", "length"), [(1, 1), (10, 3), (2_000, 600)])
def test_step_drops_after_each_share(steps: int, length: int) -> None:
    found = numbers(sgd(), partial(schedules.step, every=0.3, factor=0.5), steps)
    np.testing.assert_allclose(found, LR * 0.5 ** (np.arange(steps) // length), rtol=1e-12)


@pytest.mark.parametrize("steps", [1, 2, 3, 10, 1000])
def test_one_cycle_goes_up_and_down_and_momentum_the_other_way(steps: int) -> None:
    """Between its corners, each number goes along half a cosine."""
    schedule = partial(schedules.one_cycle, rise=0.4, start=10.0, end=100.0, low_momentum=0.6)
    lr = numbers(sgd(momentum=0.9), schedule, steps)
    momentum = numbers(sgd(momentum=0.9), schedule, steps, "momentum")
    assert lr[0] == pytest.approx(LR / 10)
    assert momentum[0] == pytest.approx(0.9)
    if steps < 10:
        return
    top = int(0.4 * steps) - 1
    assert lr[top] == max(lr) == pytest.approx(LR)
    assert momentum[top] == min(momentum) == pytest.approx(0.6)
    assert lr[-1] == pytest.approx(LR / 10 / 100)
    assert momentum[-1] == pytest.approx(0.9)
    part = (1 + np.cos(np.pi * np.arange(top + 1) / top)) / 2
    np.testing.assert_allclose(lr[: top + 1], LR + (LR / 10 - LR) * part, rtol=1e-9)
    np.testing.assert_allclose(momentum[: top + 1], 0.6 + 0.3 * part, rtol=1e-9)


def test_one_cycle_gives_no_momentum_to_an_optimiser_without() -> None:
    assert set(numbers(sgd(), schedules.one_cycle, 10, "momentum")) == {0}
    kept = partial(schedules.one_cycle, low_momentum=None)
    assert set(numbers(sgd(momentum=0.9), kept, 10, "momentum")) == {0.9}
    adam = Adam([nn.Parameter(torch.zeros(1))], lr=LR)
    assert min(numbers(adam, schedules.one_cycle, 10, "betas")) == pytest.approx(0.85)
    lbfgs = LBFGS([nn.Parameter(torch.zeros(1))], lr=LR)
    assert schedules.one_cycle(lbfgs, lambda interval, frequency: 10)["interval"] == "step"


class Calls(LRScheduler):
    """Counts its calls, and has seen the number of calls before each step."""

    def __init__(self, optimizer: Optimizer) -> None:
        self.calls = -1  # torch makes one itself
        self.before_steps: list[int] = []
        super().__init__(optimizer)
        optimizer.register_step_pre_hook(lambda *_: self.before_steps.append(self.calls))

    def get_lr(self) -> list[float | torch.Tensor]:
        self.calls += 1
        return [group["lr"] for group in self.optimizer.param_groups]


@pytest.mark.parametrize(
    ("interval", "frequency", "window", "limit"),
    [
        *itertools.product(
            ("step", "epoch"), (1, 2, 3), (1, 4, {1: 3, 3: 2}), ({"max_epochs": 4},)
        ),
        ("step", 3, 1, {"max_epochs": None, "max_steps": 17}),
        ("epoch", 1, 1, {"max_epochs": None, "max_steps": 17}),
        ("epoch", 1, {0: 5, 1: 1}, {"max_epochs": None, "max_steps": 12}),
        ("epoch", 1, {0: 5, 1: 1}, {"max_epochs": None, "max_steps": 13}),
        ("step", 5, 2, {"max_epochs": 9, "max_steps": 8}),
        ("step", 1, {1: 10}, {"max_epochs": 3, "max_steps": 100}),
    ],
    ids=str,
)
def test_rates_are_counted_as_lightning_changes_them(
    interval: Any, frequency: int, window: Any, limit: dict[str, Any], tmp_path: Path
) -> None:
    """Of 10 batches an epoch, by every combination of Lightning's rules."""
    expected: list[float] = []
    made: list[Calls] = []

    def schedule(optimizer: Optimizer, rates: Any) -> dict[str, Any]:
        expected.append(rates(interval, frequency))
        made.append(Calls(optimizer))
        return {"scheduler": made[0], "interval": interval, "frequency": frequency}

    x = np.ones((40, 1), dtype=np.float32)
    data = Arrays({"train": (x, x)}, batch_size=4)
    if isinstance(window, dict):
        limit = {**limit, "callbacks": [GradientAccumulationScheduler(dict(window))]}
    else:
        limit = {**limit, "accumulate_grad_batches": window}
    trainer = plain_trainer(tmp_path, **limit)
    model = SupervisedModule(
        nn.Linear(1, 1), nn.MSELoss(), optimizer=partial(SGD, lr=LR), scheduler=schedule
    )
    trainer.fit(model, data)
    steps = trainer.estimated_stepping_batches
    assert len(made[0].before_steps) == trainer.global_step == steps
    if not isinstance(window, dict):
        lightnings: Any = Trainer.estimated_stepping_batches
        assert steps == lightnings.fget(trainer)
    assert expected == [made[0].before_steps[-1] + 1]


def test_training_on_data_of_unknown_length_has_an_end_where_max_steps_says_it(
    tmp_path: Path,
) -> None:
    seen: list[float] = []

    def schedule(optimizer: Optimizer, rates: Any) -> dict[str, Any]:
        seen.extend((rates("step", 1), rates("step", 2), rates("epoch", 1)))
        return {"scheduler": Calls(optimizer), "interval": "step"}

    def fit(**limit: Any) -> float:
        model = SupervisedModule(nn.Linear(1, 1), nn.MSELoss(), scheduler=schedule)
        trainer = plain_trainer(tmp_path, **limit)
        trainer.fit(model, DataLoader(Pairs(), batch_size=4), DataLoader(Pairs()))
        return float(trainer.estimated_stepping_batches)

    assert fit(max_epochs=1, max_steps=2) == 2
    assert seen == [2, math.inf, math.inf]
    seen.clear()
    assert fit(max_epochs=1) == math.inf  # Lightning says -1
    assert seen == [math.inf] * 3


class Pairs(IterableDataset[tuple[torch.Tensor, torch.Tensor]]):
    """Has 12 samples, and does not say so."""

    def __iter__(self) -> Any:
        return iter([(torch.ones(1), torch.ones(1))] * 12)


@pytest.mark.parametrize(
    ("options", "limit"),
    [
        ({"frequency": 3}, {"max_epochs": 1}),  # the last of 10 steps comes after the last change
        ({"interval": "epoch"}, {"max_epochs": None, "max_steps": 14}),
    ],
)
def test_the_last_steps_have_a_rate(
    options: dict[str, Any], limit: dict[str, Any], tmp_path: Path
) -> None:
    """As it happened: after the last change of a cosine, steps had a rate of zero."""
    x = np.ones((40, 1), dtype=np.float32)
    data = Arrays({"train": (x, x)}, batch_size=4)
    schedule = partial(schedules.cosine, warmup=0.0, **options)
    model = SupervisedModule(
        nn.Linear(1, 1), nn.MSELoss(), optimizer=partial(SGD, lr=LR), scheduler=schedule
    )
    trainer = plain_trainer(tmp_path, **limit)
    trainer.fit(model, data)
    rates = list(dict.fromkeys(map(float, columns(tmp_path, "lr")[0])))
    k = np.arange(len(rates))
    expected = LR * (1 + np.cos(np.pi * k / len(rates))) / 2
    np.testing.assert_allclose(rates, expected, rtol=1e-8)


def bare(optimizer: Optimizer, rates: Any) -> LRScheduler:
    return ExponentialLR(optimizer, 0.5)


@pytest.mark.parametrize("schedule", [partial(ExponentialLR, gamma=0.5), bare])
def test_a_scheduler_of_torchs_changes_the_rate_after_each_epoch(
    schedule: Any, tmp_path: Path
) -> None:
    """As in a loop of one's own, over 4 epochs of 3 batches."""
    x = np.ones((12, 1), dtype=np.float32)
    model = SupervisedModule(
        nn.Linear(1, 1), nn.MSELoss(), optimizer=partial(SGD, lr=LR), scheduler=schedule
    )
    trainer = plain_trainer(tmp_path, max_epochs=4)
    trainer.fit(model, Arrays({"train": (x, x)}, batch_size=4))
    optimizer, expected = sgd(), []
    scheduler = ExponentialLR(optimizer, gamma=0.5)
    for _ in range(4):
        for _ in range(3):
            expected.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
        scheduler.step()
    assert columns(tmp_path, "lr")[0] == expected == sorted([LR, LR / 2, LR / 4, LR / 8] * 3)[::-1]


def test_training_without_a_known_end_has_no_shares() -> None:
    for schedule in (schedules.cosine, schedules.step, schedules.one_cycle):
        with pytest.raises(UserError, match=r"no known end\. Set trainer\.max_epochs or"):
            schedule(sgd(), lambda interval, frequency: math.inf)
    assert "monitor" in schedules.plateau(sgd(), lambda interval, frequency: math.inf)


LINEAR = ["experiment=linear", "accelerator=cpu", "logger=csv", "datamodule.steps_per_epoch=10"]


def test_a_run_uses_the_rates_that_its_rows_show(tmp_path: Path) -> None:
    """One weight, whose path under SGD has a closed form: w - 2 grows by 1 - 28 lr a step."""
    run_train(*LINEAR, "scheduler=cosine", f"paths.log_dir={tmp_path}", draws=False)
    run_dir = only_run(tmp_path)
    lr, loss = columns(run_dir, "lr", "train/loss")
    k = np.arange(10)
    np.testing.assert_allclose(lr, 0.01 * (1 + np.cos(np.pi * k / 10)) / 2, rtol=1e-9, atol=1e-12)
    shrink = np.cumprod([1, *(1 - 28 * np.array(lr[:-1]))])
    np.testing.assert_allclose(loss, loss[0] * shrink**2, rtol=2e-4)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["scheduler=cosine", "scheduler.warmup=1.5"], "scheduler.warmup=1.5: must be less than"),
        (["scheduler=step", "scheduler.every=0"], "scheduler.every=0: must be greater than 0"),
        (["scheduler=one_cycle", "scheduler.interval=epoch"], "scheduler.interval=epoch: must be"),
        (["scheduler=cosine", "scheduler.intervall=step"], "scheduler.intervall: no such key. Did"),
        (["scheduler=cosin"], "scheduler=cosin: no such choice. Did you mean cosine?"),
        (
            ["scheduler=step", "trainer.max_epochs=null"],
            "scheduler: this schedule's lengths are shares of the training, and the training has",
        ),
        (
            ["scheduler=plateau"],
            "scheduler.monitor=val/loss: LinearRegressor logs no such metric. Did you mean train/",
        ),
        (
            ["scheduler=step", "scheduler._target_=torch.optim.lr_scheduler.StepLR"],
            "scheduler.every: StepLR takes no such argument.",
        ),
        (
            own_schedule("torch.optim.lr_scheduler.StepLR"),
            "scheduler=torch.optim.lr_scheduler.StepLR: missing a required argument: 'step_size'.",
        ),
        (
            own_schedule("torch.optim.lr_scheduler.ReduceLROnPlateau"),
            "scheduler=torch.optim.lr_scheduler.ReduceLROnPlateau: ReduceLROnPlateau follows a met"
            "ric, and nothing names one.\nChoose scheduler=plateau, which has",
        ),
        (
            own_schedule("unlike.of_optimizer"),
            "scheduler=unlike.of_optimizer: too many positional arguments.\nIt needs a function of "
            "(optimizer, rates) that returns a scheduler or Lightning's lr_scheduler config, or",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bad_values_are_refused_before_there_is_a_folder(
    words: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        run_train(*LINEAR, *words, f"paths.log_dir={tmp_path}")
    assert stop.value.code == 2
    answer = capsys.readouterr().err
    assert answer.startswith(f"error: {says}")
    assert len(answer.splitlines()) <= 2
    assert list(tmp_path.iterdir()) == []


def test_a_rate_that_follows_each_step_needs_a_row_at_each(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As it happened: it said that the model logs no such metric."""
    follows = ["scheduler=plateau", "scheduler.interval=step", "scheduler.monitor=train/loss"]
    words = ["experiment=linear", *follows, f"paths.log_dir={tmp_path}"]
    with pytest.raises(SystemExit) as stop:
        run_train(*words, "trainer.log_every_n_steps=5")
    assert stop.value.code == 2
    assert capsys.readouterr().err == (
        "error: scheduler.monitor=train/loss: not logged by step 1: a row comes every 5 steps.\n"
        "To have one at each step: trainer.log_every_n_steps=1\n"
    )
    run_train(*words, "trainer.log_every_n_steps=1")


@pytest.mark.parametrize("interval", ["step", "epoch"])
def test_without_a_batch_nothing_is_counted_for_ever(interval: Any, tmp_path: Path) -> None:
    """As it happened: without a number of epochs, no epoch brought the end nearer."""
    seen: list[float] = []

    def schedule(optimizer: Optimizer, rates: Any) -> dict[str, Any]:
        seen.append(rates(interval, 3))
        return {"scheduler": Calls(optimizer), "interval": interval}

    model = SupervisedModule(nn.Linear(1, 1), nn.MSELoss(), scheduler=schedule)
    samples: Any = TensorDataset(torch.ones(3, 1), torch.ones(3, 1))
    trainer = plain_trainer(tmp_path, max_epochs=None, max_steps=5)
    with warnings.catch_warnings(action="ignore"):
        trainer.fit(model, DataLoader(samples, 4, drop_last=True), DataLoader(samples))
    assert seen == [1]


class Reloads(Arrays):
    """Counts the loaders of training that it has made."""

    loaders = 0

    def train_dataloader(self) -> Any:
        self.loaders += 1
        return super().train_dataloader()


class Asks(StepCallback):
    """Asks for the end of training where an epoch has ended."""

    def on_epoch_done(self, trainer: Any, module: Any) -> None:
        assert trainer.estimated_stepping_batches == 30


def test_who_asks_for_the_end_makes_no_loader(tmp_path: Path) -> None:
    """As it happened: one process of several made the next epoch's, and waited for the others."""
    x = np.ones((40, 1), dtype=np.float32)
    data = Reloads({"train": (x, x), "val": (x, x)}, batch_size=4)
    options: dict[str, Any] = {"max_epochs": 3, "reload_dataloaders_every_n_epochs": 1}
    trainer = plain_trainer(tmp_path, callbacks=[Asks()], **options)
    trainer.fit(SupervisedModule(nn.Linear(1, 1), nn.MSELoss()), data)
    assert data.loaders == 3
