"""Checkpoint files: written whole, read with `weights_only`."""

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

from engine import files
from engine.fence.lightning import batches_that_stepped
from engine.run.plain import plain, refusal


class WholeFileIO(TorchCheckpointIO):
    """Writes a checkpoint beside its place and renames it: a kill leaves the old or the new one.

    Lightning writes through the system's temporary folder, whose content is copied where that is
    on another file system. The file has plain values only, see plain.py.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        made, _, needed = plain(checkpoint)
        if needed:
            raise refusal(needed[0])
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}")
        with open(temporary, "wb") as file:
            torch.save(made, file)
            files.disk.get().sync(file)
        files.disk.get().replace(temporary, path)


def step_of(checkpoint: Path) -> int:
    """Returns the step of the next row of a run that is resumed from a checkpoint.

    A row is logged under the number of batches with a step, which is not the number of steps where
    a module has several optimisers.
    """
    saved = torch.load(checkpoint, weights_only=True, map_location="cpu")
    return batches_that_stepped(saved)
