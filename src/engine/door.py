"""The command: how a user's `train(run)` is called, here and in other processes.

A command line is checked first; then it is one run, a sweep, help, or a run resumed.
"""

import ast
import importlib
import logging
import os
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from engine import longer, messages, signals
from engine.checks import imports
from engine.config import secrets
from engine.config.help import asks_for_help, help_text
from engine.config.overrides import check_command_line, check_values
from engine.config.resolved import Config
from engine.errors import FAILED, WRONG_USE, UserError, exit_codes
from engine.fence.hydra import composing_once, options_of
from engine.fence.omegaconf import parsing_once
from engine.run import code, folders, summaries
from engine.run.children import PARENT
from engine.run.run import Run
from engine.sweep.jobs import Job

log = logging.getLogger(__name__)

RESUME = "resume="
INSIST = "insist=true"
TRUST = "trust="
GRACE = 5.0  # seconds, in which a further process of a run ends by itself after the first one
OF_SWEEPS = ("hydra/launcher", "hydra/sweeper", "hydra.launcher", "hydra.sweep")
Train = Callable[[Run], float]


@dataclass(frozen=True)
class Door:
    """Knows a user's function, where its config lies, and how other processes import it.

    Calling the door runs the command line.

    Args:
        train: does one run and returns the objective.
        root: the folder that holds conf/, data/ and logs/.
        conf: the folder with config.yaml.
    """

    train: Train
    root: Path
    conf: Path

    def __call__(self) -> None:
        with exit_codes(), composing_once(), parsing_once():
            if not asks_for_help(sys.argv[1:]):
                messages.begin_wait("loading PyTorch …")
            self.open()
            self._answer(sys.argv[1:])

    @property
    def module(self) -> str:
        """Returns the import path of the module that holds the door.

        Raises:
            UserError: if Python did not import that module by a name.
        """
        name = self.train.__module__
        if name != "__main__":
            return name
        spec = sys.modules["__main__"].__spec__
        if spec is None:
            file = Path(sys.argv[0]).absolute()
            raise UserError(
                f"{sys.argv[0]}: start it as a module, `python -m {file.parent.name}.{file.stem}`: "
                "other processes could not import it."
            )
        return spec.name

    def beside(self, name: str) -> str:
        """Returns the import path of a module beside the door's."""
        return f"{self.module.rpartition('.')[0]}.{name}"

    def received(self, run_dir: Path, trust: str) -> Config:
        """Loads the config of a run's folder, which somebody else may have made.

        Args:
            run_dir: the run's folder.
            trust: what the command line has after `trust=`: true, or the digest of a config.

        Raises:
            UserError: as `folders.load_config` does, or if `trust` is something else.
        """
        if not re.fullmatch("true|[0-9a-f]{64}|", trust):
            raise UserError(f"trust={trust}: must be true.")
        return folders.load_config(run_dir, self.module.partition(".")[0], trust)

    def open(self) -> None:
        """Makes `${root:}` known to OmegaConf in this process.

        Raises:
            UserError: if there is no config.yaml.
        """
        if not (self.conf / "config.yaml").is_file():
            name = os.path.relpath(self.conf, self.root)
            file = self.train.__code__.co_filename
            raise UserError(
                f'{file}: @command(conf="{name}"): no folder above it has {name}/config.yaml.'
            )
        OmegaConf.register_new_resolver("root", lambda: str(self.root), replace=True)

    def do(self, config: Config, folder: Path | None, insists: bool = False) -> float:
        """Does one run, start to finish; returns the objective that a sweep compares.

        A run that has finished already is not done again.

        Args:
            config: the run's.
            folder: the run's, if it has one already.
            insists: whether to go on though data or code have changed since the run began.

        Raises:
            UserError: if the config or the data are wrong; then nothing is left behind.
            RunFailed: if the run failed; its log says how.
        """
        messages.to_terminal()
        if folder and (done := summaries.load(folder)) and done["status"] in summaries.COMPLETE:
            log.info("%s already, nothing to do: %s", done["status"], folder)
            return summaries.objective(done)
        with imports.large():
            from engine.checks.config import check, try_update
            from engine.kept.between import put_back

            messages.silence_harmless()
            check(config)  # imports what the config names
        files = code.digests(config, self.module)
        with put_back(files):
            with put_back(files, is_within=True):
                try_update(config)
            run = Run(config, folder, self.module, insists)
            try:
                return run.execute(self.train)
            except SystemExit:
                run.say_how_to_go_on()
                raise

    def _answer(self, words: Sequence[str]) -> None:
        HydraConfig.instance().cfg = None  # ${hydra:…} would read an earlier command's --cfg
        secrets.check_words(words)
        resumed = [word.removeprefix(RESUME) for word in words if word.startswith(RESUME)]
        if resumed:
            if not resumed[0]:
                raise UserError("resume=: write resume=RUN_DIR, with the folder of a run.")
            if resumed[1:]:
                given = " ".join(f"{RESUME}{path}" for path in resumed)
                raise UserError(f"{given}: a command goes on with one run; give one.")
            run_dir = Path(resumed[0]).absolute()
            # Lightning adds hydra.* to the command of the processes that it starts.
            others = [word for word in words if not word.startswith((RESUME, "hydra."))]
            trust = "".join(word.removeprefix(TRUST) for word in others if word.startswith(TRUST))
            if trust not in ("", "true"):  # the digest that a run gives its further processes
                first = os.environ.get(PARENT)  # gone already, it may be
                signals.end_with_parent(GRACE, int(first) if first else None)
            lengths = [word for word in others if word not in (INSIST, TRUST + trust)]
            longer.check_words(run_dir, lengths)
            config = self.received(run_dir, trust)
            if lengths:
                config = longer.config_of(run_dir, config, lengths, self.conf)
            self.do(config, None if lengths else run_dir, INSIST in others)
            return
        check_command_line(words, self.conf)
        if asks_for_help(words):
            text = help_text(words, self.conf, self.module)
            print(messages.for_stream(text, sys.stdout))
            return
        task: Any = Task(self)
        try:
            hydra.main(version_base="1.3", config_path=str(self.conf), config_name="config")(task)()
        except SystemExit as stop:
            if stop.code == FAILED and options_of(words)[0].cfg:  # --cfg job --package nosuch
                sys.exit(WRONG_USE)
            raise


