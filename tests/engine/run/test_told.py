"""What a run says at its end, and where nothing is to be followed."""

import json
from pathlib import Path

import pytest
import torch

from commands import only_run, run_train
from engine.run import folders
from engine.run.summaries import LAST_VALUE
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


@pytest.mark.parametrize(
    ("module", "every", "is_validated"),
    [("Small", 1, False), ("Normalised", 1, True), ("Normalised", 2, False)],
)
def test_a_mean_of_weights_with_batch_statistics_is_validated(
    module: str, every: int, is_validated: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Lightning has an epoch more for the statistics."""
    words = [f"module._target_=ways.{module}", f"trainer.check_val_every_n_epoch={every}"]
    run_dir, text = told(tmp_path, caplog, *words, *SWA)
    said = "best.ckpt has the mean of the last epochs"
    assert said in text
    assert (f"{said}, which no validation has seen" in text) == (not is_validated)
    assert "batch statistics of the last weights" not in text
    # As it happened: the test loaded the score of an epoch, whose weights are gone.
    objective = json.loads((run_dir / "summary.json").read_text())["objective_of"]
    assert objective["taken"] == LAST_VALUE


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
    said = "best.ckpt has the mean of the last epochs, which no validation has seen, and the batch"
    assert said in caplog.text
    ended = torch.load(run_dir / folders.BEST, weights_only=True)["state_dict"]
    (run_dir / "summary.json").unlink()
    run_train(f"resume={run_dir}", draws=False)
    again = torch.load(run_dir / folders.BEST, weights_only=True)["state_dict"]
    assert all(torch.equal(weight, again[name]) for name, weight in ended.items())


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
