"""Random numbers inside a training step, such as dropout's, as a function of (seed, step)."""

from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import nn

from project.blocks import Block, BlockCallback
from project.compiled import has_gradient_hooks
from project.modules.supervised import SupervisedModule
from project.seeds import mix, of_stream

DRAWING = (
    nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout, nn.RReLU,
    nn.FractionalMaxPool2d, nn.FractionalMaxPool3d, nn.RNNBase, nn.MultiheadAttention,
)  # fmt: skip


class StepSeed(BlockCallback):
    """Seeds PyTorch's generator before every training step, so that a resumed run draws what it would have drawn.

    In a block whose steps draw nothing, it does so once: before the first step, and again after the last.

    Args:
        seed: the run's.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        self._state = of_stream(self.seed, f"step/{trainer.global_rank}")
        self._on_gpu = module.device.type == "cuda"

    def on_train_batch_start(self, trainer: Trainer, module: LightningModule, batch: Any, batch_idx: int) -> None:
        self._set(trainer.fit_loop.total_batch_idx)
        self._once = isinstance(batch, Block) and not may_draw(module)

    def on_step_start(self, trainer: Trainer, module: LightningModule, batch: int) -> None:
        if not self._once:
            self._set(batch)

    def on_train_batch_end(self, trainer: Trainer, *args: Any) -> None:
        if self._once:
            self._set(trainer.fit_loop.total_batch_idx)

    def _set(self, batch: int) -> None:
        seed = mix(self._state, batch)  # derive(self.seed, "step/<rank>", batch)
        torch.default_generator.manual_seed(seed)  # torch.manual_seed asks every backend: 300 µs
        if self._on_gpu:
            torch.cuda.manual_seed(seed)


def may_draw(module: LightningModule) -> bool:
    """Whether a step may draw random numbers: one with torch's own layers and no hooks draws where they say."""
    if not isinstance(module, SupervisedModule) or module.why_not_compiled():
        return True
    for layer in (*module.network.modules(), *module.loss.modules()):
        if not type(layer).__module__.startswith("torch.nn.modules.") or isinstance(layer, DRAWING):
            return True
        if layer._forward_hooks or layer._forward_pre_hooks:
            return True
    return any(has_gradient_hooks(module.network, optimizer) for optimizer in module.trainer.optimizers)
