"""Blocks of steps: the same run, bit by bit, in fewer calls."""

import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import Callback, GradientAccumulationScheduler
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset

from engine.run.folders import LAST
from engine.run.loggers.table import MetricsCSV
from engine.supervised import SupervisedModule
from fenced import Net, loader
from fitting import Arrays, Crashes, plain_trainer
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
