"""The folder of a run: where it lies, and its config there."""

import contextlib
import functools
import itertools
import logging
import os
import shutil
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from engine import files, locks
from engine.config import admission, plain_yaml, secrets, signature
from engine.config.resolved import Config
from engine.errors import UserError
from engine.run.folder_names import job_name, lock_of
from engine.run.records import read

log = logging.getLogger(__name__)

CONFIG = Path(".hydra/config.yaml")
OVERRIDES = Path(".hydra/overrides.yaml")
SWEEP = Path("multirun.yaml")  # below the folder of a sweep
DOOR = Path(".hydra/door")  # the import path of the command, for the processes that join the run
HPARAMS = Path("hparams/events.out.tfevents.0.hparams")  # a job's row in TensorBoard
LAST = Path("checkpoints/last.ckpt")
PREVIOUS = Path("checkpoints/previous.ckpt")  # the last.ckpt before
BEST = Path("checkpoints/best.ckpt")
TRAINED = Path(".hydra/trained")  # an empty file: the run has had a checkpoint
GRACE = 1.0  # seconds: who asks whether a lock is held holds the lock for a moment


@contextmanager
def held(run_dir: Path, part: str = "") -> Iterator[None]:
    """Holds a run's folder for this process, or a part of it: no other process writes there.

    Does nothing more where this process holds the folder already, as the job that it has claimed.

    Args:
        run_dir: the run's folder.
        part: a name for what is written, where it is not the run itself.

    Raises:
        UserError: if another process holds it; says which one.
    """
    path = run_dir / f".hydra/{part}.lock" if part else lock_of(run_dir)
    if locks.is_ours(path):
        yield
        return
    files.make_folder(path.parent)
    lock = locks.acquire(path, GRACE)
    if lock is None:
        raise UserError(
            f"{run_dir}: {locks.owner(path)} is at work on it{part and f' ({part})'}.\n"
            "Two would spoil its files. Wait until that process has ended, or stop it."
        )
    try:
        yield
    finally:
        lock.release()


def has_trained(run_dir: Path) -> bool:
    """Tells whether a run has, or has had, a checkpoint to go on from."""
    return any((run_dir / name).exists() for name in (TRAINED, LAST, PREVIOUS))


def note_training(run_dir: Path) -> None:
    """Notes that a run has a checkpoint: should it be lost, the run must not begin anew.

    Is called after the checkpoint is written: a kill between the two loses a note, not a run.
    """
    if not (run_dir / TRAINED).exists():
        temporary = run_dir / f"{TRAINED}.new"
        with files.writing(run_dir / TRAINED):
            temporary.parent.mkdir(exist_ok=True)
            temporary.touch()
            files.disk.get().replace(temporary, run_dir / TRAINED)


def results(run_dir: Path) -> set[object]:
    """Returns what a run has left so far: its checkpoints, as they were written, and its rows.

    Rows are the same ones where the table has other columns.
    """
    found: set[object] = set()
    for path in (run_dir / TRAINED, *run_dir.rglob("*.ckpt")):
        with contextlib.suppress(OSError):  # there is none
            found.add((path.name, path.stat().st_mtime_ns))
    for path in run_dir.rglob("metrics.csv"):
        with contextlib.suppress(OSError):  # it cannot be read
            rows = path.read_bytes().splitlines()[1:]  # below the header
            found |= {tuple(filter(None, row.split(b","))) for row in rows}
    return found


def new_run_dir(config: Config) -> Path:
    """Makes `logs/runs/<name>/<timestamp>`, a folder that no other run has."""
    parent = above_run(config)
    stamp = datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    run_dir = parent / stamp
    number = 1
    with files.writing(parent):
        while True:
            try:
                run_dir.mkdir(parents=True)
                return run_dir
            except FileExistsError:
                number += 1
                run_dir = parent / f"{stamp}_{number}"


def above_run(config: Config) -> Path:
    """Returns `logs/runs/<name>`, the folder that holds a run that is no job of a sweep."""
    return Path(config["paths.log_dir"], "runs", str(config.get("name"))).absolute()


def go_on_from(parent: Path, run_dir: Path) -> None:
    """Copies what another run has logged so far, but for what says how that run was."""
    own = shutil.ignore_patterns(
        ".hydra", "summary.json", "train.log", "evaluation", "figures", "hparams", "checkpoints"
    )
    try:
        shutil.copytree(parent, run_dir, ignore=own, dirs_exist_ok=True)
    except shutil.Error as error:  # has source, place and reason of each file
        _, place, reason = error.args[0][0]
        raise files.CannotWrite(
            None, reason.partition("] ")[2].partition(": ")[0] or reason, place
        ) from None


def job_dir(config: Config, folder: Path, words: Sequence[str], is_whole: bool = False) -> Path:
    """Returns `<folder>/<slug>-<hash>`, where a job of a sweep is to lie.

    The slug has the overrides by which the job differs: those that are not the sweep's own.

    Args:
        config: the job's.
        folder: the sweep's.
        words: the job's overrides.
        is_whole: whether the name has the whole hash, as another job has the shorter name.
    """
    return folder / job_name(own_words(folder, words), config.hash, is_whole)


def own_words(folder: Path, words: Sequence[str]) -> list[str]:
    """Returns the overrides by which a job differs from the others of the sweep in a folder."""
    sweep = folder / SWEEP  # a sweep over experiments has none
    common = _overrides_of_sweep(sweep, sweep.stat().st_mtime_ns) if sweep.exists() else []
    return [word for word in words if word not in common]


