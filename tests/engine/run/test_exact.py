"""Whatever way a run trains: killed at any moment and resumed, it ends with the same bits."""

import json
import re
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from commands import (
    begin,
    composed,
    killed_and_resumed,
    only_run,
    run_evaluate,
    run_train,
    train_in_process,
)
from engine.run.checkpoint.file import WholeFileIO
from identical import assert_bit_identical, scalars
from moments import as_killed
from resuming import SMALL

RUN = [*SMALL, "optimizer.lr=0.05", "trainer.max_epochs=4", "trainer.log_every_n_steps=4"]
EARLY = "lightning.pytorch.callbacks.EarlyStopping"
SWA = [
    "callbacks.swa.swa_lrs=0.02",
    "callbacks.swa.swa_epoch_start=0.25",
    "callbacks.checkpoints.every_n_steps=3",
]
# Draws from Python's, NumPy's and torch's generators, and has a state.
AUGMENTED = ["module.augment={noise: {_target_: ways.Noise}}"]
WAYS = {
    "plain": [],
    "early stopping": [
        "callbacks=[default,early_stopping]",
        "callbacks.early_stopping.patience=1",
        "callbacks.early_stopping.min_delta=0.02",
        "callbacks.checkpoints.every_n_steps=3",
    ],
    "the module stops within an epoch": ["module._target_=ways.Stops"],
    "the module stops after an epoch": ["module._target_=ways.StopsAtAnEnd"],
    "it stops as its steps are done": ["trainer.max_steps=25"],
    "a rate that follows validation": [
        "scheduler=plateau",
        "scheduler.patience=0",
        "scheduler.factor=0.5",
        "scheduler.threshold=0.3",
    ],
    "a rate that follows an old validation": [
        "module._target_=ways.FollowsValidation",
        "trainer.check_val_every_n_epoch=2",
    ],
    "gradients that hooks gather": ["module._target_=keeping.Gathers"],
    "a layer whose statistics are frozen": [
        "module._target_=ways.Normalised",
        "+callbacks.frozen._target_=keeping.FreezesStatistics",
    ],
    "a module that adds to checkpoints": ["module._target_=ways.SavesItsOwn"],
    "a rate that follows each step": ["module._target_=ways.FollowsEachStep"],
    "a mean of the weights": ["module._target_=ways.Averages"],
    # A schedule over the whole length loads the data before the checkpoint says where to go on.
    "a DataLoader with random transforms, one cycle": [
        "datamodule._target_=ways.Ordinary",
        "scheduler=one_cycle",
    ],
    "DataLoaders with workers, in training and in validation": [
        "datamodule._target_=keeping.InWorkers",
        "module._target_=keeping.ValidatesOnTwo",
        "+callbacks.decays._target_=keeping.Decays",
        "datamodule.num_workers=2",
    ],
    "two DataLoaders, a shorter one begins anew, cosine": [
        "scheduler=cosine",
        "datamodule._target_=ways.TwoLoaders",
        "module._target_=ways.TrainsOnTwo",
    ],
    "a DataLoader for each epoch": [
        "datamodule._target_=ways.Ordinary",
        "+trainer.reload_dataloaders_every_n_epochs=1",
    ],
    "a stream, from the ends of epochs": [
        "datamodule._target_=ways.Streams",
        "module._target_=ways.AsksForSteps",
    ],
    "a loader with a state": ["datamodule._target_=ways.HasState"],
    "a loader with a state, asked for its length": [
        "datamodule._target_=ways.HasState",
        "module._target_=ways.AsksForSteps",
    ],
    "two optimisers by hand": ["module._target_=ways.TwoOptimizers"],
    "two optimisers by hand, of which one gathers gradients": [
        "module._target_=ways.Gathers",
        "callbacks.checkpoints.every_n_steps=7",
    ],
    "batches of a step that a callback sets for each epoch": [
        "+callbacks.gathers._target_=lightning.pytorch.callbacks.GradientAccumulationScheduler",
        "+callbacks.gathers.scheduling={0: 1, 1: 2}",
    ],
    "attributes of the user's that change": [
        "module._target_=keeping.LikesItsStart",
        "datamodule._target_=ways.Ordinary",
        "+callbacks.decays._target_=keeping.Decays",
        "+callbacks.keeps._target_=keeping.Keeps",
    ],
    "numbers in slots, in a class, in a file, in shared memory and by any name": [
        "+callbacks.hoards._target_=keeping.Hoards",
    ],
    "samples and their weights, which a callback changes": [
        "datamodule._target_=keeping.Grown",
        "+callbacks.mines._target_=keeping.Mines",
        "+trainer.reload_dataloaders_every_n_epochs=1",
    ],
    "metrics that keep attributes, or make metrics": ["module._target_=logged.LogsRunning"],
    "RMSprop, warm-up and cosine, augmented, validation within epochs": [
        *AUGMENTED,
        "optimizer=rmsprop",
        "scheduler=cosine",
        "trainer.val_check_interval=0.5",
    ],
    "AdamW, one cycle, accumulated gradients": [
        "optimizer=adamw",
        "scheduler=one_cycle",
        "trainer.accumulate_grad_batches=3",
    ],
    "LBFGS, augmented, a rate that drops, epochs and steps": [
        *AUGMENTED,
        "optimizer=lbfgs",
        "trainer.max_steps=1000",
        "optimizer.max_iter=3",
        "optimizer.history_size=4",
        "scheduler=step",
    ],
    "a running mean of the weights": [
        "module._target_=keeping.CentresByABuffer",
        "callbacks=[default,ema,grad_norm]",
        "callbacks.ema.decay=0.8",
        "callbacks.grad_norm.every_n_steps=2",
        "callbacks.checkpoints.every_n_steps=3",
    ],
    "the mean of the last epochs, a loader for each epoch": [
        "callbacks=[default,swa]",
        *SWA,
        "+trainer.reload_dataloaders_every_n_epochs=1",
    ],
    "the mean of the last epochs, normalised": [
        "callbacks=[default,swa]",
        *SWA,
        "module._target_=ways.Normalised",
        "scheduler=cosine",
        "scheduler.interval=epoch",
    ],
    "five batches again and again": ["trainer.overfit_batches=5", "trainer.max_epochs=8"],
    "means over an epoch, of all batches and of a few, gradients, and a number of the Trainer": [
        "module._target_=logged.LogsNowAndThen",
        "callbacks.checkpoints.every_n_steps=7",
    ],
    "numbers of Python and NumPy": ["module._target_=ways.DrawsPlain"],
    "some 100 rows": [  # 3 steps each
        "trainer.log_every_n_steps=auto",
        "datamodule.steps_per_epoch=60",
        "callbacks.checkpoints.every_n_steps=25",
    ],
    "callbacks at each epoch's start, of which one gives the optimiser layers": [
        "module._target_=keeping.TrainsItsHead",
        "+callbacks.counts._target_=ways.CountsEpochs",
        "+callbacks.adds._target_=keeping.AddsLayers",
    ],
    "a rate that is searched before the first step": [
        "module._target_=ways.HasARate",
        "+callbacks.rate._target_=lightning.pytorch.callbacks.LearningRateFinder",
        "+callbacks.rate.num_training_steps=20",
        "trainer.log_every_n_steps=auto",
    ],
    "a layer that thaws, another that is frozen, rows by hand": [
        "module._target_=ways.Normalised",
        "+callbacks.thaws._target_=ways.Thaws",
        "optimizer=sgd",  # fused, and with momentum
    ],
}


