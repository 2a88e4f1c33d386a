"""Checks that jobs which train together go on where they were stopped."""

import signal
from pathlib import Path

import pytest
import torch

from commands import run_train, train_in_process
from engine.run import folders
from together import (
    LATER,
    SHORT_LENET,
    folder,
    jobs,
    numbers,
    rows,
    statuses,
    summary,
    sweep,
)

STOPPED = [*SHORT_LENET, "logger=csv", "seed=0,1", "callbacks.checkpoints.every_n_steps=6"]


@pytest.fixture(scope="module")
def left_alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return jobs(sweep(tmp_path_factory.mktemp("alone"), *STOPPED, together=False))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sent", "code"), [(signal.SIGKILL, -9), (signal.SIGINT, 130), (signal.SIGTERM, 143)]
)
def test_a_stopped_sweep_goes_on(
    sent: int, code: int, tmp_path: Path, left_alone: dict[str, Path]
) -> None:
    command = ["-m", *STOPPED, "hydra/launcher=vectorized", f"paths.log_dir={tmp_path / 'a'}"]
    assert train_in_process(command, kill_at="on_train_batch_end:9", kill_with=sent) == code
    left = jobs(folder(tmp_path / "a"))
    assert len(left) == 2
    for run_dir in left.values():
        assert torch.load(run_dir / folders.LAST, weights_only=True)["global_step"] == 6
        if sent != signal.SIGKILL:
            assert (summary(run_dir)["status"], summary(run_dir)["steps"]) == ("interrupted", 9)
    run_train(*command, draws=False)
    for name, run_dir in left.items():
        assert summary(run_dir)["status"] == "finished"
        assert len(rows(run_dir)) == len(rows(left_alone[name]))
        for row, right in zip(rows(run_dir), rows(left_alone[name]), strict=True):
            assert numbers(row) == pytest.approx(numbers(right), rel=LATER)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("hook", "status"),
    [("on_train_batch_end:15", "interrupted"), ("on_test_epoch_start:24", "diverged")],
)
def test_an_interrupted_job_whose_loss_is_no_number_goes_on_unless_it_was_at_its_end(
    hook: str, status: str, tmp_path: Path
) -> None:
    """Nothing watches for divergence: only the end of a run says that it diverged, as alone."""
    words = [*SHORT_LENET, "logger=csv", "optimizer.lr=0.01,1e20", "callbacks.divergence=null"]
    command = ["-m", *words, "hydra/launcher=vectorized", f"paths.log_dir={tmp_path}"]
    assert train_in_process(command, kill_at=hook, kill_with=signal.SIGINT) == 130
    assert statuses(folder(tmp_path)) == {"lr=0.01": "interrupted", "lr=1e+20": status}
    run_train(*command, draws=False)
    assert statuses(folder(tmp_path)) == {"lr=0.01": "finished", "lr=1e+20": "diverged"}
