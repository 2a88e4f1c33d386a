"""Chooses the checkpoint that a run goes on from, or is measured with: sound, and its own."""

import json
import logging
from pathlib import Path
from typing import Any, NamedTuple

from engine.config.resolved import Config
from engine.errors import UserError
from engine.run import folders
from engine.run.checkpoint.file import (
    FORMAT,
    FORMAT_KEY,
    HASH,
    VALUES,
    Progress,
    WholeFileIO,
    progress_of,
    read,
)

log = logging.getLogger(__name__)

CHOSEN = "has_best"  # a key of a checkpoint: whether validation has chosen a best.ckpt by then
MOST_KEYS = 3  # in a message


class OtherConfig(UserError):
    """Says that a checkpoint was trained with another config."""


class OtherFormat(UserError):
    """Says that another version of the engine has written a checkpoint."""


class Found(NamedTuple):
    """The newest sound checkpoint of a run."""

    path: Path
    progress: Progress
    passed_over: list[str]  # why no newer one was taken

    def warn(self) -> None:
        """Says so, if this is not the newest checkpoint."""
        for reason in self.passed_over:
            log.warning("%s\nso %s is used, of step %d", reason, self.path, self.progress.steps)


def of_no_use(run_dir: Path, config: Config) -> str:
    """Says why a run cannot go on from its own sound checkpoint; "" where it can.

    One that is lost or damaged is for the user to put back.
    """
    try:
        found = to_go_on_from(run_dir, config)
    except OtherFormat:
        return "is of another version of the engine"
    except UserError:
        return ""
    return "is of its second or a later training" if found and found.progress.fit > 1 else ""


def to_go_on_from(run_dir: Path, config: Config, goes_on: bool = True) -> Found | None:
    """Returns the newest sound checkpoint of a run; None if the run has had none yet.

    A checkpoint is sound if its file is whole, if it was trained with the run's config, if it has
    the format of this engine, and if there is the best.ckpt that it counts on.

    Args:
        run_dir: the run's folder.
        config: the run's.
        goes_on: False for a checkpoint that is only measured, whatever its format: the weights are
            as good as any. Then only the numbers of epochs and steps are known.

    Raises:
        UserError: if there were checkpoints, and none is sound.
    """
    if not folders.has_trained(run_dir):
        return None
    reasons: list[UserError] = []
    for path in (run_dir / folders.LAST, run_dir / folders.PREVIOUS):
        try:
            saved = own(path, config, goes_on)
            best(run_dir, config, saved.get(CHOSEN, False))
            measured = Progress(saved["epoch"], saved["global_step"], row=0, stopped=False)
            progress = progress_of(saved) if goes_on else measured
            return Found(path, progress, list(map(str, reasons)))
        except UserError as reason:
            reasons.append(reason)
        except KeyError as missing:
            reasons.append(_no_checkpoint(path, missing.args[0]))
        except (AttributeError, TypeError, ValueError):
            reasons.append(UserError(f"{path}: is no checkpoint of a run."))
    anew = f"begin a new run with its weights: init_from={run_dir}"
    ways_out: dict[type[UserError], str] = {
        OtherConfig: f"Put the config back, or {anew}",
        OtherFormat: f"Go on with that version, or {anew}",
    }
    copied = f"Put the file back from a copy, or run it anew: remove the folder {run_dir}"
    kind = type(reasons[0]) if type(reasons[0]) in ways_out else UserError
    raise kind(f"{reasons[0]}\n{ways_out.get(kind, copied)}") from None


def own(path: Path, config: Config, goes_on: bool = False) -> dict[str, Any]:
    """Reads a checkpoint of the run with a config.

    Args:
        path: the checkpoint.
        config: the run's.
        goes_on: whether a run is to go on from it, and not only to be measured.

    Raises:
        UserError: if it is not there, damaged, or of another run or engine.
    """
    saved = read(path)
    if not isinstance(saved, dict) or HASH not in saved:
        raise _no_checkpoint(path, HASH)
    is_of_run = saved[HASH] == config.hash
    number = saved.get(FORMAT_KEY, 0)
    # What this engine does not find in another format would be missing in silence, and another
    # version may name configs otherwise.
    if (goes_on or not is_of_run) and (type(number) is not int or number != FORMAT):
        shown = number if type(number) is int else "unknown"
        raise OtherFormat(
            f"{path}: was written by another version of the engine (its format is {shown}, not "
            f"{FORMAT}), so the run cannot go on exactly."
        )
    if VALUES not in saved:
        raise _no_checkpoint(path, VALUES)
    if not is_of_run:
        raise OtherConfig(f"{path}: is of another config: {_differences(saved[VALUES], config)}.")
    return saved


