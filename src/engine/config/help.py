"""The help of the training command: examples, the choices of every group, the values with comments.

Hydra's own help copies all its configs once per group, which takes longer than all the rest.
"""

import re
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf, open_dict

from engine import messages
from engine.config.keys import PARTIAL, TARGET
from engine.config.limits import shown
from engine.config.nested import dotted
from engine.config.secrets import check_written
from engine.config.words import overrides_of
from engine.fence.hydra import merged_files

HELP = """\
Train a model. Each run has a folder below logs/, with its config, its metrics,
its checkpoints and its TensorBoard events.

{examples}

{commands}

{choices}

{values}

Hydra's own options: --hydra-help"""
EXAMPLES = (
    "python -m {train} experiment=lenet datamodule=digits",
    "python -m {train} experiment=curve_fit optimizer=adam optimizer.lr=0.01",
    "python -m {train} -m experiment=curve_fit init=xavier,he seed=1,2,3",
)
COMMANDS = {
    "python -m {train} resume=RUN_DIR": "go on after an interrupt",
    "python -m {package}.evaluate run=RUN_DIR": "measure a run again",
    "python -m {package}.report DIR": "compare the runs in a folder",
    "tensorboard --logdir logs": "look at all runs",
}
KEY = re.compile(r"( *)(\w+):(?:.*? # (.*))?")  # indent, name, comment
COMMENTS_FROM = 38  # the column in which comments begin


def asks_for_help(words: Sequence[str]) -> bool:
    """Tells whether a command line asks for help."""
    return bool({"-h", "--help"} & set(words))


def help_text(words: Sequence[str], conf: Path, command: str) -> str:
    """Returns the help for a command line, with the values that its overrides give.

    Args:
        words: of the command line.
        conf: the folder with config.yaml.
        command: the import path of the training command, such as `mine.train`.
    """
    groups: dict[str, list[str]] = {}
    for path in sorted(conf.glob("*/*.yaml")):
        groups.setdefault(path.parent.name, []).append(path.stem)
    package = command.rpartition(".")[0]
    commands = {
        text.format(train=command, package=package): meaning for text, meaning in COMMANDS.items()
    }
    width = max(map(len, commands))
    overrides = overrides_of(words)
    with initialize_config_dir(str(conf), version_base="1.3"):
        config = compose("config", overrides=overrides, return_hydra_config=True)
        files = merged_files(overrides)
    comments: dict[str, str] = {}
    for name, node in files:
        comments |= comments_of(conf / f"{name}.yaml", node)
    choices = {name: config.hydra.runtime.choices.get(name) for name in groups}
    with open_dict(config):
        del config["hydra"]
    return HELP.format(
        examples=_section(
            "Examples", [f"  {_with(groups, text).format(train=command)}" for text in EXAMPLES]
        ),
        commands=_section(
            "Further commands",
            [f"  {text:<{width}}  {meaning}" for text, meaning in commands.items()],
        ),
        choices=_section(
            "Choices: GROUP=CHOICE",
            [_behind(f"  {group:<12}", ", ".join(names)) for group, names in groups.items()],
        ),
        values=_values(config, choices, comments),
    )


def _with(groups: Mapping[str, Sequence[str]], example: str) -> str:
    """Returns an example without choices that a fork has deleted, of an experiment that it has."""
    words = []
    for word in example.split():
        group, _, names = word.partition("=")
        there = groups.get(group, ())
        left = [name for name in names.split(",") if name in there]
        left = left or [*there[:1]] * (group == "experiment")
        if not there:
            words.append(word)
        elif left:
            words.append(f"{group}={','.join(left)}")
    return " ".join(words)


def _section(title: str, lines: Sequence[str]) -> str:
    return "\n".join([messages.styled(title, messages.BOLD), *lines])


def _values(config: DictConfig, choices: Mapping[str, Any], comments: Mapping[str, str]) -> str:
    """Returns each value as a word to type, with its comment, below the choice that brings it."""
    plain: Any = OmegaConf.to_container(config, resolve=False)
    check_written(plain)
    sections: dict[str, list[str]] = {"Values: KEY=VALUE": []}
    for key, value in dotted(plain).items():
        node, _, name = key.rpartition(".")
        if name in (TARGET, PARTIAL):
            continue
        group = key.partition(".")[0]
        choice = choices.get(group)
        title = f"{group}={choice}" if choice else group if node else "Values: KEY=VALUE"
        sections.setdefault(title, []).append(_entry(f"{key}={shown(value)}", comments.get(key)))
    return "\n\n".join(_section(title, lines) for title, lines in sections.items())


def _entry(word: str, comment: str | None) -> str:
    if not comment:
        return f"  {word}"
    head = f"  {word:<{COMMENTS_FROM - 4}}  "
    is_long = len(head) > COMMENTS_FROM
    text = _behind(" " * COMMENTS_FROM if is_long else head, comment)
    return f"{head.rstrip()}\n{text}" if is_long else text


def _behind(head: str, text: str) -> str:
    """Returns a text behind a head, broken at the terminal's width."""
    blanks = " " * len(head)
    return textwrap.fill(text, messages.width(), initial_indent=head, subsequent_indent=blanks)


def comments_of(path: Path, package: str) -> dict[str, str]:
    """Returns the comments of a config file's keys, by dotted key; PyYAML leaves comments out.

    A comment stands behind its key, or above it. Those above the first key are about the file. A
    choice that lies elsewhere, such as one of Python's, has no file below conf/ and no comments.

    Args:
        path: of the file, if there is one.
        package: the dotted key of the node that the file is merged into.
    """
    found: dict[str, str] = {}
    lines = path.read_text().splitlines() if path.is_file() else []
    prefix = [package] if package else []
    nodes: list[tuple[int, str]] = []
    above: list[str] = []
    for line in lines:
        if line.lstrip().startswith("#"):
            above.append(line.strip(" #"))
        elif key := KEY.match(line):
            indent = len(key[1])
            is_first = not nodes
            nodes = [(at, name) for at, name in nodes if at < indent] + [(indent, key[2])]
            if comment := key[3] or ("" if is_first else " ".join(above)):
                found[".".join([*prefix, *(name for _, name in nodes)])] = comment
            above = []
    return found
