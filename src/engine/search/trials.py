"""The trials of a search: drawn, claimed by one process at a time, finished by another if that one dies, and shown."""

import math
import shlex
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from filelock import FileLock
from optuna import Study
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.samplers import RandomSampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, Trial, TrialState

from engine.fence.optuna import trial_of
from engine.locks import take
from engine.search.space import words
from engine.search.study import Options, sampler
from engine.seeds import derive

SHOWN = 10  # of the best trials in the table


class Trials:
    """The trials of a study.

    A trial's parameters depend on the seed, its number and the trials told before it: a search that is killed and
    started again tries what it would have tried.

    Args:
        study: shared with other processes.
        options: of the search.
        space: where it looks, by key.
        n_trials: to begin in all.
        locks: the folder of the locks that claim them.
    """

    def __init__(
        self,
        study: Study,
        options: Options,
        space: Mapping[str, BaseDistribution],
        n_trials: int,
        locks: Path,
    ) -> None:
        self.study, self.options, self.space, self.n_trials = study, options, space, n_trials
        self._locks = locks
        locks.mkdir(parents=True, exist_ok=True)

    def claim(self) -> dict[int, FileLock]:
        """The numbers of the trials to run now, each with the lock that says so; none, once all have ended.

        First those that a process left when it died, then new ones, to the end of a batch of `n_jobs`. While others
        run all that is left, wait for them: should one die, its trial is to be finished here.
        """
        while True:
            with FileLock(self._locks / "study.lock"):
                claimed = self._orphans()
                while self._begun < self.n_trials and (
                    not claimed or self._begun % self.options.n_jobs
                ):
                    number = self.study.ask().number
                    claimed[number] = FileLock(self._lock_path(number))
                    claimed[number].acquire()
                for number in claimed:
                    self._draw(self.all()[number])
                running = self.all(TrialState.RUNNING)
            if claimed or not running:
                return claimed
            with FileLock(self._lock_path(running[0].number)):
                pass

    def all(self, *states: TrialState) -> list[FrozenTrial]:
        """The trials in any of some states, or in whatever state."""
        return self.study.get_trials(deepcopy=False, states=states or None)

    def tell(self, number: int, state: TrialState, value: float, **attributes: str | None) -> None:
        """End a trial; with a value, if it is complete."""
        trial = trial_of(self.study, self.all()[number])
        for key, text in attributes.items():
            trial.set_user_attr(key, text)
        self.study.tell(number, value if state == TrialState.COMPLETE else None, state)

    @property
    def _begun(self) -> int:
        return sum(trial.state != TrialState.WAITING for trial in self.all())

    def _orphans(self) -> dict[int, FileLock]:
        """Claim trials that are running by the study, and have nobody who runs them."""
        claimed: dict[int, FileLock] = {}
        for trial in self.all(TrialState.RUNNING):
            if len(claimed) < self.options.n_jobs and (lock := take(self._lock_path(trial.number))):
                claimed[trial.number] = lock
        return claimed

    def _lock_path(self, number: int) -> Path:
        return self._locks / f"{self.study.study_name.replace('/', '_')}-{number}.lock"

    def _draw(self, frozen: FrozenTrial) -> None:
        """Draw what the trial has no value of yet: if its process died over it, the values that it would have had.

        So the random numbers are the trial's own, and each parameter's where it is drawn without regard to the others.
        """

        def reseed(stream: str) -> None:
            seed = derive(self.options.seed, stream, frozen.number) % 2**32
            self.study.sampler = sampler(self.options, self.space, seed)

        reseed("trial")
        trial = trial_of(self.study, frozen)
        _ = trial.relative_params  # what is drawn together
        for key, distribution in self.space.items():
            reseed(key)
            _suggest(trial, key, distribution)
        self.study.sampler = (
            RandomSampler()
        )  # at the end of its grid, Optuna's stops a loop that we have not


def _suggest(trial: Trial, key: str, distribution: BaseDistribution) -> None:
    if isinstance(distribution, CategoricalDistribution):
        trial.suggest_categorical(key, distribution.choices)
        return
    low, high, step, log = (getattr(distribution, name) for name in ("low", "high", "step", "log"))
    suggest = (
        trial.suggest_int if isinstance(distribution, IntDistribution) else trial.suggest_float
    )
    suggest(key, low, high, step=step, log=log)


def ranked(study: Study) -> list[FrozenTrial]:
    """The trials that finished, the best first."""
    done = [
        t
        for t in study.get_trials(states=(TrialState.COMPLETE,))
        if t.value is not None and math.isfinite(t.value)
    ]
    return sorted(
        done, key=lambda t: t.value or 0.0, reverse=study.direction == StudyDirection.MAXIMIZE
    )


def table(study: Study | None, n_trials: int) -> str:
    """The best trials and those that went wrong, how many there are of each status, and the best one's overrides."""
    trials, best = (study.trials, ranked(study)) if study else ([], [])
    wrong = [trial for trial in trials if status(trial) in ("failed", "diverged")]
    lines = []
    for trial in best[:SHOWN] + wrong:
        value = f"{trial.value:.6g}" if trial in best else ""
        lines.append(
            f"  {trial.number:>5}  {status(trial):<11}{value:>12}  {shlex.join(words(trial.params))}".rstrip()
        )
        lines += [f"         {error}"] if (error := trial.user_attrs.get("error")) else []
        lines += (
            [f"         {folder}/train.log"]
            if error and (folder := trial.user_attrs.get("folder"))
            else []
        )
    counts = Counter(map(status, trials))
    counts["to come"] = max(0, n_trials - len(trials))
    lines.append(
        f"{n_trials} trials: {', '.join(f'{n} {what}' for what, n in counts.items() if n)}"
    )
    return "\n".join([*lines, *(f"best: {shlex.join(words(trial.params))}" for trial in best[:1])])


def status(trial: FrozenTrial) -> str:
    """What became of a trial's job; `running` while it is not told, be it interrupted."""
    return str(trial.user_attrs.get("status", trial.state.name.lower()))
