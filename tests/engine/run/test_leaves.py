"""What a run leaves behind: LeNet-5, two epochs on the digits, with all that a run writes."""

import csv
import logging
import re
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from commands import run_train
from engine.run import folders
from engine.run.loggers.tensorboard import tag_of
from whole_runs import column, files, run, summary_of


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """LeNet-5, two epochs on the digits, with all that a run writes."""
    words = [
        "datamodule.batch_size=16",
        "optimizer=adam",
        "trainer.max_epochs=2",
        "trainer.log_every_n_steps=20",
    ]
    words.append("datamodule.steps_per_epoch=null")
    root, level = logging.getLogger(), logging.getLogger().level
    root.setLevel(logging.INFO)  # as `messages.to_terminal` does where pytest is not before it
    run_dir = run(tmp_path_factory.mktemp("digits"), *words, "accelerator=cpu", "seed=5")
    root.setLevel(level)
    return run_dir


@pytest.mark.slow
class TestWhatARunLeaves:
    def test_files(self, digits: Path) -> None:
        names = {re.sub(r"events\.out\.tfevents.*", "events", name) for name in files(digits)}
        assert names == {
            ".hydra/config.yaml",
            ".hydra/door",
            ".hydra/lock",
            ".hydra/made_of.json",
            ".hydra/overrides.yaml",
            ".hydra/trained",
            "checkpoints/best.ckpt",
            "checkpoints/last.ckpt",
            "checkpoints/previous.ckpt",
            "events",
            "figures/test_confusion_matrix.png",
            "figures/test_images.png",
            "metrics.csv",
            "summary.json",
            "train.log",
        }

    def test_folder(self, digits: Path) -> None:
        assert re.fullmatch(r".*/runs/lenet/\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d", str(digits))

    def test_config_is_resolved_and_overrides_are_as_typed(self, digits: Path) -> None:
        text = (digits / ".hydra" / "config.yaml").read_text()
        assert "${" not in text
        saved = OmegaConf.create(text)
        assert saved.seed == saved.datamodule.seed == saved.callbacks.step_seed.seed == 5
        assert saved.module.optimizer == saved.optimizer
        overrides = OmegaConf.load(digits / ".hydra" / "overrides.yaml")
        assert list(overrides) == [
            "datamodule.batch_size=16",
            "optimizer=adam",
            "trainer.max_epochs=2",
            "trainer.log_every_n_steps=20",
            "datamodule.steps_per_epoch=null",
            "accelerator=cpu",
            "seed=5",
            f"paths.log_dir={digits.parents[2]}",
        ]

    def test_summary(self, digits: Path) -> None:
        summary = summary_of(digits)
        best = max(column(digits, "val/acc"))
        assert {key: type(value) for key, value in summary.items()} == {
            "status": str,
            "error": type(None),
            "objective": float,
            "objective_of": dict,
            "metrics": dict,
            "tested": str,
            "rows": int,
            "config_hash": str,
            "seed": int,
            "steps": int,
            "device": str,
            "versions": dict,
            "git": str,
            "seconds": float,
        }
        assert (summary["status"], summary["seed"], summary["steps"]) == ("finished", 5, 154)
        assert summary["objective"] == best
        assert summary["tested"] == "best.ckpt"
        assert summary["objective_of"] == {
            "metric": "val/acc",
            "taken": "best epoch",
            "mode": "max",
        }
        assert summary["config_hash"] == folders.load_config(digits).hash
        assert re.fullmatch(r"[0-9a-f]{64}", summary["config_hash"])
        assert re.fullmatch(r"[0-9a-f]{40}\+?", summary["git"])
        assert summary["versions"].keys() == {"python", "torch", "lightning"}
        assert summary["versions"]["torch"] == torch.__version__
        assert summary["device"].startswith("1 × cpu")
        assert 0 < summary["seconds"] < 120

    def test_metrics(self, digits: Path) -> None:
        metrics = summary_of(digits)["metrics"]
        per_class = {f"{split}/acc/{digit}" for split in ("val", "test") for digit in range(10)}
        measured = {
            f"{split}/{name}" for split in ("train", "val", "test") for name in ("loss", "acc")
        }
        assert metrics.keys() == per_class | measured
        assert metrics == {name: column(digits, name)[-1] for name in metrics}
        assert metrics["test/acc"] > 0.85
        mean = sum(metrics[f"test/acc/{digit}"] for digit in range(10)) / 10
        assert metrics["test/acc"] == pytest.approx(
            mean, abs=0.01
        )  # the classes are nearly of one size

    def test_rows(self, digits: Path) -> None:
        with open(digits / "metrics.csv", newline="") as file:
            rows = [
                (int(row["epoch"]), int(row["step"]))
                for row in csv.DictReader(file)
                if row["train/loss"]
            ]
        # 77 steps an epoch: every 20 steps, and at the end
        assert rows == [(0, 19), (0, 39), (0, 59), (0, 76), (1, 96), (1, 116), (1, 136), (1, 153)]
        assert column(digits, "lr") == [0.001] * 8

    def test_train_log(self, digits: Path) -> None:
        text = (digits / "train.log").read_text()
        assert f"run folder: {digits}" in text
        assert "data: DigitsDataModule, 1,221 train, 216 val, 360 test samples" in text
        assert "model: LeNet5, 62,006 parameters" in text
        assert re.search(r"INFO engine.*: epoch 2/2: train loss 0\.\d+", text)

    def test_tensorboard(self, digits: Path) -> None:
        events = EventAccumulator(str(digits), size_guidance={"scalars": 0}).Reload()
        tags = events.Tags()
        metrics = summary_of(digits)["metrics"]
        assert set(tags["scalars"]) == {"lr", *(tag_of(name, metrics) for name in metrics)}
        assert tags["graph"]
        assert tags["images"] == ["test/confusion_matrix", "test/images"]
        for name, last in metrics.items():
            shown = events.Scalars(tag_of(name, metrics))[-1]
            assert shown.value == pytest.approx(last, rel=1e-6), name

    def test_best_checkpoint_is_the_tested_one(self, digits: Path) -> None:
        best = torch.load(digits / folders.BEST, weights_only=True)
        scores = column(digits, "val/acc")
        assert best["epoch"] == scores.index(max(scores))

    def test_started_again_it_says_so_and_runs_nothing(
        self, digits: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO, "engine")
        before = files(digits)
        run_train(f"resume={digits}")
        assert caplog.messages == [f"finished already, nothing to do: {digits}"]
        assert files(digits) == before
