"""Images in folders are decoded once, by one process, whatever kills it."""

import os
import re
import signal
from pathlib import Path

import numpy as np
import pytest
import torch

from engine.data import image_cache
from engine.errors import UserError
from image_folders import caches, decodes, in_another_process, prepared, save

# The children here only decode; no thread of the parent holds a lock that they need.
forks = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")


@pytest.mark.parametrize("num_workers", [0, 2])
def test_memory_mapped_batches_are_those_from_memory(folder: Path, num_workers: int) -> None:
    loaders = [
        prepared(folder, in_memory=True).train_dataloader(),
        prepared(folder, in_memory=False, num_workers=num_workers).train_dataloader(),
    ]
    batches = [
        [(inputs.clone(), targets.clone()) for inputs, targets in loader] for loader in loaders
    ]
    torch.testing.assert_close(batches[1], batches[0], rtol=0, atol=0)
    assert len(batches[0]) == 4


def test_the_second_start_decodes_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = prepared(folder).splits
    names = decodes(monkeypatch)
    second = prepared(folder).splits
    assert names == []
    assert torch.equal(first["train"].inputs, second["train"].inputs)


@pytest.mark.parametrize("change", ["changed", "swapped", "touched", "added", "removed"])
def test_changed_contents_replace_the_cache(
    folder: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    before = prepared(folder).splits["train"].inputs
    file = folder / "train" / "ant" / "1.png"
    if change == "changed":
        save(file, 99)
    elif change == "swapped":  # as it happened: by files of the same sizes and times
        times = (0, 10**9)
        other = folder / "train" / "cat" / "0.png"
        for each in (file, other):
            os.utime(each, ns=times)
        prepared(folder)
        assert file.stat().st_size == other.stat().st_size
        file.rename(folder / "kept.png")
        other.rename(file)
        (folder / "kept.png").rename(other)
    elif change == "touched":
        os.utime(file, ns=(0, 0))
    elif change == "added":
        save(folder / "train" / "ant" / "9.png", 9)
    else:
        file.unlink()
    stale, names = caches(folder), decodes(monkeypatch)
    after = prepared(folder).splits["train"].inputs
    assert len(names) == len(after) + 4
    assert len(after) == len(before) + {"added": 1, "removed": -1}.get(change, 0)
    assert torch.equal(after[-1], before[-1])
    assert (after[0] == before[0]).all() == (change in ("touched", "added"))
    assert len(caches(folder)) == 1
    assert caches(folder) != stale


@pytest.mark.parametrize("in_memory", [True, False])
def test_a_cache_that_another_run_has_replaced_is_named(folder: Path, in_memory: bool) -> None:
    """As it happened: a fingerprint of nothing, or a FileNotFoundError."""
    data = prepared(folder, in_memory=in_memory)
    save(folder / "train" / "cat" / "new.png", 50)
    prepared(folder)
    for use in (data.fingerprint, lambda: data.splits):
        with pytest.raises(UserError) as refused:
            use()
        assert str(refused.value) == (
            f"{data.cache.folder}: is gone since this run began: another one found other images "
            f"in {folder}, and decoded those.\nBegin this run again."
        )


def test_other_settings_have_caches_of_their_own(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = [
        {},
        {"image_size": 4},
        {"val_fraction": 0.25},
        {"val_fraction": 0.25, "split_seed": 1},
    ]
    for options in settings:
        prepared(folder, **options)
    names = decodes(monkeypatch)
    for options in settings:
        prepared(folder, **options)
    assert names == []


def test_the_image_folder_is_only_read(folder: Path) -> None:
    before = sorted(folder.rglob("*"))
    prepared(folder)
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize("kept", [0, 30, 150], ids=["empty", "header only", "truncated"])
def test_a_damaged_image_is_named_and_leaves_no_cache(folder: Path, kept: int) -> None:
    file = folder / "train" / "cat" / "2.png"
    file.write_bytes(file.read_bytes()[:kept])
    why = "is damaged: image file is truncated" if kept == 150 else "is not an image"
    with pytest.raises(UserError, match=f"^{re.escape(str(file))}: {why}"):
        prepared(folder)
    assert caches(folder) == []
    save(file, 2)
    assert len(prepared(folder).splits["train"]) == 8


def test_a_cache_that_cannot_be_written_names_its_key(folder: Path) -> None:
    cache_dir = folder / "train" / "cat" / "2.png"  # a file
    with pytest.raises(
        UserError,
        match=rf"^datamodule\.cache_dir={cache_dir}: cannot be written: .*Not a directory",
    ):
        prepared(folder, cache_dir=str(cache_dir))


@forks
def test_a_kill_while_decoding_leaves_no_cache(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decode = image_cache.decode

    def decode_or_die(path: Path, size: int) -> np.ndarray:
        if path.parts[-3] == "test":
            os.kill(os.getpid(), signal.SIGKILL)
        return decode(path, size)

    with monkeypatch.context() as child:
        child.setattr(image_cache, "decode", decode_or_die)
        process = in_another_process(folder)
    process.join(20)
    assert process.exitcode == -signal.SIGKILL
    assert [path.name for path in caches(folder)] == [".partial"]
    assert len(prepared(folder).splits["test"]) == 4
    assert len(caches(folder)) == 1
    assert caches(folder)[0].name != ".partial"


@forks
def test_processes_started_together_decode_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decode, log = image_cache.decode, folder.parent / "decoded"

    def decode_and_tell(path: Path, size: int) -> np.ndarray:
        with open(log, "a") as lines:
            lines.write(f"{path}\n")
        return decode(path, size)

    monkeypatch.setattr(image_cache, "decode", decode_and_tell)
    processes = [in_another_process(folder) for _ in range(3)]
    for process in processes:
        process.join(20)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert len(log.read_text().splitlines()) == 12
