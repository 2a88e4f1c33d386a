"""What is relied on of Lightning's loops and loaders: a new version breaks here, by name."""

import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from multiprocessing import active_children
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.fabric.utilities.distributed import DistributedSamplerWrapper
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import BatchSizeFinder, LearningRateFinder
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import CombinedLoader
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, SubsetRandomSampler

from engine.fence import lightning as fence
from fenced import Endless, Net, Recorder, Sized, fit, loader
from fitting import plain_trainer


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


class Asks(Net):
    """Asks how long training is, which loads the data before a checkpoint is read."""

    def configure_optimizers(self) -> Any:
        _ = self.trainer.estimated_stepping_batches
        return super().configure_optimizers()


class Counting:
    """Gives five batches in an epoch, the numbers of which are its state."""

    def __init__(self) -> None:
        self.next = 0.0
        self.given: list[float] = []

    def __iter__(self) -> Iterator[Tensor]:
        while self.next < 5:
            self.given.append(self.next)
            self.next += 1
            yield torch.tensor([[self.given[-1]]])
        self.next = 0.0

    def __len__(self) -> int:  # Lightning would draw a batch ahead, which the state has, too
        return 5

    def state_dict(self) -> dict[str, float]:
        return {"next": self.next}

    def load_state_dict(self, state: dict[str, float]) -> None:
        self.next = state["next"]


@pytest.mark.parametrize("kind", [Net, Asks])
def test_a_loader_goes_on_from_its_state_also_where_it_was_loaded_before(
    kind: type[Net], tmp_path: Path
) -> None:
    options: dict[str, Any] = {"steps_per_call": 1, "max_epochs": 1}
    saved = tmp_path / "saved.ckpt"
    trainer = plain_trainer(tmp_path, **options)

    def save() -> None:
        if trainer.global_step == 3:
            trainer.save_checkpoint(saved, weights_only=False)

    watch(trainer, batch_done=save)
    trainer.fit(kind(), whole := Counting(), loader(1))
    resumed = plain_trainer(tmp_path, **options)
    watch(resumed)
    resumed.fit(kind(), rest := Counting(), loader(1), ckpt_path=saved, weights_only=True)
    assert whole.given == [0, 1, 2, 3, 4]
    assert rest.given == [3, 4]
    assert resumed.global_step == trainer.global_step == 5


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


def test_loaders_of_fit_are_processed_for_the_loop_that_makes_them(tmp_path: Path) -> None:
    given: list[tuple[object, bool]] = []
    shorter, longer, validation = loader(2), loader(3), loader(1)

    def process(data: object, is_of_training: bool) -> object:
        given.append((data, is_of_training))
        return shorter

    def load_again(trainer: Any) -> None:
        validates = trainer.fit_loop.epoch_loop.val_loop
        validates._combined_loader = None
        validates.setup_data()

    again = Recorder(load_again, "on_train_start")
    trainer = plain_trainer(tmp_path, steps_per_call=1, max_epochs=2, callbacks=[again])
    fence.around_loading(trainer, lambda _: nullcontext(), process)
    trainer.fit(Net(), longer, validation)
    trainer.validate(Net(), loader(1), verbose=False)
    # Those of validation are made before training, and once more in it.
    assert given == [(longer, True), (validation, False), (validation, False)]
    assert trainer.fit_loop.epoch_loop.total_batch_idx == 3


@pytest.mark.parametrize(
    ("every", "names"),
    [(0, ["train/0", "val/0"]), (1, ["train/0", "val/0", "train/1", "val/1"])],
)
def test_around_loading_is_around_each_making_of_loaders(
    every: int, names: list[str], tmp_path: Path
) -> None:
    made: list[str] = []
    open_now: list[str] = []

    @contextmanager
    def within(name: str) -> Iterator[None]:
        open_now.append(name)
        yield
        open_now.pop()

    class Makes(Net):
        def train_dataloader(self) -> Any:
            made.extend(open_now)
            return loader(2)

        def val_dataloader(self) -> Any:
            made.extend(open_now)
            return loader(1)

    trainer = plain_trainer(tmp_path, max_epochs=2, reload_dataloaders_every_n_epochs=every)
    assert fence.reloads_each_epoch(trainer) is bool(every)
    fence.around_loading(trainer, within, lambda made, _: made)
    trainer.fit(Makes())
    assert made == names


def test_before_stage_is_before_a_finder_loads_what_it_has_saved(tmp_path: Path) -> None:
    class Tests(Net):
        def test_step(self, batch: Tensor, batch_idx: int) -> None:
            self.log("test/loss", self.layer(batch).square().mean())

    class Tested(Sized):
        def test_dataloader(self) -> Any:
            return self.train_dataloader()

    finder = BatchSizeFinder(max_trials=1, steps_per_trial=1, init_val=4)
    trainer: Any = plain_trainer(tmp_path, logger=False, max_epochs=1)
    trainer.fit(Tests(), datamodule=(data := Tested(8, 2)))
    trainer.save_checkpoint(saved := tmp_path / "saved.ckpt", weights_only=False)
    trainer.callbacks.insert(0, finder)
    found: list[Any] = []
    fence.before_stage(trainer, lambda: found.append(trainer.ckpt_path))
    trainer.test(datamodule=data, ckpt_path=saved, verbose=False, weights_only=True)
    assert found == [saved]
    assert finder.optimal_batch_size == 4
    assert trainer.ckpt_path != saved
    assert trainer.tested == str(saved)


