"""Trains jobs that differ only in seed, init and numbers of the optimiser as one model."""

import contextlib
import gc
import logging
import math
import time
import traceback
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer

from engine import messages, signals
from engine.checks import imports
from engine.checks.config import check, try_update
from engine.checks.monitors import wrong_ways
from engine.config import objects
from engine.config.keys import TARGET
from engine.config.resolved import Config
from engine.data.datamodule import TensorDataModule
from engine.data.split import Split
from engine.door import Door
from engine.errors import Stopped, UserError
from engine.fence.tensorboard import events_of
from engine.files import cannot_write
from engine.kept import between
from engine.kept.between import put_back
from engine.messages import counted, short
from engine.run import build, code, folders, identity, summaries
from engine.run.loggers import tabs
from engine.run.loggers.table import without_table
from engine.run.loggers.tensorboard import TensorBoard
from engine.run.objective import has_diverged, outcome
from engine.run.records.read import BrokenFile
from engine.steps.callback import EACH_JOB, ONCE, in_a_stack
from engine.sweep import gpus
from engine.sweep.jobs import Job
from engine.vectorized import NotStacked, job_log, make
from engine.vectorized.alike import why_unlike
from engine.vectorized.data import StackedData
from engine.vectorized.disk import synced_together
from engine.vectorized.eligible import common, is_edited, obstacle, try_out
from engine.vectorized.job import Member
from engine.vectorized.memory import chunk_size
from engine.vectorized.module import StackedModule

log = logging.getLogger(__name__)

SINGLE = "there is none to train it with"
EDITED = "train() was edited, and jobs that train together go the shipped way"
MOST_TOLD = 5  # warnings of jobs
Answers = dict[Job, float | Exception]


@dataclass(frozen=True)
class Options:
    """Holds the options of conf/hydra/launcher/vectorized.yaml, and the jobs' command."""

    door: Door
    chunk: int | None = None
    figures: bool = False


def run_together(jobs: Sequence[Job], options: Options) -> Answers:
    """Trains the jobs that can train together; logs how many others there are, and why.

    Returns:
        The objective or the error of each job that needs no run of its own any more.
    """
    messages.silence_harmless()
    alone: Counter[str] = Counter()
    groups: dict[str, list[Job]] = {}
    edited = is_edited(options.door.train)
    for job in jobs:
        if reason := EDITED if edited else obstacle(job.config):
            alone[reason] += 1
        else:
            groups.setdefault(common(job.config), []).append(job)
    answers: Answers = {}
    for group in groups.values():
        # The jobs of a group may have an `init` of several files.
        files = {file for job in group for file in code.digests(job.config, options.door.module)}
        try:
            for jobs_at_once in _chunks(group, options, files):
                with put_back(files):
                    done, left = _run_chunk(jobs_at_once, options, files)
                answers |= done
                alone += left
                if len(answers) < len(jobs):
                    # Circular references keep the chunk in memory, and the next job needs the room.
                    gc.collect()
                    torch.cuda.empty_cache()
        except NotStacked as reason:
            alone[str(reason)] += len(group)
    for text, number in alone.items():
        log.info("%d of %s one by one: %s", number, counted(len(jobs), "job"), text)
    return answers


def _run_chunk(
    jobs: Sequence[Job], options: Options, files: Collection[str]
) -> tuple[Answers, Counter[str]]:
    """Trains jobs at once, and keeps nothing else than their answers in memory.

    Returns:
        The jobs' answers, and how many jobs have to run one by one, by reason.
    """
    chunk = _Chunk(jobs, options, files)
    answers, alone = chunk.run(), chunk.alone
    del chunk
    for answer in answers.values():
        if isinstance(answer, Exception) and answer.__traceback__:
            _forget_variables(answer.__traceback__)
    return answers, alone


def _forget_variables(where: TracebackType) -> None:
    """Clears the functions that an error went through, and their callers that have returned."""
    traceback.clear_frames(where)
    frame = where.tb_frame.f_back
    with contextlib.suppress(RuntimeError):  # from the first function that still runs
        while frame:
            frame.clear()
            frame = frame.f_back


