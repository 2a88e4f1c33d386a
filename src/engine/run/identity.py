"""What a run is made of beside its config: data, code and versions.

A run records this when its training begins. A run that is resumed compares: other data or other
code would give a mixture that no config describes. A sweep runs a job anew if its data changed, and
lists a job whose code changed.
"""

import functools
import hashlib
import json
import logging
import os
import stat
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from engine import files
from engine.config import plain_yaml
from engine.config.keys import IRRELEVANT, LENGTHS, is_below
from engine.config.nested import words_in
from engine.config.resolved import Config
from engine.errors import UserError
from engine.run import code, folders
from engine.run.records import read
from engine.run.summaries import COMPLETE

if TYPE_CHECKING:  # a sweep that has nothing to run does not wait for Lightning
    from lightning.pytorch import LightningDataModule

log = logging.getLogger(__name__)

MADE_OF = Path(".hydra/made_of.json")
# Workers share the batches of a loader whose batches have numbers. Each of them reads any other
# loader by itself, so that their number makes the batches.
WORKERS = "datamodule.num_workers"
# Their files are known in other ways, or change no number.
NOT_NAMED = ("datamodule", "init_from", *IRRELEVANT)
# Of files whose content is read; more or larger ones go by their names, sizes and times.
CONTENT_BYTES, CONTENT_FILES = 2**28, 1000
# How the names of files end that are written when data are read, as by LMDB and SQLite.
OF_READERS = (".lock", "lock.mdb", "-wal", "-shm", "-journal")


class Changed(NamedTuple):
    """Says what is not as it was when a run was made: the data, and which files of code.

    The weights that a run begins from count as data. So does a file that another key names, and
    so may the number of workers: `data` is the key, or "data", or "".
    """

    data: str = ""
    code: tuple[str, ...] = ()

    def __str__(self) -> str:
        parts = [self.data] * bool(self.data) + [f"code ({', '.join(self.code)})"] * bool(self.code)
        return f"{' and '.join(parts)} changed"

    @property
    def mark(self) -> str:
        """Returns what a table says of a run that has ended: `other data`, `stale (lenet.py)`."""
        stale = f"stale ({', '.join(self.code)})" if self.code else ""
        return f"other {self.data}" if self.data else stale


def record(config: Config, data: "LightningDataModule", door: str) -> dict[str, Any]:
    """Returns what a run is made of.

    Args:
        config: the run's.
        data: the data module; its data are on disk.
        door: the import path of the command.
    """
    from engine.data.datamodule import TensorDataModule
    from engine.run.versions import versions

    splits = data.splits if isinstance(data, TensorDataModule) else {}
    digest = digest_of(data)
    return {
        "data": {
            "digest": digest,
            "samples": {name: len(split) for name, split in splits.items()},
            "classes": classes_of(data),
            **_files_of_data(config, digest is not None),
        },
        "code": code.digests(config, door),
        "begins_from": _weights_digest(config),
        "of_length": config.following(LENGTHS),
        "files": _files_named(config),
        "versions": {**versions(), "engine": code.of_the_engine()},
    }


def is_whole(made_of: dict[str, Any]) -> bool:
    """Tells whether a record has all: the sizes of some data come with their loaders."""
    return bool(made_of) and made_of["data"]["digest"] is not None


def look_again(made_of: dict[str, Any], config: Config) -> None:
    """Looks at the files of the data once more: what makes the loaders may have written some."""
    for looked in (_is_path, state_of_files):
        looked.cache_clear()
    made_of["data"] |= _files_of_data(config, is_known=False)


def forget() -> None:
    """Forgets what this process knows of code and data: other processes have run jobs since.

    Those have recorded the files as they were by then.
    """
    for cached in (_is_path, _file_digest, _digest_now, state_of_files, _content):
        cached.cache_clear()
    code.forget()


