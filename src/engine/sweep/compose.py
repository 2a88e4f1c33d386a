"""The configs of a sweep's jobs: jobs that make the same choices share what Hydra composed."""

import functools
import pickle
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, open_dict
from omegaconf.errors import OmegaConfBaseException

from engine import signals
from engine.config.overrides import check_values
from engine.config.resolved import Config
from engine.fence.hydra import apply_overrides, composed_by_hydra, is_group
from engine.fence.omegaconf import node_of
from engine.sweep.jobs import Job


class Composer:
    """Makes jobs from words of a command line.

    Hydra takes 70 ms to compose a job, nearly all of it for the config groups. Hydra sets the
    values of overrides after it has composed the choices; here the values are set on a copy of
    what the same choices gave before. Where an override is more than a choice or a value, Hydra
    composes the job.

    Args:
        loader: Hydra's, of configs.
        sweep: the sweep's own config.
        mentioned: as `Config.resolve` takes it.
    """

    def __init__(
        self, loader: Any, sweep: DictConfig, mentioned: Collection[str] | None = None
    ) -> None:
        self.loader = loader
        self.sweep = sweep
        self.mentioned = mentioned
        parser = OverridesParser.create(loader)
        self._parse = functools.cache(lambda word: parser.parse_overrides([word])[0])
        self._bases: dict[tuple[str, ...], bytes] = {}  # pickled: five times as fast as a copy

    def __call__(self, words: Sequence[str]) -> Job:
        """Composes and resolves the job that overrides make."""
        signals.heed()
        composed = self._composed(words)
        try:
            folder = Path(str(composed.hydra.sweep.dir))
        except OmegaConfBaseException:
            self._config(composed, words)  # raises, if a key that the folder refers to is to blame
            raise
        return Job(self._config(composed, words), folder, words)

    def _config(self, composed: DictConfig, words: Sequence[str]) -> Config:
        with open_dict(composed):
            del composed["hydra"]
        config = Config.resolve(composed, words, self.mentioned)
        check_values(config)
        return config

    def _composed(self, words: Sequence[str]) -> DictConfig:
        parsed = [self._parse(word) for word in words]
        if any(self._needs_hydra(override) for override in parsed):
            return composed_by_hydra(self.loader, self.sweep, words)
        values = [override for override in parsed if not self._is_choice(override)]
        choices = tuple(word for word, o in zip(words, parsed, strict=True) if o not in values)
        if choices not in self._bases:
            base = composed_by_hydra(self.loader, self.sweep, choices)
            with open_dict(base):  # all that is needed of Hydra's part
                base.hydra = {"sweep": {"dir": str(node_of(base.hydra.sweep, "dir"))}}
            self._bases[choices] = pickle.dumps(base)
        config: DictConfig = pickle.loads(self._bases[choices])
        if "hydra" in str(node_of(config.hydra.sweep, "dir")):  # it depends on the job's words
            return composed_by_hydra(self.loader, self.sweep, words)
        apply_overrides(values, config)
        return config

    def _is_choice(self, override: Override) -> bool:
        return is_group(self.loader, override.key_or_group)

    def _needs_hydra(self, override: Override) -> bool:
        """Tells whether an override is Hydra's own, deletes, or both chooses and sets a value."""
        is_mapping = not override.is_sweep_override() and isinstance(override.value(), dict)
        is_hydras = override.key_or_group.partition(".")[0].partition("/")[0] == "hydra"
        is_mixed = is_mapping if self._is_choice(override) else override.package is not None
        return is_hydras or is_mixed or override.is_delete()
