"""Breaks the files of a run, after it and during it, in the ways that files break."""

import shutil
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, Trainer

FILES = (
    "summary.json",
    "metrics.csv",
    ".hydra/config.yaml",
    ".hydra/overrides.yaml",
    ".hydra/made_of.json",
)
WAYS = ("truncated", "emptied", "removed", "binary", "wrong type", "words for numbers", "a folder")
WRONG_TYPE = {
    ".json": "[1]\n",
    ".csv": "1\n2\n",
    "config.yaml": "- 1\n",
    "overrides.yaml": "a: 1\n",
}
BINARY = bytes(range(256)) * 4


def break_file(path: Path, way: str) -> None:
    """Breaks a file in one of `WAYS`."""
    content = path.read_bytes()
    path.unlink()
    if way == "a folder":
        path.mkdir()
    elif way != "removed":
        path.write_bytes(_broken(path, content, way))


def _broken(path: Path, content: bytes, way: str) -> bytes:
    if way == "truncated":
        return content[: len(content) // 2].rstrip(b"\n")  # without the end of its last line
    if way == "binary":
        return BINARY
    if way == "wrong type":
        return WRONG_TYPE.get(path.name, WRONG_TYPE.get(path.suffix, "")).encode()
    if way == "words for numbers":
        said = content.replace(b"0", b"o").replace(b"1", b"l").replace(b"2", b"z")
        assert said != content
        return said
    return b""


class Breaks(Callback):
    """Breaks a file of the run after a step, or removes the run's whole folder.

    Args:
        file: below the run's folder, or a pattern of its name; empty for the folder.
        way: one of `WAYS`.
        step: of the optimiser.
    """

    def __init__(self, file: str, way: str, step: int) -> None:
        self.file = file
        self.way = way
        self.step = step

    def on_train_batch_end(self, trainer: Trainer, *args: Any) -> None:
        if trainer.global_step != self.step:
            return
        folder = Path(trainer.default_root_dir)
        if self.file:
            (path,) = folder.glob(self.file)
            break_file(path, self.way)
        else:
            while folder.exists():  # a thread may write meanwhile
                shutil.rmtree(folder, ignore_errors=True)
