"""The data of a module that makes its loaders itself."""

from typing import Any

from lightning.pytorch import LightningDataModule
from lightning.pytorch.utilities.model_helpers import is_overridden


class LoadersOfModule(LightningDataModule):
    """Serves the loaders that a module makes itself, by `train_dataloader` and the like.

    Lightning calls `prepare_data` and `setup` of the module, as always.
    """

    def train_dataloader(self) -> Any:
        return self._made("train_dataloader")

    @property
    def val_dataloader(self) -> Any:
        """Returns the module's hook, or Lightning's own: with any other, it misses a step."""
        module: Any = getattr(self.trainer, "lightning_module", None)
        has_own = module is not None and is_overridden("val_dataloader", module)
        return module.val_dataloader if has_own else super().val_dataloader

    def test_dataloader(self) -> Any:
        return self._made("test_dataloader")

    def predict_dataloader(self) -> Any:
        return self._made("predict_dataloader")

    def _made(self, hook: str) -> Any:
        """Returns what the module's hook makes; no loader if it has none of its own."""
        trainer: Any = self.trainer
        module = trainer.lightning_module
        return getattr(module, hook)() if is_overridden(hook, module) else []
