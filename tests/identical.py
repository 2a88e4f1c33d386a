"""Compares two runs to the last bit."""

from pathlib import Path

import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from commands import begin, composed, run_train
from moments import as_killed


def killed_and_resumed(words: list[str], folder: Path, kill_at: str) -> Path:
    """Trains, and goes on from what a kill would have left: the two end with the same bits.

    Args:
        words: of the command line.
        folder: for both runs.
        kill_at: as `moments.at` takes it.

    Returns:
        the folder of the run that was resumed.
    """
    whole, killed = folder / "whole", folder / "killed"
    with as_killed(kill_at, whole, killed):
        begin(composed(words), whole)
    run_train(f"resume={killed}", draws=False)
    assert_bit_identical(killed, whole)
    return killed


def assert_bit_identical(resumed: Path, left_alone: Path) -> None:
    """Compares metrics, weights, states of optimisers and schedulers, and TensorBoard's scalars."""
    assert (resumed / "metrics.csv").read_text() == (left_alone / "metrics.csv").read_text()
    names = {path.stem for path in left_alone.glob("checkpoints/*")}
    assert {path.stem for path in resumed.glob("checkpoints/*")} == names
    assert "last" in names
    for name in names:
        ours, theirs = (
            torch.load(run / f"checkpoints/{name}.ckpt", weights_only=True)
            for run in (resumed, left_alone)
        )
        assert_equal(ours["state_dict"], theirs["state_dict"])
        assert_equal(ours["optimizer_states"], theirs["optimizer_states"])
        assert_equal(ours["lr_schedulers"], theirs["lr_schedulers"])
        assert ours["global_step"] == theirs["global_step"]
        # Of a run with a running mean, whose state_dict has the mean.
        assert_equal(ours.get("current_model_state"), theirs.get("current_model_state"))
    assert scalars(resumed) == scalars(left_alone)


def assert_equal(ours: object, theirs: object) -> None:
    """Nested containers of tensors and numbers, equal to the last bit."""
    if isinstance(ours, dict):
        assert isinstance(theirs, dict)
        assert ours.keys() == theirs.keys()
        for key in ours:
            assert_equal(ours[key], theirs[key])
    elif isinstance(ours, list | tuple):
        assert isinstance(theirs, list | tuple)
        for a, b in zip(ours, theirs, strict=True):
            assert_equal(a, b)
    elif isinstance(ours, torch.Tensor):
        assert isinstance(theirs, torch.Tensor)
        assert torch.equal(ours, theirs)
    else:
        assert ours == theirs


def scalars(run_dir: Path) -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard shows of a run: (step, value) of every scalar, but for NaN."""
    events = EventAccumulator(
        str(run_dir), size_guidance={"scalars": 0}, purge_orphaned_data=True
    ).Reload()
    return {
        tag: [
            (event.step, event.value) for event in events.Scalars(tag) if event.value == event.value
        ]
        for tag in events.Tags()["scalars"]
    }
