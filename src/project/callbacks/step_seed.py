"""Random numbers inside a training step, such as dropout's, as a function of (seed, step)."""

from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from project.seeds import derive


class StepSeed(Callback):
    """Seeds PyTorch's generator before every training step, so that a resumed run draws what it would have drawn.

    Args:
        seed: the run's.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_batch_start(self, trainer: Trainer, module: LightningModule, batch: Any, batch_idx: int) -> None:
        seed = derive(self.seed, f"step/{trainer.global_rank}", trainer.fit_loop.total_batch_idx)
        torch.default_generator.manual_seed(seed)  # torch.manual_seed asks every backend: 300 µs
        if module.device.type == "cuda":
            torch.cuda.manual_seed(seed)