def summary(run_dir: Path) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((run_dir / "summary.json").read_text())
    return read


def test_a_loader_that_grows_with_the_epochs_is_no_change_of_the_data(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As it happened: the resumed run was refused, as its loader had more samples."""
    caplog.set_level("INFO")
    grows = ["datamodule._target_=ways.Grows", "+trainer.reload_dataloaders_every_n_epochs=1"]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    with as_killed("on_train_batch_end:10", whole, killed):
        begin(composed([*RUN, *grows]), whole)
    run_train(f"resume={killed}", draws=False)
    assert_same(killed, whole)
    assert "knows the data again by their classes only" in caplog.text


def test_a_batch_size_and_a_rate_are_searched_once(tmp_path: Path) -> None:
    """As it happened: the resumed run began its epochs anew, upon the weights of the checkpoint.

    Later, it trained with the rate of the config wherever the module reads `self.lr`.
    """
    own = [
        "datamodule._target_=ways.Ordinary",
        "module._target_=ways.SearchesForARate",  # which loads the data before the size is known
        "+callbacks.size._target_=lightning.pytorch.callbacks.BatchSizeFinder",
        "+callbacks.size.max_trials=2",
        "+callbacks.size.init_val=4",
        "trainer.max_epochs=2",
    ]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    with as_killed("on_train_batch_end:5", whole, killed):
        begin(composed([*RUN, *own]), whole)
    run_train(f"resume={killed}", draws=False)
    assert_same(killed, whole)
    assert summary(killed)["steps"] == 2 * 7  # 50 samples, 8 at once
    log = (killed / "train.log").read_text()
    assert log.count("Finished batch size finder") == 2  # once before the kill, once in the test
    assert log.count("Learning rate set to") == 1
    assert "not exact" not in log
    # As it happened: the checkpoint of the test's own search, which is gone.
    assert [summary(run)["tested"] for run in (whole, killed)] == ["best.ckpt", "best.ckpt"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:ReduceLROnPlateau conditioned on metric val/loss")  # not yet
@pytest.mark.parametrize("way", WAYS)
def test_killed_four_times_and_resumed(way: str, tmp_path: Path) -> None:
    """Killed within an epoch, at an epoch's end, in a validation and in the test.

    All four kills are of one run, which goes on each time where the kill before left it. That asks
    for more than four runs with a kill each, as four resumes have to be exact at once, and it costs
    the time of one run and four starts. The second and the third are SIGKILLs of a process. What
    the first and the last would leave is a copy of the folder, while the run goes on in this
    process: so the first one's run is the undisturbed one, too, and the last one's run ends after
    three kills. If the bits differ, each kill is tried alone, to say which one it is.

    A run with workers is killed by SIGKILL only: workers that its loader leaves would be waited for
    by this process, for seconds, when it collects the loader.
    """
    words = [*RUN, *WAYS[way]]
    config = composed(words)
    # Steps of an epoch.
    accumulated = "AdamW, one cycle, accumulated gradients"
    gathers = "two optimisers by hand, of which one gathers gradients"
    lengths = {accumulated: 4, "two optimisers by hand": 20, gathers: 12, "some 100 rows": 60}
    epoch = lengths.get(way, 10)
    # One module stops at a step that has a checkpoint, and is validated then. One set of samples
    # grows by a batch.
    grown = "samples and their weights, which a callback changes"
    validated = {"the module stops within an epoch": 24, grown: 21}.get(way, 2 * epoch)
    moments = [
        f"on_train_batch_end:{epoch - 2}",
        f"on_train_epoch_end:{epoch}",
        f"on_validation_batch_end:{validated}",
        "on_test_batch_end",
    ]
    whole, killed, tested = (tmp_path / name for name in ("whole", "killed", "tested"))
    if "workers" in way:
        assert train_in_process([f"in={whole}", *words]) == 0
        tested = killed_and_resumed(config, moments, killed)
    else:
        with as_killed(moments[0], whole, killed):
            begin(config, whole)
        for moment in moments[1:3]:
            assert train_in_process([f"resume={killed}"], kill_at=moment) == -signal.SIGKILL, moment
        with as_killed(moments[3], killed, tested):
            run_train(f"resume={killed}", draws=False)
        run_train(f"resume={tested}", draws=False)
    try:
        assert_same(killed, whole)
        assert_same(tested, whole)
    except AssertionError as error:
        alone = [killed_and_resumed(config, [moment], tmp_path / moment) for moment in moments]
        broken = [run.name for run in alone if differs(run, whole)]
        raise AssertionError(f"one kill alone breaks it at: {broken or 'no moment'}") from error


def assert_same(run: Path, whole: Path) -> None:
    log = (run / "train.log").read_text()
    assert "has another order" not in log
    assert "not exact: what runs at each start" not in log
    assert summary(run)["steps"] == summary(whole)["steps"]
    assert_bit_identical(run, whole)


def differs(run: Path, whole: Path) -> bool:
    try:
        assert_same(run, whole)
    except AssertionError:
        return True
    return False


@pytest.mark.parametrize("moment", ["on_train_batch_end:5", "on_test_batch_end"])
def test_a_data_module_draws_its_samples_once(moment: str, tmp_path: Path) -> None:
    """As it happened: in the test, a resumed run drew those that validation had."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    with as_killed(moment, whole, killed):
        begin(composed([*RUN, "datamodule._target_=keeping.DrawsParts"]), whole)
    run_train(f"resume={killed}", draws=False)
    assert_same(killed, whole)
    run_evaluate(f"run={whole}", draws=False)
    again = json.loads((whole / "evaluation/test.json").read_text())["metrics"]
    assert again == {"test/loss": summary(whole)["metrics"]["test/loss"]}


@pytest.mark.parametrize(
    "option", ["+trainer.reload_dataloaders_every_n_epochs=1", "trainer.check_val_every_n_epoch=2"]
)
def test_which_samples_loaders_draw_depends_on_the_epoch_only(option: str, tmp_path: Path) -> None:
    """As it happened: a resumed run made its loaders with other numbers.

    At an epoch's end, it gave new loaders the samples of the last ones, too.
    """
    whole, killed, later = (tmp_path / name for name in ("whole", "killed", "later"))
    words = [*RUN, "datamodule._target_=keeping.DrawsAnew", option]
    with (
        as_killed("on_train_batch_end:18", whole, killed),
        as_killed("on_train_batch_end:21", whole, later),
    ):
        begin(composed(words), whole)
    for resumed in (killed, later):
        run_train(f"resume={resumed}", draws=False)
        assert_same(resumed, whole)


def test_a_generator_that_draws_for_the_loaders_of_each_epoch_is_named(tmp_path: Path) -> None:
    words = [*RUN, "datamodule._target_=keeping.DrawsParts", "trainer.max_epochs=1"]
    says = "DrawsParts.rng: not exact: draws for the loaders of each epoch. A resumed run draws"
    for every in (0, 1):
        run = tmp_path / str(every)
        begin(composed([*words, f"+trainer.reload_dataloaders_every_n_epochs={every}"]), run)
        assert (run / "train.log").read_text().count(says) == every


@pytest.mark.filterwarnings("ignore:.*`dataloader_iter`")
def test_a_step_that_takes_batches_itself_goes_on_from_an_epochs_end(tmp_path: Path) -> None:
    """As it happened: a resumed run began at a batch that its epoch had trained on."""
    own = [*SMALL, "module._target_=odd_modules.TakesTwoBatches"]
    own += ["datamodule._target_=ways.Ordinary", "trainer.max_epochs=3"]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    with as_killed("on_train_batch_end:9", whole, killed):
        begin(composed(own), whole)
    run_train(f"resume={killed}", draws=False)
    assert summary(whole)["steps"] == 3 * 5
    assert_same(killed, whole)
    said = "TakesTwoBatches.training_step takes batches by dataloader_iter, and nobody knows how"
    assert (whole / "train.log").read_text().count(said) == 1


def test_buffers_that_grow_are_resumed_tested_and_evaluated(tmp_path: Path) -> None:
    """As it happened: the run's own test of best.ckpt failed, and so did each resume.

    PyTorch takes no buffer of another shape, and gives one its own dtype in silence.
    """
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    own = ["module._target_=keeping.Banks", "trainer.max_epochs=3"]
    with as_killed("on_train_batch_end:17", whole, killed):
        begin(composed([*SMALL, *own]), whole)
    run_train(f"resume={killed}", draws=False)
    assert_same(killed, whole)
    tested = {name: value for name, value in summary(whole)["metrics"].items() if "test" in name}
    assert tested["test/bank"] > 1
    run_evaluate(f"run={killed}", draws=False)
    assert json.loads((killed / "evaluation/test.json").read_text())["metrics"] == tested


def test_what_optimisers_share_they_share_once_more(tmp_path: Path) -> None:
    """As it happened: of one within another, the learning rates no longer fell, in silence."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    own = ["module._target_=keeping.WrapsItsOptimizer", "trainer.max_epochs=3"]
    with as_killed("on_train_batch_end:17", whole, killed):
        begin(composed([*SMALL, *own]), whole)
    run_train(f"resume={killed}", draws=False)
    assert_same(killed, whole)


def test_statistics_that_a_module_deletes_from_its_checkpoints_go_on(tmp_path: Path) -> None:
    """As it happened: those of a resumed run began anew, as its validation showed."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    own = ["module._target_=odd_modules.DeletesItsBackbone", "datamodule._target_=ways.Ordinary"]
    with as_killed("on_train_batch_end:17", whole, killed):
        begin(composed([*SMALL, *own, "trainer.max_epochs=3"]), whole)
    run_train(f"resume={killed}", draws=False)
    assert_same(killed, whole)
    run_evaluate(f"run={killed}", draws=False)
    again = json.loads((killed / "evaluation/test.json").read_text())["metrics"]
    assert again == {"test_loss": summary(whole)["metrics"]["test_loss"]}
    saved = torch.load(killed / "checkpoints/last.ckpt", weights_only=True)
    (process,) = saved["so_far"]["processes"]
    # What does not change is in no checkpoint.
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    assert set(process["attributes"]) == {f"DeletesItsBackbone.backbone.1.{n}" for n in statistics}


def test_rows_after_an_epoch_whose_rest_was_skipped(tmp_path: Path) -> None:
    """As it happened: those of a resumed run were under steps later by one."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    with as_killed("on_train_batch_end:20", whole, killed):
        begin(composed([*RUN, "module._target_=logged.SkipsTheRest"]), whole)
    assert summary(whole)["steps"] == 36
    run_train(f"resume={killed}", draws=False)
    assert_same(killed, whole)


def test_the_batches_of_validations_are_counted_on(tmp_path: Path) -> None:
    """As it happened: the rows of a resumed run's validations had steps from 0 on once more."""
    own = ["module._target_=logged.LogsInValidation", "trainer.check_val_every_n_epoch=2"]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    with as_killed("on_train_batch_end:27", whole, killed):
        begin(composed([*RUN, *own]), whole)
    run_train(f"resume={killed}", draws=False)
    assert (killed / "metrics.csv").read_text() == (whole / "metrics.csv").read_text()
    points = scalars(whole)
    assert points["seen_step/val"] == [(0, 20.0), (1, 40.0)]  # one batch each
    assert scalars(killed) == points


def test_what_a_start_changes_once_more_is_named(tmp_path: Path) -> None:
    """It ran at the first start, too, and the checkpoint has its work."""
    words = [*RUN, "trainer.max_epochs=2", "+callbacks.noise._target_=ways.NoiseAtAStart"]
    with as_killed("on_train_batch_end:12", tmp_path / "whole", tmp_path / "killed"):
        begin(composed(words), tmp_path / "whole")
    run_train(f"resume={tmp_path / 'killed'}", draws=False)
    said = "not exact: what runs at each start of a training ran once more, and changed what the "
    named = f"{said}checkpoint has: network.0.weight\n"
    assert named in (tmp_path / "killed/train.log").read_text()
    assert said not in (tmp_path / "whole/train.log").read_text()


def test_a_search_for_a_rate_thaws_nothing(tmp_path: Path) -> None:
    """Its search loads what it has saved before, which is no resume."""
    own = ["+callbacks.freezes._target_=ways.FreezesAtAStart", "trainer.max_epochs=1"]
    searched = [*RUN, *WAYS["a rate that is searched before the first step"], *own]
    begin(composed(searched), tmp_path / "run")
    saved = torch.load(tmp_path / "run" / "checkpoints/last.ckpt", weights_only=True)
    assert saved["so_far"]["frozen"] == ["network.0.weight", "network.0.bias"]
    assert "what runs at each start" not in (tmp_path / "run/train.log").read_text()


@pytest.mark.slow
def test_two_processes_share_an_ordinary_data_module(tmp_path: Path) -> None:
    """As it happened: each of the two trained on all samples."""
    words = [
        "module._target_=ways.Records",
        "datamodule._target_=ways.Numbered",
        "trainer.devices=2",
        "trainer.strategy=ddp",
        "trainer.max_epochs=2",
    ]
    whole = tmp_path / "whole"
    assert train_in_process([f"in={whole}", *RUN, *words]) == 0
    assert summary(whole)["steps"] == 2 * 10
    said = "each of 2 processes takes whole batches of its loaders"
    assert said in (whole / "train.log").read_text()
    seen = [json.loads((whole / f"seen_{rank}.json").read_text()) for rank in (0, 1)]
    for epoch in (0, 1):
        shares = [numbers[epoch * 150 : (epoch + 1) * 150] for numbers in seen]
        assert sorted(shares[0] + shares[1]) == list(range(300))
    assert seen[0][:150] != seen[0][150:]
    config = composed([*RUN, *words])
    killed = killed_and_resumed(config, ["on_train_batch_end:16"], tmp_path / "killed")
    assert_same(killed, whole)


@pytest.mark.slow
def test_two_processes_measure_the_means_of_one(tmp_path: Path) -> None:
    """As it happened: of an odd number of samples, each counted half, rounded down.

    A batch of one sample left a process without any, whose mean is no number.
    """
    words = ["module._target_=ways.LogsItself", "datamodule._target_=ways.OddPoints"]
    words += ["datamodule.batch_size=10", "+datamodule.eval_batch_size=4", "trainer.max_epochs=2"]
    two = ["trainer.devices=2", "trainer.strategy=ddp"]
    metrics = []
    for name, more in (("one", []), ("two", two)):
        assert train_in_process([f"in={tmp_path / name}", *RUN, *words, *more]) == 0
        metrics.append(summary(tmp_path / name)["metrics"])
    assert metrics[1] == pytest.approx(metrics[0], rel=1e-5)
    assert "val/loss" in metrics[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("way", "word", "name"),
    [
        ("a running mean of the weights", "trainer.limit_val_batches=0", "last"),
        ("a running mean of the weights", "trainer.limit_val_batches=1.0", "best"),
        (
            "the mean of the last epochs, a loader for each epoch",
            "trainer.limit_val_batches=1.0",
            "best",
        ),
    ],
)
def test_a_mean_of_the_weights_is_tested_after_a_resume_too(
    way: str, word: str, name: str, tmp_path: Path
) -> None:
    """Without validation, the test has the weights in memory: the mean, when training has ended."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    with as_killed("on_test_batch_end", whole, killed):
        begin(composed([*RUN, *WAYS[way], word]), whole)
    run_train(f"resume={killed}", draws=False)
    assert_bit_identical(killed, whole)
    # The mean is what is kept, tested and measured again: not the weights of the last step.
    run_evaluate(f"run={killed}", draws=False)
    again = json.loads((killed / "evaluation/test.json").read_text())
    assert again["metrics"]["test/loss"] == summary(whole)["metrics"]["test/loss"]
    tested, last = (
        torch.load(killed / f"checkpoints/{file}.ckpt", weights_only=True)
        for file in (name, "last")
    )
    weights = last.get("current_model_state", last["state_dict"])
    assert not torch.equal(tested["state_dict"]["network.0.bias"], weights["network.0.bias"])


LENET = [
    "experiment=lenet",
    "datamodule=digits",
    "datamodule.steps_per_epoch=50",
    "accelerator=cpu",
    "logger=csv",
]
STOPS = [
    f"+callbacks.early._target_={EARLY}",
    "+callbacks.early.monitor=val/loss",
    "+callbacks.early.patience=1",
]


@pytest.mark.slow
def test_a_stopped_run_of_lenet_does_not_go_on_when_it_is_killed_in_its_test(
    tmp_path: Path,
) -> None:
    """As it happened: the resumed run trained for twice as many steps."""
    words = [*LENET, *STOPS, "trainer.max_epochs=30", "optimizer.lr=0.01"]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    with as_killed("on_test_batch_end", whole, killed):
        begin(composed(words), whole)
    steps = summary(whole)["steps"]
    assert steps < 30 * 50
    run_train(f"resume={killed}", draws=False)
    assert_bit_identical(killed, whole)
    says = f"stopped at step {steps}: val/loss did not improve"
    assert (killed / "train.log").read_text().count(says) == 1


@pytest.mark.parametrize(
    ("monitor", "says"),
    [
        ("val/lss", "LeNet5 logs no such metric. Did you mean val/loss? It logs: train/loss, "),
        ("accuracy", "LeNet5 logs no such metric. It logs: train/loss, train/acc, val/loss, "),
    ],
)
def test_a_wrong_monitor_is_found_before_training(
    monitor: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*LENET, *STOPS[:1], f"+callbacks.early.monitor={monitor}"]
    with pytest.raises(SystemExit) as stop:
        run_train(*words, f"paths.log_dir={tmp_path}")
    assert stop.value.code == 2
    answer = capsys.readouterr().err
    assert answer.startswith(f"error: callbacks.early.monitor={monitor}: {says}")
    assert len(answer.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_monitor_that_need_not_be_there_is_not_refused(tmp_path: Path) -> None:
    early = f"+callbacks.early={{_target_: {EARLY}, monitor: val/lss, strict: false}}"
    run_train(*RUN, early, "trainer.max_epochs=1", f"paths.log_dir={tmp_path}")
    assert summary(only_run(tmp_path))["status"] == "finished"


def test_whatever_a_users_module_or_callback_logs_may_be_followed(tmp_path: Path) -> None:
    words = [*RUN, "trainer.max_epochs=2", "+callbacks.early.monitor=mean/loss"]
    early = f"+callbacks.early._target_={EARLY}"
    run_train(*words, early, "module._target_=logged.LogsMeans", f"paths.log_dir={tmp_path}")
    assert summary(only_run(tmp_path))["status"] == "finished"


@pytest.mark.slow
def test_with_accumulated_gradients_what_is_due_every_n_steps_is_done_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """By a progress line every 2 steps and a checkpoint every 3, of batches in windows of 4."""
    caplog.set_level("INFO")
    written: list[int] = []
    save = WholeFileIO.save_checkpoint

    def noted(self: Any, checkpoint: dict[str, Any], path: Any, **more: Any) -> None:
        written.extend([checkpoint["global_step"]] * (Path(path).name == "last.ckpt"))
        save(self, checkpoint, path, **more)

    monkeypatch.setattr(WholeFileIO, "save_checkpoint", noted)
    run_train(
        *RUN,
        "trainer.accumulate_grad_batches=4",
        "datamodule.steps_per_epoch=40",
        "trainer.max_epochs=1",
        "callbacks.progress_bar.line_every_n_steps=2",
        f"paths.log_dir={tmp_path}",
    )
    assert written == [3, 6, 9, 10]
    assert re.findall(r"epoch 1/1, step (\d+)", caplog.text) == ["2", "4", "6", "8", "10"]
