"""The jobs of a sweep: the state of each, the process that runs it, and a table of all jobs."""

import functools
import logging
import math
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from hydra.core.utils import JobReturn

from engine import files, locks, messages, signals
from engine.checks import imports
from engine.config.resolved import Config, absolute
from engine.errors import NotWritten, RunFailed, Stopped, UserError, WorkerLost, as_mistake, named
from engine.fence.hydra import answer_of
from engine.run import folder_names, folders, identity, summaries
from engine.run.records.read import BrokenFile
from engine.sweep import forced, gpus

log = logging.getLogger(__name__)

LONG_TITLE = 16  # letters of a metric's name above a column that has no room
BROKEN = "broken"  # the status of a job of which a file cannot be used
# Not run again unless sweep.retry or sweep.force says so.
ENDS = (*summaries.COMPLETE, "failed", BROKEN)


class State(NamedTuple):
    """Says a job's status, folder and summary at one moment.

    Args:
        status: in a word, as the table shows it.
        folder: the job's; None if it has none yet.
        summary: how the job ended; empty while it has not.
        changed: what of data and code is other than when the job began.
        is_due: whether the sweep is to run the job: it has not ended, or is to be run again.
        has_ended: whether the job ran to an end. A failure is an end. Pruning is an end for the
            study that pruned the job, and for no other.
        is_over: whether the job is not to go on from what its folder has.
    """

    status: str
    folder: Path | None
    summary: dict[str, Any]
    changed: identity.Changed
    is_due: bool
    has_ended: bool
    is_over: bool


