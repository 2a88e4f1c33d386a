"""Jobs of a sweep that differ only in seed, init and numbers of the optimiser, trained as one batched model."""

import contextlib
import gc
import logging
import math
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import torch

from engine import messages
from engine.config import objects
from engine.config.keys import TARGET
from engine.config.resolved import Config
from engine.data.datamodule import TensorDataModule
from engine.data.split import Split
from engine.door import Door
from engine.errors import FAILED, UserError
from engine.fence.tensorboard import events_of
from engine.run import build, folders, hparams, summaries
from engine.run.loggers import MetricsCSV
from engine.run.run import has_diverged, objective, outcome
from engine.steps.callback import EACH_JOB, ONCE, in_a_stack
from engine.steps.trainer import BlockTrainer
from engine.sweep import gpus
from engine.sweep.jobs import Job
from engine.vectorized import job_log, make
from engine.vectorized.data import StackedData
from engine.vectorized.disk import synced_together
from engine.vectorized.eligible import NotStacked, common, is_edited, obstacle, try_out
from engine.vectorized.events import BufferedTensorBoard
from engine.vectorized.job import Member
from engine.vectorized.memory import chunk_size
from engine.vectorized.module import StackedModule

log = logging.getLogger(__name__)

SINGLE = "there is none to train it with"
EDITED = "train() was edited, and jobs that train together go the shipped way"
Answers = dict[Job, float | Exception]


@dataclass(frozen=True)
class Options:
    """The options of conf/hydra/launcher/vectorized.yaml, and the command that the jobs are of."""

    door: Door
    chunk: int | None = None
    figures: bool = False


def run_together(jobs: Sequence[Job], options: Options) -> Answers:
    """The answers of those jobs that can be trained together; one line says how many cannot, and why."""
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
    takes_memory = False  # a chunk that has run
    for group in groups.values():
        try:
            if len(group) == 1:
                raise NotStacked(SINGLE)
            gpus.claim(group[0].config)
            if takes_memory:
                _free_memory()
            for number, jobs_at_once in enumerate(_chunks(group, options)):
                if number:
                    _free_memory()
                takes_memory = True
                given, left = _run_chunk(jobs_at_once, options)
                answers |= given
                alone += left
        except NotStacked as reason:
            alone[str(reason)] += len(group)
    if takes_memory and len(answers) < len(jobs):
        _free_memory()
    for text, number in alone.items():
        log.info("%d of %d jobs one by one: %s", number, len(jobs), text)
    return answers


def _free_memory() -> None:
    """Free what a chunk has left, which is in circles: there may be no room for the next beside it."""
    gc.collect()
    torch.cuda.empty_cache()


def _run_chunk(jobs: Sequence[Job], options: Options) -> tuple[Answers, Counter[str]]:
    """What jobs answer that train at once; and why some of them have to run one by one. Nothing else is kept."""
    chunk = _Chunk(jobs, options)
    answers, alone = chunk.run(), chunk.alone
    del chunk
    for answer in answers.values():
        if isinstance(answer, Exception) and answer.__traceback__:
            _forget_variables(answer.__traceback__)
    return answers, alone


def _forget_variables(where: TracebackType) -> None:
    """Those of the functions that an error went through, and of those that called them and have returned."""
    traceback.clear_frames(where)
    frame = where.tb_frame.f_back
    with contextlib.suppress(RuntimeError):  # the first that still runs
        while frame:
            frame.clear()
            frame = frame.f_back