@pytest.mark.parametrize("way", ["test", "validate"])
def test_beside_loading_is_before_a_loader_is_made_and_before_it_is_iterated_over(
    way: str, tmp_path: Path
) -> None:
    called: list[str] = []

    class Iterated(DataLoader[Any]):
        def __iter__(self) -> Any:
            called.append("iterated over")
            return super().__iter__()

    class Makes(Net):
        def test_dataloader(self) -> Any:
            called.append("made")
            return Iterated(loader(1).dataset)

        val_dataloader = test_dataloader

        def test_step(self, batch: Any, batch_idx: int) -> None:
            called.append("step")

        validation_step = test_step

        def on_test_start(self) -> None:
            called.append("hook")

        on_validation_start = on_test_start

    trainer = plain_trainer(tmp_path)
    fence.beside_loading(trainer, lambda: called.append("beside"))
    getattr(trainer, way)(Makes(), verbose=False)
    assert called[:6] == ["beside", "made", "beside", "iterated over", "hook", "step"]


@pytest.mark.parametrize("are_loaded", [False, True])
def test_a_training_goes_on_with_what_searches_have_found(are_loaded: bool, tmp_path: Path) -> None:
    class Asks(Net):
        def __init__(self) -> None:
            super().__init__()
            self.lr = 1e-6

        def configure_optimizers(self) -> Any:
            if are_loaded:
                _ = self.trainer.estimated_stepping_batches
            return torch.optim.SGD(self.parameters(), lr=self.lr)

    def finders() -> list[Any]:
        return [
            BatchSizeFinder(max_trials=3, init_val=2),
            LearningRateFinder(num_training_steps=20),
            LearningRateFinder(num_training_steps=20, update_attr=False),
        ]

    first = plain_trainer(tmp_path, max_epochs=1, callbacks=finders(), logger=False)
    searched = Asks()
    first.fit(searched, Sized(192, batch_size=1))
    size, rate, other = found = fence.found_by_searches(first)
    assert (size, len(rate["lr"]), len(other["loss"])) == (8, 20, 20)
    assert searched.lr in rate["lr"]

    starts = Recorder(lambda own: own.lightning_module.lr, "on_fit_start")
    again = plain_trainer(tmp_path, max_epochs=1, callbacks=[*finders(), starts], logger=False)
    for others in (found[1:], [rate, size, None], [size, rate, other, None]):
        assert not fence.go_on_with_found(again, others)
    assert fence.go_on_with_found(again, found)
    module, data = Asks(), Sized(192, batch_size=1)
    again.fit(module, data)
    assert (data.batch_size, again.global_step) == (8, 24)
    assert (starts.said, module.lr) == ([searched.lr], searched.lr)
    assert fence.found_by_searches(again) == found
    again.fit(module, data)  # another training of the same Trainer searches
    (_, anew, _) = fence.found_by_searches(again)
    assert anew["loss"] != rate["loss"]


def test_place_of_validation_tells_passes_apart(tmp_path: Path) -> None:
    seen: list[Any] = []

    class Asks(Net):
        def on_validation_start(self) -> None:
            place = fence.Place(self.trainer, is_of_training=False)
            seen.append((place.loader(validation), place.moment(), place.batch()))

    validation = loader(1)
    trainer = plain_trainer(tmp_path, max_epochs=2, val_check_interval=2, num_sanity_val_steps=1)
    trainer.fit(Asks(), loader(4), validation)
    # Before the first batch, and after the second and the fourth of each epoch.
    assert seen == [("val/0", moment, 0) for moment in ("0/-1", "0/1", "0/3", "1/5", "1/7")]


def test_place_numbers_the_loaders_of_training(tmp_path: Path) -> None:
    loaders = [loader(4), loader(2)]

    def numbers(trainer: Trainer) -> list[str]:
        return [fence.Place(trainer).loader(one) for one in [*loaders, loader(4)]]

    class Two(Net):
        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            return super().training_step(batch[0], batch_idx)

    numbered = Recorder(numbers, "on_train_start")
    fit(tmp_path, Two(), CombinedLoader(loaders, "min_size"), callbacks=[numbered])
    assert numbered.said == [["0", "1", "0"]]


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


def test_lightning_ends_the_workers_of_what_serves_a_loader(tmp_path: Path) -> None:
    source = DataLoader(Processes(), num_workers=1, persistent_workers=True)

    class Sums(Net):
        def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
            return super().training_step(batch.float().unsqueeze(1), batch_idx)

    class Serves(fence.ServesLoader):
        _source = source

        def __iter__(self) -> Iterator[Any]:
            return iter(source)

    workers: list[Any] = []
    during = Recorder(lambda trainer: workers.extend(active_children()), "on_train_batch_end")
    fit(tmp_path, Sums(), data=Serves(), callbacks=[during])
    assert len({worker.pid for worker in workers}) == 1
    assert not any(worker.is_alive() for worker in workers)


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
