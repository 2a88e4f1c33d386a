"""engine.run.checkpoint"""

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

from engine.files import replace_on_disk, to_disk


class WholeFileIO(TorchCheckpointIO):
    """Writes a checkpoint beside its place and renames it: a kill leaves the old one or the new one.

    Lightning writes through the system's temporary folder, and a move to another file system is a copy.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}")
        with open(temporary, "wb") as file:
            torch.save(checkpoint, file)
            to_disk(file)
        replace_on_disk(temporary, path)
