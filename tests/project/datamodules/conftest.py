"""Makes a folder of images."""

from pathlib import Path

import pytest

from engine.data import image_cache
from image_folders import save


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Four training and two test images of each of two classes, 8×8.

    So that even these few are written in several chunks, the last not full, a chunk is small.
    """
    monkeypatch.setattr(image_cache, "CHUNK", 3)
    for number in range(8):
        save(tmp_path / "images" / "train" / ("cat", "ant")[number % 2] / f"{number}.png", number)
    for number in range(4):
        save(
            tmp_path / "images" / "test" / ("cat", "ant")[number % 2] / f"{number}.JPG",
            100 + number,
        )
    return tmp_path / "images"
