"""Sends messages to the terminal and to a run's train.log; ignores warnings that say nothing."""

import logging
import os
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from engine import files

# (start of the message as a regular expression, why a user need not see it)
# Classes have such lists of their own, of warnings that say nothing about their objects.
HARMLESS = (
    (
        r"Could not log computational graph to TensorBoard: The `model\.example_input_array`",
        "whoever wants a graph gives the module an example_input_array",
    ),
    (
        r"Attribute '\w+' is an instance of `nn\.Module`",
        "checkpoints leave such hyper-parameters out, and the log says so",
    ),
    (
        r".*isinstance\(treespec, LeafSpec\)",
        "Lightning 2.6 uses a PyTorch class that is on its way out",
    ),
    (
        r".*torch\.jit\.trace",
        "torch.utils.tensorboard draws the graph with it, and knows no other way",
    ),
    (
        r"This property will be removed in 2\.0\.0",
        "drawing the graph looks at every attribute of the metrics, too",
    ),
    (
        r"You're using the WeightAveraging callback, but loading",
        "an evaluation needs the mean of the weights, and has it",
    ),
    (
        r"Image size \(\d+ pixels\) exceeds limit",
        "images of up to twice that size are decoded; of larger ones there is an error",
    ),
    (r"GPU available but not used", "accelerator=cpu was chosen"),
)


def to_terminal() -> None:
    """Shows messages in the terminal; of several processes, all but the first show errors only."""
    first = os.environ.get("LOCAL_RANK", "0") == "0"
    logging.basicConfig(
        level=logging.INFO if first else logging.ERROR, format="%(message)s", stream=sys.stdout
    )


@contextmanager
def of_a_worker() -> Iterator[None]:
    """Shows warnings and errors only, in one of several processes that run jobs.

    The job's log has the rest. Several progress bars in one terminal would overwrite each other,
    so inside there is no terminal.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setLevel(logging.WARNING)
    logging.basicConfig(format="%(message)s", handlers=[handler])  # without effect the second time
    logging.getLogger().setLevel(logging.INFO)
    is_a_tty = sys.stdout.isatty
    sys.stdout.isatty = lambda: False  # type: ignore[method-assign]
    try:
        yield
    finally:
        sys.stdout.isatty = is_a_tty  # type: ignore[method-assign]


def silence_harmless() -> None:
    """Ignores the warnings in `HARMLESS`, and Lightning's messages below warnings."""
    for message, _ in HARMLESS:
        warnings.filterwarnings("ignore", message=message)
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)  # Lightning's import sets its own level
    # It warns that there is no CUDA, on machines without a GPU.
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)


@contextmanager
def silenced(*parts: object) -> Iterator[None]:
    """Ignores the warnings that say nothing about a run's parts, by `HARMLESS` of their classes."""
    with warnings.catch_warnings():
        for part in parts:
            for message, _ in getattr(part, "HARMLESS", ()):
                warnings.filterwarnings("ignore", message=message)
        yield


@contextmanager
def to_file(path: Path) -> Iterator[None]:
    """Sends messages to a file, too."""
    handler = file_handler(path)
    logging.getLogger().addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)
        handler.close()


class LogFile(logging.FileHandler):
    """Writes messages to a file; says once where the system refuses that, and the run goes on."""

    is_refused = False

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  logging's name
        error = sys.exception()
        if not isinstance(error, OSError):
            super().handleError(record)
        elif not self.is_refused:
            self.is_refused = True
            print(f"{self.baseFilename}: cannot be written: {error.strerror}.", file=sys.stderr)

    def close(self) -> None:
        with suppress(OSError):  # it has been said
            super().close()


@contextmanager
def told_once() -> Iterator[None]:
    """Keeps threads from telling what the system refuses: whoever waits for a thread tells it.

    TensorBoard's thread hands its error on to the code that logs.
    """
    before = threading.excepthook

    def tell(args: threading.ExceptHookArgs) -> None:
        if not isinstance(args.exc_value, OSError):
            before(args)

    threading.excepthook = tell
    try:
        yield
    finally:
        threading.excepthook = before


def file_handler(path: Path) -> logging.FileHandler:
    """Returns a handler that writes messages to a file, with time, level and source."""
    with files.writing(path):
        handler = LogFile(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    return handler
