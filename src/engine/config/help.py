"""What `python -m project.train --help` says: the commands, the choices of every group and the values chosen.

Hydra's own help copies its whole repository of configs once per group, which takes longer than all the rest.
"""

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from engine.config.overrides import overrides_of
from engine.config.place import CONF

USAGE = """\
Train a model; the run's folder, with its config, metrics, checkpoints and TensorBoard events, is below logs/.

  python -m project.train experiment=lenet                        one experiment
  python -m project.train experiment=lenet optimizer=adam seed=1  with other choices and values
  python -m project.train -m experiment=lenet init=xavier,he      a sweep
  python -m project.train resume=RUN_DIR                          go on with an interrupted run
  python -m project.evaluate run=RUN_DIR                          its metrics once more
  python -m project.report DIR                                    compare the runs below a folder
  tensorboard --logdir logs                                       look at all of it

Choices (group=choice):

{choices}

Values (key=value) of what is chosen:

{values}
Hydra's own options: --hydra-help"""


def asked_for(words: list[str]) -> bool:
    """Whether a command line asks for help."""
    return bool({"-h", "--help"} & set(words))


def text(words: list[str]) -> str:
    """The help for a command line: with the values that its overrides give."""
    groups: dict[str, list[str]] = {}
    for path in sorted(CONF.glob("*/*.yaml")):
        groups.setdefault(path.parent.name, []).append(path.stem)
    choices = "\n".join(f"{group}: {', '.join(names)}" for group, names in groups.items())
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("config", overrides=overrides_of(words))
    return USAGE.format(choices=choices, values=OmegaConf.to_yaml(config))
