"""Tries command lines at random: each one runs, or is refused in a few lines and leaves nothing.

    PYTHONPATH=tests python benchmarks/fuzz.py [--lines 20000] [--seed 0] [--seconds 500]

The words are made of the composed config: each key with values of every kind, near misses of keys
and choices, `+`, `++`, `~`, `-m`, commas, interpolations, quotes and brackets. Each line goes up to
the checked config, and of twenty lines one is trained on. Prints how many lines ran, how many were
refused, how many of these only before the first step, by no one part of the config, and for each
violation the line without the words that it does not need. Writes benchmarks/results/fuzz.json.
Ends with 1 if there is a violation.
"""

import argparse
import contextlib
import dataclasses
import functools
import io
import itertools
import json
import logging
import math
import os
import re
import shlex
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple
from unittest import mock

import hydra
import hypothesis
import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode
from hypothesis import strategies as st
from hypothesis.internal.conjecture.engine import ConjectureRunner
from omegaconf import OmegaConf

import engine
import kept_configs
import warm
from engine import figures, messages
from engine.checks.config import check
from engine.config import overrides
from engine.config.resolved import Config, dotted
from engine.door import Door, Task
from engine.run import summaries
from engine.run.run import train_one
from engine.sweep.compose import Composer
from measuring import commit, save
from project.train import train

Line = tuple[str, ...]
MOST_LINES = 5  # of a message
AT_FIRST = "before the first step"  # what comes from no one part of the config
RIGHT = ("ran", "refused", AT_FIRST)
AT_ONCE = 10  # lines of an example of hypothesis, which costs more than its lines
SMALLEST = "experiment=curve_fit"
SECONDS = 10  # that a line may take; training that has begun may take longer
TRAINED = 20  # of so many lines, one is trained on
DEEP = "a/b/c"  # below the sandbox, so that `..` stays within

NUMBERS = ["0", "1", "-1", "2", "0.5", "1e-9", "-0.0", "1e400", "nan", "inf", "-inf", "1_000"]
HUGE = [str(10**12), str(2**63), "9" * 30, "10**12", "1e12"]
WORDS = ["null", "true", "False", "text", "auto", "", "''", '"a b"', "a b", "x=y", "a/b=c"]
PATHS = ["photos (1)", "my photos/a=b", "~", "'it''s'", "a\\b", "(", "]", "{", "'", "a#b", "a:b"]
ODD = [
    "é",
    "日本",
    "\u202e",
    "line\nline",
    "%s",
    "{}".format("x" * 5000),
    "$HOME",
    "`ls`",
    "@",
    "!",
]
LISTS = ["[]", "[1,2]", "[null]", "[a,[b]]", "[0.9,", "[nan]", "[1, 2]", "[${seed}]"]
MAPPINGS = ["{}", "{a:1}", "{a:{b:null}}", "{1:2}", "{a: 1", "{lr:${seed}}"]
OBJECTS = [
    "{_target_:torch.nn.ReLU}",
    "{_target_:torch.nn.Linear}",
    "{_target_:nowhere.at.all}",
    "{_target_:torch.pi}",
    "{_target_:builtins.dict,a:1}",
    "{_target_:builtins.len,_partial_:true}",
    "{_target_:3}",
    "{_target_:torch.optim.SGD,_partial_:true,lr:0.1}",
    "{_target_:torch.nn.ReLU,_args_:3}",
]
REFERENCES = ["${seed}", "${trainer}", "${optimizer}", "${nosuch}", "${seed", "${}", "${.}"]
REFERENCES += ["${oc.env:NO_SUCH_NAME}", "${nosuch:1}", "${oc.decode:'['}", "${paths}"]
SWEEPS = ["1,2", "null,1", "range(1,3)", "range(0,1000000000000)", "choice(a,b)", "interval(0,1)"]
SWEEPS += ["glob(*)", "sgd,adam", "1,", ",", "range(3)", "shuffle(1,2)", "int(2.5)", "a,'b"]
VALUES = [*NUMBERS, *HUGE, *WORDS, *PATHS, *ODD, *LISTS, *MAPPINGS, *OBJECTS, *REFERENCES, *SWEEPS]
NO_WORDS = ["", " ", "=", "=1", "lenet", "--", "-", "-x", "--lr=0.1", "--experiment=lenet", "-5"]
NO_WORDS += [
    "resume=nowhere",
    "resume=",
    "insist=true",
    "run=x",
    "init_from=nowhere",
    "--cfg",
    "--info",
    "+",
    "~",
    "~seed",
    "optimizer",
    "optimizer@module.other=sgd",
]
HYDRAS = ["hydra/launcher=basicc", "hydra.verbose=[", "hydra.run.dir=${nosuch}", "hydra.x=1"]
HYDRAS += ["hydra/sweeper=grids", "hydra.mode=MULTIRUN", "hydra.sweep.dir=there", "hydra=1"]
# A run that takes a moment, in place of what the line does not say.
SMALL = {"trainer.max_steps": "2", "trainer.max_epochs": "1", "datamodule.steps_per_epoch": "2"}


