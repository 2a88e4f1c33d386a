"""What is written when, and that a failed writing costs nothing."""

import math
import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint, Timer
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor, nn

from commands import train_in_process
from engine.callbacks.checkpoints import Checkpoints, why_stopped
from engine.callbacks.divergence import StopOnDivergence
from engine.errors import UserError
from engine.run.checkpoint.file import WholeFileIO
from engine.run.folders import BEST, LAST, PREVIOUS
from fitting import Arrays, plain_trainer
from project.modules.linear import LinearRegressor
from resuming import RUN

X = torch.arange(10.0).unsqueeze(1) / 10
Event = tuple[str, int]


class NotedIO(WholeFileIO):
    """Notes (file, global step) of what it writes."""

    def __init__(self, events: list[Event]) -> None:
        super().__init__()
        self.events = events

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        super().save_checkpoint(checkpoint, path, storage_options)
        self.events.append((Path(path).stem, checkpoint["global_step"]))


class NotedValidation(Callback):
    """Notes the global step of each validation's start."""

    def __init__(self, events: list[Event]) -> None:
        self.events = events

    def on_validation_start(self, trainer: Trainer, module: LightningModule) -> None:
        self.events.append(("validation", trainer.global_step))


class Scored(LinearRegressor):
    """Has given scores, one a validation, instead of real ones."""

    def __init__(self, scores: list[float]) -> None:
        super().__init__()
        self.scores = iter(scores)

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        self.log("val/score", next(self.scores))


def data() -> Arrays:
    """Five steps an epoch."""
    return Arrays({"train": (X, 2 * X), "val": (X, 2 * X)}, batch_size=2)


def fit(
    folder: Path,
    module: LightningModule,
    callback: Checkpoints,
    last: Path | None = None,
    **options: Any,
) -> list[Event]:
    """Train; returns in order what was written and when validation started."""
    events: list[Event] = []
    callbacks, plugins = [callback, NotedValidation(events)], [NotedIO(events)]
    options = {"max_epochs": 1, "logger": False, "enable_checkpointing": True, **options}
    trainer = plain_trainer(folder, callbacks=callbacks, plugins=plugins, **options)
    trainer.fit(module, data(), ckpt_path=last, weights_only=True)
    return events


def load(folder: Path, name: str) -> dict[str, Any]:
    return torch.load(folder / "checkpoints" / f"{name}.ckpt", weights_only=True)


def test_a_failed_writing_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "last.ckpt"
    WholeFileIO().save_checkpoint({"step": 1}, path)
    with pytest.raises(UserError, match=r"^checkpoint: bad \(function\) cannot be in a checkpoint"):
        WholeFileIO().save_checkpoint({"step": 2, "bad": lambda: None}, path)
    with (
        mock.patch.object(torch, "save", side_effect=OSError("no space left")),
        pytest.raises(OSError, match="no space left"),
    ):
        WholeFileIO().save_checkpoint({"step": 2}, path)
    assert torch.load(path, weights_only=True) == {"step": 1}