def _chunks(group: Sequence[Job], options: Options, files: Collection[str]) -> list[list[Job]]:
    """Divides a group into equal parts, as large as memory and options allow.

    Args:
        group: the jobs.
        options: the launcher's.
        files: the user's modules that the jobs import, by import path.

    Raises:
        NotStacked: if there is one job only, if two of the jobs cannot be built, or if a step of
            both fails or gives other numbers than a step of each alone.
    """
    if len(group) == 1:
        raise NotStacked(SINGLE)
    gpus.claim(group[0].config)
    try:
        with signals.undisguised(), put_back(files, is_try=True):
            data, modules = try_out(group)
            most = options.chunk or chunk_size(group[0].config, data[0], modules[0])
    except NotStacked:
        raise
    except Exception as error:  # each job's own run says more about the error
        text = "a mistake in the config or in the data"
        if not isinstance(error, UserError):
            text = f"{type(error).__name__} in a try: {error}".partition("\n")[0]
        raise NotStacked(text) from None
    number = -(-len(group) // most)
    size = -(-len(group) // number)
    return [list(group[start : start + size]) for start in range(0, len(group), size)]


class _Chunk:
    """Trains jobs at once.

    Args:
        jobs: jobs of one group.
        options: the launcher's.
        files: the user's modules that the jobs import, by import path.
    """

    def __init__(self, jobs: Sequence[Job], options: Options, files: Collection[str]) -> None:
        self.jobs, self.options, self.files = jobs, options, files
        self.answers: Answers = {}
        self.members: dict[Job, Member] = {}
        self.alone: Counter[str] = Counter()  # jobs that have to run one by one, by reason
        self.folders: dict[Job, Path] = {}  # of the jobs that begin here
        self.found: dict[Job, set[Path]] = {}  # what is in those folders before
        self._changed: str | None = None  # in a user's files, by what makes jobs
        self.graph: list[bytes] | None = None  # the network in events: alike for all jobs

    def run(self) -> Answers:
        """Returns each job's objective or error; nothing for a job that has to run alone."""
        try:
            self._run()
        except Exception as error:
            refused = cannot_write(error)
            if refused is None:
                raise
            # What the jobs have is in their folders.
            self.answers |= dict.fromkeys(self.members, Stopped(str(refused)))
        return self.answers

    def _run(self) -> None:
        with ExitStack() as claims:
            for job in self.jobs:
                self._claim(job, claims)
            self._build()
            if len(self.members) > 1:
                self._train()
            elif self.members:
                self.alone[SINGLE] += 1
            with synced_together(), imports.large():
                for job, member in self.members.items():
                    if job in self.answers:
                        self.answers[job] = self._end(member)

    def _claim(self, job: Job, claims: ExitStack) -> None:
        try:
            folder = claims.enter_context(job.claimed())
        except UserError as mistake:
            self.answers[job] = mistake
            return
        if folder is None:  # the job needs no run, or another process runs it
            self.answers[job] = job.answer
        elif folders.has_trained(folder):
            self.alone["they go on from their checkpoints"] += 1
        else:
            self.folders[job] = folder
            self.found[job] = set(folder.rglob("*"))

    def _check(self) -> None:
        """Checks the configs that are not checked yet; a mistake is the answer of that job only."""
        checked: set[str] = set()  # nodes of the configs that are right
        with put_back(self.files, is_within=True):
            for job in self.folders:
                try:
                    if not job.is_checked:
                        check(job.config, checked)
                        try_update(job.config, checked)
                except Exception as mistake:
                    self.answers[job] = mistake

    def _build(self) -> None:
        """Builds each job's parts as alone; an error is the answer of that job only."""
        data: dict[Job, Any] = {}
        keys: list[Any] = []  # on which the samples of each job depend
        draws: bool | None = None
        self.shared = between.marks(self.files)
        self._check()
        for job in self.folders:
            if job in self.answers:
                continue
            try:
                data[job] = own = make.datamodule(job.config)
                if draws is None:  # as those of all jobs do
                    draws = make.has_drawn(job.config)
                keys.append((own.seed, job.config["seed"] if draws else None))
            except Exception as error:
                self.answers[job] = error
        shared = _share(list(data.values()), keys)
        with imports.large():  # all that is made stays as long as the jobs
            self._make(data, shared)
        if len(self.members) > 1 and (reason := self._why_not()):
            self._leave(reason)

    def _why_not(self) -> str | None:
        """Says why the jobs that were built cannot train together; None if they can."""
        reason = None
        if not self._changed:
            with put_back(self.files, is_within=True):
                reason = why_unlike([*self.members.values()])
        if name := self._changed or between.changed(self.shared, self.files):
            return f"building a job changes {name}, which each job alone finds as it was"
        return reason

    def _make(self, data: Mapping[Job, Any], shared: bool) -> None:
        """Makes the module, the callbacks and the loggers of each job.

        Args:
            data: the data modules.
            shared: whether their data are prepared.
        """
        tried: Any = None  # the first module, and its data
        for job, own in data.items():
            try:
                if not shared:
                    own.prepare_data()
                module = make.module(job.config, own, tried, self.files)
                tried = tried or (module, own)
                folder, draws = self.folders[job], self.options.figures
                callbacks = [
                    make.make(node, key)
                    for key, node in job.config.nodes("callbacks").items()
                    if in_a_stack(objects.located(node[TARGET], key)) == EACH_JOB
                ]
                loggers = _loggers(job.config, folder)
                self.members[job] = Member(job, folder, own, module, callbacks, loggers, draws)
            except Exception as error:
                self.answers[job] = error
            # A look after each takes as long as to build it.
            if len(self.members) == 1 and job in self.members:
                self._changed = between.changed(self.shared, self.files)
                # Of files that it has imported, what the others change is a change.
                self.shared = {**between.marks(self.files), **self.shared}

    def _leave(self, reason: str) -> None:
        """Leaves all jobs to run one by one."""
        self.alone[reason] += len(self.members)
        self._forget()

    def _forget(self) -> None:
        """Lets all jobs begin anew: what callbacks keep in attributes is in no checkpoint here."""
        for job, member in self.members.items():
            folders.take_back(member.folder, self.found[job])
        self.members.clear()

    def _train(self) -> None:
        members = list(self.members.values())
        data = StackedData([member.data for member in members])
        stack = StackedModule(members, data, self.files, self.shared)
        trainer = self._trainer(members[0].job.config, stack.watch)
        log.info("%d jobs together: %s", len(members), short(members[0].folder.parent))
        with synced_together(), imports.large():
            self._begin(trainer)
        try:
            with signals.undisguised(), messages.silenced(members[0].module, members[0].data):
                trainer.fit(stack, datamodule=data)
                trainers = [member.trainer for member in members]
                stack.end([number for number in stack.running if has_diverged(trainers[number])])
                if stack.running and build.has_test(members[0].data):
                    trainer.test(stack, datamodule=data, verbose=False)
        except (KeyboardInterrupt, SystemExit):
            with synced_together():
                for member in members:
                    if member.trainer:
                        diverged = member.ended and has_diverged(member.trainer)
                        status = "diverged" if diverged else "interrupted"
                        self._record(member, {"status": status, "error": None, "objective": None})
            raise
        except NotStacked as reason:
            self._leave(str(reason))
        except Exception as error:
            if cannot_write(error):
                raise
            text = "the jobs cannot be trained together, and run one by one: %s: %s"
            log.warning(text, type(error).__name__, error, exc_info=True)
            if stack.has_kept:
                self._forget()
            self.members.clear()  # the others go on from their checkpoints
        else:
            self._tell()
            self.answers |= dict.fromkeys(self.members, math.nan)

    def _tell(self) -> None:
        """Logs what jobs were warned of, which is in their own logs: each thing once."""
        records = (one for member in self.members.values() for one in member.messages)
        said = Counter(one.getMessage() for one in records if one.levelno >= logging.WARNING)
        for text, number in said.most_common(MOST_TOLD):
            log.warning("%d of %s: %s", number, counted(len(self.members), "job"), text)
        if len(said) > MOST_TOLD:
            log.warning("more is in the jobs' train.log")

    def _trainer(self, config: Config, watch: Callback) -> Trainer:
        """Builds the Trainer of all jobs, which has no loggers and writes no checkpoints.

        Args:
            config: of any job.
            watch: tells the jobs' callbacks of steps.
        """
        callbacks = [
            objects.build(node, key)
            for key, node in config.nodes("callbacks").items()
            if in_a_stack(objects.located(node[TARGET], key)) == ONCE
        ]
        return build.trainer_with(config, self.jobs[0].sweep_dir, [*callbacks, watch], [])

    def _begin(self, trainer: Trainer) -> None:
        """Writes the files that a run writes before it trains."""
        told = {
            job: [*wrong_ways(job.config), *without_table(member.loggers)]
            for job, member in self.members.items()
        }
        for said in dict.fromkeys(text for own in told.values() for text in own):
            log.warning("%s", said)
        for job, member in self.members.items():
            door = self.options.door.module
            folders.save_config(member.folder, job.config, door)
            identity.save(member.folder, identity.record(job.config, member.data, door))
            (member.folder / summaries.SUMMARY).unlink(missing_ok=True)
            description = build.describe(trainer, member.module, member.data)
            together = f"one of {len(self.members)} jobs that train together\n{description}"
            # The folder has the config, which a run alone logs here.
            member.messages.append(job_log.record(f"run folder: {member.folder}"))
            member.messages.append(job_log.record(together))
            member.messages.append(job_log.record(str(member.module.network)))
            member.messages += map(job_log.record, told[job])
            owner: Any = member  # of loggers: `log_start` asks a Trainer for no more
            for logger in member.loggers:
                _ = logger.experiment  # takes over the rows that an interrupted run left
            tabs.log_start(owner, job.config, door)
            self._log_graph(member)

    def _log_graph(self, member: Member) -> None:
        """Logs the network's graph, which is traced for the first job only."""
        for logger in member.loggers:
            if isinstance(logger, TensorBoard):
                held = events_of(logger.experiment).held
                if self.graph is None:
                    before = len(held)
                    logger.log_graph(member.module)
                    self.graph = held[before:]
                else:
                    held += self.graph

    def _end(self, member: Member) -> float | BrokenFile:
        """Records the end of a job that was trained to its end; returns its answer."""
        status = "diverged" if has_diverged(member.trainer) else "finished"
        try:
            return summaries.objective(self._record(member, {"status": status, "error": None}))
        except BrokenFile as broken:  # its table, which somebody has changed: there is no objective
            ended = {"status": "failed", "error": messages.redacted(str(broken)), "objective": None}
            self._record(member, ended)
            return broken

    def _record(self, member: Member, summary: dict[str, Any]) -> dict[str, Any]:
        """Writes the files that a run writes at its end, and returns its summary.

        Args:
            member: the job.
            summary: as `outcome` takes it.

        Raises:
            BrokenFile: as `outcome` does.
        """
        member.flush()
        summary |= outcome(member.job.config, member.folder, member.trainer, summary)
        summary["seconds"] = round((member.ended or time.monotonic()) - member.began, 3)
        for logger in member.loggers:
            logger.finalize("success")
        closing = job_log.record(f"\n{summaries.closing_words(summary, member.folder)}")
        job_log.write(member.folder / "train.log", [*member.messages, closing])
        summaries.save(member.folder, summary)
        return summary


def _loggers(config: Config, folder: Path) -> list[Any]:
    """Builds a job's loggers; TensorBoard's events stay in memory until a flush."""
    made: list[Any] = []
    for key, node in config.nodes("logger").items():
        options = {**node, "save_dir": str(folder), "purge_step": 0}
        kind = objects.located(options.pop(TARGET), key)
        made.append(kind(**options))
        if isinstance(made[-1], TensorBoard):
            made[-1].holds = True
    return made


def _share(data: Sequence[TensorDataModule], keys: Sequence[Any]) -> bool:
    """Lets all jobs share the first job's splits, if the splits do not depend on the seed.

    The splits of each seed are compared.

    Args:
        data: of the jobs.
        keys: jobs with the same one have the same splits.

    Returns:
        Whether the jobs share their splits; if so, their data are prepared.
    """
    loaded: dict[Any, dict[str, Any]] = {}  # the attributes that loading sets, by key
    try:
        for own, key in zip(data, keys, strict=True):
            if key in loaded:
                vars(own).update(loaded[key])
            else:
                before = dict(vars(own))
                own.prepare_data()
                splits = own.splits  # are loaded where somebody asks for them
                after = vars(own).items()
                loaded[key] = {
                    name: value
                    for name, value in after
                    if name != "splits" and before.get(name, own) is not value
                }
                if own is not data[0] and not _same(data[0].splits, splits):
                    return False
            splits = own.splits = data[0].splits  # at once: there is no room for those of all seeds
    except Exception:  # each job meets its error again, and answers with it
        return False
    return True


def _same(one: dict[str, Split], other: dict[str, Split]) -> bool:
    return one.keys() == other.keys() and all(
        torch.equal(one[name].inputs, other[name].inputs)
        and torch.equal(one[name].targets, other[name].targets)
        for name in one
    )