@functools.lru_cache(maxsize=8)
def _overrides_of_sweep(path: Path, written: int) -> list[str]:
    try:
        return read.sweep(path)["task"]
    except read.BrokenFile as broken:  # the names of jobs are longer then
        log.warning("%s", broken)
        return []


def set_aside(run_dir: Path) -> None:
    """Renames a run's folder to the first free `<folder>.1`, `<folder>.2`, …

    It loses its row of HParams: TensorBoard would show the mean of it and of the row that the job
    gets when it runs again.
    """
    names = (f"{run_dir.name}.{number}" for number in itertools.count(1))
    aside = next(path for path in map(run_dir.with_name, names) if not os.path.lexists(path))
    run_dir.rename(aside)
    shutil.rmtree(aside / HPARAMS.parent, ignore_errors=True)


def save_config(run_dir: Path, config: Config, door: str) -> str:
    """Writes the config, the overrides that made it and the door to `.hydra/`, if they are missing.

    Another config is written again, such as another trial's: child processes read it there. It is
    signed only if it is this user's own: to trust a received one once is not to trust it for ever.

    Args:
        run_dir: the run's folder.
        config: the run's.
        door: the import path of the command.

    Returns:
        the digest of the text with these values, by which child processes trust it.
    """
    files.make_folder((run_dir / CONFIG).parent)
    values = config.yaml
    if not (run_dir / CONFIG).exists():
        files.write_whole(run_dir / OVERRIDES, signature.signed(plain_yaml.dump(config.overrides)))
        files.write_whole(run_dir / DOOR, f"{door}\n")
    else:
        before, text = read.written(run_dir / CONFIG)
        if plain_yaml.dump(before) == values:
            return signature.digest_of(text)
    text = signature.signed(values) if config.is_ours else values
    files.write_whole(run_dir / CONFIG, text)
    return signature.digest_of(text)


def load_config(run_dir: Path, package: str = "", trust: str = "") -> Config:
    """Loads the config of an earlier run, with its overrides: the only way to build from a folder.

    A config that this user has not signed may name harmless objects only, see admission.py. Of the
    overrides, only those that this user has signed are taken, as the log shows them.

    Args:
        run_dir: the run's folder.
        package: the user's own, whose classes and functions a received config may name.
        trust: "true" insists on whatever the config names; the digest of a config trusts that
            one, as the process that starts this one does.

    Raises:
        UserError: if there is no run in that folder, one of the two files is broken, a link leads
            out of it, or the config is received and names more.
    """
    if not os.path.lexists(run_dir / CONFIG):
        raise UserError(f"{run_dir}: not a run's folder (it has no {CONFIG}).")
    written, text = read.written(run_dir / CONFIG)
    try:
        composed = OmegaConf.create(written)
    except OmegaConfBaseException as error:
        raise read.BrokenFile(run_dir / CONFIG, " ".join(str(error).split())) from None
    is_ours = signature.is_ours(text)
    if not is_ours:
        admission.import_nothing_of(run_dir)
        if trust == "true":
            log.warning("trust=true: runs whatever code %s names", run_dir / CONFIG)
    if trust not in ("true", signature.digest_of(text)):
        admission.check_links(run_dir)
        if not is_ours:
            admission.admit(written, package, run_dir)
    words = read.overrides(run_dir / OVERRIDES, own_only=True)
    if words is None:
        said = "%s: missing, or not written by you; the run goes on without it"
        log.warning(said, run_dir / OVERRIDES)
    config = Config(secrets.resolve(composed, written), overrides=words or [])
    config.is_ours = is_ours
    config.is_trusted = trust == "true"
    return config


def as_written(run_dir: Path) -> Config:
    """Reads the config of a run to compare it, whoever made it; nobody builds anything of it.

    Raises:
        UserError: if the file is broken.
    """
    return Config(read.written(run_dir / CONFIG)[0])


def weights_file(source: Path) -> Path:
    """Returns the checkpoint that `init_from` names: a file, or the best or last of a run.

    Raises:
        UserError: if there is none.
    """
    places = [source, source / BEST, source / LAST]
    if found := [path for path in places if path.is_file()]:
        return found[0]
    raise UserError(f"init_from={source}: must be a checkpoint, or a run's folder that has one.")


def nearest_existing(folder: Path) -> Path:
    """Returns the first folder at or above a path that is there."""
    return next(path for path in (folder, *folder.parents) if path.exists())


def take_back(run_dir: Path, found: Collection[Path]) -> None:
    """Removes what a run has left in its folder, so that it begins anew.

    A kill on the way leaves a run that goes on from a checkpoint, if there is one, with its rows. A
    folder that does not empty stays: some file systems keep a file that somebody has open.

    Args:
        run_dir: the run's folder.
        found: what was there before the run.
    """
    first = [run_dir / name for name in (TRAINED, LAST, PREVIOUS)]
    with files.writing(run_dir):
        for path in (*first, *sorted(run_dir.rglob("*"), reverse=True), run_dir):
            if path in found or (path == run_dir and found):
                continue
            if path.is_dir() and not path.is_symlink():
                with contextlib.suppress(OSError):
                    path.rmdir()
            else:
                path.unlink(missing_ok=True)


def remove(folder: Path, below: Path) -> None:
    """Takes back a folder with all that is in it, and the empty folders above it, up to `below`."""
    shutil.rmtree(folder, ignore_errors=True)  # a job's folder may not be there yet
    remove_empty(folder.parent, below)


def remove_empty(folder: Path, below: Path) -> None:
    """Removes a folder, and those above it up to `below`, as far as they are empty."""
    for path in itertools.takewhile(lambda path: path != below, (folder, *folder.parents)):
        with contextlib.suppress(OSError):
            path.rmdir()
