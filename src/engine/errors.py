"""Ends a command: a user's mistake in one or two lines, without a traceback; fixed exit codes."""

import difflib
import logging
import os
import pkgutil
import re
import signal
import sys
import traceback
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from engine import files, messages, signals

FAILED, WRONG_USE, CTRL_C, SIGTERM = 1, 2, 130, 143
FULL_ERROR = "HYDRA_FULL_ERROR"
HINT = f"{FULL_ERROR}=1 shows the traceback."
KEY = "full_key:"  # of what OmegaConf says: without a key, the next one has it
MOST_SHOWN = 200  # characters of a word
LOST_NAME = re.compile(r"cannot import name '(\w+)' from '([\w.]+)'")
LEXER = "LexerNoViableAltException"  # all that the lexer of Hydra's grammar says
OF_LIGHTNING = "trainer|callbacks|logger"  # the nodes that its Trainer is made of
INTERPOLATION = (  # OmegaConf's words on one
    r"Interpolation key '|Interpolation to parent node|"
    r"(?:resolving|dereferencing|Recursive|Unsupported) interpolation"
)
# (what OmegaConf and Hydra say, and how a user understands it)
IN_OUR_WORDS = (
    (
        r"Interpolation key '(\S+)' not found\nfull_key: (\S+)",
        r"\2: refers to \1, which these choices do not have.",
    ),
    (
        r"\w+ while .*: Missing mandatory value: (\S+)\nfull_key: \S+",
        r"\1: has no value (???); write \1=VALUE",
    ),
    # Of ${hydra:…}: the jobs of a sweep are composed before there is a config of Hydra's for each.
    (
        r"\w+ raised while .*: HydraConfig was not set\nfull_key: (\S+)",
        r"\1: refers to Hydra's own config by ${hydra:…}, which is there in a single run only.\n"
        "For a sweep, write the value itself.",
    ),
    (
        r"\w+ raised .*: \"Environment variable '(\S+)' not found\"\nfull_key: (\S+)",
        r"${oc.env:\1}: there is no such environment variable; \2 needs it.",
    ),
    (
        r"\w+ raised while resolving interpolation: (.*)\nfull_key: (\S+)",
        r"\2: its ${…} cannot be resolved: \1",
    ),
    (
        r"Could not append .* at '(\S+)'\.\nEither remove \+ prefix: '(.*)'",
        r"+\2: \1 has a value already; write \2",
    ),
)
LOST_OVERRIDE = re.compile(r"In '([^']+)': Could not override '([^'@]+)(@[^']+)?'\.")
TRACEBACK = "Traceback (most recent call last):"
CAUGHT = re.compile(r"Caught (\w+) .*\.\nOriginal ")  # in a process of torch's
ABOUT_VALUES = (TypeError, ValueError, RuntimeError)  # what libraries say of values
HYDRAS = ("hydra", "omegaconf", "antlr4")  # packages that read the config
# Files of Python's own modules, of code that is in no file, and of installed packages.
PYTHONS = ("<", str(Path(traceback.__file__).parent))
RUN = str(Path("run", "run.py"))  # of the engine
LIBRARIES = ("site-packages", "dist-packages", *PYTHONS)
_wants_traceback: ContextVar[bool | None] = ContextVar("wants_traceback", default=None)


class UserError(ValueError):
    """Names the key or file, its value and the allowed values; shown as it is, exit code 2."""


class RunFailed(Exception):
    """Says that a run failed and that its log tells how: exit code 1."""


class NotWritten(UserError):
    """Says that a file could not be written. The same command goes on when that is mended."""


class Stopped(RunFailed):
    """Says that a run has stopped, because a file could not be written, and can go on."""


class Pruned(Exception):
    """Stops a run that promises too little. A search may resume the run, as after a kill."""


class WorkerLost(RunFailed):
    """Says that a process of a run was killed. The run's folder tells how far the run came."""

    def __init__(self, said: str = "its process was killed") -> None:
        super().__init__(said)