def test_a_writing_replaces_the_file_in_one_go(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    WholeFileIO().save_checkpoint({"step": 1}, path)
    with open(path, "rb") as reader:  # opened before: still reads the old one, whole
        WholeFileIO().save_checkpoint({"step": 2}, str(path))
        assert torch.load(reader, weights_only=True) == {"step": 1}
    assert torch.load(path, weights_only=True) == {"step": 2}
    assert torch.load(tmp_path / "previous.ckpt", weights_only=True) == {"step": 1}
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize(
    ("every_n_steps", "options", "expected"),
    [
        pytest.param(
            2,
            {},
            "last@2 last@4 validation@5 best@5 last@5 last@6 last@8 validation@10 best@10 last@10",
            id="every 2 of 5 steps",
        ),
        pytest.param(
            1,
            {"val_check_interval": 2},
            "last@1 validation@2 best@2 last@2 last@3 validation@4 best@4 last@4 last@5 "
            "last@6 validation@7 best@7 last@7 last@8 validation@9 best@9 last@9 last@10",
            id="validation within the epoch",
        ),
        pytest.param(
            1,
            {"val_check_interval": 3, "check_val_every_n_epoch": None},
            "last@1 last@2 validation@3 best@3 last@3 last@4 last@5 "
            "validation@6 best@6 last@6 last@7 last@8 validation@9 best@9 last@9 last@10",
            id="validation by steps, over epochs",
        ),
        pytest.param(
            1,
            {"check_val_every_n_epoch": 2},
            "last@1 last@2 last@3 last@4 last@5 last@6 last@7 last@8 last@9 "
            "validation@10 best@10 last@10",
            id="validation every other epoch",
        ),
        pytest.param(
            100,
            {},
            "validation@5 best@5 last@5 validation@10 best@10 last@10",
            id="only at the ends of epochs",
        ),
        pytest.param(
            3,
            {"max_steps": 7},
            "last@3 validation@5 best@5 last@5 last@6 last@7",
            id="stopped within an epoch",
        ),
    ],
)
def test_never_written_between_a_step_and_its_validation(
    every_n_steps: int, options: dict[str, Any], expected: str, tmp_path: Path
) -> None:
    module = Scored([1 / n for n in range(1, 100)])  # ever better
    events = fit(
        tmp_path,
        module,
        Checkpoints(every_n_steps, "val/score", "min"),
        **{"max_epochs": 2, **options},
    )
    assert " ".join(f"{name}@{step}" for name, step in events) == expected


@pytest.mark.parametrize(
    ("mode", "scores", "best_at", "best_score"),
    [
        pytest.param("min", [3.0, 4.0, 1.0, 1.0, 2.0, 0.5], [0, 2, 5], 0.5, id="min"),
        pytest.param("max", [0.1, 0.3, 0.3, 0.2, 0.7, 0.6], [0, 1, 4], 0.7, id="max"),
        pytest.param(
            "min", [math.nan, 3.0, math.nan, 2.0, math.nan, 9.0], [1, 3], 2.0, id="min among NaN"
        ),
        pytest.param(
            "max", [math.nan, 3.0, math.nan, 2.0, math.nan, 9.0], [1, 5], 9.0, id="max among NaN"
        ),
        pytest.param("min", [math.nan] * 6, [], None, id="only NaN"),
    ],
)
def test_best_is_written_at_the_best_score(
    mode: str, scores: list[float], best_at: list[int], best_score: float | None, tmp_path: Path
) -> None:
    callback = Checkpoints(1000, "val/score", mode)
    events = fit(tmp_path, Scored(scores), callback, max_epochs=6)
    assert [step for name, step in events if name == "best"] == [
        5 * (epoch + 1) for epoch in best_at
    ]
    assert callback.best_score == (None if best_score is None else pytest.approx(best_score))
    assert (tmp_path / "checkpoints" / "best.ckpt").exists() == bool(best_at)
    if best_at:
        assert load(tmp_path, "best")["global_step"] == 5 * (best_at[-1] + 1)


@pytest.mark.parametrize(("monitor", "is_told"), [("train/los", True), ("val/loss", False)])
def test_without_a_validation_a_monitor_of_training_that_nobody_logs_is_told(
    monitor: str, is_told: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The default is a name of validation: it says nothing about a run that has none."""
    callbacks, trains = [Checkpoints(1000, monitor, "min")], Arrays({"train": (X, 2 * X)})
    trainer = plain_trainer(
        tmp_path, callbacks=callbacks, logger=False, enable_checkpointing=True, max_epochs=2
    )
    trainer.fit(LinearRegressor(), trains)
    says = (
        f"callbacks.checkpoints.monitor={monitor}: not logged by the end of epoch 1, so that "
        "nothing chooses best.ckpt. Did you mean train/loss? Logged are: train/loss"
    )
    assert caplog.text.count(says) == is_told


def test_a_resumed_run_knows_its_best_score(tmp_path: Path) -> None:
    fit(tmp_path, Scored([1.0]), Checkpoints(1000, "val/score", "min"), max_epochs=1)
    resumed, last = Checkpoints(1000, "val/score", "min"), tmp_path / "checkpoints" / "last.ckpt"
    fit(tmp_path, Scored([2.0, 1.5]), resumed, last, max_epochs=3)
    assert resumed.best_score == 1.0
    assert (load(tmp_path, "best")["global_step"], load(tmp_path, "last")["global_step"]) == (5, 15)


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
def test_a_frozen_copy_that_follows_with_gradients_on_is_frozen_in_a_resumed_run(
    tmp_path: Path,
) -> None:
    """As it happened: it has a history, and was to be trained then: RuntimeError "a leaf …"."""

    class Shadowed(LinearRegressor):
        def __init__(self) -> None:
            super().__init__()
            self.shadow = nn.Parameter(torch.zeros(1, 1), requires_grad=False)

        def on_before_zero_grad(self, optimizer: Any) -> None:
            self.shadow.lerp_(self.network.weight, 0.5)

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.network.parameters(), lr=0.1)

    fit(tmp_path, whole := Shadowed(), Checkpoints(3, "val/loss", "min"))
    assert load(tmp_path, "previous")["so_far"]["frozen"] == ["shadow"]
    fit(tmp_path, rest := Shadowed(), Checkpoints(3, "val/loss", "min"), tmp_path / PREVIOUS)
    assert 0 < whole.shadow.item() < whole.network.weight.item()
    assert rest.shadow.item() == whole.shadow.item()
    assert rest.network.weight.item() == whole.network.weight.item()


def test_modules_find_the_best_checkpoint_as_in_lightning(tmp_path: Path) -> None:
    """As it happened: the path was "" until training had ended, and the score an AttributeError."""

    class Asks(Scored):
        def ask(self) -> None:
            best: Any = self.trainer.checkpoint_callback
            if best.best_model_path:
                step = torch.load(best.best_model_path, weights_only=True)["global_step"]
                self.said.append((best.best_model_score.item(), step))

        on_train_epoch_start = on_train_end = ask

    def asked(folder: Path, scores: list[float], *callbacks: Any, last: Path | None = None) -> Any:
        folder.mkdir(exist_ok=True)
        module = Asks(scores)
        module.said = said = []  # type: ignore[assignment]
        options: dict[str, Any] = {"logger": False, "enable_checkpointing": True}
        trainer = plain_trainer(folder, callbacks=[*callbacks], max_epochs=3, **options)
        trainer.fit(module, data(), ckpt_path=last, weights_only=True)
        return said

    options: dict[str, Any] = {"monitor": "val/score", "mode": "min"}
    right = asked(tmp_path / "theirs", [2, 1, 3], ModelCheckpoint(tmp_path / "theirs", **options))
    assert asked(tmp_path, [2, 1, 3], Checkpoints(1000, **options)) == right
    assert right == [(2, 5), (1, 10), (1, 10)]
    # A run that is resumed knows it before a validation; the callback that is listed first is told.
    (short := tmp_path / "short").mkdir()
    fit(short, Scored([1.0]), Checkpoints(1000, **options), max_epochs=1)
    rest = asked(short, [2, 3], Checkpoints(1000, **options), last=short / LAST)
    assert rest == [(1, 5)] * 3
    # Killed after it had written a better one: the whole run had the first one at that moment.
    (killed := tmp_path / "killed").mkdir()
    fit(killed, Scored([2.0]), Checkpoints(1000, **options), max_epochs=1)
    shutil.copy(tmp_path / BEST, killed / BEST)
    rest = asked(killed, [1, 3], Checkpoints(1000, **options), last=killed / LAST)
    assert rest == [(1, 10)] * 2
    for order, ends in ((1, (3, 15)), (-1, (1, 10))):
        folder = tmp_path / str(order)
        most = ModelCheckpoint(folder / "most", monitor="val/score", mode="max")
        both = [most, Checkpoints(1000, **options)][::order]
        assert asked(folder, [2, 1, 3], *both)[-1] == ends


def test_last_holds_the_weights_and_the_optimiser(tmp_path: Path) -> None:
    fit(tmp_path, module := LinearRegressor(), Checkpoints(1000, "val/loss", "min"))
    found = load(tmp_path, "last")
    assert torch.equal(found["state_dict"]["network.weight"], module.network.weight)
    (state,) = found["optimizer_states"][0]["state"].values()
    assert state["step"] == 5


def test_testing_and_validating_alone_write_nothing(tmp_path: Path) -> None:
    callback = Checkpoints(1, "val/loss", "min")
    trainer = plain_trainer(tmp_path, callbacks=[callback], logger=False, enable_checkpointing=True)
    trainer.validate(LinearRegressor(), data(), verbose=False)
    assert "val/loss" in trainer.callback_metrics
    assert not (tmp_path / "checkpoints").exists()


def test_why_stopped_names_who_asked(tmp_path: Path) -> None:
    def says(*callbacks: Callback) -> str:
        return why_stopped(plain_trainer(tmp_path, callbacks=list(callbacks)))

    assert says() == "the module or a callback set trainer.should_stop"
    assert says(EarlyStopping("val/loss"), Timer(timedelta(hours=1))) == says()
    assert says(Timer(timedelta(0))) == "its time is over (0 s)"
    diverged = StopOnDivergence()
    diverged.diverged = True
    assert says(diverged) == "its loss is no number"
    early = EarlyStopping("val/loss")
    early.stopping_reason_message = "no better"
    assert says(early) == "no better"
    early.stopping_reason_message = (  # as Lightning words it
        "Monitored metric val/loss did not improve in the last 3 records. Best score: 2.335. "
        "Signaling Trainer to stop."
    )
    assert says(early) == "val/loss did not improve in the last 3 records, best 2.335."


@pytest.mark.slow
def test_what_was_logged_before_a_checkpoint_is_on_the_disk_with_it(tmp_path: Path) -> None:
    """Killed before its first row: a run that goes on from there logs its command no more."""
    run_dir = tmp_path / "run"
    words = [f"in={run_dir}", *RUN, "trainer.log_every_n_steps=20"]
    assert train_in_process(words, kill_at="on_train_batch_end:5") == -9
    assert (run_dir / LAST).exists()
    shown = EventAccumulator(str(run_dir)).Reload().Tags()
    assert shown["scalars"] == []
    assert {"command/text_summary", "config/text_summary"} <= set(shown["tensors"])


class Saves(Scored):
    """Adds to a checkpoint what it has from a step on, which it notes at each try."""

    def __init__(self, by_step: Any) -> None:
        super().__init__([0.5])
        self.by_step, self.tried = by_step, []

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.tried.append(self.trainer.global_step)
        checkpoint["extra"] = self.by_step[self.trainer.global_step]


def test_what_a_hook_adds_after_the_first_step_is_looked_at(tmp_path: Path) -> None:
    """As it happened: it was not, and ended the run at its first last.ckpt."""
    module = Saves({1: np.arange(3), 5: 3})
    with pytest.raises(UserError):
        fit(tmp_path, module, Checkpoints(1000, "val/score", "max"))
    assert module.tried == [0, 1]


def test_a_hook_that_fails_until_a_validation_is_told_of_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    module = Saves({5: 3})
    fit(tmp_path, module, Checkpoints(1000, "val/score", "max"))
    assert module.tried == [0, 1, 5, 5]
    assert load(tmp_path, "last")["extra"] == 3
    told = [text for text in caplog.messages if "no checkpoint can be written yet" in text]
    assert len(told) == 1
    assert "KeyError: 1\nRaised in " in told[0]
    assert "test_checkpoints.py, line " in told[0]


def test_a_hook_that_needs_the_first_step_is_as_good(tmp_path: Path) -> None:
    module = Saves({1: 3, 5: 3})
    fit(tmp_path, module, Checkpoints(1000, "val/score", "max"))
    assert module.tried == [0, 1, 5, 5]  # the last two are best.ckpt and last.ckpt
    assert load(tmp_path, "last")["extra"] == 3
