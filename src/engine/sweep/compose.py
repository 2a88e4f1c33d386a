"""The configs of a sweep's jobs: jobs that make the same choices share what Hydra composed."""

import copy
import pickle
import re
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from engine import signals
from engine.config.keys import FOLDERS, ROOT
from engine.config.limits import PATH, check, typed
from engine.config.nested import at, copied, dotted, words_in
from engine.config.overrides import check_values
from engine.config.resolved import Config, make_absolute
from engine.config.secrets import escaped, may_hold
from engine.errors import UserError
from engine.fence.hydra import apply_overrides, composed_by_hydra, is_group, with_number
from engine.fence.omegaconf import node_of, resolved_in
from engine.sweep.jobs import Job

PARAMS = "hydra.sweeper.params"
REFERENCE = re.compile(r"\$\{(\w+(\.\w+)*)\}")  # to one key, from the top of a config
NUMBER = re.compile(r"0|[1-9][0-9]{0,17}")  # as Hydra's grammar has it
Names = tuple[Any, ...]  # that lead to a value


class Word(NamedTuple):
    """Holds a word of a command line, as Hydra parses it, and how a job is composed by it.

    Words of the same kind make the same choice, or set the same key to a value that is neither a
    mapping nor a list. The kind is None where an override does something else.
    """

    override: Override
    is_choice: bool
    needs_hydra: bool
    kind: str | None


