"""What is relied on of Lightning beyond its documentation: a new version breaks here, by name."""

import csv
import math
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from lightning.fabric.plugins.environments import LightningEnvironment
from lightning.fabric.utilities.distributed import DistributedSamplerWrapper
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger
from lightning.pytorch.strategies.launchers import _SubprocessScriptLauncher
from lightning.pytorch.utilities import CombinedLoader, rank_zero_only
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, SubsetRandomSampler

from engine.fence import lightning as fence
from fitting import plain_trainer


class Net(LightningModule):
    """One number, trained by batches of one number; its learning rate may fall at each step."""

    def __init__(self, schedules: bool = False) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1)
        self.schedules = schedules

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        loss: Tensor = self.layer(batch).square().mean()
        return loss

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self.log("val/loss", self.layer(batch).square().mean())

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1)
        if not self.schedules:
            return optimizer
        schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }


class Recorder(Callback):
    """Records in some hooks what a function says of the Trainer."""

    def __init__(self, say: Callable[[Trainer], Any], *hooks: str) -> None:
        self.said: list[Any] = []
        for hook in hooks:
            setattr(self, hook, lambda trainer, *args: self.said.append(say(trainer)))


class Endless(IterableDataset[Tensor]):
    """Batches of which nobody knows how many there are."""

    def __iter__(self) -> Any:
        return iter(torch.ones(4, 1, 1))


def loader(batches: int = 3) -> DataLoader[Tensor]:
    return DataLoader(torch.arange(float(batches)).unsqueeze(1))  # type: ignore[arg-type]


def fit(folder: Path, net: Net | None = None, data: Any = None, **options: Any) -> Trainer:
    """Train for two epochs of three batches, with a validation after each."""
    options = {"steps_per_call": 1, "max_epochs": 2, **options}
    trainer = plain_trainer(folder, **options)
    trainer.fit(net or Net(), loader() if data is None else data, loader(1))
    return trainer


@pytest.mark.parametrize("schedules", [False, True])
def test_loop_counts_count_a_step_as_lightning_does(schedules: bool, tmp_path: Path) -> None:
    """One epoch of four batches: step by step, and all within the first call."""

    class Counted(Net):
        def __init__(self, steps: int) -> None:
            super().__init__(schedules)
            self.steps = steps
            self.seen: list[Any] = []
            self.batches: list[int] = []

        def look(self) -> None:
            fetcher: Any = self.trainer.fit_loop._data_fetcher
            lr = self.trainer.optimizers[0].param_groups[0]["lr"]
            counts = self.trainer.fit_loop.epoch_loop.state_dict()
            self.seen.append((counts, fetcher.fetched, fetcher.done, lr))

        def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
            self.look()
            counts = fence.LoopCounts(self.trainer, schedules)
            for _ in range(self.steps - 1):
                self.trainer.optimizers[0].step()
                self.batches.append(counts.count_step())
                self.look()
            return super().training_step(batch, batch_idx)

    singly = Counted(steps=1)
    at_once = Counted(steps=4)
    ends = [fit(tmp_path, net, loader(4), max_epochs=1) for net in (singly, at_once)]
    assert len(singly.seen) == 4
    assert at_once.seen == singly.seen
    assert at_once.batches == [1, 2, 3]
    states = [trainer.fit_loop.state_dict() for trainer in ends]
    assert states[0] == states[1]
    assert [trainer.global_step for trainer in ends] == [4, 4]


class Follows(Net):
    """Its learning rate follows the validation's loss, which is never better."""

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1)
        schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(
            optimizer, patience=0, factor=0.5, threshold=1e9
        )
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "monitor": "val/loss"},
        }


def nothing() -> None:
    """Does nothing."""


def watch(trainer: Trainer, **do: Callable[[], None]) -> None:
    moments = {"begun": nothing, "batch_done": nothing, "epoch_done": nothing}
    fence.watch_loops(trainer, **moments | do)


def test_watch_loops_calls_when_learning_rates_have_followed(tmp_path: Path) -> None:
    seen: list[Any] = []
    trainer = plain_trainer(tmp_path, steps_per_call=1, max_epochs=2)
    rates = Recorder(lambda t: t.optimizers[0].param_groups[0]["lr"], "on_train_epoch_end")
    trainer.callbacks.append(rates)

    def look() -> None:
        loops: Any = trainer.fit_loop.state_dict()
        counts = loops["epoch_loop.batch_progress"]["current"]
        seen.append((trainer.optimizers[0].param_groups[0]["lr"], trainer.current_epoch, counts))

    watch(trainer, epoch_done=look)
    trainer.fit(Follows(), loader(), loader(1))
    zero = {"ready": 0, "completed": 0, "started": 0, "processed": 0}
    assert rates.said == [0.1, 0.05]
    assert seen == [(0.05, 1, zero), (0.025, 2, zero)]


