"""Files that are whole, whenever a process ends."""

import copy
from io import FileIO
from pathlib import Path
from typing import Any

import pytest

from engine import files
from engine.files import CannotWrite, OwnFile
from limited import limited_to


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


@pytest.fixture
def own(tmp_path: Path) -> OwnFile:
    """A file that has a line."""
    file = OwnFile(tmp_path / "file.txt")
    assert file.append(b"one\n")
    return file


def test_a_file_is_made_and_each_line_is_there_at_once(own: OwnFile) -> None:
    assert own.path.read_bytes() == b"one\n"
    assert own.append(b"two\n")
    assert own.path.read_bytes() == b"one\ntwo\n"
    own.close()
    own.close()
    assert own.append(b"three\n")
    own.replace("für 猫\n")
    assert own.append(b"four\n")
    assert own.path.read_text("utf-8") == "für 猫\nfour\n"
    assert not own.is_changed()


@pytest.mark.parametrize("is_open", [True, False])
@pytest.mark.parametrize("way", ["removed", "cut", "longer", "replaced"])
def test_nothing_is_appended_to_a_file_that_somebody_has_changed(
    way: str, is_open: bool, own: OwnFile
) -> None:
    if not is_open:
        own.close()
    if way == "removed":
        own.path.unlink()
    elif way == "replaced":  # its editor writes another one, and renames it
        files.write_whole(own.path, "two, and more\n")
    else:
        own.path.write_bytes({"cut": b"on", "longer": b"one\ntwo\n"}[way])
    left = own.path.read_bytes() if own.path.exists() else None
    for _ in range(2):
        assert own.is_changed()
        assert not own.append(b"three\n")
    assert left == (own.path.read_bytes() if own.path.exists() else None)
    own.replace("four\n")
    assert own.append(b"five\n")
    assert own.path.read_bytes() == b"four\nfive\n"


def test_a_file_of_the_same_size_in_its_place_is_the_one_that_goes_on(own: OwnFile) -> None:
    """An editor that saves what it was opened with."""
    files.write_whole(own.path, "one\n")
    assert own.append(b"two\n")
    assert own.path.read_bytes() == b"one\ntwo\n"


def test_nobody_elses_file_is_taken(tmp_path: Path) -> None:
    (tmp_path / "file.txt").touch()
    assert not OwnFile(tmp_path / "file.txt").append(b"one\n")
    assert (tmp_path / "file.txt").read_bytes() == b""


def test_a_disk_that_takes_a_part_is_named_and_the_part_is_taken_back(own: OwnFile) -> None:
    with limited_to(6), pytest.raises(CannotWrite, match=r"file\.txt: cannot be written: File too"):
        own.append(b"two\n")
    assert own.path.read_bytes() == b"one\n"
    assert own.append(b"three\n")
    assert own.path.read_bytes() == b"one\nthree\n"


def test_a_file_that_cannot_be_begun_is_not_left_empty(tmp_path: Path) -> None:
    file = OwnFile(tmp_path / "file.txt")
    for most in (0, 2):
        with limited_to(most), pytest.raises(CannotWrite):
            file.append(b"one\n")
        assert not list(tmp_path.iterdir())
    assert file.append(b"two\n")
    assert file.path.read_bytes() == b"two\n"


def test_whatever_ends_a_write_the_line_is_there_whole_or_not_at_all(
    own: OwnFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    own.append(b"two\n")
    file: Any = own._file

    def write(content: bytes) -> int:
        FileIO.write(file, content[:2])
        raise KeyboardInterrupt

    monkeypatch.setattr(file, "write", write)
    with pytest.raises(KeyboardInterrupt):
        own.append(b"three\n")
    assert own.path.read_bytes() == b"one\ntwo\n"
    assert own.append(b"four\n")


def test_a_copy_goes_on_where_its_original_was(own: OwnFile) -> None:
    """As another process has it."""
    own.append(b"two\n")
    assert copy.deepcopy(own).append(b"three\n")
    assert own.is_changed()
    assert own.path.read_bytes() == b"one\ntwo\nthree\n"
