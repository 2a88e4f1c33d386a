"""Sends messages to the terminal and to a run's train.log; ignores warnings that say nothing."""

import functools
import logging
import os
import re
import sys
import traceback
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

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

PASSWORD = re.compile(r"://[^/?#\s@:]*:[^/?#\s@]+@")  # of a URL, and the user's name
SHORTEST = 4  # characters of a secret; shorter ones would be found in many words
_hidden: set[str] = set()  # environment variables whose values are shown nowhere


def hide(variables: Iterable[str]) -> None:
    """Shows the values of these environment variables in no message from now on."""
    _hidden.update(variables)
    sys.excepthook = _show_error  # the text of an error may have one, too


def redacted(text: str) -> str:
    """Returns a text with `${oc.env:NAME}` for the value of each hidden variable.

    A URL loses its user and password.
    """
    for name in _hidden:
        value = os.environ.get(name, "")
        if len(value) >= SHORTEST:
            reference = f"${{oc.env:{name}}}"
            text = _pattern(value).sub(lambda found, shown=reference: shown, text)
    return PASSWORD.sub("://…@", text) if "://" in text else text


@functools.cache
def _pattern(value: str) -> re.Pattern[str]:
    """Matches a value, also as Python or JSON quote it, once or several times, and as URLs do."""
    letters = [rf"\\*{re.escape(one)}" if one in "\"'\\" else re.escape(one) for one in value]
    return re.compile(f"{''.join(letters)}|{re.escape(quote(value, safe=''))}")


def redacted_values(value: Any) -> Any:
    """Returns plain values, nested, with each word redacted."""
    if not _hidden:
        return value
    if isinstance(value, str):
        return redacted(value)
    if isinstance(value, dict):
        return {key: redacted_values(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(redacted_values, value))
    return value


def _show_error(kind: Any, error: Any, trace: Any) -> None:
    sys.stderr.write(redacted("".join(traceback.format_exception(kind, error, trace))))


class Formatter(logging.Formatter):
    """Leaves secrets out of messages and tracebacks."""

    def format(self, record: logging.LogRecord) -> str:
        return redacted(super().format(record))


def to_terminal() -> None:
    """Shows messages in the terminal; of several processes, all but the first show errors only."""
    first = os.environ.get("LOCAL_RANK", "0") == "0"
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(Formatter("%(message)s"))
    logging.basicConfig(level=logging.INFO if first else logging.ERROR, handlers=[handler])


@contextmanager
def of_a_worker() -> Iterator[None]:
    """Shows warnings and errors only, in one of several processes that run jobs.

    The job's log has the rest. Several progress bars in one terminal would overwrite each other,
    so inside there is no terminal.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setLevel(logging.WARNING)
    handler.setFormatter(Formatter("%(message)s"))
    logging.basicConfig(handlers=[handler])  # without effect the second time
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


def file_handler(path: Path) -> logging.FileHandler:
    """Returns a handler that writes messages to a file, with time, level and source."""
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    return handler