def save(run_dir: Path, made_of: dict[str, Any]) -> None:
    """Writes what a run is made of into its folder."""
    if load(run_dir) != made_of:
        files.write_whole(run_dir / MADE_OF, json.dumps(made_of, indent=2) + "\n")


def compare(run_dir: Path, made_of: dict[str, Any], insists: bool = False) -> None:
    """Compares what a run was made of with what it would go on with.

    Args:
        run_dir: the run's folder.
        made_of: what `record` returns now. A run with a checkpoint goes on from that: it has
            begun from the weights that it began from.
        insists: whether to go on whatever has changed.

    Raises:
        UserError: if the run was made of other data or code.
    """
    before = load(run_dir)
    if before is None:
        if folders.has_trained(run_dir):
            log.warning("%s: missing, so data and code are not compared", run_dir / MADE_OF)
        return
    changes = differences(before, made_of)
    if made_of["begins_from"] != before.get("begins_from", made_of["begins_from"]):
        changes.append("the weights of init_from changed")
    changes = [one for one in changes if one not in made_of.get("mixed", [])]
    if changes and not insists:
        raise UserError(
            f"{run_dir}: since this run began, {' and '.join(changes)}.\n"
            "Put that back, begin a new run, or go on all the same: add insist=true"
        )
    for change in changes:
        log.warning("not exact: since this run began, %s", change)
    warn_of_files(before, made_of)
    if mixed := dict.fromkeys([*mixture(run_dir), *made_of.get("mixed", []), *changes]):
        made_of["mixed"] = list(mixed)
    for name, version in made_of["versions"].items():
        if version != (then := before["versions"].get(name)):
            log.warning("not exact: %s was %s and is %s", name, then, version)


def warn_of_files(before: dict[str, Any], now: dict[str, Any]) -> None:
    """Warns where files of the data, whose content is not compared, may be others."""
    then, ours = before["data"], now["data"]
    if any(None not in (then.get(key), ours.get(key)) for key in ("digest", "content")):
        return
    if None not in (then["files"], ours["files"]) and then["files"] != ours["files"]:
        log.warning(
            "not exact if the data are others: since this run began, names, sizes or times of "
            "their files changed"
        )


def load(run_dir: Path) -> dict[str, Any] | None:
    """Reads what a run is made of; None if nothing was recorded.

    Raises:
        BrokenFile: if it cannot be read.
    """
    return read.made_of(run_dir / MADE_OF)


def is_lost(run_dir: Path, summary: Mapping[str, Any]) -> bool:
    """Tells whether the record of what a run is made of is lost: a run that ended had one."""
    has_ended = summary.get("status") in COMPLETE and summary.get("rows") is not None
    return has_ended and not os.path.lexists(run_dir / MADE_OF)


def mixture(run_dir: Path) -> list[str]:
    """Returns what had changed when a run went on all the same; mostly nothing."""
    return list((load(run_dir) or {}).get("mixed", []))


def differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Says what of the data and the code has changed."""
    said = []
    ours = now["data"]
    theirs = before["data"]
    if ours["classes"] != theirs["classes"]:
        said.append(f"the classes changed from {_names(theirs)} to {_names(ours)}")
    elif ours["samples"] and ours["samples"] != theirs["samples"]:
        said.append(f"the data changed from {_sizes(theirs)} to {_sizes(ours)} samples")
    elif ours["digest"] != theirs["digest"]:
        said.append("the content of the data changed")
    elif _are_other_files(theirs.get("content"), ours.get("content")):
        said.append("the files of the data changed")
    then, workers = theirs.get("workers"), ours.get("workers")
    if None not in (then, workers) and then != workers:
        said.append(
            f"{WORKERS} changed from {then} to {workers}, and each reads the loader by itself"
        )
    said += [f"the file of {key} changed" for key in _other_files(before, now["files"])]
    changed = [name for name, digest in now["code"].items() if before["code"].get(name) != digest]
    if changed:
        said.append(f"code changed ({', '.join(map(code.file_name, changed))})")
    return said


def _are_other_files(then: dict[str, str] | None, now: dict[str, str] | None) -> bool:
    """Tells whether files have another content or are gone; what came since may be a cache."""
    if then is None or now is None:
        return False
    return any(now.get(name) != digest for name, digest in then.items())


def changed(run_dir: Path, config: Config) -> Changed:
    """Tells what has changed since a run was made; fast, where the files of the data are as before.

    Args:
        run_dir: the run's folder.
        config: the run's.
    """
    before = load(run_dir)
    if before is None:
        return Changed()
    others = [name for name, digest in before["code"].items() if code.source(name)[0] != digest]
    weights = _weights_digest(config)
    begins_elsewhere = weights is not None and weights != before["begins_from"]
    data = "data" if begins_elsewhere or _data_changed(run_dir, before, config) else ""
    data = data or next(iter(_other_files(before, _files_named(config))), "")
    if before["data"].get("workers") not in (None, workers_of(config)):
        data = WORKERS
    return Changed(data, tuple(map(code.file_name, others)))


def workers_of(config: Config) -> int:
    """Returns how many workers a run's config asks for."""
    return int(config.get(WORKERS) or 0)


def _data_changed(run_dir: Path, before: dict[str, Any], config: Config) -> bool:
    then = before["data"]
    is_known = then["digest"] is not None
    state = _state_of_data(config, is_known)
    if state is None or then["files"] in (None, state):
        return False
    # The same content may be in other files.
    if not is_known:
        content = _files_of_data(config, is_known)["content"]
        return None in (content, then.get("content")) or content != then["content"]
    node = plain_yaml.dump(config["datamodule"])  # in its order, and with numbers as keys
    return bool(_digest_now(node, config.get("seed")) != then["digest"])


def _files_of_data(config: Config, is_known: bool) -> dict[str, Any]:
    """Returns what the files of the data are known by: their "files" and their "content".

    Data with a digest need no content of files. Many or large files have none: to read them would
    take long.
    """
    state = _state_of_data(config, is_known)
    content = None if is_known or state is None else _content(*_places_of_data(config), state)
    return {"files": state, "content": content}


def _state_of_data(config: Config, is_known: bool) -> str | None:
    """Returns a digest of the files and folders that the data module's config names, if any.

    Args:
        config: the run's.
        is_known: whether the content has a digest, by which files that were only moved count as
            before. Then the time when a file was put there counts, too.
    """
    paths, logs = _places_of_data(config)
    return " ".join(state_of_files(path, logs, is_known) for path in paths) or None


def _places_of_data(config: Config) -> tuple[tuple[Path, ...], str]:
    """Returns the files and folders that the data module's config names, and the folder with runs.

    That one is no part of the data that it lies below.
    """
    words = {word for path, word in words_in(config.get("datamodule"))}
    kept = sorted(words - {config.get("datamodule.cache_dir")})
    logs = os.path.realpath(config.get("paths.log_dir") or os.devnull)
    return tuple(Path(word) for word in kept if _is_path(word)), logs


def _files_named(config: Config) -> dict[str, str]:
    """Returns digests of the files that other nodes than the data module's name, by dotted key."""
    words = (
        (".".join(map(str, path)), word)
        for key, value in config.flat.items()
        if isinstance(value, str | list) and not is_below(key, NOT_NAMED)
        for path, word in words_in(value, (key,))
    )
    found = {key: Path(word) for key, word in words if _is_path(word)}
    return {key: _file_digest(path) for key, path in found.items() if path.is_file()}


def _other_files(before: dict[str, Any], now: dict[str, str]) -> list[str]:
    """Returns the keys whose files are not those of before."""
    then = before.get("files", {})
    return [key for key, digest in now.items() if then.get(key, digest) != digest]


