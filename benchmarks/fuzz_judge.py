"""Runs the command lines that fuzz.py tries, and says of each whether it ended as it should."""

import contextlib
import dataclasses
import functools
import io
import json
import logging
import os
import re
import shutil
import signal
import sys
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import hydra
import torch
from hydra import compose, initialize_config_dir
from hydra._internal.utils import get_args_parser
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode

from engine import figures, messages
from engine.checks.config import check
from engine.config import overrides
from engine.config.resolved import Config, word_about
from engine.door import Door, Task
from engine.run import summaries
from engine.sweep.compose import Composer
from fuzz_lines import Line
from fuzz_verdict import Ended, Verdict, of_the_engine
from project.train import train

SECONDS = 10  # that a line may take; training that has begun may take longer
DEEP = "a/b/c"  # below the sandbox, so that `..` stays within
# A run that takes a moment, in place of what the line does not say.
GRAPH = "logger.tensorboard.log_graph"  # is drawn where a line is about the module
SMALL = {"trainer.max_steps": "2", "trainer.max_epochs": "1", "datamodule.steps_per_epoch": "2"}
SMALL |= {"trainer.limit_val_batches": "1", "trainer.limit_test_batches": "1", GRAPH: "false"}


class TooLong(BaseException):
    """Ends a line that takes too long."""


def _too_long(number: int, frame: object) -> None:
    raise TooLong


class Judge:
    """Runs command lines in this process, in a folder of their own, and looks at how they end.

    Args:
        sandbox: an empty folder.
        door: the command.
    """

    def __init__(self, sandbox: Path, door: Door = train) -> None:
        self.sandbox = sandbox
        self.home = sandbox / DEEP
        self.door = dataclasses.replace(door, root=self.home)
        self.configs: list[Config] = []  # that the last line led to, all of them checked
        self.door.open()
        with initialize_config_dir(str(door.conf), version_base="1.3"):
            loader = GlobalHydra.instance().config_loader()
            sweep = loader.load_configuration("config", [], RunMode.MULTIRUN)
        self._chosen = functools.cache(lambda name, words: compose(name, overrides=list(words)))
        self._compose = Composer(loader, sweep, Task(door).mentioned)
        self._arguments = functools.cache(get_args_parser)

    def __call__(self, line: Line, trains: bool = False) -> Verdict:
        """Runs a line up to the checked config, or trains on it, once it has been checked."""
        words = (*line, *self._small(line)) if trains else line
        self.configs = self.configs if trains else []
        self.home.mkdir(parents=True, exist_ok=True)
        # Python's own stdout cannot write what is no Unicode, and its stderr can.
        stdout, stderr = (
            io.TextIOWrapper(io.BytesIO(), "utf-8", errors)
            for errors in ("strict", "backslashreplace")
        )
        with self._alone(words, stdout, stderr, trains), self._composing(words, trains):
            code, trace = self._ended()
        found = {*self.sandbox.rglob("*")} - {self.home, *self.home.parents}
        left = {os.path.relpath(path, self.home): path.is_file() for path in sorted(found)}
        ends = [json.loads(path.read_text()) for path in self.home.rglob(summaries.SUMMARY)]
        ended = Ended(line, code, trace, trains, _text(stdout), _text(stderr), left, ends)
        if left:
            shutil.rmtree(self.sandbox / DEEP.partition("/")[0])
        return ended.verdict

    def _small(self, line: Line) -> list[str]:
        """Returns the words that make a run of the last line, which was checked, take a moment."""
        said = {word.lstrip("+~").partition("=")[0] for word in line}
        said |= {GRAPH} if word_about("module", line) else set()
        known = set(SMALL).intersection(*(config.flat for config in self.configs))
        return [f"{key}={value}" for key, value in SMALL.items() if key in known - said]

    @contextlib.contextmanager
    def _alone(
        self, words: Line, stdout: io.TextIOWrapper, stderr: io.TextIOWrapper, trains: bool
    ) -> Iterator[None]:
        """Makes this process the one that the command line starts."""
        root = logging.getLogger()
        before = root.handlers, root.level, os.getcwd(), signal.signal(signal.SIGALRM, _too_long)
        root.handlers = []
        os.chdir(self.home)
        with (
            mock.patch.dict(os.environ, HOME=str(self.home.parent)),
            mock.patch.object(sys, "argv", ["project.train", *words]),
            mock.patch.object(figures, "are_wanted", return_value=False),
            mock.patch.object(Door, "do", Door.do if trains else self._checked),
            contextlib.redirect_stdout(stdout),
            contextlib.redirect_stderr(stderr),
        ):
            signal.alarm(SECONDS)
            try:
                yield
            finally:
                signal.alarm(0)
                root.handlers, root.level = before[:2]
                os.chdir(before[2])
                signal.signal(signal.SIGALRM, before[3])
                torch.set_num_threads(1)

    @contextlib.contextmanager
    def _composing(self, words: Line, trains: bool) -> Iterator[None]:
        """Composes quickly: the check of a command line composes the same choices once.

        Words that only set values and choose are composed as the words of a job of a sweep are.
        """

        def main(**options: Any) -> Any:
            return lambda task: lambda: self._checked(self._compose(words).config, None)

        def chosen(name: str, overrides: Sequence[str] = (), **options: Any) -> Any:
            return (
                compose(name, list(overrides), **options)
                if options
                else self._chosen(name, tuple(overrides))
            )

        is_plain = not trains and not re.search("(^|\n)-|hydra|sweep", "\n".join(words))
        with (
            mock.patch.object(overrides, "compose", chosen),
            mock.patch("engine.fence.hydra.get_args_parser", self._arguments),
            mock.patch("engine.door.hydra.main", main if is_plain else hydra.main),
        ):
            yield

    def _checked(self, config: Config, run_dir: Path | None, insists: bool = False) -> float:
        """Checks the config of a run, and does no more."""
        messages.silence_harmless()
        check(config)
        self.configs.append(config)
        if run_dir:  # of a sweep, which asks what became of its job
            run_dir.mkdir(parents=True)
            numbers = {"steps": 1, "seconds": 0.0, "objective": 0.5}
            summaries.save(run_dir, {"status": "finished", **numbers})
        return 0.5

    def _ended(self) -> tuple[object, str]:
        """Runs the line; returns its exit code, and the traceback of an error of ours, if any."""
        try:
            self.door()
        except SystemExit as stop:
            return stop.code or 0, of_the_engine(stop.__context__)
        except TooLong:
            return "too long", "".join(traceback.format_exc())
        except Exception:
            return "traceback", "".join(traceback.format_exc())
        return 0, ""


def _text(stream: io.TextIOWrapper) -> str:
    """Returns what was written to a stream."""
    stream.flush()
    written: Any = stream.buffer
    return str(written.getvalue().decode())


def can_train(configs: Sequence[Config], line: Line) -> bool:
    """Tells whether to train on a line: quickly, in this process alone, without a download."""
    options = [word for word in line[1:] if word.startswith("-")]  # behind the line's own words
    is_plain = not options and not any("hydra" in word for word in line)
    return is_plain and bool(configs) and all(map(_is_small, configs))


def _is_small(config: Config) -> bool:
    return (
        not config["compile"]
        and config.get("trainer.compiled") is not True
        and config.get("trainer.devices") in (1, "auto")
        and config.get("trainer.strategy") == "auto"
        and not config.get("trainer.num_nodes")
        and not config.get("datamodule.num_workers")
        and not re.search("cifar10|image_folder|depth_study", str(config.values_by_node))
    )
