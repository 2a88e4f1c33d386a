"""Dropout's masks, against those drawn from the step's own seed."""

import inspect
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from lightning.pytorch import Callback, Trainer
from torch import Tensor, nn

from fitting import Arrays, plain_trainer
from project.blocks import Block, BlockCallback
from project.callbacks.checkpoints import Checkpoints
from project.callbacks.step_seed import DRAWING, StepSeed, may_draw
from project.modules.supervised import SupervisedModule
from project.seeds import derive


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
    trainer = plain_trainer(folder, callbacks=callbacks, logger=False, enable_checkpointing=True, max_epochs=3)
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
    assert torch.equal(torch.stack(resumed), torch.stack([by_hand(0, step) for step in range(5, 9)]))


class Draws(BlockCallback):
    """Draws after each call of `training_step`, and notes which step that was and whether the call was a block."""

    def __init__(self) -> None:
        self.drawn: dict[int, float] = {}
        self.blocks = 0

    def on_train_batch_end(self, trainer: Trainer, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.drawn[trainer.global_step] = torch.rand(()).item()
        self.blocks += isinstance(batch, Block)


def drawn_after_calls(folder: Path, steps: int) -> Draws:
    """Of a network that draws nothing itself."""
    module = SupervisedModule(nn.Linear(1, 1), nn.MSELoss(), optimizer=partial(torch.optim.SGD, lr=0.1))
    data = Arrays({"train": (torch.ones(8, 1), torch.ones(8, 1))}, batch_size=2)
    draws = Draws()
    trainer = plain_trainer(folder, callbacks=[StepSeed(3), draws], logger=False, max_epochs=9, steps_per_call=steps)
    trainer.fit(module, data)
    return draws


def test_whoever_draws_after_steps_that_draw_nothing_draws_the_same(tmp_path: Path) -> None:
    singly, together = (drawn_after_calls(tmp_path, steps) for steps in (1, 4))
    assert together.blocks >= 5
    assert singly.blocks == 0
    assert together.drawn.items() <= singly.drawn.items()
    assert list(singly.drawn) == list(range(1, 37))
    for step, number in singly.drawn.items():
        torch.manual_seed(derive(3, "step/0", step - 1))
        assert torch.rand(()).item() == number


def test_steps_that_draw_nothing_are_not_seeded_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seeds: list[int] = []
    monkeypatch.setattr(StepSeed, "_set", lambda self, batch: seeds.append(batch))
    together = drawn_after_calls(tmp_path, 4)
    assert len(seeds) == len(together.drawn) + together.blocks < 36


def may(network: nn.Module, loss: nn.Module | None = None, change: Callable[[Any], object] = id) -> bool:
    module = SupervisedModule(network, loss or nn.MSELoss())
    module.trainer = Trainer(logger=False, enable_checkpointing=False, enable_progress_bar=False)
    module.trainer.strategy._optimizers = [module.configure_optimizers()]
    change(module)
    return may_draw(module)


class Own(nn.Linear):
    pass


class Noisy(SupervisedModule):
    def _loss(self, predictions: Tensor, targets: Tensor) -> Tensor:
        return super()._loss(predictions + torch.randn_like(predictions), targets)


CHANGES: dict[str, Callable[[Any], object]] = {
    "forward hook": lambda module: module.network.register_forward_hook(lambda *_: None),
    "forward pre-hook": lambda module: module.network.register_forward_pre_hook(lambda *_: None),
    "backward hook": lambda module: module.network.register_full_backward_hook(lambda *_: None),
    "gradient hook": lambda module: module.network.weight.register_hook(lambda _: None),
    "accumulation hook": lambda module: module.network.weight.register_post_accumulate_grad_hook(lambda _: None),
    "step hook": lambda module: module.trainer.optimizers[0].register_step_post_hook(lambda *_: None),
    "step pre-hook": lambda module: module.trainer.optimizers[0].register_step_pre_hook(lambda *_: None),
}


@pytest.mark.parametrize("name", CHANGES)
def test_hooks_may_draw(name: str) -> None:
    assert not may(nn.Linear(2, 2))
    assert may(nn.Linear(2, 2), change=CHANGES[name])


def test_layers_and_losses_that_may_draw() -> None:
    assert not may(nn.Sequential(nn.Conv2d(1, 1, 3), nn.BatchNorm2d(1), nn.ReLU(), nn.MaxPool2d(2), nn.Linear(2, 1)))
    assert may(nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.Dropout())))
    assert may(nn.TransformerEncoderLayer(4, 2))
    assert may(Own(2, 2))
    assert may(nn.Linear(2, 2), loss=Mask())
    noisy = Noisy(nn.Linear(2, 2), nn.MSELoss())
    assert may_draw(noisy)


def test_every_layer_of_torch_that_draws_is_known() -> None:
    """Those in whose functions, but for what fills their weights, a source of chance is named."""
    chance = re.compile(r"dropout|rrelu|bernoulli|multinomial|gumbel|\brand|_random|normal_|uniform_")
    filling = {"__init__", "reset_parameters", "_reset_parameters", "init_weight", "init_bias"}
    found = set()
    for kind in vars(nn).values():
        if isinstance(kind, type) and issubclass(kind, nn.Module) and kind.__module__.startswith("torch.nn.modules."):
            parts = [part for base in kind.__mro__ if base not in (nn.Module, object) for part in vars(base).items()]
            sources = [inspect.getsource(f) for name, f in parts if inspect.isfunction(f) and name not in filling]
            if chance.search("".join(sources)):
                found.add(kind)
    assert nn.Dropout in found
    made_of_others = {nn.TransformerEncoderLayer, nn.TransformerDecoderLayer}  # which they contain
    assert [kind for kind in found - made_of_others if not issubclass(kind, DRAWING)] == []
