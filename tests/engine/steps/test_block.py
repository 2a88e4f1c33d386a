"""Blocks of steps: where they begin and end, and what takes one step a call."""

import contextlib
import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import MethodType
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import StochasticWeightAveraging
from lightning.pytorch.plugins import Precision
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from engine.steps import trainer as trainer_module
from engine.steps.block import Block
from engine.steps.callback import StepCallback
from engine.supervised import SupervisedModule
from fitting import Arrays, Crashes, columns, plain_trainer
from project.callbacks.histograms import Histograms
from stepping import (
    SGD,
    Calls,
    Classifier,
    X,
    Y,
    assert_same,
    data,
    fit,
    left,
    without_hurry,
)


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


def hooked(parameters: Any) -> torch.optim.Optimizer:
    """Looks at gradients before each step: Lightning computes them within it."""
    optimizer = torch.optim.SGD(parameters, 0.1)
    optimizer.register_step_pre_hook(lambda *args: None)
    return optimizer


def replaced(parameters: Any) -> torch.optim.Optimizer:
    optimizer = torch.optim.SGD(parameters, 0.1)
    step = optimizer.step
    own = MethodType(lambda _, closure=None: step(closure), optimizer)
    optimizer.step = own  # type: ignore[method-assign]
    return optimizer


class Scaled(Precision):
    """Scales losses before the backward pass."""

    def pre_backward(self, tensor: Tensor, module: Any) -> Tensor:
        return 2 * super().pre_backward(tensor, module)


class LogsItsOutputs(Classifier):
    def forward(self, inputs: Tensor) -> Tensor:
        outputs = super().forward(inputs)
        self.log("mean", outputs.mean(), on_epoch=True)
        return outputs


def by_hand() -> Classifier:
    module = Classifier()
    module.automatic_optimization = False
    return module


class LogsWithin(Classifier):
    """Has a helper that logs from step 6 on, but for every second step: the mean of its inputs."""

    def forward(self, inputs: Tensor) -> Tensor:
        self.note(inputs)
        return super().forward(inputs)

    def note(self, inputs: Tensor) -> None:
        if self.training and self.global_step >= 6 and self.global_step % 2 == 0:
            self.log("own", inputs.mean(), on_step=True, on_epoch=True)


class Inherits(LogsWithin):
    def forward(self, inputs: Tensor) -> Tensor:
        return 2 * super().forward(inputs)


class LossLogs(Classifier):
    """Has a loss that logs itself, through a network's owner."""

    def __init__(self) -> None:
        super().__init__()
        self.loss = Tells([self])


class Tells(nn.CrossEntropyLoss):
    def __init__(self, owner: list[SupervisedModule]) -> None:
        super().__init__()
        self.owner = owner

    def forward(self, predictions: Tensor, targets: Tensor) -> Tensor:
        loss = super().forward(predictions, targets)
        if (module := self.owner[0]).training and module.global_step >= 6:
            module.log("own", targets.float().mean(), on_step=True, on_epoch=True)
        return loss


class LogsAsItStarts(StepCallback):
    """Logs the number of each batch from one on, as its step starts."""

    def __init__(self, first: int) -> None:
        self.first = first

    def on_step_start(self, trainer: Trainer, module: Any, batch: int) -> None:
        if batch >= self.first:
            module.log("own", float(batch), on_step=True, on_epoch=True)

    def on_train_batch_start(
        self, trainer: Trainer, module: Any, batch: Any, batch_idx: int
    ) -> None:
        self.on_step_start(trainer, module, trainer.fit_loop.total_batch_idx)


@pytest.mark.parametrize(
    ("made", "first"),
    [
        (LogsWithin, 6),
        (Inherits, 6),
        (LossLogs, 6),
        (lambda: LogsAsItStarts(6), 6),
        (lambda: LogsAsItStarts(5), 5),  # with its block
    ],
    ids=["helper", "base class", "loss", "callback", "callback of a block"],
)
def test_what_is_logged_within_a_block_is_logged_as_that_of_its_step(
    made: Callable[[], Any],
    first: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """As it happened: most rows were missing, and which ones went by the clock.

    Batches have 4 samples, but for the last of a pass, the eighth, which has 3.
    """
    without_hurry(monkeypatch)
    caplog.set_level(logging.INFO, logger="engine")
    for steps in (1, 100):
        own = made()
        is_callback = isinstance(own, Callback)
        given: Any = {"callbacks": [own]} if is_callback else {"module": own}
        folder = tmp_path / str(steps)
        calls = fit(folder, steps, log_every_n_steps=1, max_epochs=1, **given).calls
    assert_same(left(tmp_path / "100"), left(tmp_path / "1"))
    assert (5, 3) in calls  # a block, which ends early
    assert [call for call in calls if call[0] > first] == [
        (step, 1) for step in range(first + 1, 13)
    ]
    told = [text for text in caplog.messages if text.startswith("one step a call")]
    assert len(told) == 1
    assert told[0].endswith("logs something")
    values, at = columns(tmp_path / "100", "own_step", "step")
    assert at == [*range(first, 13)]  # Lightning writes a last value once more
    if is_callback:
        sizes = np.array([4, 4, 4, 4, 4, 4, 4, 3, 4, 4, 4, 4, 4])[first:]
        assert values == at
        mean = columns(tmp_path / "100", "own_epoch")[0]
        assert mean == [pytest.approx(np.average(at, weights=sizes))]


class LogsAtTimes(StepCallback):
    """Logs the number of every seventh step, which it watches."""

    def watches(self, trainer: Trainer, step: int, batch_idx: int) -> bool:
        return step % 7 == 6

    def on_train_batch_end(self, trainer: Trainer, module: Any, *args: Any) -> None:
        if trainer.global_step % 7 == 0:
            module.log("own", float(trainer.global_step))


def test_what_is_logged_at_times_is_in_each_row_of_lightnings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it happened: only in those at the end of a block. A row has three steps, and an epoch 13.

    Lightning writes the last value of the epoch once more in each row.
    """
    without_hurry(monkeypatch)
    calls = fit(tmp_path, 100, callbacks=[LogsAtTimes()]).calls
    found = columns(tmp_path, "own", "step")
    assert found == [[7, 7, 14, 14, 21, 21], [8, 11, 14, 17, 20, 23]]
    assert {(1, 3), (10, 2), (16, 2)} < {*calls}


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
        (
            {"module": lambda: Classifier(optimizer=hooked)},
            "SGD has a step, zero_grad or hooks before it of its own",
        ),
        (
            {"module": lambda: Classifier(optimizer=replaced)},
            "SGD has a step, zero_grad or hooks before it of its own",
        ),
        ({"plugins": [Scaled()]}, "Scaled may change a backward pass"),
        ({"module": LogsItsOutputs}, "a step of LogsItsOutputs logs something"),
        ({"module": by_hand}, "Classifier.automatic_optimization=False"),
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
        "hooks before a step",
        "step of the object",
        "precision",
        "logs",
        "by hand",
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