def nearest(word: str, known: Iterable[str]) -> str:
    """Returns ' Did you mean …?' with the known word most like `word`, or ''."""
    known = list(known)
    ends = [k for k in known if k.rpartition(".")[2] == word]  # lr -> optimizer.lr
    alike = difflib.get_close_matches(word, known, n=10)
    begin = [k for k in known if k.startswith(f"{word}/")]  # val/loss -> val/loss/dataloader_idx_0
    close = ends or begin or [one for one in alike if _is_like(word, one)]
    return f" Did you mean {close[0]}?" if close else ""


def nearest_in(package: str, word: str) -> str:
    """Returns what `nearest` does, of the names and files of a package that is imported, or ''."""
    module = sys.modules.get(package)
    files = pkgutil.iter_modules(getattr(module, "__path__", []))
    return nearest(word, [*dir(module), *(file.name for file in files)]) if module else ""


def _is_like(word: str, known: str) -> bool:
    """Tells whether names are alike part by part: that both begin with trainer says nothing."""
    parts = zip(reversed(word.split(".")), reversed(known.split(".")), strict=False)
    return all(part in own or difflib.get_close_matches(part, [own]) for part, own in parts)


def wants_traceback() -> bool:
    """Tells whether the user has set HYDRA_FULL_ERROR=1."""
    asked = _wants_traceback.get()
    return os.environ.get(FULL_ERROR) == "1" if asked is None else asked


@contextmanager
def exit_codes() -> Iterator[None]:
    """Runs a command: a user's mistake ends it with 2, Ctrl-C with 130, SIGTERM with 143.

    HYDRA_FULL_ERROR=1 shows the traceback, with the same code. Any other exception is a bug:
    traceback, exit code 1. Inside, HYDRA_FULL_ERROR is set for Hydra, which else would print the
    error itself.
    """
    messages.let_readers_go()
    asked = wants_traceback()
    before = os.environ.get(FULL_ERROR)
    token = _wants_traceback.set(asked)
    os.environ[FULL_ERROR] = "1"
    try:
        with signals.heeded(signal.SIGINT, signal.SIGTERM):
            _check_current_folder()
            yield
    except RunFailed:
        sys.exit(FAILED)
    except KeyboardInterrupt:
        sys.exit(CTRL_C)
    except Exception as error:
        messages.end_wait()
        mistake = as_mistake(error)
        if not isinstance(mistake, UserError):
            raise
        if asked:
            sys.excepthook(type(error), error, error.__traceback__)  # it leaves secrets out
            sys.exit(WRONG_USE)
        text = f"error: {describe(mistake)}"
        for theirs, ours in IN_OUR_WORDS:
            text = re.sub(theirs, ours, text)
        if words := words_about(describe(mistake), sys.argv[1:]):
            text = f"{text}\nThe command says: {messages.redacted(' '.join(words))}"
        print(messages.for_stream(text, sys.stderr, logging.ERROR), file=sys.stderr)
        sys.exit(WRONG_USE)
    finally:
        messages.end_wait()
        _wants_traceback.reset(token)
        if before is not None:
            os.environ[FULL_ERROR] = before
        else:
            os.environ.pop(FULL_ERROR, None)


def words_about(text: str, words: Sequence[str]) -> list[str]:
    """Returns the words that a message is about and names none of, in a line each.

    Of a message on a node, that are the words that set values of it; of Lightning's on what
    excludes each other, those of the Trainer and what it is given; of OmegaConf's on an
    interpolation, which names the key that reads the value, the words with one. They are none where
    the message has a key with its value, or the key of one of them: it tells what to change.
    """
    about = [r"(?:[^=]*\.)?([^=.]+)=.*\$\{"] if re.search(INTERPOLATION, text) else []
    if node := re.match(r"(\w+)[\w.]*: ", text):
        nodes = OF_LIGHTNING if re.match(r"(trainer: )?Lightning: ", text) else node[1]
        about.append(rf"(?:{nodes})\.(?:[^=]*\.)?(\w+)(?:=|$)")
    for pattern in about:
        found = {word: re.match(rf"[+~]*{pattern}", word, re.DOTALL) for word in words}
        if own := {word: match[1] for word, match in found.items() if match}:
            is_named = any(re.search(rf"\b{re.escape(key)}\b", text) for key in own.values())
            return [] if is_named else [" ".join(word.split())[:MOST_SHOWN] for word in own]
    return []


