"""The trials of a search: drawn, claimed by one process at a time, and listed."""

import math
import shlex
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from filelock import FileLock
from optuna import Study
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import RandomSampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, Trial, TrialState

from engine import messages
from engine.fence.optuna import trial_of
from engine.locks import acquire
from engine.run import folder_names
from engine.search.space import words
from engine.search.study import Options, sampler
from engine.seeds import derive

SHOWN = 10  # of the best trials in the table


class Trials:
    """Claims the trials of a study, and tells it their results.

    A trial's parameters depend on the seed, on its number and on the trials that ended before: a
    search that is killed and started again tries the same.

    Args:
        study: shared with other processes.
        options: of the search.
        space: the distribution of each key.
        n_trials: the number of trials to begin in all.
        locks: the folder of the locks that claim trials.
    """

    def __init__(
        self,
        study: Study,
        options: Options,
        space: Mapping[str, BaseDistribution],
        n_trials: int,
        locks: Path,
    ) -> None:
        self.study = study
        self.options = options
        self.space = space
        self.n_trials = n_trials
        self._locks = locks
        locks.mkdir(parents=True, exist_ok=True)

    def claim(self) -> dict[int, FileLock]:
        """Claims the trials to run now; returns their locks by number, none once all have ended.

        First come the trials that a process left when it died, then new ones, to the end of a batch
        of `n_jobs`. While other processes run all that is left, wait for them: if one dies, its
        trial is finished here.
        """
        while True:
            with FileLock(self._locks / "study.lock"):
                claimed = self._orphans()
                begun = sum(trial.state != TrialState.WAITING for trial in self.all())
                while begun < self.n_trials and (not claimed or begun % self.options.n_jobs):
                    number = self.study.ask().number
                    claimed[number] = FileLock(self._lock_path(number))
                    claimed[number].acquire()
                    begun += 1
                for number in claimed:
                    self._draw(self.all()[number])
                running = self.all(TrialState.RUNNING)
            if claimed or not running:
                return claimed
            with FileLock(self._lock_path(running[0].number)):
                pass

    def all(self, *states: TrialState) -> list[FrozenTrial]:
        """Returns the trials in any of some states; without states, all trials."""
        return self.study.get_trials(deepcopy=False, states=states or None)

    def name(self, objective: str) -> str:
        """Names what the study's values are, if they have no name yet; dashboards show it.

        Returns:
            the name that they have.
        """
        if self.study.metric_names is None:
            with warnings.catch_warnings(action="ignore", category=ExperimentalWarning):
                self.study.set_metric_names([objective])
        return (self.study.metric_names or [objective])[0]

    def tell(self, number: int, state: TrialState, value: float, **attributes: str | None) -> None:
        """Ends a trial; with a value, if it is complete."""
        trial = trial_of(self.study, self.all()[number])
        for key, text in attributes.items():
            trial.set_user_attr(key, text)
        self.study.tell(number, value if state == TrialState.COMPLETE else None, state)

    def _orphans(self) -> dict[int, FileLock]:
        """Claims trials that the study says are running, and that no process runs."""
        claimed: dict[int, FileLock] = {}
        for trial in self.all(TrialState.RUNNING):
            if len(claimed) < self.options.n_jobs and (
                lock := acquire(self._lock_path(trial.number))
            ):
                # Its process may have told how it ended since the study was read.
                if self.all()[trial.number].state == TrialState.RUNNING:
                    claimed[trial.number] = lock
                else:
                    lock.release()
        return claimed

    def _lock_path(self, number: int) -> Path:
        # Two names must not become one: a/b and a_b.
        name = self.study.study_name.replace("%", "%25").replace("/", "%2F")
        return self._locks / f"{name}-{number}.lock"

    def _draw(self, frozen: FrozenTrial) -> None:
        """Draws the parameters that a trial has no value of yet.

        A trial has random numbers of its own, and so has each parameter that is drawn without
        regard to the others: if a process dies here, the next one draws the same values.
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
        # At the end of a grid, Optuna's sampler stops the loop of `study.optimize`; we have none.
        self.study.sampler = RandomSampler()


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
    """Returns the trials that finished with a number, the best first."""
    done = [
        t
        for t in study.get_trials(states=(TrialState.COMPLETE,))
        if t.value is not None and math.isfinite(t.value)
    ]
    return sorted(
        done, key=lambda t: t.value or 0.0, reverse=study.direction == StudyDirection.MAXIMIZE
    )


def table(
    study: Study | None,
    n_trials: int,
    marks: Mapping[int, str],
    sweep_dir: Path,
    fixed: Sequence[str] = (),
) -> str:
    """Returns lines for the best trials and the wrong ones, a count, and the best overrides.

    Numbers have 4 significant digits, but for the overrides, which are there to paste.

    Args:
        study: that was begun, if one was.
        n_trials: of the search.
        marks: what to say of a trial beside its status, by number.
        sweep_dir: holds the folders of the trials' jobs.
        fixed: words that all trials have, and a single run of the experiment has not.
    """
    trials = study.trials if study else []
    best = ranked(study) if study else []
    # Failed, diverged, or finished with a value that is no finite number.
    valued = {trial.number for trial in best}
    ended = (TrialState.COMPLETE, TrialState.FAIL)
    wrong = [trial for trial in trials if trial.state in ended and trial.number not in valued]
    name = (study.metric_names if study else None) or ["objective"]
    wide = max(12, len(name[0]) + 2)
    head = f"  {'trial':>5}  {'status':<11}{name[0]:>{wide}}  "
    lines = [messages.styled(f"{head}parameters", messages.BOLD)] if best or wrong else []
    for trial in best[:SHOWN] + wrong:
        value = f"{trial.value:.4g}" if trial.number in valued else ""
        own = folder_names.settings(words(trial.params))
        short = " ".join(f"{key}={value}" for key, value in own)
        parameters = messages.indented(short, len(head)).lstrip()
        how = status(trial)
        shown = messages.styled(f"{how:<11}", messages.OF_STATUSES.get(how))
        lines.append(f"  {trial.number:>5}  {shown}{value:>{wide}}  {parameters}".rstrip())
        if trial.number in marks:
            lines.append(f"         {marks[trial.number]}")
        if error := trial.user_attrs.get("error"):
            lines.append(messages.indented(error, 9))
            said = f"{trial.user_attrs.get('folder')}/train.log"
            if how == "failed" and (sweep_dir / said).is_file():
                lines.append(f"         {said}")
    counts = Counter(marks.get(trial.number, status(trial)) for trial in trials)
    counts["to come"] = max(0, n_trials - len(trials))
    numbers = ", ".join(f"{number} {name}" for name, number in counts.items() if number)
    if more := best[SHOWN:]:
        lines.append(f"  {len(more)} more have finished, none of them better; a report has all.")
    # A study may have more than are asked for.
    lines.append(f"{messages.counted(max(n_trials, len(trials)), 'trial')}: {numbers}")
    for trial in best[:1]:
        mark = f", {marks[trial.number]}" if trial.number in marks else ""
        lines.append(f"best{mark}:\n  {shlex.join([*fixed, *words(trial.params)])}")
    return "\n".join(lines)


def status(trial: FrozenTrial) -> str:
    """Returns how a trial's job ended; `running` before the study knows, even if interrupted."""
    if trial.state == TrialState.FAIL:
        return "failed"
    return str(trial.user_attrs.get("status", trial.state.name.lower()))
