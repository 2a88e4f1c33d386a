"""What is relied on of Lightning's results, loggers and progress bar: a new version breaks here."""

import contextlib
import copy
import csv
import signal
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar
from unittest import mock

import pytest
import torch
from lightning.fabric.plugins.environments import LightningEnvironment
from lightning.fabric.strategies.launchers.subprocess_script import _ChildProcessObserver
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import (
    EMAWeightAveraging,
    StochasticWeightAveraging,
    WeightAveraging,
)
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger
from lightning.pytorch.strategies.launchers import _SubprocessScriptLauncher
from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig, OmegaConf
from torch import Tensor
from torchmetrics import SumMetric

from engine.fence import lightning as fence
from engine.steps.callback import StepCallback
from fenced import Net, Recorder, fit, loader
from fitting import plain_trainer


def test_stops_says_whether_training_may_stop(tmp_path: Path) -> None:
    trainer = plain_trainer(tmp_path, min_epochs=2)
    assert not fence.stops(trainer)
    trainer.should_stop = True
    assert not fence.stops(trainer)
    trainer.fit_loop.min_epochs = 0
    assert fence.stops(trainer)


class Logs(Net):
    """Logs the number of each batch as a mean over the epoch."""

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        self.log("mean", torch.tensor(float(batch_idx)), on_step=False, on_epoch=True)
        self.log("now", torch.tensor(1.0), on_step=True, on_epoch=False)
        return super().training_step(batch, batch_idx)


def test_what_is_logged_counts_as_that_of_a_hook_and_of_a_batch(tmp_path: Path) -> None:
    """Means over an epoch weigh values by the sizes of their batches: 3 × 1 and 4 × 5."""
    hooks: list[str | None] = []

    class Asks(Net):
        def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
            fence.log_as_batch(self.trainer, torch.zeros(3 + 2 * batch_idx))
            with fence.logging_as(self, "on_train_batch_start"):
                hooks.append(fence.hook_of(self))
                self.log("mean", 1.0 + 3 * batch_idx, on_step=False, on_epoch=True)
            hooks.append(fence.hook_of(self))
            return super().training_step(batch, batch_idx)

        def on_train_batch_end(self, *args: Any) -> None:
            hooks.append(fence.hook_of(self))

    trainer = plain_trainer(tmp_path, max_epochs=1)
    trainer.fit(Asks(), loader(2), loader(1))
    assert hooks == 2 * ["on_train_batch_start", "training_step", "on_train_batch_end"]
    assert trainer.callback_metrics["mean"] == (3 * 1 + 5 * 4) / 8


def test_of_loops_is_what_loops_put_on_a_trainer(tmp_path: Path) -> None:
    trainer = Trainer(
        default_root_dir=tmp_path, max_epochs=1, logger=False, enable_progress_bar=False
    )
    before = {*vars(trainer)}
    trainer.fit(Net(), loader(), loader(1))
    assert {*vars(trainer)} - before == {*fence.OF_LOOPS}


def test_results_of_training_go_on_where_another_run_stopped(tmp_path: Path) -> None:
    trainer = plain_trainer(tmp_path, steps_per_call=1, max_epochs=1)
    states = Recorder(lambda t: fence.results_of_training(t).state(), "on_train_batch_end")
    within = Recorder(fence.is_within_epoch, "on_train_start", "on_train_batch_end", "on_train_end")
    trainer.callbacks += [states, within]
    trainer.fit(Logs(), loader(), loader(1))
    assert trainer.callback_metrics["mean"] == 1  # of 0, 1, 2
    assert within.said == [False, True, True, True, False]
    state = states.said[1]
    assert [*state] == ["training_step.mean", "training_step.now"]
    mean, now = state.values()
    assert mean["state"] == {"value": 1.0, "cumulated_batch_size": 2, "_update_count": 2}
    assert mean["how"] | {"name": "mean", "on_epoch": True, "reduce_fx": "mean"} == mean["how"]
    assert mean["last"] is None
    assert now["last"] == 1


