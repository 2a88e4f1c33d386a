"""Many files synced at once: none is lost, none takes its place too early."""

import contextlib
import os
from pathlib import Path

import pytest

from engine import files
from engine.vectorized import disk
from engine.vectorized.disk import synced_together


def test_files_written_together_are_synced_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[object] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    monkeypatch.setattr(disk, "syncfs", lambda descriptor: synced.append("all"))
    with synced_together():
        for number in range(3):
            files.write_whole(tmp_path / str(number), "text")
        assert synced == []
    assert synced == ["all"]
    files.write_whole(tmp_path / "alone", "text")
    assert len(synced) == 2
    assert {path.read_text() for path in tmp_path.iterdir()} == {"text"}


def test_a_file_is_not_replaced_before_the_new_one_is_on_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Alone, and within `synced_together`, however that ends."""
    path, temporary, seen = tmp_path / "file", tmp_path / "temporary", []
    path.write_text("old")
    monkeypatch.setattr(disk, "syncfs", lambda descriptor: seen.append(path.read_text()))

    def put(text: str) -> None:
        with open(temporary, "w", encoding="utf-8") as file:
            file.write(text)
            files.disk.get().sync(file)
        files.disk.get().replace(temporary, path)

    put("alone")
    assert (path.read_text(), seen) == ("alone", [])
    with synced_together():
        put("together")
        assert path.read_text() == "alone"
    assert (path.read_text(), seen) == ("together", ["alone"])
    with contextlib.suppress(KeyboardInterrupt), synced_together():
        put("to the end")
        raise KeyboardInterrupt
    assert (path.read_text(), seen) == ("to the end", ["alone", "together"])
    with synced_together():
        pass
    assert len(seen) == 2  # nothing was written


def test_without_syncfs_each_file_is_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    monkeypatch.setattr(disk, "syncfs", None)
    monkeypatch.setattr(os, "fsync", synced.append)
    with synced_together():
        for number in range(3):
            files.write_whole(tmp_path / str(number), "text")
        assert len(synced) == 3
    assert len(synced) == 3