def lines() -> st.SearchStrategy[Line]:
    """Makes command lines of what conf/ has."""
    train.open()
    choices: dict[str, list[str]] = {}
    for path in sorted(train.conf.glob("*/*.yaml")):
        choices.setdefault(path.parent.name, []).append(path.stem)
    keys: dict[str, str] = {}
    with initialize_config_dir(str(train.conf), version_base="1.3"):
        for experiment in choices["experiment"]:
            config = compose("config", overrides=[f"experiment={experiment}"])
            plain: Any = OmegaConf.to_container(config)
            keys |= {key: str(value) for key, value in dotted(plain).items()}
    nodes = {".".join(key.split(".")[:n]) for key in keys for n in range(1, key.count(".") + 1)}
    known = st.sampled_from(sorted({*keys, *nodes}))
    key = known | known | known | known | known.flatmap(_misspelt)
    other = st.sampled_from(sorted(set(keys.values()))) | known.map("${{{}}}".format)
    plain = st.sampled_from([*NUMBERS, *HUGE, "null", "true", *REFERENCES, *OBJECTS])
    text = st.text(max_size=8).filter(_stays_inside)
    value = plain | plain | st.sampled_from(VALUES) | other | text
    prefix = st.sampled_from(["", "", "", "", "+", "++"])
    wild = st.builds("{}{}={}".format, prefix, key, value)
    fitting = st.sampled_from(sorted(keys.items())).flatmap(
        lambda pair: st.sampled_from(_like(pair[1])).map(f"{pair[0]}={{}}".format)
    )
    setting = wild | wild | wild | fitting | fitting | key.map("~{}".format)
    group = st.sampled_from(sorted(choices))
    chosen = group.flatmap(lambda name: st.tuples(st.just(name), _choice(choices[name], value)))
    choice = chosen.map("=".join)
    two = st.tuples(key.map("--{}".format), value) | st.tuples(
        key.map("{}=[0.9,".format), st.just("0.99]")
    )
    odd = st.sampled_from([*NO_WORDS, *HYDRAS, "-m", "--multirun"]).map(lambda word: (word,))
    # To compose choices that no line has made before takes longer than all the rest.
    part = (setting | setting | setting | setting | setting | choice).map(lambda word: (word,))
    parts = st.sampled_from([1, 1, 1, 1, 2, 2, 3]).flatmap(
        lambda size: st.lists(
            part | part | part | part | part | part | two | odd, min_size=size, max_size=size
        )
    )
    begin = st.sampled_from([*[(SMALLEST,)] * 16, *[()] * 3])
    swept = st.sampled_from(sorted(keys.items())).flatmap(
        lambda pair: st.tuples(*[st.sampled_from(_like(pair[1]))] * 2).map(
            lambda two: ("-m", SMALLEST, f"{pair[0]}={','.join(two)}")
        )
    )
    first = st.sampled_from([*[begin] * 11, swept]).flatmap(lambda strategy: strategy)
    repeats = st.sampled_from([*[0] * 9, 1])
    return st.builds(_line, first, parts, repeats)