@functools.cache
def _is_path(word: str) -> bool:
    """Tells whether a word names a file, or a folder by more than its name, which may be a word."""
    try:
        return os.path.exists(word) if os.sep in word else os.path.isfile(word)
    except (OSError, ValueError):  # a text that no name can have
        return False


def _weights_digest(config: Config) -> str | None:
    """Returns a digest of the weights that a run begins from; None if there are none."""
    path = config.get("init_from")
    try:
        return _file_digest(folders.weights_file(Path(path))) if path else None
    except UserError:  # they may be gone when the run has ended
        return None


@functools.cache
def _file_digest(path: Path) -> str:
    return _digest_of(path)


def _digest_of(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


@functools.cache
def _digest_now(node: str, seed: int | None) -> str | None:
    """Returns the digest of a data module's data, as they are now."""
    from engine import seeds
    from engine.config import objects

    with seeds.kept(seed):
        data = objects.build(plain_yaml.load(node), "datamodule")
        data.prepare_data()
        return digest_of(data)


def digest_of(data: Any) -> str | None:
    """Returns what a data module's `fingerprint()` says, if it has one."""
    return str(data.fingerprint()) if hasattr(data, "fingerprint") else None


def classes_of(data: Any) -> list[str]:
    """Returns the names of a data module's classes, in their order; none if it has no such list."""
    from engine.data.datamodule import class_names_of

    try:
        return class_names_of(data) or []
    except UserError:  # whoever needs names refuses these
        return []


@functools.cache
def state_of_files(folder: Path, logs: str, is_known: bool) -> str:
    """Returns a digest of the names, sizes and times of all files below a folder, or of a file."""
    digest = hashlib.sha256()
    for file, state in _files_below(folder, logs):
        times = (state.st_mtime_ns, state.st_ctime_ns)[: 2 if is_known else 1]
        said = (str(file.relative_to(folder)), state.st_size, *times)
        digest.update(repr(said).encode())
    return digest.hexdigest()[:16]


@functools.cache
def _content(paths: tuple[Path, ...], logs: str, state: str) -> dict[str, str] | None:
    """Returns digests of the contents of files by their names; None for many or large ones.

    Args:
        paths: files and folders.
        logs: the folder with runs.
        state: of them now; where it is as before, they need not be read again.
    """
    found = [
        (f"{number}:{file.relative_to(path)}", file, state.st_size)
        for number, path in enumerate(paths)
        for file, state in _files_below(path, logs)
    ]
    if len(found) > CONTENT_FILES or sum(size for *_, size in found) > CONTENT_BYTES:
        return None
    try:
        return {name: _digest_of(file) for name, file, _ in found}
    except OSError:  # of a file that the data module does not read, maybe
        return None


def _files_below(folder: Path, logs: str) -> list[tuple[Path, os.stat_result]]:
    """Returns all files below a folder with their states, sorted; of a file, itself.

    Hidden ones do not count, what is in hidden folders and in the folder with runs neither.
    """
    found = [] if folder.is_dir() else [folder]
    seen: set[str] = set()
    for path, folders_below, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(path)
        if real in seen or real == logs:  # links may lead in a circle
            folders_below.clear()
            continue
        seen.add(real)
        folders_below[:] = [name for name in folders_below if not name.startswith(".")]
        shown = [name for name in names if not name.startswith(".")]
        found += [Path(path, name) for name in shown if not name.endswith(OF_READERS)]
    states = []
    for file in sorted(found):
        with suppress(OSError):  # another process may have removed it
            states.append((file, file.stat()))
    return [(file, state) for file, state in states if stat.S_ISREG(state.st_mode)]


def _sizes(data: dict[str, Any]) -> str:
    return ", ".join(f"{size:,} {name}" for name, size in data["samples"].items())


def _names(data: dict[str, Any]) -> str:
    names = data["classes"]
    return f"{', '.join(names[:10])}{', …' if len(names) > 10 else ''}" or "none"