def _check_current_folder() -> None:
    """Refuses to begin in a folder that was removed: nobody can say what a path means there."""
    try:
        os.getcwd()
    except OSError as error:
        raise UserError(
            f"the current folder: {error.strerror}. Was it removed?\nGo to another one: cd DIR"
        ) from None


@contextmanager
def blamed_on(key: str, is_node: bool = True) -> Iterator[None]:
    """Blames a part of the config for whatever is raised inside, while the part is built or tried.

    Args:
        key: what is blamed.
        is_node: whether that is a node of the config, which says where to look.

    Raises:
        UserError: with the part, what was raised, and where, if that is in the user's code; with
            the way to the traceback, where the text alone may not tell enough.
    """
    try:
        with signals.undisguised():
            yield
    except (UserError, RunFailed, Pruned):
        raise
    except Exception as error:
        if files.cannot_write(error):
            raise
        mistake = as_mistake(error)
        text = str(mistake) if mistake is not error else said(error)
        is_told = is_node and isinstance(error, ABOUT_VALUES)
        if mistake is error and HINT not in text and not is_told:
            text = f"{text}\n{HINT}"  # it may be a mistake of the engine's own
        has_key = text.startswith(key) or "full_key: " in text
        raise UserError(text if has_key else f"{key}: {text}") from error


def as_mistake(error: Exception) -> Exception:
    """Returns as a UserError what the user can mend; other errors as they are.

    That is what Hydra raises, which is about the config, and a file that cannot be written. Pickle
    keeps the class, but not the cause.
    """
    from hydra.errors import HydraException, MissingConfigException
    from omegaconf.errors import OmegaConfBaseException
    from yaml import MarkedYAMLError

    if isinstance(error, UserError | RunFailed):
        return error
    if found := files.cannot_write(error):
        mistake = NotWritten(str(found))
        mistake.__cause__ = found
        return mistake
    if isinstance(error, MarkedYAMLError) and (mark := error.problem_mark):
        place = f"{messages.short(Path(mark.name))}, line {mark.line + 1}, column {mark.column + 1}"
        return UserError(f"{place}: {error.problem}.")
    if isinstance(error, MissingConfigException) and error.options:
        group, _, choice = str(error.missing_cfg_file).rpartition("/")
        hint = nearest(choice, error.options)
        known = f"{group} is one of: {', '.join(error.options)}."
        is_typed = any(re.match(rf"[+~]*{re.escape(group)}=", word) for word in sys.argv[1:])
        where = "" if is_typed else f"\nA file below conf/ chooses it, by `{group}: {choice}`."
        return UserError(f"{group}={choice}: no such choice.{hint} {known}{where}")
    if isinstance(error, HydraException) and (match := LOST_OVERRIDE.match(str(error))):
        return UserError(_about_override(*match.groups()))
    if isinstance(error, HydraException | OmegaConfBaseException):
        return UserError(describe(error))
    if not _is_raised_by_hydra(error):
        return error
    hint = "" if isinstance(error, ABOUT_VALUES) else f"\n{HINT}"
    return UserError(f"{said(error)}{hint}")


def _about_override(file: str, group: str, package: str | None) -> str:
    """Says why an `override` of a config file finds nothing: no slash, no package, or no group."""
    folder = file.rpartition("/")[0]
    if package and package.startswith(f"@{folder}."):
        how = "begin the file with the line `# @package _global_`"
        return f"conf/{file}.yaml: override {group} finds nothing: {how}, and write /{group}."
    if group.startswith(f"{folder}/"):
        name = group.removeprefix(f"{folder}/")
        return f"conf/{file}.yaml: override {name} finds nothing: write override /{name}."
    return f"conf/{file}.yaml: override /{group} finds nothing: config.yaml chooses no {group}."


def _is_raised_by_hydra(error: Exception) -> bool:
    """Tells whether Hydra or OmegaConf has raised an error of Python's."""
    called = [frame.f_code.co_filename for frame, _ in traceback.walk_tb(error.__traceback__)]
    last = [file for file in called if "-packages" in file or not file.startswith(PYTHONS)][-1:]
    modules = [sys.modules[name] for name in HYDRAS if name in sys.modules]
    folders = tuple(f"{Path(str(module.__file__)).parent}{os.sep}" for module in modules)
    return any(file.startswith(folders) for file in last)


