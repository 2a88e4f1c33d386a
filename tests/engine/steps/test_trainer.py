"""Blocks of steps: the same run, bit by bit, in fewer calls."""

import contextlib
import logging
import random
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import GradientAccumulationScheduler, StochasticWeightAveraging
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics.classification import MulticlassAccuracy

from engine.callbacks.checkpoints import Checkpoints
from engine.callbacks.divergence import StopOnDivergence
from engine.callbacks.step_seed import StepSeed
from engine.run.folders import LAST
from engine.run.loggers import MetricsCSV
from engine.steps import trainer as trainer_module
from engine.steps.block import Block
from engine.steps.callback import StepCallback
from engine.supervised import SupervisedModule
from fitting import Arrays, Crashes, plain_trainer
from project.callbacks.histograms import Histograms

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(31, 6)).astype(np.float32), RNG.integers(0, 3, 31)
SGD = partial(torch.optim.SGD, lr=0.05, momentum=0.9)


class Classifier(SupervisedModule):
    """Has batch statistics, dropout and a learning rate that changes at every other step."""

    def __init__(self, **options: Any) -> None:
        torch.manual_seed(0)
        layers = (
            nn.Linear(6, 8),
            nn.BatchNorm1d(8),
            nn.ReLU(inplace=True),
            nn.Dropout(0.3),
            nn.Linear(8, 3),
        )
        metrics = {"acc": MulticlassAccuracy(3, average="micro")}
        super().__init__(
            nn.Sequential(*layers), nn.CrossEntropyLoss(), metrics, **{"optimizer": SGD, **options}
        )
        self.calls: list[int] = []

    def configure_optimizers(self) -> Any:
        optimizer = self.optimizer(self.parameters())
        schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.97)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step", "frequency": 2},
        }


class Calls(StepCallback):
    """Notes of each call of `training_step` the first step and how many there were."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, int]] = []

    def on_train_batch_start(
        self, trainer: Trainer, module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self.calls.append((trainer.global_step, batch.steps if isinstance(batch, Block) else 1))


def without_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make no block end for taking long."""
    monkeypatch.setattr(trainer_module, "BLOCK_SECONDS", 1e9)


def data(**options: Any) -> Arrays:
    splits = {"train": (X, Y), "val": (X[:9], Y[:9])}
    return Arrays(splits, **{"seed": 4, "batch_size": 4, "steps_per_epoch": 13, **options})


def fit(
    folder: Path,
    steps: int,
    module: Any = None,
    served: Any = None,
    last: Path | None = None,
    **options: Any,
) -> Calls:
    """Train 2 × 13 steps, at most so many a call, with most of what a run has."""
    calls, more = Calls(), options.pop("callbacks", [])
    folder.mkdir(exist_ok=True)
    callbacks = [StepSeed(3), Checkpoints(5, "val/loss", "min"), StopOnDivergence(), calls, *more]
    options = {"max_epochs": 2, "log_every_n_steps": 3, "enable_checkpointing": True, **options}
    trainer = plain_trainer(folder, steps_per_call=steps, callbacks=callbacks, **options)
    trainer.fit(module or Classifier(), served or data(), ckpt_path=last, weights_only=True)
    return calls


def left(folder: Path) -> tuple[str, Any]:
    """metrics.csv, and last.ckpt with all that Lightning counts."""
    return (folder / "metrics.csv").read_text(), torch.load(folder / LAST, weights_only=True)


def assert_same(found: Any, expected: Any, where: str = "") -> None:
    """Two nested structures equal to the last bit."""
    if isinstance(expected, Tensor):
        assert torch.equal(found.nan_to_num(7), expected.nan_to_num(7)), where
    elif isinstance(expected, dict):
        assert list(found) == list(expected), where
        for key in expected:
            assert_same(found[key], expected[key], f"{where}/{key}")
    elif isinstance(expected, list | tuple):
        assert len(found) == len(expected), where
        for number, (a, b) in enumerate(zip(found, expected, strict=True)):
            assert_same(a, b, f"{where}/{number}")
    else:
        assert found == expected, where


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


def test_an_error_within_a_block_leaves_right_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_hurry(monkeypatch)

    class Breaks(StepCallback):
        """Fails before batch 9, within a block."""

        def on_train_batch_start(self, trainer: Trainer, *args: Any) -> None:
            self.on_step_start(trainer, None, trainer.fit_loop.total_batch_idx)  # type: ignore[arg-type]

        def on_step_start(self, trainer: Trainer, module: LightningModule, batch: int) -> None:
            if batch == 9:
                raise RuntimeError("broken")

        def on_exception(
            self, trainer: Trainer, module: LightningModule, exception: BaseException
        ) -> None:
            self.left = trainer.global_step, module.network[0].weight.detach().clone()

    broken = [Breaks(), Breaks()]
    for steps, callback in zip((1, 100), broken, strict=True):
        with pytest.raises(RuntimeError, match="broken"):
            fit(tmp_path / str(steps), steps, callbacks=[callback], served=data(batch_size=2))
    assert [callback.left[0] for callback in broken] == [9, 9]
    assert torch.equal(broken[0].left[1], broken[1].left[1])


