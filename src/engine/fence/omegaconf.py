"""OmegaConf: what is used of it beyond its documentation."""

from typing import Any

from omegaconf import DictConfig
from omegaconf._utils import OmegaConfDumper


def node_of(config: DictConfig, name: str) -> Any:
    """Returns the child of a config as it is written: `config[name]` would resolve it."""
    return config._get_node(name)


def represent_word(dumper: Any, word: str) -> Any:
    """Writes a word as OmegaConf does: quoted where YAML would read something else."""
    return OmegaConfDumper.str_representer(dumper, word)
