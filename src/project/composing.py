"""The configs of a sweep's jobs, composed once for all jobs that make the same choices."""

import pickle
from collections.abc import Sequence
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, open_dict


class Composer:
    """Hydra's composition of a job takes 70 ms, most of it for the config groups, which many jobs share.

    Hydra sets the values of overrides after it has composed the choices; so here they are set on a copy of what the
    same choices made before. Where an override is more than a choice or a value, Hydra composes the job.

    Args:
        loader: Hydra's.
        sweep: the sweep's own config.
    """

    def __init__(self, loader: Any, sweep: DictConfig) -> None:
        self.loader, self.sweep = loader, sweep
        self._bases: dict[tuple[str, ...], bytes] = {}  # pickled: a copy takes a fifth of the time

    def __call__(self, words: Sequence[str]) -> tuple[DictConfig, str]:
        """The config that overrides make, without Hydra's own part, and the folder of the sweep."""
        parsed = OverridesParser.create(self.loader).parse_overrides(list(words))
        choices = [override for override in parsed if self._is_choice(override)]
        values = [override for override in parsed if override not in choices]
        if any(self._is_special(override) for override in parsed):
            return _split(self._whole(words))
        key = tuple(str(override.input_line) for override in choices)
        if key not in self._bases:
            self._bases[key] = pickle.dumps(_slim(self._whole(key)))
        config = pickle.loads(self._bases[key])
        if "hydra" in str(config.hydra.sweep._get_node("dir")):  # it depends on the job's words
            return _split(self._whole(words))
        ConfigLoaderImpl._apply_overrides_to_config(values, config)
        return _split(config)

    def _whole(self, words: Sequence[str]) -> DictConfig:
        composed: DictConfig = self.loader.load_sweep_config(self.sweep, list(words))
        return composed

    def _is_choice(self, override: Override) -> bool:
        return bool(self.loader.repository.group_exists(override.key_or_group))

    def _is_special(self, override: Override) -> bool:
        """Whether an override is of Hydra's own, or takes something away, or is a choice and a value at once."""
        mapping = not override.is_sweep_override() and isinstance(override.value(), dict)
        own = override.key_or_group.partition(".")[0].partition("/")[0] == "hydra"
        package = override.package is not None and not self._is_choice(override)
        return own or package or override.is_delete() or (mapping and self._is_choice(override))


def _slim(composed: DictConfig) -> DictConfig:
    """A config that has, of Hydra's part, only where the sweep lies."""
    with open_dict(composed):
        composed.hydra = {"sweep": {"dir": str(composed.hydra.sweep._get_node("dir"))}}
    return composed


def _split(composed: DictConfig) -> tuple[DictConfig, str]:
    """A config without Hydra's part, and that."""
    folder = str(composed.hydra.sweep.dir)
    with open_dict(composed):
        del composed["hydra"]
    return composed, folder