@pytest.mark.parametrize("crash", [None, 8])
def test_whoever_else_looks_at_the_batches_gets_them_one_by_one(
    crash: int | None, tmp_path: Path
) -> None:
    served = data()
    trainer = plain_trainer(
        tmp_path, max_epochs=1, steps_per_call=100, callbacks=[Crashes(crash)] if crash else []
    )
    with pytest.raises(RuntimeError, match="crash") if crash else contextlib.nullcontext():
        trainer.fit(Classifier(), served)
    sampler: Any = served.train_dataloader().sampler
    start = sampler.position()
    assert start == (crash or 12) + 1
    assert [batch.tolist() for batch in sampler] == [
        sampler.indices(start + step).tolist() for step in range(13)
    ]


def test_a_block_ends_where_something_is_due(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An epoch has 13 steps, a pass 8 batches, the last short; checkpoints come every 5 steps."""
    without_hurry(monkeypatch)
    calls = fit(tmp_path, 100, val_check_interval=6).calls
    assert calls == [
        (0, 1),
        (1, 3),
        (4, 1),
        (5, 1),
        (6, 2),
        (8, 1),
        (9, 1),
        (10, 2),
        (12, 1),
        *calls[9:],
    ]
    ends = {start + count for start, count in calls}
    assert ends >= {5, 10, 15, 20, 25, 6, 12, 13, 19, 26, 8, 16, 24}
    assert [start for start, _ in calls] == [0, *(start + count for start, count in calls[:-1])]


def test_watched_steps_are_ordinary_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_hurry(monkeypatch)

    class Watches(StepCallback):
        """Looks into steps 3 and 17."""

        def __init__(self) -> None:
            self.seen: list[tuple[int, int, float]] = []

        def watches(self, trainer: Trainer, step: int, batch_idx: int) -> bool:
            return step in (3, 17)

        def on_train_batch_end(
            self, trainer: Trainer, module: Any, outputs: Any, batch: Any, batch_idx: int
        ) -> None:
            if trainer.global_step - 1 in (3, 17):
                gradient = module.network[0].weight.grad.sum().item()
                self.seen.append((len(batch[0]), batch_idx, gradient + outputs["loss"].item()))

    singly, together = Watches(), Watches()
    fit(tmp_path / "1", 1, callbacks=[singly])
    calls = fit(
        tmp_path / "n", 100, callbacks=[together, Histograms(6)]
    ).calls  # no TensorBoard: writes nothing
    assert together.seen == singly.seen
    assert [seen[:2] for seen in singly.seen] == [(4, 3), (4, 4)]
    assert {(0, 1), (3, 1), (6, 1), (12, 1), (17, 1), (18, 1), (24, 1)} <= set(calls)


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


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run by single steps that nobody ends."""
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        without_hurry(patch)
        fit(folder, 1, callbacks=[Crashes(99)])
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


def test_a_block_takes_no_longer_than_progress_may_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr(trainer_module.time, "monotonic", lambda: now)

    class Slow(nn.CrossEntropyLoss):
        """A step takes 1 / 32 s on the clock."""

        def forward(self, predictions: Tensor, targets: Tensor) -> Tensor:
            nonlocal now
            now += 1 / 32
            return super().forward(predictions, targets)

    served = data(steps_per_epoch=80, batch_size=1)
    calls = fit(
        tmp_path, 100, SupervisedModule(nn.Linear(6, 3), Slow()), served, max_epochs=1
    ).calls
    assert calls[0] == (0, 1)
    assert max(count for _, count in calls) == 4  # checkpoints after every fifth step
    assert int(trainer_module.BLOCK_SECONDS * 32) == 9
    calls = []
    trainer = plain_trainer(
        tmp_path, steps_per_call=100, max_epochs=1, callbacks=[noted := Calls()]
    )
    trainer.fit(SupervisedModule(nn.Linear(6, 3), Slow()), data(steps_per_epoch=80, batch_size=1))
    assert max(count for _, count in noted.calls) == 9

    class Rare(StepCallback):
        """Sees every twentieth step, and takes a second."""

        def watches(self, trainer: Trainer, step: int, batch_idx: int) -> bool:
            return step % 20 == 19

        def on_train_batch_end(self, trainer: Trainer, *args: Any) -> None:
            nonlocal now
            now += trainer.global_step % 20 == 0

    trainer = plain_trainer(
        tmp_path, steps_per_call=100, max_epochs=1, callbacks=[Rare(), noted := Calls()]
    )
    trainer.fit(SupervisedModule(nn.Linear(6, 3), Slow()), data(steps_per_epoch=80, batch_size=1))
    assert {first: count for first, count in noted.calls if first in (19, 20, 40, 60)} == {
        19: 1,
        20: 9,
        40: 9,
        60: 9,
    }


class OwnStep(Classifier):
    """Overrides `training_step` the ordinary way."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        inputs, targets = batch
        return 2 * super().training_step((inputs, targets), batch_idx)


def plain() -> SupervisedModule:
    return SupervisedModule(nn.Linear(6, 3), nn.CrossEntropyLoss())


class Annealed(Classifier):
    """Its loss depends on the step."""

    def compute_loss(self, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        loss, predictions = super().compute_loss(inputs, targets)
        return loss * (1 + self.global_step), predictions


class Sharpness(torch.optim.Optimizer):
    """Needs the closure."""

    def __init__(self, params: Any) -> None:
        super().__init__(params, {"lr": 0.1})

    def step(self, closure: Any) -> Any:  # type: ignore[override]
        return closure()


class OwnTransfer(Arrays):
    """Augments every batch."""

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        inputs, targets = batch
        return inputs + 1, targets


class EveryStep(Callback):
    """An ordinary callback."""

    def on_train_batch_end(self, *args: Any) -> None:
        pass


class Lookahead(Classifier):
    """A learning rate that waits for the loss, step by step."""

    def configure_optimizers(self) -> Any:
        optimizer = SGD(self.parameters())
        plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer)
        scheduler = {
            "scheduler": plateau,
            "interval": "step",
            "monitor": "train/loss",
            "strict": False,
        }
        return {"optimizer": optimizer, "lr_scheduler": scheduler}


def plain_loader() -> DataLoader[Any]:
    return DataLoader(TensorDataset(torch.from_numpy(X), torch.from_numpy(Y)), batch_size=4)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"module": Annealed}, "Annealed.compute_loss wants every step"),
        (
            {"module": lambda: Classifier(optimizer=Sharpness)},
            "Sharpness may evaluate a step several times",
        ),
        (
            {"module": plain, "callbacks": [StochasticWeightAveraging(0.01)]},
            "StochasticWeightAveraging changes",
        ),
        ({"module": OwnStep}, "OwnStep.training_step wants every step"),
        ({"module": Lookahead}, "a learning rate depends on a metric at every step"),
        (
            {"served": lambda: OwnTransfer(data().given, batch_size=4)},
            "OwnTransfer.on_after_batch_transfer wants",
        ),
        (
            {"served": partial(data, num_workers=1)},
            "datamodule.num_workers=1 gathers batches ahead",
        ),
        (
            {"served": plain_loader, "limit_val_batches": 0, "logger": False},
            "the DataLoader knows no blocks",
        ),
        ({"callbacks": [EveryStep()]}, "EveryStep.on_train_batch_end wants every step"),
        (
            {"module": lambda: Classifier(optimizer=torch.optim.LBFGS)},
            "LBFGS may evaluate a step several times",
        ),
        ({"precision": "bf16-mixed"}, "trainer.precision=bf16-mixed"),
        ({"accumulate_grad_batches": 2}, None),
    ],
    ids=[
        "loss",
        "optimiser",
        "averaging",
        "step",
        "plateau",
        "batch hook",
        "workers",
        "own loader",
        "callback",
        "LBFGS",
        "bf16",
        "accumulation",
    ],
)
@pytest.mark.filterwarnings(
    "ignore:.*multi-threaded, use of fork:DeprecationWarning"
)  # the workers only gather
@pytest.mark.filterwarnings("ignore:You defined a `validation_step` but have no `val_dataloader`")
@pytest.mark.filterwarnings(
    "ignore:ReduceLROnPlateau conditioned on metric train/loss which is not available"
)
def test_what_blocks_cannot_keep_takes_one_step_a_call(
    options: dict[str, Any], reason: str | None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="engine")
    module, served = (options.get(key, lambda: None)() for key in ("module", "served"))
    more = {key: value for key, value in options.items() if key not in ("module", "served")}
    calls = fit(tmp_path, 100, module, served, max_epochs=1, **more).calls
    assert {count for _, count in calls} == {1}
    told = [record.message for record in caplog.records if "one step a call" in record.message]
    assert len(told) == 1
    assert told[0].startswith("one step a call, not trainer.steps_per_call=100: ")
    assert (reason or "trainer.accumulate_grad_batches=2") in told[0]


def test_nothing_is_said_of_one_step_a_call_where_that_is_asked_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="engine")
    fit(tmp_path, 1, OwnStep(), max_epochs=1)
    assert "one step a call" not in caplog.text


def test_a_block_gives_each_step_its_batch() -> None:
    inputs, targets = torch.arange(14.0).view(7, 2), torch.arange(7)
    batches = list(Block(inputs, targets, batch_size=3, steps=3).batches())
    assert [y.tolist() for _, y in batches] == [[0, 1, 2], [3, 4, 5], [6]]
    assert [x[:, 0].tolist() for x, _ in batches] == [[0, 2, 4], [6, 8, 10], [12]]
    for number, (x, y) in enumerate(
        Block(inputs.clone(), targets, batch_size=7, steps=4).batches()
    ):
        assert torch.equal(x, inputs)
        assert torch.equal(y, targets)
        if number != 1:
            x.zero_()  # as a network may


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