class Halves:
    """Reduces as a strategy of two processes does whose other one has 0."""

    def reduce(self, tensor: Any, group: Any = None, reduce_op: Any = "mean") -> Any:
        whole = isinstance(tensor, Tensor) and not tensor.is_floating_point()
        return tensor if reduce_op == "sum" else tensor // 2 if whole else tensor / 2


def test_before_optimizers_is_when_a_module_has_its_layers(tmp_path: Path) -> None:
    class Late(Net):
        def setup(self, stage: str) -> None:
            self.made = ["setup"]

        def configure_model(self) -> None:
            self.made.append("configure_model")

    trainer, net, found = plain_trainer(tmp_path, max_epochs=1), Late(), []
    fence.before_optimizers(trainer, lambda: found.append(([*net.made], [*trainer.optimizers])))
    for epochs in (1, 2):
        trainer.fit_loop.max_epochs = epochs
        trainer.fit(net, loader(), loader(1))
    assert found == [(["setup", "configure_model"], [])]
    assert trainer.global_step == 6


BATCHES = {
    "validate": ("on_validation_batch_start", "on_validation_batch_end"),
    "test": ("on_test_batch_start", "on_test_batch_end"),
}


@pytest.mark.parametrize("way", BATCHES)
def test_has_measured_is_true_once_a_batch_is_measured(way: Any, tmp_path: Path) -> None:
    class Both(Net):
        def test_step(self, batch: Tensor, batch_idx: int) -> None:
            self.validation_step(batch, batch_idx)

    trainer = plain_trainer(tmp_path, max_epochs=1)
    trainer.callbacks += [own := Recorder(fence.has_measured, *BATCHES[way])]
    getattr(trainer, way)(Both(), loader(2), verbose=False)
    assert own.said == [False, False, True, True]
    assert fence.has_measured(trainer)


def test_average_whole_numbers_rounds_none() -> None:
    """Lightning divides one mean by another: of the values, and of the number of samples."""
    trainer: Any = SimpleNamespace(strategy=Halves())
    fence.average_whole_numbers(trainer)
    reduce = trainer.strategy.reduce
    assert reduce(torch.tensor(37)) == 18.5
    assert reduce(torch.tensor(37), reduce_op=None) == 18.5
    assert reduce(torch.tensor(37), None, "sum") == 37
    assert reduce(torch.tensor(3.0, dtype=torch.float64)).dtype == torch.float64
    meta = fence._Metadata(fx="training_step", name="mean", on_epoch=True)
    meta.sync = fence._Sync(fn=reduce, _should=True)
    result: Any = fence._ResultMetric(meta, is_tensor=True)
    result.update(torch.tensor(2.0), 37)
    assert result.compute() == 2.0


class LogsMetric(Net):
    """Logs a metric of its own in validation, and a mean."""

    def __init__(self) -> None:
        super().__init__()
        self.sum = SumMetric()

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self.sum(batch.sum())
        self.log("sum", self.sum)
        self.log("mean", batch.mean())


def test_reset_after_validation_is_what_lightning_resets_then(tmp_path: Path) -> None:
    trainer = plain_trainer(tmp_path, steps_per_call=1, max_epochs=1)
    hooks = ("on_validation_end", "on_train_batch_end", "on_train_epoch_end")
    metrics = Recorder(fence.reset_after_validation, *hooks)
    counts = Recorder(lambda t: t.lightning_module.sum.update_count, *hooks)
    trainer.callbacks += [metrics, counts]
    module = LogsMetric()
    trainer.fit(module, loader(), loader(2))
    assert [*zip(metrics.said, counts.said, strict=True)] == [
        ([], 0),
        ([], 0),
        ([], 0),
        ([module.sum], 2),
        ([], 0),
    ]


class Resumes(Callback):
    """Goes on with what another run has logged of its epoch."""

    def __init__(self, before: dict[str, Any]) -> None:
        self.before = before

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        fence.results_of_training(trainer).resume(self.before, pl_module)


