"""What a run says at its end, and where nothing is to be followed."""

import json
from pathlib import Path

import pytest
import torch

import ways
from commands import only_run, run_train
from engine.run import folders
from engine.run.summaries import LAST_PASS, LAST_VALUE, OF_MEAN
from fitting import columns
from resuming import SMALL, refused

WORDS = ("lrs=0.02", "epoch_start=0.25")
STEPS = 10  # in an epoch of SMALL
SWA = ["callbacks=[default,swa]", *(f"callbacks.swa.swa_{word}" for word in WORDS)]


def told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, *words: str, epochs: int = 4
) -> tuple[Path, str]:
    caplog.set_level("INFO")
    own = [f"trainer.max_epochs={epochs}", f"paths.log_dir={tmp_path}"]
    run_train(*SMALL, *words, *own, draws=False)
    return only_run(tmp_path), caplog.text


def test_where_all_validations_are_nan_the_last_weights_are_tested(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As it happened: the end said "with best.ckpt", and there was none."""
    run_dir, text = told(tmp_path, caplog, "module._target_=keeping.NaNInValidation", epochs=2)
    assert not (run_dir / folders.BEST).exists()
    assert "no best.ckpt, so the last weights take its place" in text
    assert "objective: none; val/loss is no number (NaN)" in text
    assert "test: with best.ckpt" not in text


@pytest.mark.parametrize(("module", "every"), [("Small", 1), ("Normalised", 1), ("Normalised", 2)])
def test_a_mean_of_weights_is_validated_and_compared(
    module: str, every: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As it happened: a sweep compared the last validation, of weights that nobody keeps or tests.

    Lightning has an epoch more for batch statistics.
    """
    words = [f"module._target_=ways.{module}", f"trainer.check_val_every_n_epoch={every}"]
    run_dir, text = told(tmp_path, caplog, *words, *SWA)
    assert "best.ckpt has the mean of the last epochs\n" in text
    ended = json.loads((run_dir / "summary.json").read_text())
    assert ended["objective_of"] == {"metric": "val/loss", "taken": OF_MEAN, "mode": "min"}
    assert "objective: val/loss, of the mean" in text
    assert "test and val: with best.ckpt; train: the last row" in text
    network = getattr(ways, module)(optimizer=None).eval()
    network.load_state_dict(torch.load(run_dir / folders.BEST, weights_only=True)["state_dict"])
    splits = ways.Points(seed=0, batch_size=5).load()
    for name in ("val", "test"):
        predictions = network.network(splits[name].inputs)
        loss = (predictions - splits[name].targets).square().mean().item()
        assert ended["metrics"][f"{name}/loss"] == pytest.approx(loss, rel=1e-6)
    assert ended["objective"] == ended["metrics"]["val/loss"]
    *epochs, last = columns(run_dir, "val/loss")[0]
    assert len(epochs) == (4 if module == "Small" else 5) // every
    assert last == ended["objective"]


def test_schedules_are_there_as_a_mean_is_validated(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run_dir, _ = told(tmp_path, caplog, "module._target_=ways.LogsItsRate", *SWA)
    rates = columns(run_dir, "val/rate")[0]
    assert len(rates) == 5
    assert rates[-1] == rates[-2]


def test_a_mean_that_cannot_be_validated_is_tested_all_the_same(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run_dir, text = told(tmp_path, caplog, "module._target_=ways.ValidatesInTraining", *SWA)
    said = "the mean of the last epochs is not validated: ValueError: no training goes on"
    assert text.count(said) == 1
    ended = json.loads((run_dir / "summary.json").read_text())
    assert (ended["status"], ended["objective_of"]["taken"]) == ("finished", LAST_VALUE)
    assert "test/loss" in ended["metrics"]


def test_a_search_for_a_batch_size_is_over_when_a_mean_is_validated(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    finder = "+callbacks.finder={_target_: lightning.pytorch.callbacks.BatchSizeFinder, "
    words = ["datamodule._target_=ways.Ordinary", f"{finder}max_trials: 1, init_val: 4}}"]
    run_dir, _ = told(tmp_path, caplog, *SWA, *words)
    ended = json.loads((run_dir / "summary.json").read_text())
    epochs, steps = columns(run_dir, "epoch")[0], columns(run_dir, "step")[0]
    assert ended["steps"] == max(steps) > 0
    assert (epochs[-2], steps[-2]) == (4, max(steps))


def test_a_mean_of_weights_without_validation_is_not_validated(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run_dir, _ = told(tmp_path, caplog, "trainer.limit_val_batches=0", *SWA)
    ended = json.loads((run_dir / "summary.json").read_text())
    assert ended["objective_of"]["taken"] == LAST_PASS
    assert not any(name.startswith("val") for name in ended["metrics"])


@pytest.mark.parametrize(
    "limits",
    [
        ["trainer.max_epochs=2", "trainer.max_steps={}"],  # of two epochs: none is left for them
        ["trainer.max_epochs=null", "trainer.max_steps={}", "callbacks.swa.swa_epoch_start=2"],
    ],
    ids=["epochs and steps", "steps"],
)
def test_a_mean_without_batch_statistics_of_its_own_says_so_and_is_resumed_with(
    limits: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As it happened: it was said to be validated, and a resumed run ended without the mean."""
    caplog.set_level("INFO")
    own = [*SMALL, "module._target_=ways.Normalised", *SWA, f"paths.log_dir={tmp_path}"]
    steps = 2 * STEPS
    run_train(*own, *(word.format(steps) for word in limits), draws=False)
    run_dir = only_run(tmp_path)
    said = "best.ckpt has the mean of the last epochs, and the batch statistics of the last weights"
    assert said in caplog.text
    before = json.loads((run_dir / "summary.json").read_text())
    rows = (run_dir / "metrics.csv").read_text()
    ended = torch.load(run_dir / folders.BEST, weights_only=True)["state_dict"]
    (run_dir / "summary.json").unlink()
    run_train(f"resume={run_dir}", draws=False)
    again = torch.load(run_dir / folders.BEST, weights_only=True)["state_dict"]
    assert all(torch.equal(weight, again[name]) for name, weight in ended.items())
    after = json.loads((run_dir / "summary.json").read_text())
    assert after["objective_of"] == before["objective_of"]
    assert after["objective"] == before["objective"]
    assert (run_dir / "metrics.csv").read_text() == rows


@pytest.mark.parametrize("module", ["Small", "Normalised"])
def test_training_that_ends_before_the_mean_of_the_last_epochs_says_so(
    module: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As it happened: Lightning left the weights of the last step, and nothing said so."""
    _, text = told(tmp_path, caplog, f"module._target_=ways.{module}", *SWA, "trainer.max_steps=7")
    assert "no mean of the last epochs: training ended in epoch 1, before it was made" in text
    assert "best.ckpt has the mean" not in text


def test_a_rate_that_follows_a_validation_before_there_is_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As it happened: the module was said to log no such metric."""
    words = [*SMALL, "module._target_=ways.FollowsClosely", "trainer.check_val_every_n_epoch=2"]
    says = refused(run_train, capsys, *words, "trainer.max_epochs=4", f"paths.log_dir={tmp_path}")
    assert "monitor=val/loss: not logged by the end of epoch 1: a validation comes every 2" in says
    assert "Let what follows it have a frequency of 2 epochs, too." in says
