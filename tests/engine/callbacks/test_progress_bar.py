"""The bar in a terminal, and the line in the log."""

import io
import logging
import re
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer
from torch import nn
from tqdm import tqdm

from engine.callbacks.checkpoints import Checkpoints
from engine.callbacks.progress_bar import StepProgressBar
from fitting import Arrays, plain_trainer
from project.modules.linear import LinearRegressor

X = torch.ones(4, 1)
# squared error, summed over a batch of 2 from w = 0: 2 · 2² = 8
LINE = re.compile(r"(.*): train loss (\S+) \(last step\), val loss (\S+) \((\d+) steps/s\)")


class Crash(StepProgressBar):
    """A bar whose run crashes before a step."""

    def __init__(self, step: int) -> None:
        super().__init__()
        self.step = step

    def on_train_batch_start(self, trainer: Trainer, *args: Any) -> None:
        if trainer.global_step == self.step:
            raise RuntimeError("crash")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def fit(
    folder: Path,
    bar: StepProgressBar,
    last: Path | None = None,
    kind: type[LinearRegressor] = LinearRegressor,
    **options: object,
) -> None:
    module = kind(optimizer=partial(torch.optim.SGD, lr=0.0))
    torch.nn.init.zeros_(module.network.weight)
    data = Arrays({"train": (X, 2 * X), "val": (X, 2 * X)}, batch_size=2, steps_per_epoch=4)
    callbacks = [bar, Checkpoints(1, "val/loss", "min")]
    options = {"max_epochs": 2, "logger": False, **options}
    trainer = plain_trainer(
        folder, callbacks=callbacks, enable_progress_bar=True, enable_checkpointing=True, **options
    )
    trainer.fit(module, data, ckpt_path=last, weights_only=True)


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, logger="engine.callbacks.progress_bar")
    return caplog