def test_what_is_logged_again_goes_on_and_all_else_stays_for_the_epoch(tmp_path: Path) -> None:
    trainer = plain_trainer(tmp_path, steps_per_call=1, max_epochs=2)
    state = {"value": torch.tensor(7.0), "_update_count": 1}
    meant = state | {"cumulated_batch_size": torch.tensor(1)}
    sync = {"_should": False, "rank_zero_only": False}
    how = {"fx": "training_step", "name": "mean", "on_epoch": True, "reduce_fx": "mean"}
    at_start = {"fx": "on_train_epoch_start", "name": "begun", "reduce_fx": "max", "on_step": True}
    before = {
        "training_step.mean": {"how": how, "sync": sync, "state": meant, "last": None},
        "on_train_epoch_start.begun": {
            "how": at_start,
            "sync": sync,
            "state": state,
            "last": torch.tensor(3.0),
        },
    }
    means = Recorder(lambda t: dict(t.callback_metrics), "on_train_batch_end", "on_train_epoch_end")
    trainer.callbacks += [means, Resumes(before)]
    trainer.fit(Logs(), loader(), loader(1))
    assert means.said[0]["begun_step"] == 3
    assert means.said[3]["begun_epoch"] == 7
    assert means.said[3]["mean"] == (7 + 0 + 1 + 2) / 4
    assert trainer.callback_metrics["mean"] == 1
    assert [*fence.results_of_training(trainer)] == ["training_step.mean", "training_step.now"]


def test_restore_metrics_gives_what_callbacks_follow(tmp_path: Path) -> None:
    trainer = plain_trainer(tmp_path)
    metrics = {"val/loss": torch.tensor(0.5)}
    names = ("callback_metrics", "logged_metrics", "progress_bar_metrics")
    fence.restore_metrics(trainer, dict.fromkeys(names, metrics))
    assert [getattr(trainer, name) for name in names] == 3 * [metrics]


def test_the_batches_of_validations_are_counted_on(tmp_path: Path) -> None:
    trainer = plain_trainer(tmp_path, steps_per_call=1, max_epochs=1)
    trainer.fit(Logs(), loader(), loader(1))
    assert fence.seen_in_validation(trainer) == {0: 1}
    fence.go_on_in_validation(trainer, {0: 5})
    assert fence.seen_in_validation(trainer) == {0: 5}


def test_whole_checkpoint_is_what_save_checkpoint_writes(tmp_path: Path) -> None:
    trainer = fit(tmp_path)
    trainer.save_checkpoint(tmp_path / "saved.ckpt", weights_only=False)
    saved = torch.load(tmp_path / "saved.ckpt", weights_only=True)
    dumped = fence.whole_checkpoint(trainer)
    weights, saved_weights = dumped.pop("state_dict"), saved.pop("state_dict")
    assert dumped == saved
    assert {"epoch", "global_step", "loops", "optimizer_states", "callbacks"} <= saved.keys()
    torch.testing.assert_close(weights, saved_weights, rtol=0, atol=0)


def test_hyper_parameters_are_those_that_save_checkpoint_writes(tmp_path: Path) -> None:
    class Keeps(Net):
        def __init__(self, width: int = 3, options: Any = None) -> None:
            super().__init__()
            self.save_hyperparameters()

    class KeepsConfig(Net):
        def __init__(self, config: DictConfig) -> None:
            super().__init__()
            self.save_hyperparameters(config)

    class Data(LightningDataModule):
        def __init__(self, size: int) -> None:
            super().__init__()
            self.save_hyperparameters()

        def train_dataloader(self) -> Any:
            return loader()

        def val_dataloader(self) -> Any:
            return loader(1)

    data = Data(4)
    for number, module in enumerate([Keeps(), KeepsConfig(OmegaConf.create({"a": 1})), Net()]):
        trainer = plain_trainer(tmp_path, max_steps=1)
        trainer.fit(module, datamodule=data)
        trainer.save_checkpoint(path := tmp_path / f"{number}.ckpt", weights_only=False)
        saved = torch.load(path, weights_only=False)
        right = {key: value for key, value in saved.items() if "hparams" in key or "hyper" in key}
        assert fence.hyper_parameters(module, data) == right
        assert len(right) == (4, 5, 2)[number]


