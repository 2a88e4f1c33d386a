"""Reads summary.json, metrics.csv, config.yaml, overrides.yaml, made_of.json and the like.

Each function returns what its file says, and None or nothing where there is no such file.
"""

import csv
import functools
import io
import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from engine import signals
from engine.config import plain_yaml, signature
from engine.config.nested import dotted
from engine.config.ranges import why_not
from engine.errors import UserError

# Where a key of the first level begins, or the signature; and where an item of a list does.
PART = re.compile(r"^(?=[\w#])", re.MULTILINE)
ITEM = re.compile(r"^(?=[-#])", re.MULTILINE)
STEP = "step"
ADVICE = {
    "summary.json": "Put it back, or remove it: resume=RUN_DIR writes it anew.",
    "metrics.csv": "Put it back, or remove it and go on without its rows: add insist=true",
    "config.yaml": "Put it back: nothing else says what the run is.",
    "overrides.yaml": "Put it back, or remove it: no number depends on it.",
    "made_of.json": "Put it back, or remove it: data and code are not compared then.",
    "multirun.yaml": "Put it back, or start the sweep again, which writes it anew.",
    "door": "Put it back, or remove it: no number depends on it.",
}
# What stands below a key; the first keys must be there. More keys may be.
Shape = Mapping[str, Any]
OF_SUMMARY: Shape = {
    "status": Literal["finished", "diverged", "failed", "interrupted", "pruned"],
    "objective": float | None,
    "objective_of": dict[str, str] | None,
    "metrics": dict[str, float | None] | None,
    "tested": str | None,
    "seconds": float | None,
    "steps": int,
    "rows": int,
    "error": str | None,
    "config_hash": str | None,
    "versions": dict[str, str | None] | None,
}
OF_OBJECTIVE: Shape = {"metric": str, "taken": str, "mode": Literal["min", "max"]}
OF_MADE_OF: Shape = {
    "data": dict[str, Any],
    "code": dict[str, str | None],
    "versions": dict[str, str | None],
    "begins_from": str | None,
    "of_length": list[str],
    "files": dict[str, str],
    "mixed": list[str],
}
OF_SWEEP: Shape = {"task": list[str], "hydra": list[str]}
OF_DATA: Shape = {
    "classes": list[str],
    "samples": dict[str, int | None],
    "digest": str | None,
    "files": str | None,
    "content": dict[str, str] | None,
    "workers": int | None,
}


class BrokenFile(UserError):
    """Says which file of a run cannot be used, why, and what to do.

    Args:
        path: of the file.
        reason: what is wrong with it.
    """

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(path, reason)  # as pickle wants
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        advice = ADVICE.get(self.path.name, "Put it back.")
        return f"{self.path}: {self.reason}.\n{advice}"


def summary(path: Path) -> dict[str, Any] | None:
    """Reads how a run ended.

    Raises:
        BrokenFile: if it cannot be read, or says what no run writes.
    """
    text = _text(path)
    with _understanding(path):
        return None if text is None else _summary(text)


def _summary(text: str) -> dict[str, Any]:
    values = _mapping(json.loads(text))
    _check(values, OF_SUMMARY, required=1)
    if values.get("objective_of"):
        _check(values["objective_of"], OF_OBJECTIVE, required=len(OF_OBJECTIVE))
    return values


def made_of(path: Path) -> dict[str, Any] | None:
    """Reads which data, code and versions a run was made of; nobody may change what it returns.

    Raises:
        BrokenFile: if it cannot be read, or says what no run writes.
    """
    text = _text(path)
    with _understanding(path):
        return None if text is None else _made_of(text)


@functools.cache  # most jobs of a sweep are made of the same
def _made_of(text: str) -> dict[str, Any]:
    values = _mapping(json.loads(text))
    _check(values, OF_MADE_OF, required=3)
    _check(values["data"], OF_DATA, required=4)
    return values


def config(path: Path) -> dict[str, Any]:
    """Reads the config of a run by dotted key, as its file has it; nobody may change its values.

    It is read by its first-level keys: most parts are in many runs of a sweep.

    Raises:
        BrokenFile: if there is none, it cannot be read, or its end is missing.
    """
    return _config(path)[0]


def written(path: Path) -> tuple[dict[str, Any], str]:
    """Reads the config of a run, nested, with `${…}` as it stands there; returns its text, too.

    Raises:
        BrokenFile: as `config` does.
    """
    text = _config(path)[1]
    with _understanding(path):
        return plain_yaml.load(text), text