def test_a_line_an_epoch_tells_epoch_metrics_and_speed(
    lines: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    fit(tmp_path, StepProgressBar())
    found = [LINE.fullmatch(message).groups() for message in lines.messages]
    assert [line[:3] for line in found] == [
        ("epoch 1/2", "8", "16"),
        ("epoch 2/2", "8", "16"),
    ]
    assert all(int(line[3]) > 0 for line in found)


def test_a_line_has_what_its_own_epoch_logged(
    lines: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    """As it happened: epochs without a validation repeated the value of the last one."""
    fit(tmp_path, StepProgressBar(), max_epochs=3, check_val_every_n_epoch=2)
    said = [message.rpartition(" (")[0] for message in lines.messages]
    assert said == [
        "epoch 1/3: train loss 8 (last step)",
        "epoch 2/3: train loss 8 (last step), val loss 16",
        "epoch 3/3: train loss 8 (last step)",
    ]


class LogsAtTheEnd(LinearRegressor):
    """Logs the number of the epoch when the epoch ends."""

    def on_train_epoch_end(self) -> None:
        super().on_train_epoch_end()
        self.log("train/number", float(self.current_epoch))


def test_a_line_has_what_the_module_logs_at_its_epochs_end(
    lines: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    """As it happened: the line of an epoch had the value of the epoch before."""
    fit(tmp_path, StepProgressBar(), limit_val_batches=0, kind=LogsAtTheEnd)
    assert [message.rpartition(" (")[0] for message in lines.messages] == [
        "epoch 1/2: train loss 8 (last step) number 0",
        "epoch 2/2: train loss 8 (last step) number 1",
    ]


@pytest.mark.parametrize(
    ("every", "accumulated", "said"),
    [
        (1, 1, "train loss 8 (last step)"),
        (3, 1, "train loss 8 (last step)"),  # of 4: three and one
        (2, 1, "train loss 8 (last 2 steps)"),
        (4, 1, "train loss 8"),  # of the whole epoch
        (1, 3, "train loss 8 (last step)"),  # of one batch: a step of 3 comes before
        (2, 2, "train loss 8"),
    ],
)
def test_a_line_says_of_how_many_steps_the_training_loss_is(
    every: int, accumulated: int, said: str, lines: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    """As it happened: it was that of the last mini-batch, beside the one of all the validation."""
    options = {"log_every_n_steps": every, "accumulate_grad_batches": accumulated}
    fit(tmp_path, StepProgressBar(), limit_val_batches=0, max_epochs=1, **options)
    assert [message.rpartition(" (")[0] for message in lines.messages] == [f"epoch 1/1: {said}"]


class HasARow(LinearRegressor):
    """Has a layer that is called as the engine's note of the last row once was."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.last_row = nn.Identity()


def test_a_module_may_have_a_last_row_of_its_own(
    lines: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    """As it happened: the run failed after its first epoch."""
    fit(tmp_path, StepProgressBar(), limit_val_batches=0, max_epochs=1, kind=HasARow)
    assert "epoch 1/1: train loss 8 (last step)" in lines.text


def test_where_an_epoch_logged_nothing_the_line_says_nothing_of_it(
    lines: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(LinearRegressor, "log_dict", lambda *args, **options: None)
    fit(tmp_path, StepProgressBar(), max_epochs=1, limit_val_batches=0)
    assert [message.partition(" (")[0] for message in lines.messages] == ["epoch 1/1"]


def test_a_narrow_terminal_does_without_the_speed(
    lines: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    fit(tmp_path, StepProgressBar(), max_epochs=1)
    assert lines.messages == ["epoch 1/1: train loss 8 (last step), val loss 16"]


def test_lines_every_n_steps_instead(lines: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    fit(tmp_path, StepProgressBar(line_every_n_steps=3), max_epochs=-1, max_steps=8)
    assert [message.partition(":")[0] for message in lines.messages] == [
        "epoch 1, step 3",
        "epoch 2, step 6",
    ]


class LogsMore(LinearRegressor):
    """Logs a mean over all classes by a name in parts, and an accuracy with those of classes."""

    def on_train_epoch_end(self) -> None:
        self.log_dict({"train/f1/macro": 0.25, "train/acc": 0.5, "train/acc/cat": 0.75})


def test_a_line_leaves_out_numbers_of_single_classes_only(
    lines: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    """As it happened: a name with a second "/" was taken for that of a class."""
    fit(tmp_path, StepProgressBar(), limit_val_batches=0, max_epochs=1, kind=LogsMore)
    (line,) = lines.messages
    assert line.startswith("epoch 1/1: train loss 8 (last step) acc 0.5, train/f1 macro 0.25 (")


def test_a_line_between_two_rows_has_no_loss(
    lines: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    """As it happened: it had that of the row before, as of its own step."""
    options = {"limit_val_batches": 0, "log_every_n_steps": 2}
    fit(tmp_path, StepProgressBar(line_every_n_steps=1), max_epochs=1, **options)
    assert [message.rpartition(" (")[0] for message in lines.messages] == [
        "epoch 1/1, step 1",
        "epoch 1/1, step 2: train loss 8",
        "epoch 1/1, step 3",
        "epoch 1/1, step 4: train loss 8",
    ]


def test_a_run_resumed_within_an_epoch_goes_on(
    lines: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    with pytest.raises(RuntimeError, match="crash"):
        fit(tmp_path, Crash(step=6))
    lines.clear()
    fit(
        tmp_path, StepProgressBar(line_every_n_steps=1), last=tmp_path / "checkpoints" / "last.ckpt"
    )
    heads = [message.partition(": train loss 8")[0] for message in lines.messages]
    assert heads == ["epoch 2/2, step 7", "epoch 2/2, step 8"]


def test_without_a_terminal_there_is_no_bar(
    capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    fit(tmp_path, StepProgressBar(refresh_seconds=0))
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize(
    ("refresh_seconds", "drawings"), [(0, 4), (3600, 1)], ids=["always", "at the end only"]
)
def test_in_a_terminal_the_bar_is_drawn_by_the_clock(
    refresh_seconds: float, drawings: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "stdout", terminal := Terminal())
    fit(tmp_path, StepProgressBar(refresh_seconds))
    drawn = re.findall(r"epoch 2/2: +\d+%[^\r]* (\d)/4 \[[^\r]*step=(\d)", terminal.getvalue())
    last = {int(done): int(step) for done, step in drawn if done != "0"}
    assert last == {done: 4 + done for done in range(5 - drawings, 5)}
    assert "train/loss=8" in terminal.getvalue()
    assert not re.search(r"[Ee]poch 0", terminal.getvalue())


def test_a_bar_is_as_wide_as_the_terminal_and_cuts_no_number(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(sys, "stdout", terminal := Terminal())
    fit(tmp_path, StepProgressBar(0))
    drawings = re.findall(r"epoch \d/2: [^\r\n]*", terminal.getvalue())
    assert max(map(len, drawings)) <= 80
    assert all(re.search(r"left(, step=\d)?(, train/loss=8)?\] *$", one) for one in drawings)


def test_what_is_said_after_an_error_comes_below_the_bar(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "stdout", terminal := Terminal())
    with pytest.raises(RuntimeError, match="crash"):
        fit(tmp_path, Crash(step=6))
    drawn = terminal.getvalue()
    assert drawn.endswith("\n")
    with tqdm.external_write_mode(terminal):
        pass
    assert terminal.getvalue() == drawn
