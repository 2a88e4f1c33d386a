"""An Optuna study, opened by words: its storage, its sampler, its pruner."""

import os
from collections.abc import Generator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, cast

import optuna
from annotated_types import Ge, MinLen
from filelock import FileLock
from optuna import pruners, samplers, storages
from optuna.storages.journal import JournalFileBackend
from sqlalchemy.pool import NullPool

from engine.config.limits import COUNT, COUNT_OR_ZERO, PATH, SEED, Limit, check, one_of
from engine.errors import UserError
from engine.files import CannotRead, make_folder, writing
from engine.search.space import values

optuna.logging.set_verbosity(optuna.logging.WARNING)

LIMITS = {
    "n_trials": COUNT,
    "n_jobs": COUNT,
    "direction": one_of(None, "minimize", "maximize"),
    "sampler": one_of("tpe", "random", "grid"),
    "seed": SEED,
    "random_trials": COUNT,
    "pruner": one_of("none", "median", "halving"),
    "pruner_trials": COUNT_OR_ZERO,
    "pruner_steps": COUNT_OR_ZERO,
    "pruner_keeps": Limit(Annotated[int, Ge(2)], "a whole number from 2"),
    "storage": replace(PATH, words=(None,)),
    "study_name": Limit(Annotated[str, MinLen(1)] | int | float, "a name", (None,)),
}


@dataclass(frozen=True)
class Options:
    """Holds the options of a search; conf/hydra/sweeper/optuna.yaml explains each.

    Raises:
        UserError: for the first option that is out of its limit.
    """

    n_trials: int
    n_jobs: int
    direction: str | None
    sampler: str
    seed: int
    random_trials: int
    pruner: str
    pruner_trials: int
    pruner_steps: int
    pruner_keeps: int
    storage: str | None
    study_name: str | None

    def __post_init__(self) -> None:
        for key, limit in LIMITS.items():
            check(f"hydra.sweeper.{key}", getattr(self, key), limit)

    @property
    def pruner_word(self) -> str:
        """Returns the arguments of `pruner` for a job's command line; `null` for no pruner."""
        numbers = f"trials:{self.pruner_trials},steps:{self.pruner_steps},keeps:{self.pruner_keeps}"
        return "null" if self.pruner == "none" else f"{{kind:{self.pruner},{numbers}}}"


class _Journal(JournalFileBackend):
    """A journal that goes on after a cut line, and whose errors name its file.

    The system releases its lock when the owner dies; Optuna's own would hold others for 30 s.
    """

    def __init__(self, path: str) -> None:
        self.path = Path(path)
        # Other programs of Optuna's make and remove a file that ends in .lock. Of a lock, Optuna
        # calls `acquire` and `release`.
        self.lock = FileLock(f"{path}.writer")
        super().__init__(path, cast(Any, self.lock))

    def read_logs(self, log_number_from: int) -> Generator[dict[str, Any], None, None]:
        with writing(self.path, CannotRead):
            yield from super().read_logs(log_number_from)

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        with writing(self.path), self.lock:
            remove_part_of_a_line(self.path)
            super().append_logs(logs)


def remove_part_of_a_line(path: Path) -> None:
    """Ends a file with its last whole line: a kill or a full disk may have cut the next one.

    Optuna would write after the part, and then refuse the line that both make.
    """
    with open(path, "r+b") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 1))
        if file.read() not in (b"", b"\n"):
            file.seek(0)
            file.truncate(file.read().rfind(b"\n") + 1)


def absolute(storage: str) -> str:
    """Returns a storage's name that is good in every working directory, as jobs have their own.

    Raises:
        UserError: if it is neither a database's URL nor a journal's path; or if it is in memory,
            where each process would find another one.
    """
    _, sqlite, path = storage.rpartition("sqlite:///")
    is_url = "://" in storage
    in_memory = storage.startswith("sqlite:") and path in ("", ":memory:", storage)
    if in_memory or (not sqlite and is_url == storage.endswith(".log")):
        raise UserError(
            f"hydra.sweeper.storage={storage}: must be a path that ends in .log, or sqlite:///PATH."
        )
    return storage if is_url and not sqlite else f"{sqlite}{Path(path).expanduser().absolute()}"


def exists(storage: str) -> bool:
    """Tells whether a storage exists; a database on a server counts as existing."""
    path = storage.removeprefix("sqlite:///")
    return "://" in path or Path(path).exists()


def opened(storage: str) -> storages.BaseStorage:
    """Opens a storage by its absolute name; makes one if there is none.

    Raises:
        UserError: if it cannot be opened.
    """
    try:
        if "://" not in storage:
            make_folder(Path(storage).parent)
            return storages.JournalStorage(_Journal(storage))
        # A connection is closed after each use, as nobody closes a storage. SQLite waits 60 seconds
        # for other writers.
        options: dict[str, Any] = {"poolclass": NullPool}
        if storage.startswith("sqlite"):
            options["connect_args"] = {"timeout": 60}
        return storages.RDBStorage(storage, engine_kwargs=options)
    except Exception as error:  # of the system, a database or Optuna, which trusts what it reads
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise UserError(f"hydra.sweeper.storage={storage}: {reason}") from None


def sampler(
    options: Options, space: Mapping[str, optuna.distributions.BaseDistribution], seed: int
) -> samplers.BaseSampler:
    """Returns the sampler, its random numbers from `seed`.

    The order of a grid is the same for all trials: it depends on the search's seed alone.
    """
    if options.sampler == "grid":
        return samplers.GridSampler(
            {key: values(key, d) for key, d in space.items()}, seed=options.seed
        )
    if options.sampler == "random":
        return samplers.RandomSampler(seed=seed)
    return samplers.TPESampler(n_startup_trials=options.random_trials, seed=seed)


def pruner(kind: str, trials: int, steps: int, keeps: int) -> pruners.BasePruner:
    """Returns a pruner by name, with the numbers of hydra.sweeper.pruner_trials, _steps, _keeps."""
    if kind == "median":
        return pruners.MedianPruner(n_startup_trials=trials, n_warmup_steps=steps)
    if kind == "halving":
        return pruners.SuccessiveHalvingPruner(min_resource=steps or "auto", reduction_factor=keeps)
    return pruners.NopPruner()


def load(storage: str, study: str, pruner_options: Mapping[str, Any] | None = None) -> optuna.Study:
    """Loads a study that exists, with its pruner.

    Raises:
        KeyError: if there is none.
    """
    return optuna.load_study(
        study_name=study,
        storage=opened(storage),
        sampler=samplers.RandomSampler(),
        pruner=pruner(**pruner_options) if pruner_options else pruners.NopPruner(),
    )
