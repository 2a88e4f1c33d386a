"""The configs of a sweep's jobs: jobs that make the same choices share what Hydra composed."""

import pickle
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, NamedTuple

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


class Word(NamedTuple):
    """Holds a word of a command line, as Hydra parses it, and how a job is composed by it."""

    override: Override
    is_choice: bool
    needs_hydra: bool


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
        self._parser = OverridesParser.create(loader)
        self._parsed: dict[str, Word] = {}
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
        if any(word.needs_hydra for word in parsed):
            return composed_by_hydra(self.loader, self.sweep, words)
        values = [word.override for word in parsed if not word.is_choice]
        choices = tuple(w for w, word in zip(words, parsed, strict=True) if word.is_choice)
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

    def _parse(self, text: str) -> Word:
        if text not in self._parsed:
            override = self._parser.parse_overrides([text])[0]
            is_choice = is_group(self.loader, override.key_or_group)
            self._parsed[text] = Word(override, is_choice, _needs_hydra(override, is_choice))
        return self._parsed[text]


def _needs_hydra(override: Override, is_choice: bool) -> bool:
    """Tells whether an override is Hydra's own, deletes, or both chooses and sets a value."""
    is_mapping = not override.is_sweep_override() and isinstance(override.value(), dict)
    is_hydras = override.key_or_group.partition(".")[0].partition("/")[0] == "hydra"
    is_mixed = is_mapping if is_choice else override.package is not None
    return is_hydras or is_mixed or override.is_delete()