class Job:
    """Runs one job of a sweep once, whichever process does it.

    Args:
        config: the job's.
        sweep_dir: holds the folders of all jobs.
        overrides: all words that make the job.
    """

    def __init__(self, config: Config, sweep_dir: Path, overrides: Sequence[str]) -> None:
        self.treated = config["sweep"]  # by the sweep
        self.config = config.of_a_job()
        self.sweep_dir = Path(absolute(str(sweep_dir)))
        self.overrides = list(overrides)
        self.hash = self.config.hash[: folder_names.DIGITS]
        self.error: Exception | None = None  # why the job has left no summary
        self.is_checked = False  # its config is right
        self.launched_as: int | None = None  # its stamp as a launcher took it
        self._folder: Path | None = None
        self._lock = locks.of_job(self.sweep_dir, self.hash)
        self.mark = self._lock.with_suffix(".forced")
        self.token = ""  # of a sweep that runs jobs again; the mark has it once the job has begun

    @property
    def folder(self) -> Path | None:
        """Finds the job's folder; None if it has none yet."""
        if not (self._folder and self._folder.exists()):  # it may be renamed
            self._folder = None
            absent = suppress(FileNotFoundError, NotADirectoryError, PermissionError)
            # Its name may be too long. To list it is three times as fast as pathlib's glob.
            with files.writing(self.sweep_dir, files.CannotRead), absent:
                names = os.listdir(self.sweep_dir)
                named = [self.sweep_dir / name for name in names if name.endswith(f"-{self.hash}")]
                self._folder = self._chosen(list(filter(self._is_own, named)))
        return self._folder

    def _chosen(self, own: list[Path]) -> Path | None:
        """Returns the job's folder, if somebody has made a copy of it: the one of the job's name.

        Of others it is one that has ended, and then the first by name.
        """
        if not own[1:]:
            return own[0] if own else None
        named = folders.job_dir(self.config, self.sweep_dir, self.config.overrides)
        ended = {path: (path / summaries.SUMMARY).exists() for path in own}
        own.sort(key=lambda path: (not path.is_dir(), path != named, not ended[path], path))
        _tell_of_copies(*own)
        return own[0]

    def _is_own(self, folder: Path) -> bool:
        """Tells a folder of this job from one of another job whose hash has the same digits."""
        with suppress(BrokenFile):  # of this job, as far as anybody can know
            ended = summaries.load(folder) or {}  # its record of the hash is read fast
            whole = ended.get("config_hash") or folders.as_written(folder).hash
            return whole == self.config.hash or not whole.startswith(self.hash)  # it was edited
        return True

    def _folder_to_read(self) -> Path | None:
        """Returns the job's folder.

        Raises:
            BrokenFile: if something else is in its place, such as a link to a disk that is gone:
                a new run would be written through the link.
        """
        folder = self.folder
        if folder and not folder.is_dir():
            if not os.path.lexists(folder):  # another process has set it aside meanwhile
                return None
            is_link = folder.is_symlink()
            reason = f"is a link to {folder.readlink()}, where no folder is" if is_link else ""
            raise BrokenFile(folder, reason or "is no folder")
        return folder

    @property
    def stamp(self) -> int | None:
        """Returns what is another when the job has been run again; None if no summary is known."""
        with suppress(OSError):
            if self._folder:  # to look for it takes long
                return os.stat(self._folder / summaries.SUMMARY).st_mtime_ns
        return None

    @property
    def is_as_launched(self) -> bool:
        """Tells whether a job with a summary, which is to run again, has not begun to."""
        return self.launched_as is not None and self.launched_as == self.stamp

    def is_left(self, state: State) -> bool:
        """Tells whether the job is still to run: its worker may have been killed."""
        return not self.error and (not state.has_ended or self.is_as_launched)

    @property
    def is_begun(self) -> bool:
        """Tells whether this sweep, which runs jobs again once, has begun with this one."""
        return bool(self.token) and self.token in forced.read(self.mark).split()

    @property
    def is_forced(self) -> bool:
        """Tells whether the job is to begin anew, whatever it has: sweep.force=true asks for it."""
        return self.treated["force"] and not self.is_begun

    def count_others(self) -> None:
        """Counts the job as begun by this sweep if another process has run it since its launch."""
        if not self.token or self.is_begun or not self.folder:
            return
        if self.stamp not in (None, self.launched_as):  # the other sweep has a token of its own
            forced.add(self.mark, self.token)

    def state(self) -> State:
        """Reads the job's status, folder and summary: any process may change them.

        The status is new, running (in any process), interrupted, finished, diverged, failed or
        broken. Or it is `stale (lenet.py)` for a job that has ended, and whose code has changed; or
        `other data`; or `to run again` for one that sweep.force has not run yet.
        """
        folder: Path | None = None
        summary: dict[str, Any] = {}
        changed = identity.Changed()
        try:
            if folder := self._folder_to_read():
                summary = summaries.load(folder) or {}
                changed = identity.changed(folder, self.config)
        except BrokenFile as broken:
            folder, summary = self.folder, {"status": BROKEN, "error": str(broken)}
        is_forced = self.is_forced
        ended = summary.get("status")
        study = self.config.get("sweep.trial.study")
        has_ended = ended in ENDS or (ended == "pruned" and summary.get("study") == study)
        if has_ended:
            status = "to run again" if is_forced else changed.mark or str(ended)
        elif self.error:
            status = "failed"
        elif locks.is_held(self._lock):
            status = "running"
        else:
            status = "interrupted" if folder else "new"
        retry = self.treated["retry"]
        is_retried = (retry == "stale" and bool(changed.code)) or (
            retry == "failed" and ended in ("failed", "diverged", BROKEN) and not self.is_begun
        )
        is_due = not has_ended or bool(changed.data) or is_forced or is_retried
        is_over = is_forced or any(changed) or ended in ("diverged", BROKEN)
        return State(status, folder, summary, changed, is_due, has_ended, is_over)

    @property
    def answer(self) -> float:
        """Returns the objective of the job that has ended; NaN if none can be read."""
        with suppress(BrokenFile):
            folder = self._folder_to_read()
            return summaries.objective((folder and summaries.load(folder)) or {})
        return math.nan

    def run(self, train: Callable[[Config, Path], float]) -> float:
        """Runs the job, unless it is not due or another process runs it; returns its objective.

        With `sweep.wait`, wait for that process instead; if it dies, go on with the job.
        """
        with self.claimed() as folder:
            if folder is None:
                return self.answer
            gpus.claim(self.config)
            log.info("%s", folder.name)
            try:
                with messages.of_a_job():
                    return train(self.config, folder)
            finally:
                if ended := summaries.load(folder):
                    said = filter(None, [summaries.ending(ended), summaries.compared(ended)])
                    log.info("  %s", "; ".join(said))

    @contextmanager
    def claimed(self) -> Iterator[Path | None]:
        """Claims the job for this process, until the end of this context or of this process.

        Yields the folder to run the job in; None if the job is not due, or another process runs it.
        With a checkpoint in the folder, the run goes on from it.
        """
        if self.treated["dry_run"]:
            raise UserError(
                "sweep.dry_run=true: works with hydra/sweeper=grid and hydra/sweeper=optuna only; "
                "another sweeper would run the jobs."
            )
        # A job whose hash has the same digits has the same lock, and this process may hold it.
        wait = self.treated["wait"] and not locks.is_ours(self._lock)
        files.make_folder(self._lock.parent)
        if wait and locks.is_held(self._lock):
            log.info("waiting for another process, which runs %s", self.folder or self.hash)
        lock = locks.acquire(self._lock, locks.FOR_EVER if wait else 0)
        try:
            if lock:
                self.count_others()
            now = self.state() if lock else None
            yield self._folder_to_run_in(now) if now and now.is_due else None
        finally:
            if lock:
                lock.release()

    def _folder_to_run_in(self, now: State) -> Path:
        folder = now.folder
        reason = str(now.changed) if any(now.changed) else ""
        if folder and not now.is_over:
            with imports.large():
                from engine.run.checkpoint.choice import of_no_use

            if why := of_no_use(folder, self.config):
                reason = f"checkpoint {why}"
        if folder and reason:
            log.info("%s: begins anew, as its %s", folder, reason)
        if folder and (now.is_over or reason):  # what is there cannot be gone on with
            folders.set_aside(folder)
            folder = None
        elif folder and now.has_ended:  # a failed one goes on from its checkpoint
            (folder / summaries.SUMMARY).unlink()
        if self.token and not self.is_begun:  # a worker that a cluster starts again goes on
            if any(now.changed):
                self.mark.unlink(missing_ok=True)  # no sweep has begun with the job as it is now
            forced.add(self.mark, self.token)
        name = self.config, self.sweep_dir, self.config.overrides
        is_taken = folders.job_dir(*name).exists()  # by another job
        self._folder = folder or folders.job_dir(*name, is_whole=is_taken)
        return self._folder


