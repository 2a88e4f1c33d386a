"""Says whether a command line that fuzz.py tries has ended as it should."""

import re
import shlex
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import engine
from fuzz_lines import MULTIRUN, OPTUNA, SMALLEST, Line

MOST_LINES = 5  # of a message
AT_FIRST = "before the first step"  # what comes from no one part of the config
RIGHT = ("ran", "refused", AT_FIRST)
# What stays where all trials of a search are refused: its study says what was tried.
OF_A_STUDY = ("multirun.yaml", "study.log")
SHORT = {"-c": "--cfg", "-cd": "--config-dir", "-cn": "--config-name", "-cp": "--config-path"}
SHORT |= {"-i": "--info", "-p": "--package", "-r": "--run", "-sc": "--shell-completion"}
TRACEBACK = "Traceback ("


class Verdict(NamedTuple):
    """Says what became of a line: one of `RIGHT`, or what is wrong with its end."""

    outcome: str
    about: str = ""  # what there was to see, for a violation

    @property
    def is_violation(self) -> bool:
        return self.outcome not in RIGHT


@dataclass(frozen=True)
class Ended:
    """Describes how a command line has ended.

    Args:
        line: the command line.
        code: its exit code, or what else has ended it.
        trace: the traceback of an error of ours, if there is one.
        trains: whether the line was trained on.
        said: all that went to stdout.
        message: all that went to stderr.
        left: the paths that it leaves in its folder, each with whether it is a file.
        summaries: of the runs that it leaves.
    """

    line: Line
    code: object
    trace: str
    trains: bool
    said: str
    message: str
    left: Mapping[str, bool]
    summaries: Sequence[Mapping[str, Any]]

    @property
    def verdict(self) -> Verdict:
        return Verdict(self._outcome(), f"{self.trace or self.message}{self.said[-2000:]}")

    def _outcome(self) -> str:
        took_steps = any(summary.get("steps") for summary in self.summaries)
        lines = len(self.message.splitlines())
        shows_traceback = TRACEBACK in self.said + self.message
        if self.code == 0 or (self.code == "too long" and took_steps and self.trains):
            if shows_traceback:
                return "a traceback, and exit code 0"
            is_clean = self.trains or self.summaries or not self.left  # those of a sweep's jobs
            return "ran" if is_clean else f"ran, and leaves {', '.join(self.left)[:60]}"
        if self.trace:
            places = re.findall(r'File ".*?((?:engine|project)/[\w/.]+)", line (\d+)', self.trace)
            place = ":".join([("", ""), *places][-1])
            return f"{self.code}: {self.trace.splitlines()[-1][:60]} ({place})"
        if self.code != 2:
            return f"exit code {self.code}: {[own.get('error') for own in self.summaries]}"
        if lines > MOST_LINES or shows_traceback:
            return f"{lines} lines"
        if not took_steps and not self._may_leave:
            return f"leaves {', '.join(self.left)[:60]}"
        if not self.message.strip():
            return "no message"
        if self.message.startswith(f"error: {AT_FIRST}: "):
            return AT_FIRST
        named = is_about(self.message, self.line)
        return "refused" if named else f"names nothing: {self.message[:50]}"

    @property
    def _may_leave(self) -> bool:
        """Tells whether a refused line may leave what it leaves."""
        files = {Path(path).name for path, is_file in self.left.items() if is_file}
        return not self.left or (OPTUNA in self.line and files == {*OF_A_STUDY})


def of_the_engine(refusal: BaseException | None) -> str:
    """Returns the traceback of an error before the first step that the engine itself has raised."""
    error = refusal and refusal.__cause__
    if error is None or not str(refusal).startswith(AT_FIRST):
        return ""
    last = traceback.extract_tb(error.__traceback__)[-1].filename
    is_ours = Path(last).is_relative_to(Path(engine.__file__).parent)
    return "".join(traceback.format_exception(error)) if is_ours else ""


def is_about(message: str, line: Line) -> bool:
    """Tells whether a message has a word of the line: a name in it, or all of a short word."""
    own = [word for word in line if word not in (SMALLEST, *MULTIRUN)] or [*line]
    own += [option for short, option in SHORT.items() for word in own if word.startswith(short)]
    keys = [word.lstrip("+~").partition("=")[0] for word in own]
    whole = [rf"(?<!\w){re.escape(key)}(?!\w)" for key in keys if len(key) > 2]
    begins = [rf"error: ('?){re.escape(word)}\1(?!\w)" for word in (*keys, *own) if word]
    begins += [f"error: {re.escape(form(word))}" for word in own for form in (repr, shlex.quote)]
    if any(re.search(key, message) for key in whole):
        return True
    if any(re.match(word, message) for word in begins):
        return True
    if "options, such as -m, before all overrides" in message:  # names the first override
        shown = [f"error: {one}:" for word in line for one in (word, f"'{word}'")]
        return message.startswith(tuple(shown))
    if message.startswith("error: Lightning:") and any("trainer." in word for word in own):
        return True  # Lightning says by its own words which options exclude each other
    sets_many = any(word.startswith(("experiment=", "debug=")) for word in own)
    if sets_many and re.match(r"error: [\w.]+[:=]", message):
        return True
    if any(word.startswith("resume=") for word in own) and "not a run's folder" in message:
        return True
    # Of trainer.max_epochs, a message about trainer.max_steps is not.
    parts = " ".join(re.sub(r"^([+~]*)\w+\.", r"\1", word) for word in own)
    names = set(re.findall(r"\w\w+", parts.lower())) - {"true", "null"}
    names = {name for name in names if not name.isdigit()}
    short = [word for word in own if not re.search(r"\w\w", word)]
    said = set(re.findall(r"\w\w+", message.lower()))
    said |= {name.lower() for name in re.findall(r"\b([A-Z][a-z0-9]+)[A-Z]", message)}
    values = {word.rpartition("=")[2].lower() for word in own}  # lenet, of LeNet5
    parts_of = [name.replace("_", "") for name in names if "_" in name or name in values]
    starts = tuple(name for name in parts_of if len(name) > 2)
    quoted = any(f"'{part}'" in message for word in own for part in re.split("[.=]", word) if part)
    quoted |= any(text in word for text in re.findall("'([^']{2,})'", message) for word in own)
    is_named = names & said or quoted or any(word.startswith(starts) for word in said)
    shown = [f"'{word}'" for word in short if word]
    return bool(is_named) or any(text in message for text in shown)