def _chunks(group: Sequence[Job], options: Options) -> list[list[Job]]:
    """The jobs of a group in equal parts, as large as is allowed.

    Raises:
        NotStacked: if two of them cannot be built, or a step of both fails, or gives anything else than each alone.
    """
    try:
        data, modules = try_out(group)
    except NotStacked:
        raise
    except UserError:
        raise NotStacked("a mistake in the config") from None
    except Exception as error:  # alone, each says it
        raise NotStacked(f"{type(error).__name__} in a try") from None
    most = options.chunk or chunk_size(group[0].config, data[0], modules[0])
    parts = -(-len(group) // most)
    size = -(-len(group) // parts)
    return [list(group[start : start + size]) for start in range(0, len(group), size)]


class _Chunk:
    """Jobs that train at once."""

    def __init__(self, jobs: Sequence[Job], options: Options) -> None:
        self.jobs, self.options = jobs, options
        self.answers: Answers = {}
        self.members: dict[Job, Member] = {}
        self.alone: Counter[str] = Counter()  # why some of them run one by one
        self.graph: bytes | None = None
        self.checked: set[str] = set()  # nodes of configs that are right
        self.door = options.door.module

    def run(self) -> Answers:
        """What the jobs answer: an objective, or an error; nothing for those that have to run alone."""
        with ExitStack() as claims:
            folders = {job: folder for job in self.jobs if (folder := self._claim(job, claims))}
            self._build(folders)
            if len(self.members) > 1:
                self._train()
            elif self.members:
                self.alone[SINGLE] += 1
            with synced_together():
                for job, member in self.members.items():
                    if job in self.answers:
                        status = "diverged" if has_diverged(member.trainer) else "finished"
                        self.answers[job] = summaries.objective(self._record(member, status))
        return self.answers

    def _claim(self, job: Job, claims: ExitStack) -> Path | None:
        """The folder for a job to begin in; nothing if it is not to run, or has to go on from a checkpoint."""
        claim = ExitStack()
        try:
            folder = claim.enter_context(job.claimed())
        except UserError as mistake:
            self.answers[job] = mistake
            return None
        if folder is None:
            self.answers[job] = summaries.objective(job.summary)
        elif (folder / folders.LAST).exists():
            folder = None
            self.alone["they go on from their checkpoints"] += 1
        if folder is None:
            claim.close()
        else:
            claims.push(claim.pop_all())
        return folder

    def _build(self, folders: dict[Job, Path]) -> None:
        """Data and module of each job, as alone; a mistake in its config is its own."""
        data: dict[Job, Any] = {}
        for job in folders:
            try:
                build.check(job.config, self.checked)
                data[job] = make.make(job.config, "datamodule")
            except Exception as error:
                self.answers[job] = error
        shared = _share(list(data.values()))
        for job, own in data.items():
            try:
                if not shared:
                    own.prepare_data()
                module: Any = make.module(job.config, own)
                callbacks, loggers = self._callbacks(job), self._loggers(job, folders[job])
                member = Member(
                    job, folders[job], own, module, callbacks, loggers, self.options.figures
                )
            except Exception as error:
                self.answers[job] = error
            else:
                self.members[job] = member

    def _callbacks(self, job: Job) -> list[Any]:
        """Make the callbacks that each job has for itself."""
        nodes = {
            f"callbacks.{name}": node
            for name, node in (job.config.get("callbacks") or {}).items()
            if node and in_a_stack(objects.located(node[TARGET], name)) == EACH_JOB
        }
        return [make.make(nodes, key) for key in nodes]

    def _loggers(self, job: Job, folder: Path) -> list[Any]:
        made: list[Any] = []
        for name, node in (job.config.get("logger") or {}).items():
            if node:
                is_table = objects.located(node[TARGET], name) is MetricsCSV
                options = {key: value for key, value in node.items() if key != TARGET}
                kind = MetricsCSV if is_table else BufferedTensorBoard
                made.append(kind(save_dir=str(folder), **{**options, "purge_step": 0}))
        return made

    def _train(self) -> None:
        members = list(self.members.values())
        trainer = self._trainer(members[0].job.config)
        log.info("%d jobs together: %s", len(members), members[0].folder.parent)
        data = StackedData([member.data for member in members])
        stack = StackedModule(members, data)
        with synced_together():
            self._begin(trainer, stack)
        try:
            trainer.fit(stack, datamodule=data)
            stack.end([number for number in stack.running if has_diverged(members[number].trainer)])
            if stack.running and build.has_test(members[0].data):
                trainer.test(stack, datamodule=data, verbose=False)
        except (KeyboardInterrupt, SystemExit) as stop:
            self._interrupted(members)
            if (
                isinstance(stop, SystemExit) and stop.code == FAILED
            ):  # what Lightning makes of Ctrl-C
                raise KeyboardInterrupt from None
            raise
        except Exception as error:
            log.warning(
                "not together, but one by one: %s: %s", type(error).__name__, error, exc_info=True
            )
            self.members.clear()
        else:
            self.answers |= dict.fromkeys(self.members, math.nan)

    def _trainer(self, config: Config) -> BlockTrainer:
        """Build the Trainer of all jobs: it logs and saves nothing by itself."""
        callbacks = [
            objects.build(node, f"callbacks.{name}")
            for name, node in (config.get("callbacks") or {}).items()
            if node and in_a_stack(objects.located(node[TARGET], name)) == ONCE
        ]
        made = build.trainer_with(config, self.jobs[0].sweep_dir, callbacks, [])
        assert isinstance(made, BlockTrainer)
        return made

    def _begin(self, trainer: BlockTrainer, stack: StackedModule) -> None:
        """What a run writes before it trains."""
        for job, member in self.members.items():
            folders.save_config(member.folder, job.config, self.door, make.as_yaml(job.config))
            (member.folder / summaries.SUMMARY).unlink(missing_ok=True)
            for logger in member.loggers:
                getattr(logger, "experiment")  # noqa: B009  it takes over what an interrupted run has left
            description = build.describe(trainer, member.module, member.data)
            member.said += [job_log.record(f"run folder: {member.folder}")]  # which has the config
            member.said += [
                job_log.record(
                    f"one of {len(self.members)} jobs that train together\n{description}"
                )
            ]
            values = hparams.hyperparameters(job.config)
            hparams.log_start(
                member, values, ["objective", *getattr(member.module, "test_metrics", ())]
            )  # type: ignore[arg-type]
            self._log_graph(member)

    def _log_graph(self, member: Member) -> None:
        """The network, traced for the first job: the records are the same for all."""
        for logger in member.loggers:
            if isinstance(logger, BufferedTensorBoard):
                events = events_of(logger.experiment)
                if self.graph is None:
                    before = len(events.records())
                    logger.log_graph(member.module)
                    self.graph = events.records()[before:]
                else:
                    events.add_records(self.graph)

    def _interrupted(self, members: Sequence[Member]) -> None:
        with synced_together():
            for member in members:
                if member.trainer:
                    ended = member.ended and has_diverged(member.trainer)
                    self._record(member, "diverged" if ended else "interrupted")

    def _record(self, member: Member, status: str) -> dict[str, Any]:
        """What a run writes at its end."""
        member.flush()
        summary: dict[str, Any] = {"status": status, "error": None, "objective": None}
        if status == "finished":
            summary["objective"] = objective(member.trainer, member.folder)
        summary |= outcome(member.job.config, member.folder, member.trainer, summary)
        summary["seconds"] = round((member.ended or time.monotonic()) - member.began, 3)
        for logger in member.loggers:
            logger.finalize("success")
        member.said.append(job_log.record(f"\n{summaries.closing_words(summary, member.folder)}"))
        job_log.write(member.folder / "train.log", member.said)
        summaries.save(member.folder, summary)
        return summary


def _share(data: Sequence[TensorDataModule]) -> bool:
    """Have the splits once, if they do not depend on the seed: two jobs of different seeds tell."""
    if not data:
        return False
    first = data[0]
    others = [own for own in data if own.seed != first.seed][:1]
    try:
        for own in (first, *others):
            own.prepare_data()
        same = all(_same(first.splits, other.splits) for other in others)
    except Exception:  # each job says it
        return False
    if same:
        for own in data:
            own.share(first)
    return same


def _same(one: dict[str, Split], other: dict[str, Split]) -> bool:
    return one.keys() == other.keys() and all(
        torch.equal(one[name].inputs, other[name].inputs)
        and torch.equal(one[name].targets, other[name].targets)
        for name in one
    )