def _line(first: Line, rest: Sequence[Line], repeats: int) -> Line:
    """Makes a line of its beginning and its parts; the last word may come twice."""
    line = (*first, *itertools.chain(*rest))
    return (*line, *line[-1:] * repeats)


def _like(value: str) -> list[str]:
    """Returns values of the kind of another one."""
    if value in ("True", "False"):
        return ["true", "false"]
    is_number = re.fullmatch(r"-?[\d.]+(e-?\d+)?", value)
    return ["1", "2", "3", "5", "0", "0.1", "0.5", "null"] if is_number else [value, "null", "1"]


def _misspelt(key: str) -> st.SearchStrategy[str]:
    """Makes names that are near a key, or that lie below or beside it."""
    last = key.rpartition(".")[2]
    near = [
        last,
        f"{key}s",
        key[:-1],
        f"{key}.x",
        f"{key}._target_",
        f"{key}._partial_",
        f"x.{key}",
    ]
    return st.sampled_from([*near, key.replace(".", "/"), key.upper(), f"{key}.", f"{key}@x"])


def _choice(names: Sequence[str], value: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    name = st.sampled_from(names)
    two = st.tuples(name, name)
    listed = two.map("[{0[0]},{0[1]}]".format) | two.map("{0[0]},{0[1]}".format)
    return name | name | name.map(lambda own: own[:-1]) | listed | value


def _stays_inside(text: str) -> bool:
    return not text.lstrip("'\" ").startswith(("/", "~")) and "\0" not in text


def generated(count: int, seed: int) -> list[Line]:
    """Returns so many different command lines; a seed gives the same ones each time."""
    found: list[Line] = []

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=count // AT_ONCE + count // (4 * AT_ONCE) + 1,  # some lines come twice
        database=None,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(st.lists(lines(), min_size=AT_ONCE, max_size=AT_ONCE))
    def note(some: list[Line]) -> None:
        found.extend(some)

    # hypothesis would make every second line of parts of earlier ones.
    with mock.patch.object(ConjectureRunner, "generate_mutations_from"):
        note()
    return list(dict.fromkeys(found))[:count]


class Verdict(NamedTuple):
    """Says what became of a line: one of `RIGHT`, or what is wrong with its end."""

    outcome: str
    about: str = ""  # what there was to see, for a violation

    @property
    def is_violation(self) -> bool:
        return self.outcome not in RIGHT


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

    def __call__(self, line: Line, trains: bool = False) -> Verdict:
        """Runs a line up to the checked config, or trains on it."""
        self.configs = []
        self.home.mkdir(parents=True, exist_ok=True)
        options = tuple(itertools.takewhile(lambda word: word.startswith("-"), line))
        words = (*options, "paths.log_dir=logs", *line[len(options) :])
        if trains:
            said = {word.lstrip("+~").partition("=")[0] for word in line}
            small = {key: value for key, value in SMALL.items() if key not in said}
            words = (*words, *map("=".join, small.items()))
        stdout, stderr = io.StringIO(), io.StringIO()
        with self._alone(words, stdout, stderr, trains), self._composing(words, trains):
            code, trace = self._ended()
        found = {*self.sandbox.rglob("*")} - {self.home, *self.home.parents}
        left = sorted(os.path.relpath(path, self.home) for path in found)
        shown = f"{trace or stderr.getvalue()}{''.join(stdout.getvalue()[-2000:])}"
        verdict = Verdict(self._outcome(line, code, trace, stderr.getvalue(), left), shown)
        if left:
            shutil.rmtree(self.sandbox / DEEP.partition("/")[0])
        return verdict

    @contextlib.contextmanager
    def _alone(
        self, words: Line, stdout: io.StringIO, stderr: io.StringIO, trains: bool
    ) -> Iterator[None]:
        """Makes this process the one that the command line starts."""
        root = logging.getLogger()
        before = root.handlers, root.level, os.getcwd(), signal.signal(signal.SIGALRM, _too_long)
        root.handlers = []
        os.chdir(self.home)
        with (
            mock.patch.object(sys, "argv", ["project.train", *words]),
            mock.patch.object(figures, "are_wanted", return_value=False),
            mock.patch("engine.door.train_one", train_one if trains else self._checked),
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
        """Composes as jobs of a sweep are composed, which is faster: only words that are no more.

        The check of a command line composes the same choices once.
        """

        def main(**options: Any) -> Any:
            return lambda task: lambda: self._checked(task, self._compose(words).config, None, "")

        def chosen(name: str, overrides: Sequence[str] = ()) -> Any:
            return self._chosen(name, tuple(overrides))

        is_plain = not trains and not re.search("(^|\n)-|hydra|sweep", "\n".join(words))
        with (
            mock.patch.object(overrides, "compose", chosen),
            mock.patch("engine.door.hydra.main", main if is_plain else hydra.main),
        ):
            yield

    def _checked(
        self, train: Any, config: Config, run_dir: Path | None, door: str, insists: bool = False
    ) -> float:
        """Checks the config of a run, and does no more."""
        messages.silence_harmless()
        check(config)
        self.configs.append(config)
        if run_dir:  # of a sweep, which asks what became of its job
            run_dir.mkdir(parents=True)
            summaries.save(run_dir, {"status": "finished", "steps": 1, "seconds": 0.0})
        return 0.0

    def _ended(self) -> tuple[object, str]:
        """Runs the line; returns its exit code, and the traceback of an error of ours, if any."""
        try:
            self.door()
        except SystemExit as stop:
            return stop.code or 0, _of_the_engine(stop.__context__)
        except TooLong:
            return "too long", "".join(traceback.format_exc())
        except Exception:
            return "traceback", "".join(traceback.format_exc())
        return 0, ""

    def _outcome(self, line: Line, code: object, trace: str, message: str, left: list[str]) -> str:
        ended = [json.loads(path.read_text()) for path in self.home.rglob(summaries.SUMMARY)]
        took_steps = any(summary.get("steps") for summary in ended)
        if code == 0 or (code == "too long" and took_steps):
            return "ran"
        if trace:
            *_, place = re.findall(r'File ".*?((?:engine|project)/[\w/.]+)", line (\d+)', trace)
            return f"{code}: {trace.splitlines()[-1][:60]} ({':'.join(place)})"
        if code != 2:
            return f"exit code {code}: {[summary.get('error') for summary in ended]}"
        if len(message.splitlines()) > MOST_LINES or "Traceback" in message:
            return f"{len(message.splitlines())} lines"
        if left and not took_steps:
            return f"leaves {', '.join(left)[:60]}"
        if not message.strip():
            return "no message"
        if message.startswith(f"error: {AT_FIRST}: "):
            return AT_FIRST
        return "refused" if _is_about(message, line) else f"names nothing: {message[:50]}"


def _of_the_engine(refusal: BaseException | None) -> str:
    """Returns the traceback of an error before the first step that the engine itself has raised."""
    error = refusal and refusal.__cause__
    if error is None or not str(refusal).startswith(AT_FIRST):
        return ""
    last = traceback.extract_tb(error.__traceback__)[-1].filename
    is_ours = Path(last).is_relative_to(Path(engine.__file__).parent)
    return "".join(traceback.format_exception(error)) if is_ours else ""


def _is_about(message: str, line: Line) -> bool:
    """Tells whether a message has a word of the line: a name in it, or all of a short word."""
    own = [word for word in line if word not in (SMALLEST, "-m", "--multirun")] or line
    names = set(re.findall(r"\w\w+", " ".join(own).lower())) - {"true", "null"}
    short = [word for word in own if not re.search(r"\w\w", word)]
    said = set(re.findall(r"\w\w+", message.lower()))
    begins = tuple(name.replace("_", "") for name in names if "_" in name)  # of TwoLayerRegressor
    quoted = any(f"'{part}'" in message for word in own for part in re.split("[.=]", word))
    is_named = names & said or quoted or any(word.startswith(begins) for word in said)
    return bool(is_named) or any((word or "''") in message for word in short)


def can_train(configs: Sequence[Config], line: Line) -> bool:
    """Tells whether to train on a line: quickly, in this process alone, without a download."""
    return all(
        not config["compile"]
        and config.get("trainer.compiled") is not True
        and config.get("trainer.devices") in (1, "auto")
        and config.get("trainer.strategy") == "auto"
        and not config.get("trainer.num_nodes")
        and not config.get("datamodule.num_workers")
        and not re.search("cifar10|image_folder|depth_study", str(config.values_by_node))
        for config in configs
    ) and not any("hydra" in word for word in line)


def shortest(judge: Judge, line: Line, trains: bool, outcome: str) -> Line:
    """Returns a line without the words that a violation does not need."""
    for number in reversed(range(len(line))):
        without = (*line[:number], *line[number + 1 :])
        if judge(without, trains).outcome == outcome:
            line = without
    return line


class Report(NamedTuple):
    """Counts the outcomes of lines, and has an example of each violation, with what was seen."""

    outcomes: Counter[str]
    trained: Counter[str]
    violations: dict[str, tuple[Line, str]]

    def __str__(self) -> str:
        ends, trained = (
            ", ".join(f"{counts[outcome]:,} {outcome}" for outcome in RIGHT)
            for counts in (self.outcomes, self.trained)
        )
        text = (
            f"{self.outcomes.total():,} lines: {ends}; of those that ran, trained on: {trained}; "
        )
        text += f"{len(self.violations)} kinds of violations"
        for outcome, (line, about) in self.violations.items():
            number = self.outcomes[outcome] + self.trained[outcome]
            text += f"\n\n{number} × {outcome}\n  {shlex.join(line)}\n{about.rstrip()[-1500:]}"
        return text

    def kept(self) -> dict[str, Any]:
        """Returns what is kept of it."""
        return {
            "lines": self.outcomes.total(),
            "outcomes": self.outcomes,
            "trained": self.trained,
            "violations": {what: shlex.join(line) for what, (line, _) in self.violations.items()},
        }


def fuzz(count: int, seed: int, sandbox: Path, seconds: float = math.inf) -> Report:
    """Judges so many lines, or as many as there is time for, and trains on one of twenty."""
    until = time.monotonic() + seconds
    report = Report(Counter(), Counter(), {})
    judge = Judge(sandbox)
    found = generated(count, seed)
    files = tuple(kept_configs.files([SimpleNamespace(path=train.conf, scheme=lambda: "file")]))
    with kept_configs.keeping(), mock.patch.object(kept_configs, "files", return_value=files):
        for line in itertools.takewhile(lambda _: time.monotonic() < until, found):
            verdict = judge(line)
            report.outcomes[verdict.outcome] += 1
            is_due = report.trained.total() * TRAINED < report.outcomes.total()
            trains = verdict.outcome == "ran" and is_due and can_train(judge.configs, line)
            if trains:
                verdict = judge(line, trains)
                report.trained[verdict.outcome] += 1
            if verdict.is_violation and verdict.outcome not in report.violations:
                short = shortest(judge, line, trains, verdict.outcome)
                report.violations[verdict.outcome] = short, judge(short, trains).about
    return report


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--lines", type=int, default=20000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=math.inf, help="at most")
    options = parser.parse_args()
    began = time.monotonic()
    begun_at = commit()
    warm.begin()  # what Hydra composes is kept there
    try:
        with tempfile.TemporaryDirectory() as sandbox:
            report = fuzz(options.lines, options.seed, Path(sandbox), options.seconds)
    finally:
        warm.end()
    seconds = round(time.monotonic() - began)
    print(f"{report}\n{seconds} s")
    save("fuzz", {**report.kept(), "seed": options.seed, "seconds": seconds, "commit": begun_at})
    sys.exit(bool(report.violations))


if __name__ == "__main__":
    main()
