"""A run killed at any moment and resumed is bit-identical to one that was left alone."""

import json
from pathlib import Path

import pytest
import torch

from commands import only_run, run_train, train_in_process
from identical import assert_bit_identical

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


@pytest.fixture(scope="module")
def left_alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    log_dir = tmp_path_factory.mktemp("left_alone")
    run_train(*RUN, f"paths.log_dir={log_dir}", draws=False)
    return only_run(log_dir)


@pytest.mark.parametrize(
    "moments",
    [
        pytest.param(["on_train_batch_start:12"], id="before the first checkpoint"),
        pytest.param(
            ["on_train_batch_end:16", "on_train_batch_start:50", "on_train_batch_end:160"],
            id="mid-epoch",
        ),
        pytest.param(
            ["on_train_batch_start:76", "on_train_batch_end:77", "on_train_batch_end:154"],
            id="last batch",
        ),
        pytest.param(["on_validation_start:77", "on_validation_batch_end:154"], id="validation"),
        pytest.param(
            ["on_validation_end:77", "on_train_epoch_end:154", "on_test_batch_end:231"], id="ends"
        ),
    ],
)
def test_killed_and_resumed_is_bit_identical(
    moments: list[str], left_alone: Path, tmp_path: Path
) -> None:
    command = [*RUN, f"paths.log_dir={tmp_path}"]
    for moment in moments:
        assert train_in_process(command, kill_at=moment) == -9, moment
        command = [f"resume={only_run(tmp_path)}"]
    run_train(*command, draws=False)
    assert_bit_identical(only_run(tmp_path), left_alone)


@pytest.mark.parametrize(
    "words",
    [
        ["trainer.precision=64-true"],
        # Batches of one size: each size takes seconds to compile.
        ["compile=true", "datamodule.steps_per_epoch=75"],
    ],
    ids=["64 bits", "compiled"],
)
@pytest.mark.slow
def test_in_other_ways_of_computing(words: list[str], tmp_path: Path) -> None:
    command = [*RUN, *words, "trainer.max_epochs=1"]
    run_train(*command, f"paths.log_dir={tmp_path / 'alone'}", draws=False)
    assert (
        train_in_process(
            [*command, f"paths.log_dir={tmp_path / 'killed'}"], kill_at="on_train_batch_end:40"
        )
        == -9
    )
    killed = only_run(tmp_path / "killed")
    run_train(f"resume={killed}", draws=False)
    assert_bit_identical(killed, only_run(tmp_path / "alone"))


@pytest.mark.slow
def test_two_processes_of_which_the_first_is_killed(tmp_path: Path) -> None:
    """The kill comes in the second of two epochs of 20 steps.

    It comes after, or before, a checkpoint amid the steps of a row, 31 to 40.
    """
    two = [
        "trainer.devices=2",
        "trainer.strategy=ddp",
        "datamodule.batch_size=64",
        "trainer.max_epochs=2",
    ]
    command = [*RUN, *two]
    assert train_in_process([*command, f"paths.log_dir={tmp_path / 'alone'}"]) == 0
    assert (
        train_in_process(
            [*command, f"paths.log_dir={tmp_path / 'killed'}"], kill_at="on_train_batch_end:38"
        )
        == -9
    )
    killed = only_run(tmp_path / "killed")
    assert 30 < torch.load(killed / "checkpoints/last.ckpt", weights_only=True)["global_step"] < 38
    assert train_in_process([f"resume={killed}"]) == 0
    assert json.loads((killed / "summary.json").read_text())["device"].startswith("2 × cpu")
    assert_bit_identical(killed, only_run(tmp_path / "alone"))