def test_watch_loops_calls_after_the_modules_own_hooks_and_the_validation(tmp_path: Path) -> None:
    class Notes(Net):
        def on_train_start(self) -> None:
            seen.append("start")

        def on_train_batch_end(self, *args: Any) -> None:
            seen.append("batch")

        def on_validation_end(self) -> None:
            seen.append("validation")

    seen: list[str] = []
    trainer = plain_trainer(tmp_path, steps_per_call=1, max_epochs=1)
    watch(trainer, begun=lambda: seen.append("begun"), batch_done=lambda: seen.append("done"))
    trainer.fit(Notes(), loader(2), loader(1))
    assert seen == ["start", "begun", "batch", "done", "batch", "validation", "done"]


@pytest.mark.filterwarnings("ignore:.*dataloader is not resumable")
@pytest.mark.parametrize("max_steps", [-1, 100])
@pytest.mark.parametrize("moment", ["batch_done", "epoch_done"])
@pytest.mark.parametrize("interval", [1, 3])
def test_what_is_saved_goes_on_with_the_next_batch_or_epoch(
    interval: int, moment: str, max_steps: int, tmp_path: Path
) -> None:
    """With a number of steps, too, where Lightning would look for the rest of an epoch."""
    options: dict[str, Any] = {"steps_per_call": 1, "max_epochs": 3, "max_steps": max_steps}
    options["val_check_interval"] = interval
    trainer = plain_trainer(tmp_path, **options)

    def save() -> None:
        if trainer.global_step == (3 if moment == "epoch_done" else 4):
            trainer.save_checkpoint(tmp_path / "saved.ckpt", weights_only=False)

    watch(trainer, **{moment: save})
    trainer.fit(Net(), loader(), loader(1))
    resumed = plain_trainer(tmp_path, **options)
    hooks = Recorder(lambda t: (t.current_epoch, t.global_step), "on_train_epoch_start")
    steps = Recorder(fence.logged_step, "on_train_batch_start")
    validations = Recorder(lambda t: t.global_step, "on_validation_start")
    resumed.callbacks += [hooks, steps, validations]
    saved = tmp_path / "saved.ckpt"
    resumed.fit(Net(), loader(), loader(1), ckpt_path=saved, weights_only=True)
    first = 3 if moment == "epoch_done" else 4
    assert hooks.said == [(1, 3), (2, 6)][-1 if moment == "batch_done" else 0 :]
    assert steps.said == [3, 4, 5, 6, 7, 8][first - 3 :]
    assert validations.said == [step for step in range(first + 1, 10) if step % interval == 0]
    assert resumed.fit_loop.state_dict() == trainer.fit_loop.state_dict()


def test_batches_that_stepped_is_the_step_of_the_next_row(tmp_path: Path) -> None:
    class Twice(Net):
        """Takes two steps in each batch."""

        def __init__(self) -> None:
            super().__init__()
            self.automatic_optimization = False

        def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
            optimizer: Any = self.optimizers()
            for _ in range(2):
                optimizer.step()
            return super().training_step(batch, batch_idx)

    trainer = fit(tmp_path, Twice())
    assert trainer.global_step == 12
    assert fence.batches_that_stepped(fence.whole_checkpoint(trainer)) == 6


def test_place_is_the_epoch_and_the_batches_done(tmp_path: Path) -> None:
    hooks = ("on_train_start", "on_train_epoch_start", "on_train_batch_end")
    places = Recorder(lambda trainer: (place.epoch(), place.batch()), *hooks)
    trainer = plain_trainer(tmp_path, steps_per_call=1, max_epochs=2, callbacks=[places])
    place = fence.Place(trainer)
    trainer.fit(Net(), loader(), loader(1))
    first = [(0, 0), (0, 0), (0, 1), (0, 2), (0, 3)]
    assert places.said == [*first, (1, 0), (1, 1), (1, 2), (1, 3)]


@pytest.mark.parametrize("mode", ["max_size_cycle", "max_size"])
def test_place_knows_whether_a_shorter_loader_begins_anew(mode: Any, tmp_path: Path) -> None:
    class Both(Net):
        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            return super().training_step(batch["long"], batch_idx)

    both = CombinedLoader({"long": loader(4), "short": loader(2)}, mode)
    cycled = Recorder(lambda trainer: fence.Place(trainer).is_cycled(), "on_train_start")
    fit(tmp_path, Both(), both, callbacks=[cycled])
    assert cycled.said == [mode == "max_size_cycle"]


