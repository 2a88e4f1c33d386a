"""Makes folders of images."""

import multiprocessing
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tqdm.auto import tqdm

from engine.data import image_cache
from project.datamodules.image_folder import ImageFolderDataModule

LAYOUT = "It must hold train/ and test/, and may hold val/, with one folder of images per class."


def save(path: Path, number: int, size: tuple[int, int] = (8, 8), mode: str = "RGB") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    width, height = size
    pixels = np.random.default_rng(number).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).convert(mode).save(path)


def datamodule(folder: Path, **options: object) -> ImageFolderDataModule:
    options = {
        "seed": 0,
        "batch_size": 2,
        "image_size": 8,
        "cache_dir": str(folder.parent / "cache"),
        **options,
    }
    return ImageFolderDataModule(str(folder), **options)


def prepared(folder: Path, **options: object) -> ImageFolderDataModule:
    data = datamodule(folder, **options)
    data.prepare_data()
    return data


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).transpose(2, 0, 1)


def caches(folder: Path) -> list[Path]:
    return [path for path in (folder.parent / "cache").glob("*/*") if path.name != ".lock"]


def decodes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that are decoded from now on."""
    names, decode = [], image_cache.decode
    monkeypatch.setattr(
        image_cache, "decode", lambda path, size: names.append(path.name) or decode(path, size)
    )
    return names


def in_another_process(folder: Path) -> multiprocessing.context.ForkProcess:
    def prepare() -> None:
        # All processes forked from this one share tqdm's lock. A child that is killed while it has
        # the lock would keep the lock for good.
        tqdm.set_lock(threading.RLock())
        datamodule(folder).prepare_data()

    process = multiprocessing.get_context("fork").Process(target=prepare)
    process.start()
    return process
