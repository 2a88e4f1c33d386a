"""Dropout's masks, against those drawn from the step's own seed."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from lightning.pytorch import Callback, LightningDataModule, Trainer
from lightning.pytorch.callbacks import BatchSizeFinder
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset

from engine.callbacks.checkpoints import Checkpoints
from engine.callbacks.step_seed import StepSeed
from engine.seeds import derive
from engine.supervised import SupervisedModule
from fitting import Arrays, plain_trainer


class Mask(nn.Module):
    """Dropout of ones, each mask kept."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))
        self.masks: list[Tensor] = []

    def forward(self, inputs: Tensor) -> Tensor:
        mask = F.dropout(torch.ones(50), training=self.training)
        if self.training:
            self.masks.append(mask)
        return self.scale * mask.mean() * inputs


class Disturbs(Callback):
    """Draws from the global generator after each step; may crash before one."""

    def __init__(self, draws: int, crash_at: int | None = None) -> None:
        self.draws, self.crash_at = draws, crash_at

    def on_train_batch_start(self, trainer: Trainer, *args: Any) -> None:
        if trainer.global_step == self.crash_at:
            raise RuntimeError("crash")

    def on_train_batch_end(self, *args: Any) -> None:
        torch.rand(self.draws)


def masks(folder: Path, seed: int, disturbs: Disturbs, last: Path | None = None) -> list[Tensor]:
    """The masks of nine steps in epochs of three, with validation after each."""
    module = SupervisedModule(network := Mask(), nn.MSELoss())
    ones = torch.ones(6, 1)
    data = Arrays({"train": (ones, ones), "val": (ones, ones)}, batch_size=2)
    callbacks = [disturbs, StepSeed(seed), Checkpoints(1, "val/loss", "min")]
    trainer = plain_trainer(
        folder, callbacks=callbacks, logger=False, enable_checkpointing=True, max_epochs=3
    )
    trainer.fit(module, data, ckpt_path=last, weights_only=True)
    return network.masks


def by_hand(seed: int, step: int) -> Tensor:
    torch.manual_seed(derive(seed, "step/0", step))
    return F.dropout(torch.ones(50))


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("draws", [0, 7], ids=["no other draws", "draws in between"])
def test_masks_depend_on_seed_and_step_only(seed: int, draws: int, tmp_path: Path) -> None:
    found = masks(tmp_path, seed, Disturbs(draws))
    assert torch.equal(torch.stack(found), torch.stack([by_hand(seed, step) for step in range(9)]))
    assert len({tuple(mask.tolist()) for mask in found}) == 9


def test_a_run_resumed_within_an_epoch_draws_what_it_would_have_drawn(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="crash"):
        masks(tmp_path, 0, Disturbs(0, crash_at=5))
    resumed = masks(tmp_path, 0, Disturbs(3), last=tmp_path / "checkpoints" / "last.ckpt")
    # The checkpoint has those of the first steps: the user's own class keeps them in an attribute.
    assert torch.equal(torch.stack(resumed), torch.stack([by_hand(0, step) for step in range(9)]))


class Numbers(IterableDataset[Any]):
    """Six samples, whose place in an epoch nobody knows."""

    def __iter__(self) -> Iterator[Any]:
        return iter(zip(torch.ones(6, 1), torch.ones(6, 1), strict=True))


class Served(LightningDataModule):
    """Makes a loader anew for each epoch."""

    def train_dataloader(self) -> Any:
        return DataLoader(Numbers(), batch_size=2)

    val_dataloader = train_dataloader


def test_what_is_not_exact_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    options = {"reload_dataloaders_every_n_epochs": 1, "max_epochs": 3, "logger": False}
    trainer = plain_trainer(tmp_path, callbacks=[StepSeed(0)], **options)
    trainer.fit(SupervisedModule(nn.Linear(1, 1), nn.MSELoss()), Served())
    assert trainer.current_epoch == 3
    assert caplog.text.count("DataLoader: Numbers is iterable") == 1
    assert not trainer.saves_within_epochs


class Counts(Callback):
    """Keeps the sizes of the batches of each validation of a training."""

    def __init__(self) -> None:
        self.sizes: list[list[int]] = []

    def on_validation_epoch_start(self, *args: Any) -> None:
        self.sizes.append([])

    def on_validation_batch_end(
        self, trainer: Trainer, module: Any, outputs: Any, batch: Any, *args: Any
    ) -> None:
        self.sizes[-1].append(len(batch[0]))


class Sized(LightningDataModule):
    """Makes its loaders by a batch size that a search may set."""

    def __init__(self) -> None:
        super().__init__()
        self.batch_size = 2
        self.samples = [(torch.full((1,), number / 10), torch.ones(1)) for number in range(14)]

    def train_dataloader(self) -> Any:
        return DataLoader(self.samples[:10], self.batch_size)

    def val_dataloader(self) -> Any:
        return DataLoader(self.samples, self.batch_size)


def test_a_validation_is_whole_after_a_search_for_a_batch_size(tmp_path: Path) -> None:
    """As it happened: each served its last batch only, as its loader was made in training."""
    found = []
    for seed in ([], [StepSeed(0)]):  # Lightning's loaders, and ours
        callbacks = [BatchSizeFinder(max_trials=2, init_val=2), counts := Counts(), *seed]
        trainer = plain_trainer(tmp_path, callbacks=callbacks, max_epochs=3, logger=False)
        layer = nn.Linear(1, 1)
        nn.init.ones_(layer.weight)
        nn.init.zeros_(layer.bias)
        trainer.fit(SupervisedModule(layer, nn.MSELoss()), Sized())
        found.append((counts.sizes, trainer.callback_metrics["val/loss"].item()))
    assert found[1] == found[0]
    assert found[0][0] == [[4, 4, 4, 2]] * 3


class Random(Dataset[Any]):
    """One sample, with a number that is drawn."""

    def __getitem__(self, index: int) -> Any:
        return torch.rand(1), torch.ones(1)

    def __len__(self) -> int:
        return 1


class DrawsLoaders(LightningDataModule):
    """Draws while its loaders are made, and in a worker."""

    def __init__(self, draws: int) -> None:
        super().__init__()
        self.draws = draws

    def test_dataloader(self) -> Any:
        torch.rand(self.draws)
        return DataLoader(Random(), num_workers=1)

    val_dataloader = test_dataloader


class Takes(Callback):
    """Keeps the inputs of the last batch of a test or a validation."""

    def on_test_batch_end(self, trainer: Any, module: Any, out: Any, batch: Any, *_: Any) -> None:
        self.inputs = batch[0]

    on_validation_batch_end = on_test_batch_end


@pytest.mark.parametrize("way", ["test", "validate"])
def test_the_workers_of_a_test_have_seeds_of_the_run_alone(
    way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it happened: `evaluate` measured others than the run's own test, after another setup."""
    monkeypatch.delenv("PL_SEED_WORKERS", raising=False)  # by which Lightning derives other seeds
    torch.manual_seed(derive(3, "test/0"))
    torch.manual_seed(int(torch.empty((), dtype=torch.int64).random_()))  # that of the first worker
    expected = torch.rand(1, 1)
    found = []
    for draws in (0, 2):
        takes = Takes()
        trainer = plain_trainer(tmp_path, callbacks=[takes, StepSeed(3)], logger=False)
        module = SupervisedModule(nn.Linear(1, 1), nn.MSELoss())
        getattr(trainer, way)(module, DrawsLoaders(draws), verbose=False)
        found.append(takes.inputs)
    assert [inputs.tolist() for inputs in found] == [expected.tolist()] * 2