def _config(path: Path) -> tuple[dict[str, Any], str]:
    text = _text(path, plain_yaml.text_of)
    if text is None:
        raise BrokenFile(path, "missing")
    nodes: dict[str, dict[str, Any]] = {}
    with _understanding(path):
        for part in PART.split(text):
            own = _nodes(part)
            if twice := sorted(nodes.keys() & own.keys()):
                raise ValueError(f"is no YAML: found duplicate key {twice[0]}")
            nodes |= own
        if not nodes:
            raise ValueError("not a mapping")
        values = {key: value for node in nodes.values() for key, value in node.items()}
        # The last node of conf/config.yaml, and of what a run writes, is paths.
        if "seed" not in values or "paths.log_dir" not in values or not text.endswith("\n"):
            raise ValueError("its end is missing")
    return values, text


@functools.cache
def _nodes(text: str) -> dict[str, dict[str, Any]]:
    """Returns the values of each key of the first level, by dotted key."""
    part = _mapping(plain_yaml.load(text) or {})
    return {name: dotted({name: node}) for name, node in part.items()}


def overrides(path: Path, own_only: bool = False) -> list[str] | None:
    """Reads the words of the command line that made a config.

    Args:
        path: of the file.
        own_only: whether to return None for words that this user has not signed.

    Raises:
        BrokenFile: if it cannot be read, or is no list.
    """
    text = _text(path, plain_yaml.text_of)
    if text is None:
        return None
    with _understanding(path):
        found = [words for item in ITEM.split(text) if (words := _words(item)) is not None]
        if not found:
            raise ValueError("not a list")
        if not text.endswith("\n"):
            raise ValueError("its end is missing")
    if own_only and not signature.is_ours(text):
        return None
    return [word for words in found for word in words]


@functools.cache  # most jobs of a sweep share all words but a few
def _words(text: str) -> list[str] | None:
    words = plain_yaml.load(text)
    if not isinstance(words, list | None):
        raise ValueError("not a list")
    return words and [str(word) for word in words]


def sweep(path: Path) -> dict[str, list[str]]:
    """Reads the words of the command line that started a sweep: its own, and those for Hydra.

    Raises:
        BrokenFile: if it cannot be read, or says what no sweep writes.
    """
    with _understanding(path):
        words: Any = _mapping(plain_yaml.load(_text(path, plain_yaml.text_of) or ""))
        for key in ("hydra", "overrides"):
            words = _mapping(words.get(key))
        _check(words, OF_SWEEP, required=1)
    return {key: words.get(key, []) for key in OF_SWEEP}


def door(path: Path) -> str | None:
    """Reads the import path of the command that made a run.

    Raises:
        BrokenFile: if it cannot be read, or is no import path.
    """
    text = _text(path, plain_yaml.text_of)
    if text is not None and not re.fullmatch(r"\w+(\.\w+)*\n", text):
        raise BrokenFile(path, "not the import path of a command")
    return text and text.strip()


def rows(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """Reads a table of metrics: its columns and its rows, each with the cells that are not empty.

    A kill may have cut the last line, which is left out.

    Raises:
        BrokenFile: if it cannot be read, or has a cell that is no number.
    """
    text = _text(path)
    if text is None:
        return [], []
    with _understanding(path):
        table = csv.reader(io.StringIO(text[: text.rfind("\n") + 1]))
        columns = next(table, [])
        if STEP not in columns:
            raise ValueError(f"its first line has no column {STEP}")
        step = columns.index(STEP)
        made = []
        for number, line in enumerate(table, start=2):
            try:
                if len(line) != len(columns):
                    raise ValueError(f"{len(line)} cells, not {len(columns)}")
                int(line[step])
                row = {name: cell for name, cell in zip(columns, line, strict=True) if cell}
                _ = [*map(float, row.values())]
            except ValueError as error:
                raise ValueError(f"line {number}: {error}") from None
            made.append(row)
    return columns, made


def _whole(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def _text(path: Path, read: Callable[[Path], str] = _whole) -> str | None:
    with _understanding(path):
        if not path.is_file() and path.exists():  # a pipe or a device may have no end
            raise ValueError("not a file")
        try:
            return read(path)
        except (FileNotFoundError, NotADirectoryError):
            return None


def _mapping(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError("not a mapping")
    return value


def _check(values: Mapping[str, Any], shape: Shape, required: int) -> None:
    """Refuses values that do not have the shape of what a run writes."""
    for key in list(shape)[:required]:
        if key not in values:
            raise ValueError(f"has no {key}")
    for key, hint in shape.items():
        if key in values and (why := why_not(values[key], hint)):
            raise ValueError(f"{key}: should be {why[0]}")


@contextmanager
def _understanding(path: Path) -> Iterator[None]:
    """Turns whatever is found wrong with a file's content into a BrokenFile."""
    try:
        with signals.undisguised():  # which may break the reading of a file that is whole
            yield
    except BrokenFile:
        raise
    except OSError as error:
        raise BrokenFile(path, f"cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise BrokenFile(path, "is no text") from None
    except (ValueError, csv.Error, RecursionError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise BrokenFile(path, reason) from None
