"""A GAN in the way of Lightning's documents: two optimisers by hand, a grid of images.

It has no test, returns no loss, and logs metrics under names of its own.
"""

import json
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from commands import only_run
from foreign.projects import Foreign
from identical import assert_bit_identical

WORDS = [
    "experiment=gan",  # 5 batches and 10 steps an epoch, 3 epochs
    "accelerator=cpu",
    "callbacks.checkpoints.every_n_steps=3",
]
# Within an epoch, at an epoch's end and in a validation.
MOMENTS = ["on_train_batch_end:8", "on_train_epoch_end:10", "on_validation_batch_end:20"]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Foreign:
    return Foreign(tmp_path_factory.mktemp("gan"), "gan")


@pytest.fixture(scope="module")
def trained(project: Foreign) -> Path:
    log_dir = project.folder / "whole"
    said = project.train(*WORDS, f"paths.log_dir={log_dir}")
    assert "objective: val_gap, best epoch" in said
    assert "epoch 3/3: g_loss " in said
    return only_run(log_dir)


def images(run: Path) -> list[tuple[int, bytes]]:
    events = EventAccumulator(str(run), size_guidance={"images": 0}).Reload()
    return [(image.step, image.encoded_image_string) for image in events.Images("generated_images")]


def test_it_learns(trained: Path) -> None:
    summary = json.loads((trained / "summary.json").read_text())
    assert (summary["status"], summary["steps"]) == ("finished", 30)
    gaps = (trained / "metrics.csv").read_text()
    assert summary["objective"] == summary["metrics"]["val_gap"] < 0.2, gaps


def test_it_shows_a_grid_of_images_after_each_epoch(trained: Path) -> None:
    assert [step for step, _ in images(trained)] == [0, 1, 2]


@pytest.mark.slow
def test_killed_and_resumed_it_ends_with_the_same_bits(project: Foreign, trained: Path) -> None:
    resumed = project.killed_and_resumed(WORDS, MOMENTS)
    assert_bit_identical(resumed, trained)
    assert images(resumed)[-1] == images(trained)[-1]


def test_its_checkpoint_has_all_hyper_parameters(trained: Path) -> None:
    saved = torch.load(trained / "checkpoints/last.ckpt", weights_only=True)
    shape = {"channels": 1, "height": 8, "width": 8, "latent_dim": 8}
    assert saved["hyper_parameters"] == {**shape, "lr": 0.002, "b1": 0.5, "b2": 0.999}


def test_it_is_evaluated_on_its_validation_split(project: Foreign, trained: Path) -> None:
    project.evaluate(f"run={trained}", "accelerator=cpu", "split=val")
    found = json.loads((trained / "evaluation/val.json").read_text())["metrics"]
    summary = json.loads((trained / "summary.json").read_text())
    assert found == {"val_gap": summary["objective"]}


@pytest.mark.slow
def test_it_is_swept(project: Foreign, trained: Path) -> None:
    _, (first, second) = project.swept(WORDS, "basic")
    alone = json.loads((trained / "summary.json").read_text())["metrics"]
    assert first == alone
    assert second["g_loss"] != alone["g_loss"]