@functools.cache  # said once: a sweep looks for a job's folder several times
def _tell_of_copies(folder: Path, *others: Path) -> None:
    log.warning(
        "%s: goes by this one, as %s %s of the same job",
        *(messages.short(folder), ", ".join(path.name for path in others)),
        "is" if len(others) == 1 else "are",
    )


def check_all(jobs: Sequence[Job]) -> bool:
    """Checks the configs of all jobs that are due, before the first of them runs.

    This imports the classes of all jobs. So the digests of their files are taken now: somebody may
    change a file before a job begins that runs what is imported here.

    Returns:
        whether any job is due.

    Raises:
        UserError: for the first that is wrong; names the key.
    """
    if not (due := [(job, now) for job in jobs if (now := job.state()).is_due]):
        return False
    with imports.large():
        from engine.checks.config import check, try_update
        from engine.kept.between import put_back
        from engine.run import code
        from engine.run.checkpoint.choice import to_begin_with

        messages.silence_harmless()
        checked: set[str] = set()
        files: set[str] = set()
        for job, _ in due:
            known = len(checked)
            check(job.config, checked)
            if len(checked) > known:
                files |= code.digests(job.config, "").keys()  # the digests are kept by file
        # One context for all: to note what hundreds of jobs' files have would take long.
        with put_back(files, is_try=True):
            for job, _ in due:
                try_update(job.config, checked)
                job.is_checked = True
        sources = {
            job.config.get("init_from")
            for job, now in due
            if now.is_over or not (now.folder and folders.has_trained(now.folder))
        }
        for source in filter(None, sources):
            to_begin_with(Path(source))
    return True


Launch = Callable[[Sequence[Job]], Sequence[JobReturn]]


def run_all(jobs: Sequence[Job], launch: Launch) -> list[State]:
    """Runs the jobs that are due, and waits for the jobs that other processes run.

    The end of one job, even by a kill, does not end the others.

    Args:
        jobs: of the sweep.
        launch: has a launcher run jobs, as they are; returns what Hydra's launchers do.

    Returns:
        the state of each job at the end.
    """
    if not jobs:
        return []
    hashes = [job.config.hash for job in jobs]
    paths = {word: forced.place(jobs[0].sweep_dir, [word, *hashes]) for word in forced.WORDS}
    with ExitStack() as running:
        for word, path in paths.items():
            # A search has begun to run its jobs again.
            own = [job for job in jobs if forced.word(job.treated) == word and not job.token]
            if any(job.state().is_due for job in own):  # else the folder may be one to read only
                _force(own, running.enter_context(forced.held(path)), word)
        states = _run_all(jobs, launch)
    if not any(isinstance(job.error, NotWritten | Stopped) for job in jobs):
        for path in paths.values():  # also without such a word: of a sweep that was interrupted
            forced.ended(path)
    return states


