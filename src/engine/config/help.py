"""The help of the training command: commands, the choices of every group, the values chosen.

Hydra's own help copies all its configs once per group, which takes longer than all the rest.
"""

from collections.abc import Sequence
from pathlib import Path

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from engine.config.overrides import overrides_of

HELP = """\
Train a model. Each run has a folder below logs/, with its config, its metrics,
its checkpoints and its TensorBoard events.

{commands}

Choices (group=choice):

{choices}

Values (key=value) of what is chosen:

{values}
Hydra's own options: --hydra-help"""
COMMANDS = {
    "python -m {train} experiment=lenet": "run one experiment",
    "python -m {train} optimizer=adam seed=1": "choose and set values",
    "python -m {train} -m init=xavier,he": "run a sweep",
    "python -m {train} resume=RUN_DIR": "go on after an interrupt",
    "python -m {package}.evaluate run=RUN_DIR": "measure a run again",
    "python -m {package}.report DIR": "compare the runs in a folder",
    "tensorboard --logdir logs": "look at all runs",
}


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
    with initialize_config_dir(str(conf), version_base="1.3"):
        config = compose("config", overrides=overrides_of(words))
    return HELP.format(
        commands="\n".join(f"  {text:<{width}}  {meaning}" for text, meaning in commands.items()),
        choices="\n".join(f"{group}: {', '.join(names)}" for group, names in groups.items()),
        values=OmegaConf.to_yaml(config),
    )