@dataclass(frozen=True)
class Task:
    """Does one run, or one job of a sweep, when Hydra calls it with a composed config.

    Args:
        door: the command.
        jobs: of a sweep of ours, by Hydra's numbers. Hydra's launchers compose a job anew, perhaps
            of files that have changed since, and a resolver may give another value then. So a
            sweep hands its jobs down, and they run as they were composed and checked.
    """

    door: Door
    jobs: dict[int, Job] = field(default_factory=dict)

    def launched(self, launcher: Launcher, jobs: Sequence[Job]) -> Sequence[JobReturn]:
        """Has a launcher of Hydra's run jobs."""
        self.jobs.clear()
        self.jobs.update(enumerate(jobs))
        return launcher.launch([job.overrides for job in jobs], 0)

    @property
    def mentioned(self) -> frozenset[str]:
        """Returns the first names of what the command's file may read of the config: its words."""
        tree = ast.parse(Path(self.door.train.__code__.co_filename).read_bytes())
        constants = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)]
        words = [word for word in constants if isinstance(word, str)]
        return frozenset(word.partition(".")[0] for word in words)

    def __call__(self, composed: DictConfig) -> float:
        signals.heed()
        job = HydraConfig.get()
        if self.jobs:
            own = self.jobs[job.job.num]
            # These are the secrets: all other values are resolved.
            messages.hide(secrets.ENVIRONMENT.findall(repr(own.config.values_by_node)))
            return own.run(self.door.do)
        words: Any = OmegaConf.to_container(job.overrides.task, resolve=False)  # ${…} as typed
        if job.mode == RunMode.MULTIRUN:
            sweep_dir = Path(job.sweep.dir)
            config = Config.resolve(composed, words, self.mentioned)
            return Job(config, sweep_dir, words).run(self.door.do)
        with exit_codes():  # Hydra would add a line of its own to an error
            for word in job.overrides.hydra:
                if word.lstrip("+~").startswith(OF_SWEEPS):
                    raise UserError(f"{word}: is for sweeps; add -m.")
            config = Config.resolve(composed, words, self.mentioned)
            check_values(config)
            for key in ("dry_run", "force", "retry"):
                if config["sweep"][key]:
                    raise UserError(f"sweep.{key}: is for sweeps; add -m.")
            return self.door.do(config, None)


def command(conf: str) -> Callable[[Train], Door]:
    """Makes a command of a function that does one run.

    Args:
        conf: the folder with config.yaml, below a folder that the function's file lies in.
    """

    def decorate(train: Train) -> Door:
        file = Path(train.__code__.co_filename).resolve()
        roots = (folder for folder in file.parents if (folder / conf / "config.yaml").is_file())
        root = next(roots, file.parent)  # a call of the door says so if there is none
        return Door(train, root, root / conf)

    return decorate


def imported(module: str) -> Door:
    """Imports a door by the import path of its module.

    Raises:
        UserError: if there is no door.
    """
    for value in vars(importlib.import_module(module)).values():
        if isinstance(value, Door):
            return value
    raise UserError(f"{module}: holds no function with @command.")
