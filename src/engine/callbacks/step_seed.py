"""Makes the random numbers of a training step, such as dropout's, a function of (seed, step)."""

import inspect
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer

from engine.config.ranges import Seed
from engine.data.loader import exact
from engine.fence.lightning import (
    Place,
    around_loading,
    batch_of_training,
    beside_loading,
)
from engine.kept.attributes import marks_of
from engine.kept.values import GENERATORS
from engine.seeds import derive, kept, mix, of_stream, seed_plain
from engine.steps.callback import LEFT_OUT, StepCallback

log = logging.getLogger(__name__)


class StepSeed(StepCallback):
    """Seeds PyTorch's generator before every training step, and all generators before the test.

    So a resumed run draws the numbers that it would have drawn without a stop. Python's and NumPy's
    generators are seeded when training starts; to seed them at every step would be noticeable
    beside a small step, so a checkpoint has their states.

    The loaders of training and validation get the seed, too: see engine/data/loader.py.

    Args:
        seed: the run's.
    """

    in_a_stack = LEFT_OUT  # jobs in whose training anything draws have no stack

    def __init__(self, seed: Seed) -> None:
        self.seed = seed
        self._said: set[str] = set()

    def setup(self, trainer: Trainer, module: LightningModule, stage: str) -> None:
        trainer.has_step_seed = True  # type: ignore[attr-defined]
        if stage in ("test", "validate"):
            beside_loading(trainer, partial(self.on_test_start, trainer, module))
        if stage == "fit":
            around_loading(trainer, partial(self._making, trainer), partial(self._exact, trainer))
            if "dataloader_iter" in inspect.signature(module.training_step).parameters:
                trainer.saves_within_epochs = False  # type: ignore[attr-defined]
                self._say_once(
                    f"{type(module).__name__}.training_step takes batches by dataloader_iter, and "
                    "nobody knows how many. A resumed run continues from the end of the last whole "
                    "epoch: last.ckpt is written there only."
                )

    @contextmanager
    def _making(self, trainer: Any, name: str) -> Iterator[None]:
        """Seeds what draws while loaders are made: a resumed run makes them at another moment."""
        is_repeated = trainer.reload_dataloaders_every_n_epochs > 0
        owners = (trainer.datamodule, trainer.lightning_module) if is_repeated else ()
        before = marks_of(*owners, kinds=GENERATORS)
        with kept(derive(self.seed, f"loaders/{name}")):
            yield
        now = marks_of(*owners, kinds=GENERATORS)
        if drawn := [path for path in before if now.get(path) != before[path]]:
            self._say_once(
                f"{', '.join(drawn)}: not exact: draws for the loaders of each epoch. "
                "A resumed run draws other numbers.\nDraw by the functions of the modules random, "
                "numpy.random and torch: these are seeded."
            )

    def _exact(self, trainer: Any, loader: object, is_of_training: bool) -> object:
        place = Place(trainer, is_of_training)
        made = exact(loader, self.seed, place, trainer.global_rank, self._say_once)
        if is_of_training and not hasattr(made, "state_dict"):
            trainer.saves_within_epochs = False
        return made

    def _say_once(self, text: str) -> None:
        if text not in self._said:  # loaders may be made anew for each epoch
            self._said.add(text)
            log.warning(text)

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        self._state = of_stream(self.seed, f"step/{trainer.global_rank}")
        if trainer.global_step == 0:
            seed_plain(derive(self.seed, f"plain/{trainer.global_rank}"))
        self._on_gpu = module.device.type == "cuda"

    # A run that is resumed in its test has taken no step before it, nor has one that is evaluated.
    def on_test_start(self, trainer: Trainer, module: LightningModule) -> None:
        seed = derive(self.seed, f"test/{trainer.global_rank}")
        seed_plain(seed)
        torch.manual_seed(seed)

    def on_validation_start(self, trainer: Trainer, module: LightningModule) -> None:
        if trainer.state.fn == "validate":  # that of a training begins where training has come to
            self.on_test_start(trainer, module)

    def on_train_batch_start(
        self, trainer: Trainer, module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self.on_step_start(trainer, module, batch_of_training(trainer))

    def on_step_start(self, trainer: Trainer, module: LightningModule, batch: int) -> None:
        seed = mix(self._state, batch)  # derive(self.seed, "step/<rank>", batch)
        torch.default_generator.manual_seed(seed)  # torch.manual_seed takes 300 µs
        if self._on_gpu:
            torch.cuda.manual_seed(seed)