def _run_all(jobs: Sequence[Job], launch: Launch) -> list[State]:
    states = [job.state() for job in jobs]
    if len(jobs) > 1:
        log.info("%s", count([state.status for state in states]))
    _launch([job for job, state in zip(jobs, states, strict=True) if state.is_due], launch)
    states = list(map(_state_at_end, jobs))  # to read hundreds takes a small sweep's time
    left = [(job, now) for job, now in zip(jobs, states, strict=True) if job.is_left(now)]
    if not left:
        return states
    # Where a kill took all workers:
    _launch([job for job, now in left if now.status == "new" or job.is_as_launched], launch)
    for job, _ in left:  # alone, as it may take its worker with it once more
        if job.is_left(job.state()):
            again = {} if job.is_as_launched else {"retry": None, "force": False}
            job.treated = job.treated | again | {"wait": True}
            _launch([job], launch)
            if job.is_left(job.state()):
                job.error = RunFailed(str(WorkerLost()))
    return list(map(_state_at_end, jobs))


def _state_at_end(job: Job) -> State:
    """Reads the state of a job that another process may have run while this one did others."""
    now = job.state()
    if not (now.has_ended and now.is_due) or job.error:
        return now
    job.count_others()
    return job.state()


def _force(jobs: Sequence[Job], token: str, word: str) -> None:
    """Has jobs run again, once, as sweep.force=true or sweep.retry=failed asks for.

    Where such a sweep over these jobs was interrupted, it goes on: those run again that it has
    left, and those whose code or data have changed since.

    Args:
        jobs: those of the sweep.
        token: the sweep's.
        word: of the command line, which asks for it.
    """
    for job in jobs:
        job.token = token
    if begun := [(job, job.state()) for job in jobs if job.is_begun]:
        for job, now in begun:
            if now.has_ended and any(now.changed):
                job.mark.unlink(missing_ok=True)
        log.info(
            "%s goes on with a sweep that was interrupted, or that another process runs; "
            "left: %d of %s",
            *(word, sum(job.state().is_due for job in jobs), messages.counted(len(jobs), "job")),
        )


def _launch(jobs: Sequence[Job], launch: Launch) -> None:
    """Has a launcher run jobs; of equal ones, as trials may be, one, which answers for all."""
    first: dict[tuple[Path, str], Job] = {}
    for job in jobs:
        job.launched_as = job.stamp
        first.setdefault((job.sweep_dir, job.config.hash), job)
    if first:
        _launch_each([*first.values()], launch)
    for job in jobs:
        job.error = first[job.sweep_dir, job.config.hash].error
        job.count_others()


def _launch_each(jobs: Sequence[Job], launch: Launch) -> None:
    try:
        with signals.undisguised():
            returns = launch(jobs)
    except UserError:  # an option of the launcher's is wrong
        raise
    except Exception as error:  # the launcher's own: some worker is gone
        if isinstance(mistake := as_mistake(error), NotWritten):
            for job in jobs:
                is_left = not job.state().has_ended or job.is_as_launched
                job.error = mistake if is_left else None
        else:
            log.warning("%s", named(error))
        return
    signals.heed()  # it may have broken a job before the run began: no answer, and no failure
    for job, result in zip(jobs, returns, strict=True):
        cause = answer_of(result)
        if not isinstance(cause, Exception) or isinstance(cause, WorkerLost):
            continue
        if isinstance(cause, Stopped) or job.is_left(job.state()):
            job.error = as_mistake(cause)
            if not isinstance(job.error, UserError | RunFailed):
                log.error("%s", " ".join(job.overrides), exc_info=cause)


def conclude(jobs: Sequence[Job], states: Sequence[State], door: str) -> None:
    """Shows the table of all jobs, and the commands that look at them.

    Args:
        jobs: of the sweep.
        states: theirs at the end.
        door: the import path of the training command.

    Raises:
        UserError: if a job's config is wrong.
        RunFailed: if a job failed.
    """
    folder = Path(os.path.commonpath([job.sweep_dir for job in jobs]))
    log.info("\n%s", table(jobs, states))
    if folder.exists():  # it is taken back where all jobs were refused
        log.info("\n%s", summaries.next_commands(folder, door))
    for job in jobs:
        if isinstance(job.error, UserError):
            raise job.error
    ends = {end for state in states for end in (state.status, state.summary.get("status"))}
    if ends & {"failed", BROKEN} or any(job.error for job in jobs):
        raise RunFailed("a job failed")


