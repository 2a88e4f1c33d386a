"""Checks the steps of jobs that train together: in blocks of any size, and with checkpoints."""

from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch.trainer.connectors.checkpoint_connector import _CheckpointConnector
from torch import Tensor, nn

from engine.run.checkpoint.file import WholeFileIO
from engine.vectorized.module import StackedModule
from engine.vectorized.network import stacked
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


class Squeezes(nn.Linear):
    """Maps (N, 2) to (N,); a single sample to a number without a dimension."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).squeeze()


class Evaluated(SimpleNamespace):
    """Evaluates as a stack does."""

    def __call__(self, inputs: Tensor) -> Tensor:
        return self.pass_of_all(self.weights, inputs)  # type: ignore[no-any-return]


@pytest.mark.parametrize(("samples", "jobs_at_once"), [(37, 2), (5, 6), (2, 9), (40, 7)])
def test_no_part_of_an_evaluated_batch_is_a_single_sample(samples: int, jobs_at_once: int) -> None:
    """As it happened: of 37 samples, two jobs had parts of 18, 18 and 1."""
    inputs, targets = torch.rand(samples, 2), torch.rand(samples)
    networks = [Squeezes(2, 1) for _ in range(jobs_at_once)]
    names = ("weight", "bias")
    sizes: list[int] = []
    found: list[Tensor] = []

    def gather(split: str, numbers: Tensor) -> tuple[Tensor, Tensor]:
        sizes.append(numbers.shape[1])
        return inputs[numbers], targets[numbers]

    loss, module = object(), SimpleNamespace(add_loss=lambda *own: None)
    metrics = SimpleNamespace(update=lambda predictions, own: found.append(predictions))
    stack: Any = Evaluated(
        data=SimpleNamespace(gather=gather),
        members=[SimpleNamespace(module=module)] * jobs_at_once,
        pass_of_all=stacked(networks[0]),
        weights={name: torch.stack([getattr(own, name) for own in networks]) for name in names},
        _losses=lambda predictions, own: predictions.sum(1),
        _loss_and_metrics=lambda stage, number: (loss, metrics),
        _call=lambda *own: None,
    )
    StackedModule._count(stack, "validation", range(jobs_at_once), torch.arange(samples), 0)
    assert sum(sizes) == samples
    assert 2 <= min(sizes) <= max(sizes) <= max(3, -(-samples // jobs_at_once))
    for network, own in zip(networks, found, strict=True):
        torch.testing.assert_close(own, network(inputs))