class Composer:
    """Makes jobs from words of a command line.

    Hydra takes 70 ms to compose a job, nearly all of it for the config groups. Hydra sets the
    values of overrides after it has composed the choices; here the values are set on a copy of
    what the same choices gave before. Where an override is more than a choice or a value, Hydra
    composes the job. Of jobs that set the same keys, what is alike is resolved once.

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
        # Hydra copies the times that are known: all jobs have those of ${now:…} in the folder.
        with suppress(OmegaConfBaseException):  # it may be wrong for the sweep, and right for jobs
            check("hydra.sweep.dir", str(sweep.hydra.sweep.dir), PATH)
        self._parser = OverridesParser.create(loader)
        self._parsed: dict[str, Word] = {}
        self._numbers: dict[str, Word] = {}  # words that set a key to a number, by the key
        self._bases: dict[tuple[str, ...], bytes] = {}  # pickled: five times as fast as a copy
        self._alike: dict[tuple[str | None, ...], _Alike] = {}

    def __call__(self, words: Sequence[str]) -> Job:
        """Composes and resolves the job that overrides make."""
        signals.heed()
        parsed = [self._parse(word) for word in words]
        config, folder = self._resolved_as_others(words, parsed) or self._resolved(words, parsed)
        check_values(config)
        return Job(config, folder, words)

    def _resolved(self, words: Sequence[str], parsed: Sequence[Word]) -> tuple[Config, Path]:
        """Resolves a job's config and the sweep's folder."""
        composed = self._composed(words, parsed)
        try:
            folder = Path(str(composed.hydra.sweep.dir))
        except OmegaConfBaseException:
            # Raises, if a key that the folder refers to is to blame.
            check_values(self._config(composed, words))
            raise
        return self._config(composed, words), folder

    def _config(self, composed: DictConfig, words: Sequence[str]) -> Config:
        with open_dict(composed):
            del composed["hydra"]
        return Config.resolve(composed, words, self.mentioned)

    def _resolved_as_others(
        self, words: Sequence[str], parsed: Sequence[Word]
    ) -> tuple[Config, Path] | None:
        """Does what `_resolved` does with less work; None where that cannot be done."""
        kinds = tuple(word.kind for word in parsed)
        if None in kinds:
            return None
        values = [word.override for word in parsed if not word.is_choice]
        with suppress(OmegaConfBaseException):  # `_resolved` says what is wrong
            if kinds not in self._alike:
                keys = [override.key_or_group for override in values]
                self._alike[kinds] = _Alike(self._composed(words, parsed), keys)
            if (made := self._alike[kinds].resolved(values)) is not None:
                resolved, written, folder = made
                return Config.checked(resolved, written, words, self.mentioned), folder
        return None

    def _composed(self, words: Sequence[str], parsed: Sequence[Word]) -> DictConfig:
        if any(word.needs_hydra for word in parsed):
            return self._by_hydra(words)
        values = [word.override for word in parsed if not word.is_choice]
        choices = tuple(w for w, word in zip(words, parsed, strict=True) if word.is_choice)
        if choices not in self._bases:
            base = self._by_hydra(choices)
            with open_dict(base):  # all that is needed of Hydra's part
                base.hydra = {"sweep": {"dir": str(node_of(base.hydra.sweep, "dir"))}}
            self._bases[choices] = pickle.dumps(base)
        config: DictConfig = pickle.loads(self._bases[choices])
        if "hydra" in str(node_of(config.hydra.sweep, "dir")):  # it depends on the job's words
            return self._by_hydra(words)
        apply_overrides(values, config)
        return config

    def _by_hydra(self, words: Sequence[str]) -> DictConfig:
        """Has Hydra compose a job, which may not ask for another sweep than the one that is run."""
        composed = composed_by_hydra(self.loader, self.sweep, words)
        asked, ours = map(_how_to_sweep, (composed, self.sweep))
        if key := next((key for key in asked if asked[key] != ours.get(key)), None):
            kept = "null" if key == PARAMS else typed(ours.get(key))
            raise UserError(
                f"{' '.join(words)}: sets {key} for a sweep of its own, which would be lost in a "
                "sweep over more.\n"
                f"Sweep over it by itself, or leave that out: {key}={kept}"
            )
        return composed

    def _parse(self, text: str) -> Word:
        if text not in self._parsed:
            key, _, value = text.partition("=")
            is_number = NUMBER.fullmatch(value) is not None
            if is_number and key in self._numbers:  # such as a seed: Hydra takes 0.3 ms for each
                override = with_number(self._numbers[key].override, int(value), text)
                word = Word(override, False, False, self._numbers[key].kind)
            else:
                override = self._parser.parse_overrides([text])[0]
                is_choice = is_group(self.loader, override.key_or_group)
                needs_hydra = _needs_hydra(override, is_choice)
                kind = None if needs_hydra else _kind(override, is_choice)
                word = Word(override, is_choice, needs_hydra, kind)
                if is_number and kind and not is_choice:
                    self._numbers[key] = word
            self._parsed[text] = word
        return self._parsed[text]


class _Alike:
    """Resolves the configs of jobs that make the same choices and set the same keys.

    These keys and what refers to them are resolved for each job; the rest once.

    Args:
        composed: the config of the first job, with Hydra's part.
        keys: the keys that each job sets, to values that are neither mappings nor lists.
    """

    def __init__(self, composed: DictConfig, keys: Sequence[str]) -> None:
        self._folder = str(node_of(composed.hydra.sweep, "dir"))
        with open_dict(composed):
            del composed["hydra"]
        self._composed = composed  # of the job before
        self._cache = copy.deepcopy(OmegaConf.get_cache(composed))  # such as the time of ${now:}
        raw: Any = OmegaConf.to_container(composed)
        self._written = dotted(raw)
        make_absolute(composed, self._written)
        self._values: Any = copied(_plain(composed), escaped)
        by_words = [tuple(key.split(".")) for key in keys]
        words = dict(words_in(raw))
        varying = _depending(words, by_words)
        names = {key: tuple(key.split(".")) for key in FOLDERS if key in self._written}
        self._folders = {key: self._written[key] for key in names if names[key] in varying}
        changing = [*by_words, *(names[key] for key in self._folders)]
        found = _depending(words, changing)
        # What only repeats a value that a word sets, such as ${seed}, by what it repeats.
        matches = {path: REFERENCE.fullmatch(str(words.get(path))) for path in found}
        targets = {path: tuple(match[1].split(".")) for path, match in matches.items() if match}
        self._repeats = {
            path: target
            for path, target in targets.items()
            if target in by_words and path not in changing
        }
        self._paths = [path for path in found if path not in self._repeats]
        # A key that is not written leads to another one by a reference.
        is_known = set(keys) <= set(self._written)
        rest = REFERENCE.sub("", self._folder)
        is_simple = not any(text in rest for text in ("${", "???")) and "hydra" not in self._folder
        self._can_resolve = is_known and is_simple and not may_hold(self._values)

    def resolved(
        self, overrides: Sequence[Override]
    ) -> tuple[dict[str, Any], dict[str, Any], Path] | None:
        """Resolves a job's config; None where it has to be resolved as a whole.

        Returns:
            the values; the values by dotted key before they were resolved; the sweep's folder.
        """
        if not self._can_resolve:
            return None
        for key, folder in self._folders.items():  # the job before has made it absolute
            OmegaConf.update(self._composed, key, folder)
        OmegaConf.set_cache(self._composed, self._cache)
        apply_overrides(overrides, self._composed)
        written = self._written | {own.key_or_group: own.value() for own in overrides}
        sweep_dir = Path(str(resolved_in(self._composed, self._folder)))
        make_absolute(self._composed, {key: written[key] for key in self._folders})
        values: dict[str, Any] = copied(self._values)
        own = {path: copied(_plain(at(self._composed, path)), escaped) for path in self._paths}
        own |= {path: own[target] for path, target in self._repeats.items()}
        for path, value in own.items():
            at(values, path[:-1])[path[-1]] = value
        return None if may_hold([*own.values()]) else (values, written, sweep_dir)


def _depending(words: Mapping[Names, str], changing: Sequence[Names]) -> list[Names]:
    """Returns the places of the values that change, and of all that depend on them.

    Args:
        words: of a config that is not resolved, by the names that lead to them.
        changing: the names that lead to the values that change.
    """
    targets = {
        path: [tuple(match[1].split(".")) for match in REFERENCE.finditer(word)]
        for path, word in words.items()
        if "${" in word
    }
    rests = {path: REFERENCE.sub("", words[path]).replace(ROOT, "") for path in targets}
    # What a resolver gives, nobody knows; but the folder that has conf/ stays.
    new = found = [*changing, *(path for path, rest in rests.items() if "${" in rest)]
    while new:
        targets = {path: named for path, named in targets.items() if path not in new}
        reached = {tuple(map(str, path[:n])) for path in new for n in range(1, len(path) + 1)}
        ends = {tuple(map(str, path)) for path in new}
        new = [
            path
            for path, named in targets.items()
            if any(
                target in reached or any(target[:n] in ends for n in range(1, len(target)))
                for target in named
            )
        ]
        found = [*found, *new]
    return found


def _how_to_sweep(config: DictConfig) -> dict[str, Any]:
    """Returns the choices of a config's sweeper and launcher, and their options as written."""
    own: Any = OmegaConf.to_container(config.hydra, resolve=False)
    choices = own.get("runtime", {}).get("choices", {})
    found = {}
    for name in ("sweeper", "launcher"):
        found[f"hydra/{name}"] = choices.get(f"hydra/{name}")
        found |= {f"hydra.{name}.{key}": value for key, value in own.get(name, {}).items()}
    return found


def _plain(value: Any) -> Any:
    """Returns a value of a config as OmegaConf.to_container does."""
    if OmegaConf.is_config(value):
        return OmegaConf.to_container(value, resolve=True, enum_to_str=True)
    return value.name if isinstance(value, Enum) else value


def _kind(override: Override, is_choice: bool) -> str | None:
    """Returns the kind of a word; see `Word`."""
    if is_choice:
        return str(override.input_line)
    value = override.value()
    is_plain = isinstance(value, int | float | str | None) and "${" not in str(value)
    sets = override.type is OverrideType.CHANGE and is_plain
    return f"{override.key_or_group}=" if sets else None


def _needs_hydra(override: Override, is_choice: bool) -> bool:
    """Tells whether an override is Hydra's own, deletes, or both chooses and sets a value."""
    is_mapping = not override.is_sweep_override() and isinstance(override.value(), dict)
    is_hydras = override.key_or_group.partition(".")[0].partition("/")[0] == "hydra"
    is_mixed = is_mapping if is_choice else override.package is not None
    return is_hydras or is_mixed or override.is_delete()
