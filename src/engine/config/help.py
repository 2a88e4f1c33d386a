"""The help of the training command: commands, the choices of every group, the values chosen.

Hydra's own help copies all its configs once per group, which takes longer than all the rest.
"""

from collections.abc import Sequence
from pathlib import Path

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from engine.config.overrides import overrides_of

USAGE = """\
Train a model; the run's folder, with its config, metrics, checkpoints and TensorBoard events, is below logs/.

  python -m {train} experiment=lenet                        one experiment
  python -m {train} experiment=lenet optimizer=adam seed=1  with other choices and values
  python -m {train} -m experiment=lenet init=xavier,he      a sweep
  python -m {train} resume=RUN_DIR                          go on with an interrupted run
  python -m {evaluate} run=RUN_DIR                          its metrics once more
  python -m {report} DIR                                    compare the runs below a folder
  tensorboard --logdir logs                                       look at all of it

Choices (group=choice):

{choices}

Values (key=value) of what is chosen:

{values}
Hydra's own options: --hydra-help"""


def is_asked_for(words: Sequence[str]) -> bool:
    """Tell whether a command line asks for help."""
    return bool({"-h", "--help"} & set(words))


def text(words: Sequence[str], conf: Path, command: str) -> str:
    """Return the help for a command line, with the values that its overrides give.

    Args:
        words: of the command line.
        conf: the folder with config.yaml.
        command: the import path of the training command, such as `mine.train`.
    """
    groups: dict[str, list[str]] = {}
    for path in sorted(conf.glob("*/*.yaml")):
        groups.setdefault(path.parent.name, []).append(path.stem)
    choices = "\n".join(f"{group}: {', '.join(names)}" for group, names in groups.items())
    package = command.rpartition(".")[0]
    commands = {name: f"{package}.{name}" for name in ("evaluate", "report")}
    with initialize_config_dir(str(conf), version_base="1.3"):
        config = compose("config", overrides=list(overrides_of(words)))
    values = OmegaConf.to_yaml(config)
    return USAGE.format(choices=choices, values=values, train=command, **commands)
