"""A mean of weights that begins later, and what is validated until then."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging
from torch import Tensor, nn

from engine.callbacks.checkpoints import Checkpoints
from engine.callbacks.step_seed import StepSeed
from engine.run.folders import BEST
from engine.supervised import SupervisedModule
from fitting import Arrays, columns, plain_trainer

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(12, 4)).astype(np.float32), RNG.normal(size=(12, 1)).astype(np.float32)


def fitted(folder: Path, *callbacks: Any) -> tuple[list[float], dict[str, Tensor], Any]:
    """Trains for 4 × 3 steps; returns the losses of validation, the weights and best.ckpt."""
    folder.mkdir()
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 1))
    module = SupervisedModule(network, nn.MSELoss(), optimizer=partial(torch.optim.SGD, lr=0.1))
    checkpoints = Checkpoints(every_n_steps=100, monitor="val/loss", mode="min")
    given = [StepSeed(0), *callbacks, checkpoints]
    trainer = plain_trainer(folder, callbacks=given, max_epochs=4, enable_checkpointing=True)
    data = Arrays({"train": (X, Y), "val": (X, Y)}, seed=0, batch_size=4)
    trainer.fit(module, data)
    best = torch.load(folder / BEST, weights_only=True)
    return columns(folder, "val/loss")[0], dict(module.state_dict()), best


@pytest.mark.filterwarnings("ignore:.*is smaller than the logging interval")
def test_until_a_mean_begins_the_trained_weights_are_validated_and_kept(tmp_path: Path) -> None:
    """As it happened: the initial ones were, and a mean that never began left them."""
    losses, weights, best = fitted(tmp_path / "alone")
    mean = EMAWeightAveraging(decay=0.9, update_starting_at_step=1000)
    others, same, best_of_mean = fitted(tmp_path / "never", mean)
    assert others == losses
    assert all(torch.equal(own, same[name]) for name, own in weights.items())
    assert best_of_mean["global_step"] == best["global_step"]
    for name, own in best["state_dict"].items():
        assert torch.equal(own, best_of_mean["state_dict"][name])
    late = EMAWeightAveraging(decay=0.9, update_starting_at_step=6)
    begun, with_mean, _ = fitted(tmp_path / "late", late)
    assert begun[:2] == losses[:2]
    assert begun[3] != losses[3]
    assert not torch.equal(with_mean["network.0.weight"], weights["network.0.weight"])