def test_process_loaders_is_given_those_of_training_only(tmp_path: Path) -> None:
    trainer = plain_trainer(tmp_path, steps_per_call=1, max_epochs=2)
    given: list[object] = []

    def process(data: object) -> object:
        given.append(data)
        return shorter

    shorter, longer = loader(2), loader(3)
    fence.process_loaders(trainer, process)
    trainer.fit(Net(), longer, loader(1))
    assert given == [longer]
    assert trainer.train_dataloader is shorter
    assert trainer.global_step == 4


def test_place_numbers_the_loaders_of_training(tmp_path: Path) -> None:
    loaders = [loader(4), loader(2)]

    def numbers(trainer: Trainer) -> list[int]:
        return [fence.Place(trainer).loader(one) for one in [*loaders, loader(4)]]

    class Two(Net):
        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            return super().training_step(batch[0], batch_idx)

    numbered = Recorder(numbers, "on_train_start")
    fit(tmp_path, Two(), CombinedLoader(loaders, "min_size"), callbacks=[numbered])
    assert numbered.said == [[0, 1, 0]]


def test_wrapped_sampler_is_the_users_own() -> None:
    own = SubsetRandomSampler(range(4))
    assert fence.wrapped_sampler(DistributedSamplerWrapper(own, num_replicas=2, rank=0)) is own
    assert fence.wrapped_sampler(own) is None


def test_training_sizes_are_those_of_all_data_sets_with_a_length(tmp_path: Path) -> None:
    class Three(Net):
        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            return super().training_step(batch[0], batch_idx)

    sizes = Recorder(fence.training_sizes, "on_train_start")
    loaders = [loader(4), DataLoader(Endless()), loader(2)]
    fit(tmp_path, Three(), CombinedLoader(loaders, "min_size"), callbacks=[sizes])
    assert sizes.said == [[4, 2]]


class Processes(Dataset[int]):
    """Says which process reads it."""

    def __getitem__(self, index: int) -> int:
        return os.getpid()

    def __len__(self) -> int:
        return 2


def test_restart_workers_starts_new_ones_for_the_next_epoch() -> None:
    data = DataLoader(Processes(), batch_size=2, num_workers=1, persistent_workers=True)
    first, same = ({*next(iter(data)).tolist()} for _ in range(2))
    fence.restart_workers(data)
    other = {*next(iter(data)).tolist()}
    assert first == same
    assert first != other


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


def test_results_of_training_go_on_where_another_run_stopped(tmp_path: Path) -> None:
    trainer = plain_trainer(tmp_path, steps_per_call=1, max_epochs=1)
    states = Recorder(lambda t: fence.results_of_training(t).state(), "on_train_batch_end")
    within = Recorder(fence.is_within_epoch, "on_train_start", "on_train_batch_end", "on_train_end")
    trainer.callbacks += [states, within]
    trainer.fit(Logs(), loader(), loader(1))
    assert trainer.callback_metrics["mean"] == 1  # of 0, 1, 2
    assert within.said == [False, True, True, True, False]
    (key, state), *others = states.said[1].items()
    assert (key, others) == ("training_step.mean", [])
    assert {name: value.item() for name, value in state.items()} == {
        "value": 1.0,
        "cumulated_batch_size": 2,
    }
    other = plain_trainer(tmp_path, steps_per_call=1, max_epochs=1)
    before = {key: {"value": torch.tensor(7.0), "cumulated_batch_size": torch.tensor(1)}}
    fence.results_of_training(other).resume(before)
    other.fit(Logs(), loader(), loader(1))
    assert other.callback_metrics["mean"] == (7 + 0 + 1 + 2) / 4
    fence.results_of_training(other).resume({"another": {"value": torch.tensor(7.0)}})
    fence.results_of_training(other).forget()
    assert fence.results_of_training(other)._before == {}


def test_restore_metrics_gives_what_callbacks_follow(tmp_path: Path) -> None:
    trainer = plain_trainer(tmp_path)
    fence.restore_metrics(trainer, {"val/loss": torch.tensor(0.5)})
    assert trainer.callback_metrics["val/loss"] == 0.5


def test_batch_of_epoch_counts_from_0_in_each_epoch(tmp_path: Path) -> None:
    recorder = Recorder(fence.batch_of_epoch, "on_train_batch_start", "on_train_batch_end")
    fit(tmp_path, callbacks=[recorder])
    assert recorder.said == [0, 0, 1, 1, 2, 2] * 2