def test_progress_bar_is_drawn_when_it_is_due(tmp_path: Path) -> None:
    asked: list[tuple[int, int]] = []
    drawn: list[int] = []

    class Bar(fence.ProgressBar):
        def is_due(self, current: int, total: int) -> bool:
            asked.append((current, total))
            return current == 2

        def get_metrics(self, trainer: Trainer, module: LightningModule) -> dict[str, Any]:
            drawn.append(int(self.train_progress_bar.n))
            return {}

    options: Any = {"enable_progress_bar": True, "max_epochs": 1, "limit_val_batches": 0}
    fit(tmp_path, callbacks=[Bar()], **options)
    assert asked == [(1, 3), (2, 3), (3, 3)]
    assert 2 in drawn
    assert 1 not in drawn
    asked.clear()
    disabled = Bar()
    disabled.disable()
    disabled.enable = disabled.disable  # type: ignore[method-assign]  # Lightning enables it
    fit(tmp_path, callbacks=[disabled], **options)
    assert asked == []


def test_average_of_is_the_running_mean_of_a_training(tmp_path: Path) -> None:
    class Mean(WeightAveraging):
        def on_train_end(self, *_: Any) -> None:
            """Leaves the module the weights of the last step."""

    mean = Mean(avg_fn=lambda average, now, count: (average + now) / 2)
    assert fence.average_of(mean) is None
    net = Net()
    seen = Recorder(lambda _: net.layer.bias.detach().clone(), "on_train_batch_end")
    fit(tmp_path, net, loader(2), callbacks=[mean, seen], max_epochs=1)
    average: Any = fence.average_of(mean)
    # The first update copies the weights of the first step.
    assert torch.equal(average.layer.bias, sum(seen.said) / 2)


@pytest.mark.parametrize(("first", "has_none"), [(0, False), (1, False), (2, True)])
def test_a_mean_that_is_to_begin_later_has_not_begun(
    first: int, has_none: bool, tmp_path: Path
) -> None:
    mean = EMAWeightAveraging(update_starting_at_step=first)
    assert not fence.has_no_mean_yet(mean)
    fit(tmp_path, Net(), loader(2), callbacks=[mean], max_epochs=1)
    assert fence.has_no_mean_yet(mean) == has_none


@pytest.mark.parametrize(("first", "has_none"), [(1, False), (2, False), (3, True)])
def test_a_mean_of_the_last_epochs_that_is_to_begin_later_has_not_begun(
    first: int, has_none: bool, tmp_path: Path
) -> None:
    """Lightning counts its first epoch from 1."""
    mean = StochasticWeightAveraging(0.1, swa_epoch_start=first)
    assert fence.has_no_mean_yet(mean)
    net = Net()
    before = net.layer.bias.detach().clone()
    fit(tmp_path, net, loader(2), callbacks=[mean], max_epochs=None, max_steps=4)
    assert fence.has_no_mean_yet(mean) == has_none
    average: Any = fence.average_of(mean)
    # As it happened: without a number of epochs, training ends with it, begun or not.
    assert torch.equal(net.layer.bias, average.layer.bias)
    assert torch.equal(average.layer.bias, before) == has_none
    again = StochasticWeightAveraging(0.1, swa_epoch_start=first)
    again.load_state_dict(mean.state_dict())
    assert fence.has_no_mean_yet(again) == has_none


@pytest.mark.parametrize(("limit", "every"), [(2, 2), (0, 2), (2, 3)])
def test_whether_a_training_validates_is_known_before_its_first_validation(
    limit: int, every: int, tmp_path: Path
) -> None:
    validates = limit > 0 and every <= 2
    seen = Recorder(lambda own: (fence.has_validation(own), own.training), "on_train_start")
    options = {"check_val_every_n_epoch": every, "limit_val_batches": limit, "max_epochs": 2}
    trainer = plain_trainer(tmp_path, callbacks=[seen], **options)
    trainer.fit(LogsMetric(), loader(), loader(2))
    assert seen.said[0] == (validates, True)
    assert ("mean" in trainer.callback_metrics) == validates


