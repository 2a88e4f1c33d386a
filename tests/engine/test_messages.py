"""Messages to the terminal and to train.log, and the warnings that say nothing."""

import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from engine import messages

# A message of each harmless kind, as the library words it, in the order of HARMLESS.
WORDED = [
    "`isinstance(treespec, LeafSpec)` is deprecated, "
    "use `isinstance(treespec, TreeSpec) and treespec.is_leaf()`",
    "`torch.jit.trace` is deprecated. Please switch to `torch.compile`",
    "This property will be removed in 2.0.0. Use `Metric.updated_called` instead.",
    "The 'train_dataloader' does not have many workers which may be a bottleneck.",
    "Total length of `list` across ranks is zero. Please make sure this was your intention.",
    "Using `DistributedSampler` with the dataloaders. During `trainer.test()`, it is recommended "
    "to use `Trainer(devices=1, num_nodes=1)` to ensure each sample/batch gets evaluated "
    "exactly once.",
    "Image size (99000000 pixels) exceeds limit of 89478485 pixels, could be decompression bomb "
    "DOS attack.",
    "GPU available but not used. You can set it by doing `Trainer(accelerator='gpu')`.",
    "The number of training batches (7) is smaller than the logging interval "
    "Trainer(log_every_n_steps=50).",
]


@contextmanager
def fresh_root_logger() -> Iterator[logging.Logger]:
    """The root logger as a new process has it: no handler, level WARNING."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    root.handlers[:] = []
    root.setLevel(logging.WARNING)
    try:
        yield root
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)


def test_each_is_tried_here() -> None:
    assert [
        [bool(re.match(pattern, text)) for text in WORDED] for pattern, _ in messages.HARMLESS
    ] == [[i == j for j in range(len(WORDED))] for i in range(len(messages.HARMLESS))]


@pytest.mark.parametrize("worded", WORDED)
def test_harmless_warnings_are_silent_and_no_other(worded: str) -> None:
    with warnings.catch_warnings(record=True) as shown:
        warnings.resetwarnings()
        warnings.simplefilter("always")
        warnings.warn(worded, UserWarning, stacklevel=1)
        messages.silence_harmless()
        warnings.warn(worded, UserWarning, stacklevel=1)
        warnings.warn("something else", UserWarning, stacklevel=1)
    assert [str(warning.message) for warning in shown] == [worded, "something else"]


def test_lightning_says_warnings_only() -> None:
    messages.silence_harmless()
    for name in ("lightning.pytorch", "lightning.fabric"):
        assert not logging.getLogger(name).isEnabledFor(logging.INFO)
        assert logging.getLogger(name).isEnabledFor(logging.WARNING)


@pytest.mark.parametrize(
    ("rank", "shown"),
    [
        pytest.param(None, "information\nan error\n", id="only process"),
        pytest.param("0", "information\nan error\n", id="first process"),
        pytest.param("1", "an error\n", id="second process"),
    ],
)
def test_the_first_process_speaks(
    rank: str | None,
    shown: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    if rank is not None:
        monkeypatch.setenv("LOCAL_RANK", rank)
    with fresh_root_logger():
        messages.to_terminal()
        logging.getLogger("engine").info("information")
        logging.getLogger("engine").error("an error")
    assert capsys.readouterr() == (shown, "")


def test_to_file_while_it_lasts(tmp_path: Path) -> None:
    path = tmp_path / "train.log"
    with fresh_root_logger() as root:
        root.setLevel(logging.INFO)
        with messages.to_file(path):
            logging.getLogger("engine").info("5 × 7")
        with pytest.raises(ValueError, match="inside"), messages.to_file(path):
            raise ValueError("inside")
        logging.getLogger("engine").info("afterwards")
        assert root.handlers == []

    date, time, *words = path.read_text(encoding="utf-8").split()
    assert len(date) == len("2026-01-31")
    assert len(time) == len("12:00:00,000")
    assert words == ["INFO", "engine:", "5", "×", "7"]