def test_batch_of_training_counts_from_0_over_all_epochs(tmp_path: Path) -> None:
    hooks = ("on_train_start", "on_train_batch_start", "on_train_batch_end")
    recorder = Recorder(fence.batch_of_training, *hooks)
    fit(tmp_path, callbacks=[recorder])
    assert recorder.said == [-1, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]


def test_is_last_batch_is_true_of_the_last_batch_of_each_epoch(tmp_path: Path) -> None:
    recorder = Recorder(fence.is_last_batch, "on_train_batch_start", "on_train_batch_end")
    fit(tmp_path, callbacks=[recorder])
    assert recorder.said == [False, False, False, False, True, True] * 2


def test_logged_step_is_the_step_of_a_validations_row(tmp_path: Path) -> None:
    rows: list[tuple[int | None, float]] = []

    class Keeps(TensorBoardLogger):
        def log_metrics(self, metrics: Any, step: int | None = None) -> None:
            rows.extend((step, metrics["val/loss"]) for _ in range("val/loss" in metrics))

    recorder = Recorder(fence.logged_step, "on_validation_epoch_end")
    fit(tmp_path, callbacks=[recorder], logger=Keeps(tmp_path))
    assert recorder.said == [step for step, _ in rows] == [2, 5]


@pytest.mark.parametrize(
    ("option", "data", "interval"),
    [(2, None, 2), (1.0, None, 3), (0.5, loader(4), 2), ("00:01:00:00", None, None)],
)
def test_validation_interval_is_in_batches(
    option: Any, data: Any, interval: int | None, tmp_path: Path
) -> None:
    trainer = fit(tmp_path, data=data, val_check_interval=option)
    assert fence.validation_interval(trainer) == interval


def test_validation_interval_is_none_where_an_epochs_length_is_unknown(tmp_path: Path) -> None:
    trainer = fit(tmp_path, data=DataLoader(Endless(), batch_size=None))
    assert trainer.val_check_batch == math.inf
    assert fence.validation_interval(trainer) is None


def test_batches_of_epoch_loads_the_data(tmp_path: Path) -> None:
    """Before training, too, where Lightning has not counted the batches."""
    seen: list[float] = []

    class Asks(Net):
        def configure_optimizers(self) -> Any:
            seen.append(fence.batches_of_epoch(self.trainer))
            return super().configure_optimizers()

    trainer = fit(tmp_path, net=Asks(), max_epochs=-1, max_steps=1)
    assert seen == [trainer.num_training_batches]


def test_validates_after_epoch_loads_the_data(tmp_path: Path) -> None:
    def say(trainer: Trainer) -> Any:
        says = fence.validates_after_epoch(trainer)
        return says, trainer.val_dataloaders is not None, trainer.training

    recorder = Recorder(say, "on_train_batch_end")
    fit(tmp_path, callbacks=[recorder], check_val_every_n_epoch=2, max_epochs=4)
    no, yes = (False, False, True), (True, True, True)
    assert recorder.said[:6] == [no, no, no, yes, yes, yes]
    assert [says for says, _, _ in recorder.said[6:]] == [False] * 3 + [True] * 3


def test_validates_after_epoch_says_no_without_batches(tmp_path: Path) -> None:
    recorder = Recorder(fence.validates_after_epoch, "on_train_batch_end")
    fit(tmp_path, callbacks=[recorder], limit_val_batches=0)
    assert recorder.said == [False] * 6


def test_whole_checkpoint_is_what_save_checkpoint_writes(tmp_path: Path) -> None:
    trainer = fit(tmp_path)
    trainer.save_checkpoint(tmp_path / "saved.ckpt", weights_only=False)
    saved = torch.load(tmp_path / "saved.ckpt", weights_only=True)
    dumped = fence.whole_checkpoint(trainer)
    weights, saved_weights = dumped.pop("state_dict"), saved.pop("state_dict")
    assert dumped == saved
    assert {"epoch", "global_step", "loops", "optimizer_states", "callbacks"} <= saved.keys()
    torch.testing.assert_close(weights, saved_weights, rtol=0, atol=0)


def test_trainer_of_is_none_before_there_is_one(tmp_path: Path) -> None:
    net = Net()
    assert fence.trainer_of(net) is None
    with pytest.raises(RuntimeError, match="not attached"):
        _ = net.trainer
    trainer = fit(tmp_path, net)
    assert fence.trainer_of(net) is trainer


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
    with subprocess.Popen(["sleep", "60"]) as child:
        launcher.procs = [child]
        trainer.strategy._launcher = launcher
        fence.kill_children(trainer)
        assert child.wait(timeout=10) == -signal.SIGKILL