def describe(error: Exception) -> str:
    """Describes an exception in two lines at most; for Hydra's, its cause and the key concerned.

    Secrets are left out, also those of several lines.
    """
    text = messages.redacted(str(error))
    if not isinstance(error, UserError) and error.__cause__ is not None:
        texts = f"{text}\n{error.__cause__}"
        key = next(iter(re.findall(r"full_key: (\S+)", texts)), "")
        text = messages.redacted(said(error.__cause__))
        if key and not text.startswith(key):
            text = f"{key}: {text}"
    return "\n".join(_lines(text)[:2])


def _lines(text: str) -> list[str]:
    text = text.replace(f"{LEXER}:", "Hydra cannot read")  # it points at the place in a line more
    lines = [line.strip() for line in text.splitlines()]
    lines = [line for line in lines if line.strip("^") and line != KEY]
    made: list[str] = []
    for line in [line for line in lines if not line.startswith("object_type=")]:
        is_item = line.startswith("* ") and bool(made)  # of a list of Lightning's
        joint = "," if is_item and not made[-1].endswith(":") else ""
        made += [f"{made.pop()}{joint} {line.removeprefix('* ')}" if is_item else line]
    return made


def said(error: BaseException) -> str:
    """Returns what an exception says in a line, and in another where the user's code raised it."""
    if isinstance(error, UserError):
        return str(error)
    of_worker = _raised_in_worker(error)
    text, *more = _lines(of_worker or str(error)) or [""]
    if text.endswith(":") and more:  # torch names the weights that do not fit in lines below
        text = f"{text} {more[0][:MOST_SHOWN]}"
    if isinstance(error, ImportError):
        text = _with_what_was_meant(error, text)
    package = type(error).__module__.partition(".")[0]
    says_what = isinstance(error, ABOUT_VALUES) or package in HYDRAS
    if package == "lightning":  # whose words name an argument of its Trainer
        text = f"Lightning: {text}"
    elif not of_worker and not (text and says_what):
        text = f"{type(error).__name__}: {text}".removesuffix(": ")
    frames = traceback.extract_tb(error.__traceback__)
    engine = f"{Path(__file__).parent}{os.sep}"
    others = (*LIBRARIES, engine)
    # What train(run) calls of its run leads to all that there is, so that its line says nothing.
    theirs = [
        frame
        for frame, called in zip(frames, [*frames[1:], None], strict=False)
        if not any(own in frame.filename for own in others)
        and not (called and called.filename == f"{engine}{RUN}")
    ]
    for frame in theirs[-1:]:
        place = f"{messages.short(Path(frame.filename))}, line {frame.lineno}"
        text = f"{text}\nRaised in {place}; {HINT}"
    return text


def _with_what_was_meant(error: ImportError, text: str) -> str:
    """Returns what an ImportError says, without the file of the package, with the right name."""
    if lost := LOST_NAME.match(text):
        text, word, package = lost.group(0, 1, 2)
    else:
        name = error.name if isinstance(error, ModuleNotFoundError) else None
        package, _, word = (name or "").rpartition(".")
    hint = nearest_in(package, word)
    return f"{text}.{hint}" if hint else text


def named(error: BaseException) -> str:
    """Returns an exception as `Type: text`; of a DataLoader's worker, the one that it has raised.

    The first line says why, as tables show no more.
    """
    return _raised_in_worker(error) or f"{type(error).__name__}: {error}".removesuffix(": ")


def _raised_in_worker(error: BaseException) -> str:
    """Returns the end of the traceback that torch makes the text of a worker's exception; or ""."""
    text = str(error)
    if not (caught := CAUGHT.match(text)):
        return ""
    last = text[text.rfind(TRACEBACK) :]  # of those that led to one another
    found = re.search(rf"^(?:\w+\.)*{caught[1]}\b", last, re.MULTILINE)
    return last[found.start() :].strip() if found else ""
