"""Messages to the terminal and to train.log, and the warnings that say nothing."""

import io
import logging
import os
import re
import sys
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
    "Guards may run slower on Python 3.13.0. Consider upgrading to Python 3.13.1+.",
    "There is a performance drop because we have not yet implemented the batching rule for "
    "aten::embedding_renorm_. Please file us an issue on GitHub so that we can prioritize it.",
    "Validating sparse tensor invariants because weights_only=True; this is an O(nnz) scan per "
    "sparse tensor and may be slow for large checkpoints.",
]
OF_OUR_DATA = [
    "The 'train_dataloader' does not have many workers which may be a bottleneck.",
    "Total length of `list` across ranks is zero. Please make sure this was your intention.",
]
OF_OUR_MODELS = [
    "The number of training batches (7) is smaller than the logging interval "
    "Trainer(log_every_n_steps=50).",
]
# What Lightning tells of each run, as it words it, in the order of USUAL.
OF_EACH_RUN = [
    "GPU available: False, used: False",
    "LOCAL_RANK: 0 - CUDA_VISIBLE_DEVICES: [0]",
    "Using bfloat16 Automatic Mixed Precision (AMP)",
    "`Trainer(limit_val_batches=1.0)` was configured so 100% of the batches will be used..",
    "💡 Tip: For seamless cloud logging and experiment tracking, try installing [litlogger]",
    "Initializing distributed: GLOBAL_RANK: 0, MEMBER: 1/2",
    "`Trainer.fit` stopped: `max_epochs=1` reached.",
    "\nDetected KeyboardInterrupt, attempting graceful shutdown ...",
    "Loaded model weights from the checkpoint at best.ckpt",
    "Found current_model_state in the checkpoint. This will be used to initialize the model.",
    "`weights_only` was not set, defaulting to `False`.",
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


@pytest.mark.parametrize(("pattern", "worded"), [*zip(messages.USUAL, OF_EACH_RUN, strict=True)])
def test_what_lightning_tells_of_each_run_goes_nowhere(
    pattern: tuple[str, str], worded: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert [bool(re.match(pattern[0], text)) for text in OF_EACH_RUN].count(True) == 1
    with fresh_root_logger():
        messages.to_terminal()
        with messages.to_file(tmp_path / "train.log"):
            messages.silence_harmless()
            told = logging.getLogger("lightning.pytorch.utilities.rank_zero")
            told.info(worded)
            told.info("Batch size 2 succeeded")
            told.warning(worded)
            logging.getLogger("mine").info(worded)
    assert capsys.readouterr().out == f"Batch size 2 succeeded\n{worded}\n{worded}\n"
    assert (tmp_path / "train.log").read_text().count(worded) == 2


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
        assert not logging.getLogger("engine").isEnabledFor(logging.DEBUG)

    date, time, *words = path.read_text(encoding="utf-8").split()
    assert len(date) == len("2026-01-31")
    assert len(time) == len("12:00:00,000")
    assert words == ["INFO", "engine:", "5", "×", "7"]


class Screen(io.StringIO):
    """A terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Screen:
    """A terminal of 20 columns that can show colours."""
    for name in ("NO_COLOR", "FORCE_COLOR", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "20")
    return Screen()


RED_WORD = f"a {messages.styled('red', messages.RED)} word"


@pytest.mark.parametrize(
    ("environment", "in_terminal", "in_pipe"),
    [
        ({}, True, False),
        ({"NO_COLOR": "1"}, False, False),
        ({"FORCE_COLOR": "1"}, True, True),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, False, False),
        ({"NO_COLOR": "", "FORCE_COLOR": ""}, True, False),
        ({"TERM": "dumb"}, False, False),
    ],
    ids=str,
)
def test_colours_by_custom(
    environment: dict[str, str],
    in_terminal: bool,
    in_pipe: bool,
    screen: Screen,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    shown = {True: "a \x1b[31mred\x1b[0m word", False: "a red word"}
    assert messages.for_stream(RED_WORD, screen) == shown[in_terminal]
    assert messages.for_stream(RED_WORD, io.StringIO()) == shown[in_pipe]


def test_warnings_and_errors_have_a_colour_and_tracebacks_none(screen: Screen) -> None:
    assert messages.for_stream("a", screen, logging.WARNING) == "\x1b[33ma\x1b[0m"
    text = "failed\nTraceback (most"
    assert messages.for_stream(text, screen, logging.ERROR) == (
        "\x1b[31mfailed\x1b[0m\nTraceback (most"
    )


def test_prose_is_broken_at_the_terminal_s_width_and_commands_are_not(screen: Screen) -> None:
    prose = "one two three four five six"
    command = "  python -m project.train a=1"
    text = f"{prose}\n\n{command}"
    assert messages.for_stream(text, screen) == f"one two three four\n  five six\n\n{command}"
    assert messages.for_stream(text, io.StringIO()) == text
    assert messages.indented(prose, 4) == "    one two three\n    four five six"


def test_the_terminal_waits_until_the_first_message(
    screen: Screen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setattr(sys, "stdout", screen)
    with fresh_root_logger():
        messages.to_terminal()
        messages.begin_wait("loading …")
        assert screen.getvalue() == "loading …"
        logging.getLogger("engine").info("loaded")
        messages.end_wait()
    assert screen.getvalue() == "loading …\r\x1b[Kloaded\n"


def test_a_pipe_and_a_further_process_do_not_wait(
    screen: Screen, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    messages.begin_wait("loading …")
    messages.end_wait()
    assert capsys.readouterr() == ("", "")
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("LOCAL_RANK", "1")
    messages.begin_wait("loading …")
    assert screen.getvalue() == ""


def test_details_and_styles(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Details go to the file only, and styles to neither a file nor a pipe."""
    path = tmp_path / "train.log"
    with fresh_root_logger():
        messages.to_terminal()
        with messages.to_file(path):
            logging.getLogger("engine.run").debug("the config")
            logging.getLogger("matplotlib").debug("of no interest")
            logging.getLogger("engine.run").info(RED_WORD)
            with messages.of_a_job():
                logging.getLogger("engine.run").info("of a job")
                logging.getLogger("engine.run").warning("a warning")
    assert capsys.readouterr().out == "a red word\na warning\n"
    texts = [line.partition("engine.run: ")[2] for line in path.read_text().splitlines()]
    assert texts == ["the config", "a red word", "of a job", "a warning"]


def test_any_path_can_be_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it happened: instead of the line, the terminal had a traceback of Python's logging."""
    path, error = tmp_path / "train.log", io.StringIO()
    stream = io.TextIOWrapper(io.BytesIO(), encoding="latin-1", write_through=True)
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setattr(sys, "stderr", error)
    with fresh_root_logger():
        messages.to_terminal()
        with messages.to_file(path):
            logging.getLogger("engine.run").info("%s ×", os.fsdecode("1 –".encode() + b"\xe9"))
    assert stream.buffer.getvalue().decode("latin-1") == "1 \\u2013\\udce9 ×\n"  # type: ignore[attr-defined]
    assert path.read_text(encoding="utf-8").endswith("engine.run: 1 –\\udce9 ×\n")
    assert error.getvalue() == ""


def test_numbers_of_things() -> None:
    assert [messages.counted(n, "job") for n in (0, 1, 2, 1000)] == [
        "0 jobs",
        "1 job",
        "2 jobs",
        "1,000 jobs",
    ]


def test_paths_are_short_below_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert messages.short(tmp_path / "logs" / "my run") == "'logs/my run'"
    assert messages.short(Path("/else/where")) == "/else/where"


def test_a_stream_that_takes_no_other_method_stays_as_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Slots:
        __slots__ = ("said",)

        def write(self, text: str) -> None:
            self.said = text

        def flush(self) -> None:
            pass

    stream = Slots()
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, stream)
    messages.let_readers_go()
    stream.write("x")
    assert stream.said == "x"
