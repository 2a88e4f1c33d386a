"""Files that are whole, whenever a process ends."""

from pathlib import Path

import pytest

from engine import files


def test_write_whole_replaces_and_never_truncates(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    files.write_whole(path, "old\n")
    with open(
        path, encoding="utf-8"
    ) as reader:  # opened before the new text is there: reads the old one to its end
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
