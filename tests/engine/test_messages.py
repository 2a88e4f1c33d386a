"""Messages to the terminal and to train.log, and the warnings that say nothing."""

import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from engine import SupervisedModule, TensorDataModule, messages

# A message of each harmless kind, as the library words it, in the order of HARMLESS.
WORDED = [
    "Could not log computational graph to TensorBoard: The `model.example_input_array` attribute "
    "is not set or `input_array` was not given.",
    "Attribute 'net' is an instance of `nn.Module` and is already saved during checkpointing. It "
    "is recommended to ignore them using `self.save_hyperparameters(ignore=['net'])`.",
    "`isinstance(treespec, LeafSpec)` is deprecated, "
    "use `isinstance(treespec, TreeSpec) and treespec.is_leaf()`",
    "`torch.jit.trace` is deprecated. Please switch to `torch.compile`",
    "This property will be removed in 2.0.0. Use `Metric.updated_called` instead.",
    "You're using the WeightAveraging callback, but loading a checkpoint outside the 'fit' stage.",
    "Image size (99000000 pixels) exceeds limit of 89478485 pixels, could be decompression bomb "
    "DOS attack.",
    "GPU available but not used. You can set it by doing `Trainer(accelerator='gpu')`.",
]
OF_OUR_DATA = [
    "The 'train_dataloader' does not have many workers which may be a bottleneck.",
    "Total length of `list` across ranks is zero. Please make sure this was your intention.",
]
OF_OUR_MODELS = [
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


@pytest.mark.parametrize(
    ("says", "worded"),
    [
        (messages, WORDED),
        (TensorDataModule, OF_OUR_DATA),
        (SupervisedModule, OF_OUR_MODELS),
    ],
)
def test_each_is_tried_here(says: Any, worded: list[str]) -> None:
    assert [[bool(re.match(pattern, text)) for text in worded] for pattern, _ in says.HARMLESS] == [
        [i == j for j in range(len(worded))] for i in range(len(says.HARMLESS))
    ]


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


def shown_with(*parts: object) -> list[str]:
    """What is shown of all warnings in a run with these parts."""
    with warnings.catch_warnings(record=True) as shown:
        warnings.resetwarnings()
        warnings.simplefilter("always")
        with messages.silenced(*parts):
            for worded in (*WORDED, *OF_OUR_DATA, *OF_OUR_MODELS):
                warnings.warn(worded, UserWarning, stacklevel=1)
    return [str(warning.message) for warning in shown]


def test_warnings_are_silent_for_our_own_data_and_models_only() -> None:
    assert shown_with(object(), object()) == [*WORDED, *OF_OUR_DATA, *OF_OUR_MODELS]
    assert shown_with(TensorDataModule, object()) == [*WORDED, *OF_OUR_MODELS]
    assert shown_with(SupervisedModule) == [*WORDED, *OF_OUR_DATA]


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
