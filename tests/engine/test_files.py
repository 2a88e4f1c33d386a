"""Files that are whole, whenever a process ends."""

import contextlib
import os
from pathlib import Path

import pytest

from engine import files


def test_write_whole_replaces_and_never_truncates(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    files.write_whole(path, "old\n")
    with open(path, encoding="utf-8") as reader:  # opened before the new text is there: reads the old one to its end
        files.write_whole(path, "new, für 猫\n")
        assert reader.read() == "old\n"
    assert path.read_bytes() == "new, für 猫\n".encode()
    assert list(tmp_path.iterdir()) == [path]


def test_a_failing_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    files.write_whole(path, "old\n")
    with pytest.raises(UnicodeEncodeError):
        files.write_whole(path, "new" * 100_000 + "\ud800")
    assert path.read_text() == "old\n"


def test_files_written_together_are_synced_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[object] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    monkeypatch.setattr(os, "sync", lambda: synced.append("all"))
    with files.synced_together():
        for number in range(3):
            files.write_whole(tmp_path / str(number), "text")
        assert synced == []
    assert synced == ["all"]
    files.write_whole(tmp_path / "alone", "text")
    assert len(synced) == 2
    assert {path.read_text() for path in tmp_path.iterdir()} == {"text"}


def test_a_file_is_not_replaced_before_the_new_one_is_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Alone, and within `synced_together`, however that ends."""
    path, temporary, seen = tmp_path / "file", tmp_path / "temporary", []
    path.write_text("old")
    monkeypatch.setattr(os, "sync", lambda: seen.append(path.read_text()))

    def put(text: str) -> None:
        with open(temporary, "w", encoding="utf-8") as file:
            file.write(text)
            files.to_disk(file)
        files.replace_on_disk(temporary, path)

    put("alone")
    assert (path.read_text(), seen) == ("alone", [])
    with files.synced_together():
        put("together")
        assert path.read_text() == "alone"
    assert (path.read_text(), seen) == ("together", ["alone"])
    with contextlib.suppress(KeyboardInterrupt), files.synced_together():
        put("to the end")
        raise KeyboardInterrupt
    assert (path.read_text(), seen) == ("to the end", ["alone", "together"])
    with files.synced_together():
        pass
    assert len(seen) == 2  # nothing was written
