"""Sends messages to the terminal and to a run's train.log; ignores warnings that say nothing."""

import functools
import itertools
import logging
import os
import re
import shlex
import shutil
import sys
import textwrap
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote

from engine import files

COLUMNS = 80  # of what is not shown in a terminal
BOLD, RED, GREEN, YELLOW = "\x1b[1m", "\x1b[31m", "\x1b[32m", "\x1b[33m"
OF_LEVELS = {logging.WARNING: YELLOW, logging.ERROR: RED}
OF_STATUSES = {"finished": GREEN, "diverged": RED, "failed": RED, "interrupted": YELLOW}
_RESET = "\x1b[0m"
_STYLES = re.compile(r"\x1b\[\d*m")

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
    (
        r"Guards may run slower on Python 3\.13\.0",
        "compiled steps give the same numbers, and this Python had a successor within two months",
    ),
    (
        r"There is a performance drop because we have not yet implemented the batching rule",
        "in jobs that train together, such an operation takes as long as in jobs one by one",
    ),
    (
        r"Validating sparse tensor invariants because weights_only=True",
        "a checkpoint with the momentum of sparse gradients is read with care",
    ),
)

# What Lightning tells of each run, and why a user need not read it. All else is shown.
USUAL = (
    (r"(GPU|TPU|HPU|IPU) available: ", "the run's second line has the device"),
    (r"LOCAL_RANK: \d+ - CUDA_VISIBLE_DEVICES", "the run's second line has the device"),
    (r"Using \S+ Automatic Mixed Precision", "trainer.precision was chosen"),
    (r"`Trainer\(\w+=1(\.0)?\)` was configured so", "the value was chosen, or is Lightning's own"),
    (r"💡 Tip", "an advertisement"),
    (r"Initializing distributed: |-{20,}\n", "the run's second line has the number of processes"),
    (r"`Trainer\.fit` stopped: ", "the run's end has a line of its own"),
    (r"\nDetected KeyboardInterrupt", "an interrupted run has a line of its own"),
    (
        r"(Restoring|Restored|Loaded) .* from the checkpoint|Restoring states from",
        "as resuming says",
    ),
    (r"Found current_model_state in the checkpoint", "as conf/callbacks/ema.yaml says"),
    (r"`weights_only` was not set", "of what Lightning's own finders save and load"),
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
            text = _pattern(value).sub(reference, text)
    return PASSWORD.sub("://…@", text) if "://" in text else text


@functools.cache
def _pattern(value: str) -> re.Pattern[str]:
    """Matches a value, also as Python or JSON quote it, once or several times, and as URLs do."""
    quoted = {one: rf"\\*{re.escape(one)}" for one in "\"'\\"}
    quoted |= {one: rf"(?:{one}|\\+{name})" for one, name in {"\n": "n", "\t": "t"}.items()}
    letters = [quoted.get(one, re.escape(one)) for one in value]
    return re.compile(f"{''.join(letters)}|{re.escape(quote(value, safe=''))}")


def _show_error(kind: Any, error: Any, trace: Any) -> None:
    sys.stderr.write(redacted("".join(traceback.format_exception(kind, error, trace))))


def styled(text: str, style: str | None) -> str:
    """Returns a text in a style, for a message; files and pipes get it without."""
    return f"{style}{text}{_RESET}" if style else text


def for_stream(text: str, stream: IO[str], level: int = logging.INFO) -> str:
    """Returns a text as a stream shows it: in its width if it is a terminal, in colour if it can.

    Prose is broken at blanks. A line that begins with a blank, such as a command to paste or a row
    of a table, stays as it is.
    """
    text = sayable(text, getattr(stream, "encoding", None) or "utf-8")
    if stream.isatty():
        text = "\n".join(map(_broken, text.split("\n")))
    if not _has_colours(stream):
        return _STYLES.sub("", text)
    head, traceback, rest = text.partition("\nTraceback ")
    return styled(head, OF_LEVELS.get(level)) + traceback + rest


def sayable(text: str, encoding: str = "utf-8") -> str:
    r"""Returns a text with `\udce9` and the like for what an encoding lacks.

    That may be a byte of a path that is not UTF-8.
    """
    return text.encode(encoding, "backslashreplace").decode(encoding)


def width() -> int:
    """Returns the columns of the terminal, if there is one."""
    return shutil.get_terminal_size((COLUMNS, 24)).columns


def _broken(line: str) -> str:
    seen = _STYLES.sub("", line)
    if seen.startswith(" ") or len(seen) <= width():
        return line
    return filled(line, subsequent_indent="  ")


def filled(text: str, **how: Any) -> str:
    """Returns prose that is broken at blanks, in the terminal's width; `how` is textwrap's."""
    options: Any = {"break_long_words": False, "break_on_hyphens": False, **how}
    return textwrap.fill(text, width(), **options)


def indented(text: str, blanks: int) -> str:
    """Returns prose that is broken at the terminal's width, behind a number of blanks."""
    return filled(text, initial_indent=" " * blanks, subsequent_indent=" " * blanks)


def _has_colours(stream: IO[str]) -> bool:
    """Tells whether to use colours, by the customs of no-color.org and force-color.org."""
    if os.environ.get("NO_COLOR"):
        return False
    return bool(os.environ.get("FORCE_COLOR")) or _is_screen(stream)


def _is_screen(stream: IO[str]) -> bool:
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def counted(number: int, noun: str) -> str:
    """Returns `1 job`, `2 jobs`, `1,000 jobs`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def cut(name: str, longest: int) -> str:
    """Returns a name with at most so many letters: its begin, … and its end."""
    end = longest // 4
    return (
        name if len(name) <= longest else f"{name[: longest - end - 1]}…{name[len(name) - end :]}"
    )


def cut_all(names: Iterable[str], longest: int) -> list[str]:
    """Returns names with at most so many letters, of which no two that differ look alike.

    Those that would keep less of what they have in common, or else get a number.
    """
    names = list(names)
    shown = {name: cut(name, longest) for name in names}
    begin = longest // 3
    for alike in _alike(shown):
        letters = enumerate(zip(*alike, strict=False))
        common = next((place for place, own in letters if len(set(own)) > 1), 0)
        shown |= {n: n[:begin] + cut(f"…{n[common:]}", longest - begin) for n in alike}
    for number, name in enumerate(itertools.chain(*_alike(shown)), start=1):
        shown[name] = f"{cut(name, longest - 3 - len(str(number)))} ({number})"
    return [shown[name] for name in names]


def _alike(shown: Mapping[str, str]) -> list[list[str]]:
    """Returns groups of the names of which the same is shown."""
    by_text: dict[str, list[str]] = {}
    for name, text in shown.items():
        by_text.setdefault(text, []).append(name)
    return [group for group in by_text.values() if len(group) > 1]


def short(path: Path) -> str:
    """Returns a path as a shell takes it, below the working directory if it lies there."""
    with suppress(ValueError, OSError):  # it lies elsewhere, or that folder is gone
        path = path.relative_to(Path.cwd())
    return shlex.quote(str(path))


def let_readers_go() -> None:
    """Has what is printed go nowhere once its reader has gone, such as `head`: that is no error.

    Hydra prints, too, and so may the user's own code. Python flushes once more when it exits.
    """
    for stream in filter(None, (sys.stdout, sys.stderr)):
        own = getattr(stream, "__dict__", None)
        # It has been done, or a stream with slots takes no other method.
        for name in () if own is None else {"write", "flush"} - own.keys():
            setattr(stream, name, _while_read(stream, getattr(stream, name)))


def _while_read(stream: IO[str], write: Callable[..., Any]) -> Callable[..., Any]:
    def written(*text: str) -> Any:
        try:
            return write(*text)
        except BrokenPipeError:
            with open(os.devnull, "wb") as nowhere:
                os.dup2(nowhere.fileno(), stream.fileno())
            return sum(map(len, text))

    return written


def begin_wait(text: str) -> None:
    """Shows a line in the terminal, until the next message or `end_wait`; in a pipe, nothing."""
    if _is_screen(sys.stderr) and _is_first_process():
        _Terminal.waits = True
        print(text, end="", file=sys.stderr, flush=True)


def end_wait() -> None:
    """Erases the line of `begin_wait`."""
    if _Terminal.waits:
        _Terminal.waits = False
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)


class _Terminal(logging.StreamHandler[Any]):
    """Shows messages in the terminal, above the progress bars."""

    waits = False  # whether there is a line that the next message erases

    def __init__(self, stream: IO[str]) -> None:
        super().__init__(stream)
        self.addFilter(_is_unusual)

    def emit(self, record: logging.LogRecord) -> None:
        end_wait()
        bars = sys.modules.get("tqdm")  # there is none before somebody has imported it
        with bars.tqdm.external_write_mode(self.stream) if bars else nullcontext():
            super().emit(record)

    def format(self, record: logging.LogRecord) -> str:
        return for_stream(redacted(super().format(record)), self.stream, record.levelno)


def _is_unusual(record: logging.LogRecord) -> bool:
    """Tells whether a message is none of those that Lightning tells of each run."""
    if record.levelno > logging.INFO or not record.name.startswith("lightning."):
        return True
    return not any(re.match(pattern, record.getMessage()) for pattern, _ in USUAL)


def to_terminal() -> None:
    """Shows messages in the terminal; of several processes, all but the first show errors only."""
    level = logging.INFO if _is_first_process() else logging.ERROR
    handler = _Terminal(sys.stdout)
    handler.setLevel(level)
    logging.basicConfig(level=level, handlers=[handler], format="%(message)s")
    logging.getLogger("hydra").setLevel(logging.WARNING)  # a sweep has a line of its own per job


def _is_first_process() -> bool:
    return os.environ.get("LOCAL_RANK", "0") == "0"


@contextmanager
def of_a_job() -> Iterator[None]:
    """Shows warnings and errors only, while a job of a sweep runs; the job's log has the rest."""
    shown = [own for own in logging.getLogger().handlers if isinstance(own, _Terminal)]
    before = [handler.level for handler in shown]
    for handler in shown:
        handler.setLevel(max(handler.level, logging.WARNING))
    try:
        yield
    finally:
        for handler, level in zip(shown, before, strict=True):
            handler.setLevel(level)


@contextmanager
def of_a_worker() -> Iterator[None]:
    """Shows warnings and errors only, in one of several processes that run jobs.

    The job's log has the rest. Several progress bars in one terminal would overwrite each other,
    so inside there is no terminal.
    """
    let_readers_go()
    handler = _Terminal(sys.stderr)
    handler.setLevel(logging.WARNING)
    # Without effect the second time.
    logging.basicConfig(handlers=[handler], format="%(message)s")
    logging.getLogger().setLevel(logging.INFO)
    is_a_tty = sys.stdout.isatty
    sys.stdout.isatty = lambda: False  # type: ignore[method-assign]
    try:
        yield
    finally:
        sys.stdout.isatty = is_a_tty  # type: ignore[method-assign]


def silence_harmless() -> None:
    """Ignores the warnings in `HARMLESS`; Lightning's messages go where all others go."""
    for message, _ in HARMLESS:
        warnings.filterwarnings("ignore", message=message)
    for name in ("lightning", "lightning.pytorch", "lightning.fabric"):
        own = logging.getLogger(name)
        own.handlers.clear()  # its import adds one
        own.propagate = True
        own.setLevel(logging.INFO)
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
    """Sends messages to a file, too; those of the engine that are for a file only, as well."""
    handler = file_handler(path)
    ours = logging.getLogger("engine")
    before = ours.level
    if _is_first_process():
        ours.setLevel(logging.DEBUG)
    logging.getLogger().addHandler(handler)
    try:
        yield
    finally:
        ours.setLevel(before)
        logging.getLogger().removeHandler(handler)
        handler.close()


class LogFile(logging.FileHandler):
    """Writes messages to a file, without styles and without secrets.

    Says once where the system refuses to write, and the run goes on.
    """

    is_refused = False

    def format(self, record: logging.LogRecord) -> str:
        return _STYLES.sub("", redacted(super().format(record)))

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


def file_handler(path: Path) -> logging.FileHandler:
    """Returns a handler that writes messages to a file, with time, level and source."""
    with files.writing(path):
        handler = LogFile(path, encoding="utf-8", errors="backslashreplace")
    handler.addFilter(_is_unusual)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    return handler