def table(jobs: Sequence[Job], states: Sequence[State] | None = None) -> str:
    """Returns a header, a line for each job and a line that counts them, in the terminal's width.

    A job's line has its status, name, objective, the same metric of the test, seconds and the first
    line of its error.
    """
    states = states or [job.state() for job in jobs]
    found = {summaries.objective_name(state.summary) for state in states} - {""}
    objective = found.pop() if len(found) == 1 else "objective"
    tests = {name for state in states for name in summaries.tested(state.summary)}
    test = tests.pop() if len(tests) == 1 else ""
    statuses = list(map(shown_status, states))
    most = max([11, *map(len, statuses)])
    # Where names would be cut, `val/acc` says enough for `val/acc, best epoch`.
    short = objective.partition(",")[0]
    cut = messages.cut(short, LONG_TITLE), messages.cut(test, LONG_TITLE)
    for title, second in ((objective, test), (short, test), cut):
        wide = max(12, len(title) + 2)
        beside = max(11, len(second) + 2) if test else 0
        room = messages.width() - most - wide - beside - 14
        head, *names = _names(jobs, states, max(20, room))
        width = max(map(len, [head, *names]))
        if width <= room and not any("…" in name for name in names):
            break
    header = f"  {'status':<{most}}  {head:<{width}}{title:>{wide}}{second:>{beside}}{'time':>10}"
    lines = [messages.styled(header, messages.BOLD)]
    for job, name, status, state in zip(jobs, names, statuses, states, strict=True):
        summary = state.summary
        value = summaries.objective(summary)
        measured = summaries.tested(summary).get(test)
        seconds = summary.get("seconds")
        cells = (
            ("" if math.isnan(value) else f"{value:.4g}", wide),
            ("" if measured is None else f"{measured:.4g}", beside),
            ("" if seconds is None else f"{seconds:.1f} s", 10),
        )
        numbers = "".join(f"{cell:>{columns}}" for cell, columns in cells)
        shown = messages.styled(f"{status:<{most}}", messages.OF_STATUSES.get(status))
        lines.append(f"  {shown}  {name:<{width}}{numbers}".rstrip())
        if error := job.error or summary.get("error"):
            first = messages.redacted(str(error) or repr(error)).partition("\n")[0]
            lines.append(messages.indented(first, 4))
            # The log has no more of a job that diverged.
            path = state.folder and state.folder / "train.log"
            if path and path.is_file() and summary.get("status") != "diverged":
                lines.append(f"    {messages.short(path)}")
    return "\n".join([*lines, count(statuses)])


def shown_status(state: State) -> str:
    """Returns a status for the table: `finished (mixed)` after a resume with insist=true.

    Or `finished (no made_of.json)`, where nobody knows whether its data or code have changed.
    """
    if state.folder is None or state.status == BROKEN:
        return state.status
    if identity.is_lost(state.folder, state.summary):
        return f"{state.status} (no {identity.MADE_OF.name})"
    return f"{state.status} (mixed)" if identity.mixture(state.folder) else state.status


def _names(jobs: Sequence[Job], states: Sequence[State], room: int) -> list[str]:
    """Returns the head and the cells of a column of jobs, each in a number of characters.

    That is the names of their folders; a job that has none is named by the words that not all jobs
    have. Where a name is too long, the values of these words come first, under their keys.
    """
    words = own_words([job.overrides for job in jobs])
    names = ["job"] + [
        state.folder.name if state.folder else folder_names.slug(own)
        for state, own in zip(states, words, strict=True)
    ]
    if max(map(len, names)) > room and any(words):
        rows = [dict(folder_names.settings(own)) for own in words]
        keys = list(dict.fromkeys(key for row in rows for key in row))
        values = [", ".join(row.get(key, "–") for key in keys) for row in rows]
        hashes = [job.hash for job in jobs]
        head = ", ".join(map(folder_names.last_name, keys))
        names = [head, *map("  ".join, zip(values, hashes, strict=True))]
    return [_cut(name, room) for name in names]


def _cut(name: str, room: int) -> str:
    """Returns a name in a number of characters: its beginning and its end."""
    end = room // 2
    return name if len(name) <= room else f"{name[: room - end - 1]}…{name[-end:]}"


def count(statuses: Sequence[str]) -> str:
    """Returns a line such as `40 jobs: 30 finished, 1 failed, 9 new`."""
    words = [f"{number} {status}" for status, number in Counter(statuses).items()]
    return f"{messages.counted(len(statuses), 'job')}: {', '.join(words)}"


def own_words(overrides: Sequence[Sequence[str]]) -> list[list[str]]:
    """Returns the overrides of each job that not all of the jobs have.

    What a sweep tells its jobs in `sweep.…`, such as a trial's number, says nothing of a job.
    """
    common = set.intersection(*map(set, overrides)) if overrides else set()
    return [
        [word for word in words if word not in common and not word.startswith("sweep.")]
        for words in overrides
    ]


def answer_text(answer: float | Exception, job: Job | None) -> str:
    """Returns a job's answer as the line about the job shows it."""
    if isinstance(answer, Exception):
        return messages.redacted(str(answer)).partition("\n")[0]
    if math.isnan(answer) and job and not job.state().summary:
        return "another process runs it"
    return f"{answer:.4g}"