def test_of_an_epoch_is_what_training_logs_of_it_as_a_whole(tmp_path: Path) -> None:
    class Logs(Net):
        def on_train_batch_end(self, *_: Any) -> None:
            self.log("each", 1.0, on_step=True, on_epoch=False)
            self.log("mean", 1.0, on_step=False, on_epoch=True)
            self.log("both", 1.0, on_step=True, on_epoch=True)

        def on_train_epoch_end(self) -> None:
            if self.current_epoch == 0:
                self.log("first", 1.0)

    class Sees(StepCallback):
        said: ClassVar[list[frozenset[str]]] = []

        def on_epoch_done(self, trainer: Trainer, module: LightningModule) -> None:
            self.said.append(fence.logged_of_epoch(trainer))

    plain_trainer(tmp_path, callbacks=[Sees()], max_epochs=2).fit(Logs(), loader(2), loader(2))
    always = {"mean", "both", "both_epoch"}
    assert Sees.said == [always | {"first"}, always]


def test_prefix_of_is_before_the_name_of_each_metric(tmp_path: Path) -> None:
    assert fence.prefix_of(TensorBoardLogger(tmp_path)) == ""
    assert fence.prefix_of(TensorBoardLogger(tmp_path, prefix="a")) == "a"


def test_writer_of_does_not_make_one(tmp_path: Path) -> None:
    logger = TensorBoardLogger(tmp_path)
    assert fence.writer_of(logger) is None
    assert not list(tmp_path.iterdir())
    writer = logger.experiment
    assert fence.writer_of(logger) is writer
    writer.close()


def test_open_writer_makes_one_with_the_loggers_options(tmp_path: Path) -> None:
    logger = TensorBoardLogger(tmp_path, name="", version="v", purge_step=3)
    writer = fence.open_writer(logger, dict)
    assert writer == {"log_dir": str(tmp_path / "v"), "purge_step": 3}
    assert fence.open_writer(logger, dict) is writer
    assert logger.experiment is writer


def test_rank_zero_experiment_is_of_the_first_process_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Logs:
        @property
        @fence.rank_zero_experiment
        def experiment(self) -> str:
            return "opened"

    assert Logs().experiment == "opened"
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    other: Any = Logs().experiment
    assert other.add_scalar("takes", "everything") is None


def rows_of(logger: CSVLogger) -> list[dict[str, str]]:
    with open(Path(logger.log_dir, "metrics.csv"), newline="") as file:
        return list(csv.DictReader(file))


def csv_logger(folder: Path, steps: range) -> CSVLogger:
    logger = CSVLogger(folder, version=0)
    for step in steps:
        logger.log_metrics({"a": 0.5 * step} if step < 3 else {"b": 1.0, "a": 0.5 * step}, step)
    logger.save()
    return logger


def test_keep_rows_goes_on_before_a_step(tmp_path: Path) -> None:
    """Lightning deletes all rows when a logger is first used, and warns of it."""
    whole = rows_of(csv_logger(tmp_path / "whole", range(6)))
    csv_logger(tmp_path, range(5))
    resumed = CSVLogger(tmp_path, version=0)
    fence.keep_rows(resumed, 2)
    assert [row["step"] for row in rows_of(resumed)] == ["0", "1"]
    for step in range(2, 6):
        resumed.log_metrics({"b": 1.0, "a": 0.5 * step} if step > 2 else {"a": 1.0}, step)
    resumed.finalize("success")
    assert rows_of(resumed) == whole
    with pytest.warns(UserWarning, match="will be deleted"):
        _ = CSVLogger(tmp_path, version=0).experiment
    assert not Path(resumed.log_dir, "metrics.csv").exists()


