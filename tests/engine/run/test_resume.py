"""A run killed at any moment and resumed is bit-identical to one that was left alone."""

import json
from pathlib import Path

import pytest
import torch

from commands import begin, composed, only_run, run_train, train_in_process
from engine.run import folders
from identical import assert_bit_identical
from resuming import SMALL

# 77 steps an epoch (76 whole batches and one of 5), rows every 10 steps, checkpoints every 16
RUN = [
    "experiment=lenet",
    "datamodule=digits",
    "datamodule.steps_per_epoch=null",
    "datamodule.batch_size=16",
    "trainer.max_epochs=3",
    "optimizer=adam",
    "trainer.log_every_n_steps=10",
    "callbacks.checkpoints.every_n_steps=16",
    "logger.tensorboard.log_graph=false",
    "accelerator=cpu",
]


MOMENTS = [
    "on_train_batch_start:12",  # before the first checkpoint
    "on_train_batch_end:16",
    "on_train_batch_start:50",
    "on_train_batch_start:76",  # the last batch of an epoch
    "on_train_batch_end:77",
    "on_validation_start:77",
    "on_validation_end:77",
    "on_train_batch_end:154",
    "on_validation_batch_end:154",
    "on_train_epoch_end:154",
    "on_train_batch_end:160",
    "on_test_batch_end:231",
]


def test_killed_and_resumed_is_bit_identical(tmp_path: Path) -> None:
    """Kills one run at each moment: it has as many resumes, each of which has to be exact."""
    run_train(*RUN, f"paths.log_dir={tmp_path / 'alone'}", draws=False)
    killed = tmp_path / "killed"
    command = [*RUN, f"paths.log_dir={killed}"]
    for moment in MOMENTS:
        assert train_in_process(command, kill_at=moment) == -9, moment
        command = [f"resume={only_run(killed)}"]
    run_train(*command, draws=False)
    assert_bit_identical(only_run(killed), only_run(tmp_path / "alone"))


@pytest.mark.parametrize(
    "words",
    [
        [*SMALL, "trainer.precision=64-true", "trainer.log_every_n_steps=4"],
        # A small network, and batches of one size: each takes seconds to compile.
        [*SMALL, "compile=true", "trainer.log_every_n_steps=4"],
    ],
    ids=["64 bits", "compiled"],
)
@pytest.mark.slow
def test_in_other_ways_of_computing(words: list[str], tmp_path: Path) -> None:
    # The second validation is the first one of the process that goes on.
    command = [*words, "trainer.max_epochs=2", "+datamodule.eval_batch_size=7"]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    begin(composed(command), whole)
    assert train_in_process([f"in={killed}", *command], kill_at="on_train_batch_end:18") == -9
    assert (killed / folders.LAST).exists()
    run_train(f"resume={killed}", draws=False)
    assert_bit_identical(killed, whole)


@pytest.mark.slow
def test_two_processes_of_which_the_first_is_killed(tmp_path: Path) -> None:
    """The kill comes in the second of two epochs of 10 steps.

    The checkpoint before it is amid the steps of a row, 15 to 18.
    """
    two = ["trainer.devices=2", "trainer.strategy=ddp", "trainer.max_epochs=2"]
    command = [*SMALL, *two, "trainer.log_every_n_steps=4"]
    assert train_in_process([*command, f"paths.log_dir={tmp_path / 'alone'}"]) == 0
    assert (
        train_in_process(
            [*command, f"paths.log_dir={tmp_path / 'killed'}"], kill_at="on_train_batch_end:17"
        )
        == -9
    )
    killed = only_run(tmp_path / "killed")
    assert torch.load(killed / "checkpoints/last.ckpt", weights_only=True)["global_step"] == 15
    assert train_in_process([f"resume={killed}"]) == 0
    assert json.loads((killed / "summary.json").read_text())["device"].startswith("2 × cpu")
    assert_bit_identical(killed, only_run(tmp_path / "alone"))


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["datamodule._target_=ways.DropsAll"], "DropsAll: its loader of training gives no batch"),
        (
            ["datamodule._target_=ways.GivesNothing", "trainer.max_epochs=2"],
            "GivesNothing: its loader of training has given no batch in epoch 1.",
        ),
        (
            [
                "+callbacks.mine._target_=lightning.pytorch.callbacks.ModelCheckpoint",
                "+callbacks.mine.save_last=true",
            ],
            "ModelCheckpoint: save_last=True: the run writes checkpoints/last.ckpt itself.",
        ),
        (
            [
                "+callbacks.mine._target_=lightning.pytorch.callbacks.ModelCheckpoint",
                "+callbacks.mine.filename=best",
            ],
            "ModelCheckpoint: filename=best: the run writes checkpoints/best.ckpt itself.",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore:Total length of")
def test_what_would_train_nothing_or_overwrite_the_checkpoint_is_refused(
    words: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        run_train(*SMALL, *words, f"paths.log_dir={tmp_path}", draws=False)
    assert stop.value.code == 2
    assert says in capsys.readouterr().err
    assert not list(tmp_path.rglob("last.ckpt"))
