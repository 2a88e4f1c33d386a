"""A search, which runs each trial of an Optuna study as a job of a sweep."""

import contextlib
import hashlib
import json
import logging
import math
import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from filelock import FileLock
from hydra.core.override_parser.types import Override, Quote, QuotedString
from optuna import Study, create_study
from optuna.distributions import distribution_to_json
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from engine import files, locks, messages, signals
from engine.config import secrets
from engine.config.keys import AVERAGES
from engine.errors import NotWritten, RunFailed, Stopped, UserError
from engine.run import identity, summaries
from engine.search import space
from engine.search import study as studies
from engine.search.trials import Trials, ranked, table
from engine.sweep import forced
from engine.sweep.jobs import Job, Launch, State, check_all, run_all

log = logging.getLogger(__name__)

MANY = 100  # trials: to compare one takes 30 ms
# What a run without validation was compared by before it was by its last pass.
OF_BEFORE = [f"{name}, {summaries.LAST_VALUE}" for name in summaries.TRAINING_LOSSES]
GONE = "without a folder of this config"
ANEW = "To begin a new search: hydra.sweeper.study_name=NAME"
# By all other options, a study draws its trials or prunes them.
NOT_DRAWN_BY = ("n_trials", "n_jobs", "direction", "storage", "study_name")
STATES = {
    "finished": TrialState.COMPLETE,
    "diverged": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
}


