"""engine.config.resolved"""

import os
from collections.abc import Iterable, Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from engine.config.resolved import FOLDERS, dotted, plain, settle

FOLDERS = ("datamodule.data_dir", "datamodule.cache_dir")


Config = DictConfig | Mapping[str, Any]  # as Hydra composed it, or as plain values


def settle(config: DictConfig, below: Iterable[str] = ("",)) -> None:
    """Resolve a config for good, its data folders absolute: a resumed run may start in another working directory.

    Args:
        below: keys of mappings, where that is enough; "" is the whole.
    """
    for key in FOLDERS:
        name = key.partition(".")[2]
        if name in config.datamodule and (folder := config.datamodule[name]):
            config.datamodule[name] = os.path.abspath(os.path.expanduser(folder))
    try:
        for key in below:
            OmegaConf.resolve(OmegaConf.select(config, key))
    except OmegaConfBaseException:
        OmegaConf.to_container(config, resolve=True)  # its error names the key
        raise


def plain(config: Config) -> dict[str, Any]:
    """A config, resolved, as dicts, lists, numbers and words; of one that is that already a copy."""
    made: Any = (
        OmegaConf.to_container(config, resolve=True, enum_to_str=True) if OmegaConf.is_config(config) else config
    )
    return dict(made)


def dotted(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested mapping as one of dotted keys; lists, numbers, words and what is empty are its values."""
    flat: dict[str, Any] = {}
    for key, value in nested.items():
        if isinstance(value, Mapping) and value:
            flat |= dotted(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


class Composed:
    """A job's config, resolved for good.

    Args:
        plain: as dicts, lists, numbers and words.
        written: as it was before, by dotted key: `${seed}` and the like.
        sweep_dir: where the sweep lies.
        config: as Hydra's; made from `plain` when somebody asks for it, if not given.
    """

    def __init__(
        self, plain: dict[str, Any], written: dict[str, Any], sweep_dir: str, config: DictConfig | None = None
    ) -> None:
        self.plain, self.written, self.sweep_dir, self._config = plain, written, sweep_dir, config

    @property
    def config(self) -> DictConfig:
        if self._config is None:
            self._config = OmegaConf.create(self.plain)
            OmegaConf.set_struct(self._config, True)
        return self._config


def settled(config: DictConfig, sweep_dir: str) -> Composed:
    """What Hydra has composed for a job."""
    written = dotted(OmegaConf.to_container(config, resolve=False))  # type: ignore[arg-type]
    settle(config)
    return Composed(plain(config), written, sweep_dir, config)
