"""An Optuna study, opened by words: its storage, its sampler, its pruner."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock
from optuna.distributions import BaseDistribution
from optuna.pruners import BasePruner, MedianPruner, NopPruner, SuccessiveHalvingPruner
from optuna.samplers import BaseSampler, GridSampler, RandomSampler, TPESampler
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

from engine.config.limits import COUNT, Limit, OneOf, check
from engine.errors import UserError
from engine.search.space import values

optuna.logging.set_verbosity(optuna.logging.WARNING)

LIMITS: dict[str, Limit | OneOf] = {
    "n_trials": COUNT,
    "n_jobs": COUNT,
    "direction": OneOf((None, "minimize", "maximize")),
    "sampler": OneOf(("tpe", "random", "grid")),
    "seed": Limit(whole=True, low=0, high=2**32 - 1),
    "random_trials": COUNT,
    "pruner": OneOf(("none", "median", "halving")),
    "pruner_trials": Limit(whole=True, low=0),
    "pruner_steps": Limit(whole=True, low=0),
    "pruner_keeps": Limit(whole=True, low=2),
}


@dataclass(frozen=True)
class Options:
    """What conf/hydra/sweeper/optuna.yaml says of a search; its comments tell what each is.

    Raises:
        UserError: for the first that is none of what is allowed.
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
    def pruner_word(self) -> str | None:
        """The pruner, for the jobs' command lines: what `pruner` takes; None for none."""
        if self.pruner == "none":
            return None
        return f"{{kind:{self.pruner},trials:{self.pruner_trials},steps:{self.pruner_steps},keeps:{self.pruner_keeps}}}"


class _Lock(JournalFileOpenLock):
    """Of a journal, for one writer at a time: it dies with its owner, where Optuna's own would hold others for 30 s."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self._lock = FileLock(
            path + ".writer"
        )  # not .lock, which other programs of Optuna's make and remove

    def acquire(self) -> bool:
        self._lock.acquire()
        return True

    def release(self) -> None:
        self._lock.release()


def absolute(storage: str) -> str:
    """A storage's name that is good in every working directory: of a job in another process, too.

    Raises:
        UserError: if it is neither a database's URL nor a journal's path.
    """
    url = storage.startswith("sqlite:///")
    if not url and ("://" in storage) == storage.endswith(".log"):
        raise UserError(
            f"hydra.sweeper.storage={storage}: must be a path that ends in .log, or sqlite:///PATH."
        )
    if not url and "://" in storage:
        return storage
    path = Path(storage.removeprefix("sqlite:///")).expanduser().absolute()
    return f"sqlite:///{path}" if url else str(path)


def exists(storage: str) -> bool:
    """Whether a storage is there; a database of a server's counts as there."""
    path = storage.removeprefix("sqlite:///")
    return "://" in path or Path(path).exists()


def opened(storage: str) -> BaseStorage:
    """A storage by its absolute name, made if there is none.

    Raises:
        UserError: if it cannot be opened.
    """
    from sqlalchemy.exc import SQLAlchemyError

    try:
        if "://" not in storage:
            Path(storage).parent.mkdir(parents=True, exist_ok=True)
            return JournalStorage(JournalFileBackend(storage, lock_obj=_Lock(storage)))
        wait = (
            {"connect_args": {"timeout": 60}} if storage.startswith("sqlite") else {}
        )  # seconds, for other writers
        return RDBStorage(storage, engine_kwargs=wait)
    except (SQLAlchemyError, ImportError, OSError, ValueError) as error:
        raise UserError(
            f"hydra.sweeper.storage={storage}: {str(error).partition(chr(10))[0]}"
        ) from None


def sampler(options: Options, space: Mapping[str, BaseDistribution], seed: int) -> BaseSampler:
    """The sampler, its random numbers from `seed`; a grid's order is the same for all trials, whatever the seed."""
    if options.sampler == "grid":
        return GridSampler({key: values(key, d) for key, d in space.items()}, seed=options.seed)
    if options.sampler == "random":
        return RandomSampler(seed=seed)
    return TPESampler(n_startup_trials=options.random_trials, seed=seed)


def pruner(kind: str, trials: int, steps: int, keeps: int) -> BasePruner:
    """A pruner by name; its numbers are those of hydra.sweeper.pruner_…"""
    if kind == "median":
        return MedianPruner(n_startup_trials=trials, n_warmup_steps=steps)
    if kind == "halving":
        return SuccessiveHalvingPruner(min_resource=steps or "auto", reduction_factor=keeps)
    return NopPruner()


def load(storage: str, study: str, pruner_options: Mapping[str, Any] | None = None) -> optuna.Study:
    """A study that is there, with its pruner.

    Raises:
        KeyError: if it is not there.
    """
    made = pruner(**pruner_options) if pruner_options else NopPruner()
    return optuna.load_study(
        study_name=study, storage=opened(storage), sampler=RandomSampler(), pruner=made
    )
