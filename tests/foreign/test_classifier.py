"""A LightningModule and a LightningDataModule in the way of the best-known template.

They are as foreign as they can be: the network is a nested node, optimiser and scheduler are
partials, all of them are saved as hyper-parameters, and the data come by ordinary DataLoaders.
"""

import json
from pathlib import Path

import pytest
import torch

from commands import only_run
from foreign.projects import Foreign
from identical import assert_bit_identical

WORDS = [
    "experiment=tiny_images",  # 10 steps an epoch, 3 epochs
    "accelerator=cpu",
    "callbacks.checkpoints.every_n_steps=3",
]
# Within an epoch, at an epoch's end, in a validation and in the test.
MOMENTS = [
    "on_train_batch_end:8",
    "on_train_epoch_end:10",
    "on_validation_batch_end:20",
    "on_test_batch_end:30",
]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Foreign:
    return Foreign(tmp_path_factory.mktemp("classifier"), "classifier")


@pytest.fixture(scope="module")
def trained(project: Foreign) -> Path:
    log_dir = project.folder / "whole"
    said = project.train(*WORDS, f"paths.log_dir={log_dir}")
    assert "no plain values: net (DenseNet), optimizer (" in said
    assert "objective: val/acc, best epoch" in said
    assert "epoch 3/3: val " in said
    return only_run(log_dir)


def test_it_learns(trained: Path) -> None:
    summary = json.loads((trained / "summary.json").read_text())
    assert (summary["status"], summary["steps"]) == ("finished", 30)
    assert summary["metrics"]["test/acc"] > 0.8  # by chance 0.25
    assert summary["objective"] == summary["metrics"]["val/acc_best"]


def test_its_checkpoints_have_the_plain_hyper_parameters(trained: Path) -> None:
    saved = torch.load(trained / "checkpoints/best.ckpt", weights_only=True)
    assert saved["hyper_parameters"] == {"compile": False}
    assert saved["datamodule_hyper_parameters"]["train_val_test_split"] == [160, 40, 40]


@pytest.mark.slow
def test_killed_and_resumed_it_ends_with_the_same_bits(project: Foreign, trained: Path) -> None:
    """With persistent workers, and the bits of a run without: in its second epoch, they are old."""
    words = [*WORDS, "datamodule.num_workers=1"]
    assert_bit_identical(project.killed_and_resumed(words, MOMENTS), trained)


def test_it_is_evaluated(project: Foreign, trained: Path) -> None:
    project.evaluate(f"run={trained}", "accelerator=cpu")
    project.evaluate(f"run={trained}", "accelerator=cpu", "split=val")
    summary = json.loads((trained / "summary.json").read_text())
    tested, validated = (
        json.loads((trained / f"evaluation/{split}.json").read_text())["metrics"]
        for split in ("test", "val")
    )
    assert tested == {
        key: value for key, value in summary["metrics"].items() if key.startswith("test/")
    }
    assert validated["val/acc"] == summary["objective"]


@pytest.mark.slow
def test_it_is_swept(project: Foreign, trained: Path) -> None:
    said, (first, second) = project.swept(WORDS, "vectorized")
    assert "2 of 2 jobs one by one: TinyImages is no TensorDataModule" in said
    alone = json.loads((trained / "summary.json").read_text())["metrics"]
    assert first == alone
    assert second["train/loss"] != alone["train/loss"]