def test_keep_rows_loses_none_to_a_kill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kill comes when Lightning has deleted its file."""
    csv_logger(tmp_path, range(5))
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", mock.Mock(side_effect=KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            fence.keep_rows(CSVLogger(tmp_path, version=0), 3)
    again = CSVLogger(tmp_path, version=0)
    assert not Path(again.log_dir, "metrics.csv").exists()
    fence.keep_rows(again, 3)
    assert [row["step"] for row in rows_of(again)] == ["0", "1", "2"]


def test_keep_rows_has_nothing_to_do_for_a_new_logger(tmp_path: Path) -> None:
    logger = CSVLogger(tmp_path, version=0)
    fence.keep_rows(logger, 0)
    logger.log_metrics({"a": 1.0}, 0)
    logger.save()
    assert rows_of(logger) == [{"a": "1.0", "step": "0"}]


def test_dummy_logger_takes_everything() -> None:
    logger: Any = fence.DummyLogger()
    assert isinstance(logger, Logger)
    assert logger.experiment.add_image("image", torch.zeros(3, 2, 2), 0) is None
    assert logger.log_metrics({"a": 1.0}, 0) is None


def test_kill_children_ends_the_processes_of_further_devices(tmp_path: Path) -> None:
    trainer = plain_trainer(tmp_path, logger=False)
    fence.kill_children(trainer)  # there are none
    launcher = _SubprocessScriptLauncher(LightningEnvironment(), 2, 1)
    with subprocess.Popen(["sleep", "60"]) as child, subprocess.Popen(["sleep", "60"]) as parent:
        launcher.procs = [child]
        trainer.strategy._launcher = launcher
        observer = _ChildProcessObserver(parent.pid, launcher.procs)
        fence.kill_children(trainer)
        assert child.returncode == -signal.SIGKILL
        assert fence.taken_children(trainer) == []
        assert observer._run()  # as it happened: for the end of one, it killed a whole sweep
        with pytest.raises(subprocess.TimeoutExpired):
            parent.wait(timeout=0.1)
        parent.kill()


def test_kill_children_tells_which_ones_somebody_else_has_killed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One fails, one is alive, one was killed before, and one is killed within the patience."""
    ends = ("exit 3", "exec sleep 60", "kill -KILL $$", "sleep 0.1; kill -KILL $$")
    with contextlib.ExitStack() as stack:
        started = [stack.enter_context(subprocess.Popen(["sh", "-c", end])) for end in ends]
        assert (started[0].wait(), started[2].wait()) == (3, -signal.SIGKILL)
        monkeypatch.setattr(fence, "taken_children", lambda trainer: started)
        trainer: Any = None
        assert fence.kill_children(trainer, 0.5) == [3, 4]
    assert [one.returncode for one in started] == [3, *[-signal.SIGKILL] * 3]


@pytest.mark.parametrize(("strategy", "expected"), [("ddp", False), ("ddp_fork", True)])
def test_trains_in_copies_is_what_multiprocessing_starts(strategy: str, expected: bool) -> None:
    trainer = Trainer(accelerator="cpu", devices=2, strategy=strategy, logger=False)
    assert fence.trains_in_copies(trainer) is expected


def test_what_is_asked_of_trainers_is_seen(tmp_path: Path) -> None:
    trainer, module, data = plain_trainer(tmp_path), Net(), LightningDataModule()
    with fence.asked_of_trainers() as asked:
        assert module.global_step == 0
    assert asked == ["_trainer"]
    with fence.asked_of_trainers() as asked:
        assert data.trainer is None
        data.trainer = trainer
    assert asked == ["trainer"]
    with fence.asked_of_trainers() as asked:
        assert data.trainer.loggers == []
    assert asked[:2] == ["trainer", "loggers"]
    with fence.asked_of_trainers() as asked:
        assert copy.deepcopy(module).trainer.max_epochs == 1  # there is none
    assert asked == ["_trainer"]
    with pytest.raises(ZeroDivisionError), fence.asked_of_trainers() as asked:
        1 / 0  # noqa: B018
    assert asked == []
    assert "_trainer" not in vars(LightningModule)
    assert "trainer" not in vars(LightningDataModule)
    assert "__getattribute__" not in vars(Trainer)