class Search:
    """Runs the jobs of a study; their results go to the study.

    Args:
        options: of the search.
        overrides: of the command line and of the experiment's params, by key.
        typed: the words of the command line.
        make_job: composes a job from words of a command line.
        storage: as it was typed; "" for none.

    Raises:
        UserError: if there is nothing to search, or the space or the storage is wrong.
    """

    def __init__(
        self,
        options: studies.Options,
        overrides: Mapping[str, Override],
        typed: Sequence[str],
        make_job: Callable[[list[str]], Job],
        storage: str,
    ) -> None:
        swept = {
            key: override for key, override in overrides.items() if override.is_sweep_override()
        }
        if not swept:
            raise UserError(
                "hydra/sweeper=optuna: give a key to search, "
                "as 'optimizer.lr=tag(log,interval(0.01,1))'."
            )
        self.fixed = [
            str(override.input_line) for key, override in overrides.items() if key not in swept
        ]
        # Words of the params, which a single run of the experiment does not have.
        self.untyped = [word for word in self.fixed if word not in typed]
        self.options = options
        self.make_job = make_job
        self.base = make_job(self.fixed)
        self.space = {
            key: space.distribution(word, self.base.config) for key, word in swept.items()
        }
        size = space.size(self.space) if options.sampler == "grid" else math.inf
        self.n_trials = int(min(options.n_trials, size))
        mode = self.base.config.get("callbacks.checkpoints.mode")
        to_max = (options.direction or f"{mode}imize") == "maximize"
        self.direction = StudyDirection.MAXIMIZE if to_max else StudyDirection.MINIMIZE
        self.storage = studies.absolute(options.storage or str(self.base.sweep_dir / "study.log"))
        self.named_storage = secrets.kept(storage, self.storage)  # in the configs of the jobs
        self._has_warned = False
        self._jobs: dict[int, Job] = {}  # of trials, by number: to compose one takes long
        self._token = ""  # of a search that runs jobs again
        self.mistake: UserError | None = None  # in the config, that only a job's data can show
        self.name = options.study_name or f"{self.base.config['name']}-{self._identity()}"

    def _identity(self) -> str:
        """Returns a hash of all that makes trials comparable, and of the folder of their jobs.

        The folder counts because claims hold there only.
        """
        space = {
            key: distribution_to_json(distribution) for key, distribution in self.space.items()
        }
        place = str(self.base.sweep_dir) if self.options.storage else ""
        # A grid is made of the numbers of its own trials, in an order of the seed.
        grid = [["grid", self.options.seed]] if self.options.sampler == "grid" else []
        made_of = [self.base.hash, space, self.direction.name, place, *grid]
        text = json.dumps(made_of, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:8]

    def check(self) -> None:
        """Checks configs at the bounds of the space, each bound and each choice in one at least.

        Raises:
            UserError: for the first value that is wrong.
        """
        ends = {key: space.ends(distribution) for key, distribution in self.space.items()}
        params = [
            {key: values[number % len(values)] for key, values in ends.items()}
            for number in range(max(map(len, ends.values())))
        ]
        check_all([self.make_job([*self.fixed, *space.words(values)]) for values in params])

    def run(self, launch: Launch) -> None:
        """Runs trials until there are `n_trials` and all have ended, whoever runs them.

        Raises:
            UserError: as `_look_back` does.
        """
        trials = self.open()
        self._look_back(trials.study)
        word = forced.word(self.base.treated)
        places = {
            word: forced.place(self.base.sweep_dir, [word, self.name]) for word in forced.WORDS
        }
        with contextlib.ExitStack() as running:
            self._token = running.enter_context(forced.held(places[word])) if word else ""
            self._run(trials, launch)
        for place in places.values():
            forced.ended(place)

    def _run(self, trials: Trials, launch: Launch) -> None:
        while claimed := trials.claim():
            with contextlib.ExitStack() as claims:
                for lock in claimed.values():
                    claims.callback(lock.release)
                jobs = {number: self._job(trials.all()[number]) for number in claimed}
                for number in jobs:
                    params = shlex.join(self._params(trials.all()[number]))
                    log.info("trial %d, of %d in all: %s", number, self.n_trials, params)
                run_all(list(jobs.values()), launch)
                for number, job in jobs.items():
                    self._tell(trials, number, job)
                    claimed[number].release()

    def open(self) -> Trials:
        """Opens the study; makes one if there is none.

        Raises:
            UserError: if its storage cannot be opened, or another search has its name.
        """
        folder = self.base.sweep_dir / locks.LOCKS
        files.make_folder(folder)
        with files.writing(folder / "study.lock"):
            claim = FileLock(folder / "study.lock").acquire()
        with claim:
            study = create_study(
                study_name=self.name,
                storage=studies.opened(self.storage),
                direction=self.direction,
                load_if_exists=True,
            )
            if study.user_attrs.get("search", self._identity()) != self._identity():
                raise UserError(
                    f"hydra.sweeper.study_name={self.name}: is another search's; "
                    "choose another name."
                )
            study.set_user_attr("search", self._identity())
        return Trials(study, self.options, self.space, self.n_trials, folder)

    def _look_back(self, study: Study) -> None:
        """Compares what ended trials were made of with data and code as they are now.

        A study is told once how a trial ends, and draws by what it was told.

        Raises:
            UserError: if trials have ended with other data.
        """
        if (number := len(study.get_trials(deepcopy=False))) > MANY:
            log.info("comparing %d trials with data and code as they are", number)
        (goes_by,) = study.metric_names or [""]
        values = map(str, self.base.config.flat.values())
        has_mean = any(value.endswith(AVERAGES) for value in values)
        now = summaries.LAST_PASS if goes_by in OF_BEFORE else ""
        if has_mean and goes_by.endswith(summaries.LAST_VALUE):
            now = summaries.OF_MEAN
        if now:
            raise UserError(
                f"{self.name}: this search goes by {goes_by}, and further trials would go by "
                f"{now}.\n{ANEW}"
            )
        states = self._states(study)
        marks = _marks(study, states)
        ended = f"of {messages.counted(len(states), 'ended trial')}"
        self._say_what_drew(study)
        if others := [number for number in marks if states[number].changed.data]:
            raise UserError(
                f"{len(others)} {ended} had {marks[others[0]]}, and a search goes by the values of "
                f"all.\n{ANEW}"
            )
        treated = self.base.treated
        again = "sweep.force=true" if treated["force"] else f"sweep.retry={treated['retry']}"
        due = [now for now in states.values() if now.is_due and now.folder]
        if due and (treated["force"] or treated["retry"]):
            log.warning(
                "%s: leaves %d %s as they are: a study is told once how a trial ends.\n%s",
                *(again, len(due), ended, ANEW),
            )
        if marks:
            log.warning(
                "%d %s: %s. The search goes by their values.\n%s",
                len(marks),
                ended,
                ", ".join(dict.fromkeys(marks.values())),
                ANEW,
            )

    def _say_what_drew(self, study: Study) -> None:
        """Warns where the trials of a study were drawn, or pruned, by other options than now."""
        options = asdict(self.options).items()
        now = {name: value for name, value in options if name not in NOT_DRAWN_BY}
        before = study.user_attrs.get("drawn by", now)
        words = [
            f"hydra.sweeper.{name}={before[name]}" for name in now if before[name] != now[name]
        ]
        if words and (number := len(study.get_trials(deepcopy=False))):
            log.warning(
                "%s of this search: drawn with %s; further ones with what is given now.\n%s",
                *(messages.counted(number, "trial"), " ".join(words), ANEW),
            )
        if study.user_attrs.get("drawn by") != now:
            study.set_user_attr("drawn by", now)

    def _states(self, study: Study) -> dict[int, State]:
        """Reads the states of the jobs of all trials that have ended, by number."""
        ended = [trial for trial in study.get_trials(deepcopy=False) if trial.state.is_finished()]
        return {trial.number: self._job(trial).state() for trial in ended}

    def _params(self, trial: FrozenTrial) -> list[str]:
        # Whoever has made the study may have given the trial further ones.
        return space.words({key: trial.params[key] for key in self.space})

    def _job(self, trial: FrozenTrial) -> Job:
        """Returns the job of a trial, whose value has to be one of the code as it is."""
        if trial.number not in self._jobs:
            self._jobs[trial.number] = self._composed(trial)
        job = self._jobs[trial.number]
        job.token = self._token  # equal trials are one job, which runs again once
        return job

    def _composed(self, trial: FrozenTrial) -> Job:
        study = _quoted(self.name)
        monitor = self.base.config.get("callbacks.checkpoints.monitor")
        callback = (
            f"{{_target_:engine.Pruning,storage:{_quoted(self.named_storage)},study:{study},"
            f"number:{trial.number},pruner:{self.options.pruner_word},"
            f"monitor:{_quoted(monitor) if monitor else 'null'}}}"
        )
        word = f"sweep.trial={{study:{study},number:{trial.number},callback:{callback}}}"
        retry = [] if self.base.treated["retry"] else ["sweep.retry=stale"]
        return self.make_job([*self.fixed, *retry, *self._params(trial), word])

    def _tell(self, trials: Trials, number: int, job: Job) -> None:
        """Tells the study how a trial ended.

        A trial that diverged, or whose value is no finite number, gets the worst value, so that the
        search goes elsewhere.

        Raises:
            RunFailed, UserError: if the job's files could not be written.
        """
        now = job.state()
        folder, summary = now.folder, now.summary
        signals.heed()
        if isinstance(job.error, NotWritten | Stopped):
            raise job.error  # the trial stays begun, and the same command goes on with it
        # With a value of other code or data, it has finished all the same.
        status = str(summary["status"]) if now.has_ended and not job.error else "failed"
        state = STATES.get(status, TrialState.FAIL)
        value = summaries.objective(summary)
        found = summaries.objective_of(summary)
        # A number names what a search compares; without one, `train(run)` may have meant another.
        has_value = state == TrialState.COMPLETE and math.isfinite(value)
        name = found.name if found and has_value else None
        error = messages.redacted(str(job.error or summary.get("error") or "")).partition("\n")[0]
        if state == TrialState.COMPLETE and not math.isfinite(value):
            value = math.inf if self.direction == StudyDirection.MINIMIZE else -math.inf
            if found:
                error = "its objective is no finite number"
            elif status == "finished":
                state, status, error = TrialState.FAIL, "failed", "summary.json has no objective"
        if isinstance(job.error, UserError):
            self.mistake = self.mistake or job.error
        if name and (of := trials.name(name)) != name:
            error = f"its value is {name}, and this search's are {of}"
            state, status = TrialState.FAIL, "failed"
        elif name and found:
            self._check_direction(job, found)
        trials.tell(
            number, state, value, status=status, error=error, folder=folder.name if folder else None
        )

    def _check_direction(self, job: Job, found: summaries.Objective) -> None:
        """Refuses to maximise what is to be low, or to minimise what is to be high.

        Which way a search goes is known before its first trial, by what no trial sweeps. A trial
        may have no validation, or another metric by what it swept.
        """
        way = "max" if self.direction == StudyDirection.MAXIMIZE else "min"
        if found.mode == way:
            return
        monitor = job.config.get("callbacks.checkpoints.monitor")
        is_monitor = found.metric == monitor
        if self.options.direction is None:
            reason = f"there is no {monitor} to {way}imise, and the objective is {found.metric}"
            if is_monitor:
                reason = (
                    f"this search would {way}imise {monitor}, and the best of it is the "
                    f"{found.mode}imum"
                )
            raise UserError(
                f"hydra.sweeper.direction=null: {reason}; "
                f"choose hydra.sweeper.direction={found.mode}imize."
            )
        if not self._has_warned:
            self._has_warned = True
            reason = f"of {found.metric}, the {found.mode}imum is the best, and a report goes by it"
            if is_monitor:
                reason = (
                    f"by callbacks.checkpoints.mode={found.mode}, best.ckpt and a report go the "
                    "other way"
                )
            log.warning("hydra.sweeper.direction=%s: %s", self.options.direction, reason)

    def table(self, is_whole: bool = True) -> str:
        """Returns the table of the trials so far, without running or writing anything.

        Args:
            is_whole: whether trials of other processes are compared with the files as they are,
                too. To compose thousands takes long.
        """
        study = None
        with contextlib.suppress(KeyError):
            study = studies.load(self.storage, self.name) if studies.exists(self.storage) else None
        marks: dict[int, str] = {}
        if study and is_whole:
            marks = _marks(study, self._states(study))
        elif study:
            marks = _marks(study, {number: job.state() for number, job in self._jobs.items()})
        return table(study, self.n_trials, marks, self.base.sweep_dir, self.untyped)

    def conclude(self, door: str) -> None:
        """Shows the table of the trials, and the commands that look at them.

        Args:
            door: the import path of the training command.

        Raises:
            UserError: if no trial finished, for a mistake in the config.
            RunFailed: if a trial failed, or none finished with a number.
        """
        study = studies.load(self.storage, self.name)
        identity.forget()  # other processes may have looked at files later than this one
        log.info("\n%s", self.table())
        storage = messages.short(Path(self.storage))
        if "://" in self.storage:
            # What is redacted is looked for as it is, not as a shell takes it.
            storage = shlex.quote(messages.redacted(self.storage))
        # What is searched over may name the folder: an experiment, say.
        folders = {job.sweep_dir for job in self._jobs.values()} or {self.base.sweep_dir}
        if (folder := Path(os.path.commonpath(folders))).exists():  # not if all were refused
            commands = summaries.next_commands(folder, door)
            log.info("\n%s\n  optuna-dashboard %s", commands, storage)
        if not ranked(study):
            raise self.mistake or RunFailed("no trial finished with a number")
        if study.get_trials(deepcopy=False, states=(TrialState.FAIL,)):
            raise RunFailed("a trial failed")


def _marks(study: Study, states: Mapping[int, State]) -> dict[int, str]:
    """Returns what to say of trials whose values are of other data or code, or have no folder.

    A trial without a value has no mark: no search goes by it.
    """
    valued = {t.number for t in study.get_trials(deepcopy=False) if t.value is not None}
    marks = {
        number: now.changed.mark * now.has_ended if now.folder else GONE
        for number, now in states.items()
        if number in valued
    }
    return {number: mark for number, mark in marks.items() if mark}


def _quoted(text: str) -> str:
    """Returns a text as a word of Hydra's command line has it."""
    return str(QuotedString(text, Quote.single).with_quotes())
