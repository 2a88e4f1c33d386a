"""Checks the steps of jobs that train together: in blocks of any size, and with checkpoints."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.trainer.connectors.checkpoint_connector import _CheckpointConnector

from engine.run.checkpoint.file import WholeFileIO
from engine.vectorized.module import StackedModule
from together import CURVE, FIRST, MINIBATCHES, SHORT_LENET, jobs, rows, sweep


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        [*MINIBATCHES, "callbacks.checkpoints.every_n_steps=5"],
        [*SHORT_LENET, "optimizer.lr=0.01,1e20"],
        [*CURVE, "seed=0,1"],
    ],
    ids=["a short last batch", "a job that diverges", "one batch for all steps"],
)
def test_blocks_of_steps_change_no_bit(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    training_step = StackedModule.training_step

    def noted(self: StackedModule, steps: int, batch_idx: int) -> torch.Tensor:
        sizes.append(steps)
        return training_step(self, steps, batch_idx)

    monkeypatch.setattr(StackedModule, "training_step", noted)
    words = [*words, "logger=csv"]
    single = jobs(sweep(tmp_path / "1", *words, "trainer.steps_per_call=1"))
    assert set(sizes) == {1}
    for most in (4, 1000):
        sizes.clear()
        made = jobs(sweep(tmp_path / str(most), *words, f"trainer.steps_per_call={most}"))
        assert max(sizes) > 1
        for name, theirs in single.items():
            assert (made[name] / "metrics.csv").read_text() == (theirs / "metrics.csv").read_text()
            for path in theirs.glob("checkpoints/*"):
                both = (run / "checkpoints" / path.name for run in (made[name], theirs))
                saved, right = (torch.load(file, weights_only=True) for file in both)
                assert saved["loops"] == right["loops"]
                for part in (saved, right):
                    part["steps"] = part["so_far"]["processes"][0]["steps"]
                for key in ("state_dict", "optimizer_states", "steps"):
                    torch.testing.assert_close(
                        saved[key], right[key], rtol=0, atol=0, equal_nan=True
                    )


def test_the_progress_bar_has_the_jobs_mean_loss_of_a_blocks_last_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: dict[str, float] = {}
    on_train_batch_end = StackedModule.on_train_batch_end

    def noted(self: StackedModule, *arguments: Any) -> None:
        if "train/loss" in self.trainer.progress_bar_metrics:
            shown[str(self.global_step - 1)] = self.trainer.progress_bar_metrics["train/loss"]
        on_train_batch_end(self, *arguments)

    monkeypatch.setattr(StackedModule, "on_train_batch_end", noted)
    words = [*CURVE, "logger=csv", "seed=0,1", "trainer.log_every_n_steps=1"]
    tables = [rows(run_dir) for run_dir in jobs(sweep(tmp_path, *words)).values()]
    right = {
        both[0]["step"]: sum(float(row["train/loss"]) for row in both) / 2
        for both in zip(*tables, strict=True)
    }
    assert len(right) == 30
    assert 1 < len(shown) < 20  # blocks have several rows
    assert shown == pytest.approx({step: right[step] for step in shown}, rel=FIRST)


@pytest.mark.slow
def test_lightning_is_asked_for_its_state_once_for_all_checkpoints_of_a_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: Counter[str] = Counter()

    def counted(kind: type, name: str) -> None:
        do = getattr(kind, name)

        def wrapper(*args: Any, **options: Any) -> Any:
            calls[name] += 1
            return do(*args, **options)

        monkeypatch.setattr(kind, name, wrapper)

    counted(_CheckpointConnector, "dump_checkpoint")
    counted(WholeFileIO, "save_checkpoint")
    short = ["logger=csv", "datamodule.steps_per_epoch=8", "callbacks.checkpoints.every_n_steps=2"]
    sweep(tmp_path, *CURVE, *short, "seed=0,1,2")
    assert calls == {
        "dump_checkpoint": 4,
        "save_checkpoint": 3 * 4,
    }  # at steps 2, 4, 6 and 8, the epoch's end