def _no_checkpoint(path: Path, key: object) -> UserError:
    return UserError(f"{path}: is no checkpoint of a run: it has no {key}.")


def _differences(values: str, config: Config) -> str:
    then = json.loads(values)
    now = json.loads(config.relevant)
    # By repr, as 1 is neither 1.0 nor true.
    keys = [key for key in sorted({*then, *now}) if repr(then.get(key)) != repr(now.get(key))]
    said = [f"{key} was {then.get(key)} and is {now.get(key)}" for key in keys[:MOST_KEYS]]
    return ", ".join([*said, *["…"][: len(keys) - len(said)]])


def best(run_dir: Path, config: Config, is_chosen: bool) -> dict[str, Any] | None:
    """Reads the run's best.ckpt, if there is one.

    Args:
        run_dir: the run's folder.
        config: the run's.
        is_chosen: whether validation has chosen one, so that there has to be one.

    Raises:
        UserError: if it is missing, damaged, or of another run: other weights would be measured.
    """
    path = run_dir / folders.BEST
    return own(path, config) if is_chosen or path.exists() else None


def to_measure(run_dir: Path, config: Config) -> Path:
    """Returns the checkpoint with a run's best weights: the last, where none was chosen.

    Raises:
        UserError: if there is none, or it is not sound.
    """
    if best(run_dir, config, is_chosen=False):
        return run_dir / folders.BEST
    found = to_go_on_from(run_dir, config, goes_on=False)
    if not found:
        raise UserError(f"{run_dir}: has no checkpoint yet.")
    found.warn()
    return found.path


def in_memory(run_dir: Path, config: Config, measured: Path, split: str) -> dict[str, Any]:
    """Returns what a run had beside its weights when it measured a split by itself.

    It was tested after training, and validated as its best weights were found. There is none where
    another engine has written the checkpoint, which a warning says.

    Args:
        run_dir: the run's folder.
        config: the run's.
        measured: the checkpoint with the weights.
        split: test, val or train.
    """
    newest = (run_dir / folders.LAST, run_dir / folders.PREVIOUS) if split == "test" else ()
    for path in (*newest, measured):
        try:
            saved = own(path, config, goes_on=True)
        except OtherFormat as reason:
            log.warning("not exact: only weights are measured, not what attributes had: %s", reason)
            return {}
        except UserError:  # it is damaged, or not there
            continue
        found: dict[str, Any] = saved.get("so_far", {})
        return found
    return {}


def to_begin_with(source: Path) -> Path:
    """Returns the checkpoint that `init_from` names: a file, or the best or last of a run.

    Raises:
        UserError: if there is none, or if validation has chosen a best.ckpt that is not there.
    """
    path = folders.weights_file(source)
    if path != source and path.name != folders.BEST.name and read(path).get(CHOSEN):
        raise UserError(
            f"init_from={source}: has no {folders.BEST}, though validation chose one.\n"
            f"To begin with its last weights: init_from={path}"
        )
    return path


def begun_from(parent: Path, config: Config) -> Path:
    """Makes the folder of a run that goes on from another, with all that the other has so far.

    Its checkpoints are the other's, by the name of the new config.

    Raises:
        UserError: if a process is at work on the other run, or the other has no sound checkpoint.
    """
    with folders.held(parent):
        before = folders.as_written(parent)
        found = to_go_on_from(parent, before)
        if not found or found.progress.steps != config["parent.step"]:
            raise UserError(f"{parent}: has gone on meanwhile; give the command again.")
        found.warn()
        saved = {
            folders.LAST: read(found.path),
            folders.BEST: best(parent, before, is_chosen=False),
        }
        above = folders.nearest_existing(folders.above_run(config))
        run_dir = folders.new_run_dir(config)
        try:
            folders.go_on_from(parent, run_dir)
            for name, checkpoint in saved.items():
                if checkpoint:
                    WholeFileIO(config).save_checkpoint(checkpoint, run_dir / name)
            folders.note_training(run_dir)
        except BaseException:
            folders.remove(run_dir, above)
            raise
    return run_dir
