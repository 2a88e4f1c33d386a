"""The configs of a sweep's jobs, composed once for all jobs that make the same choices and set the same keys."""

import pickle
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf, open_dict

from engine.config.resolved import FOLDERS, Composed, plain, settle, settled

CHOICE, VALUE, SPECIAL = "choice", "value", "special"  # kinds of overrides
REFERENCE = re.compile(r"\$\{(\.*)([\w.]+)\}")  # `${seed}`, or `${.samples}` of the same mapping






class Composer:
    """Hydra composes a job in 70 ms, most of it for the config groups, and OmegaConf resolves it in 3 ms.

    Hydra sets the values of overrides after it has composed the choices; so here they are set on a copy of what the
    same choices made before. Of jobs that set the same keys to numbers and words, only what depends on those keys is
    resolved again. Where an override is more than a choice or a value, Hydra composes the job.

    Args:
        loader: Hydra's.
        sweep: the sweep's own config.
    """

    def __init__(self, loader: Any, sweep: DictConfig) -> None:
        self.loader, self.sweep, self.parser = loader, sweep, OverridesParser.create(loader)
        self._parsed: dict[str, tuple[Override, str]] = {}
        self._bases: dict[tuple[str, ...], bytes] = {}  # pickled: a copy takes a fifth of the time
        self._templates: dict[tuple[tuple[str, ...], tuple[str, ...]], _Template] = {}

    def __call__(self, words: Sequence[str]) -> Composed:
        """The config that overrides make, without Hydra's own part."""
        parsed = [self._parse(word) for word in words]
        if any(kind == SPECIAL for _, kind in parsed):
            return _without_hydra(self._whole(words))
        choices = tuple(str(override.input_line) for override, kind in parsed if kind == CHOICE)
        values = [override for override, kind in parsed if kind == VALUE]
        key = choices, tuple(override.key_or_group for override in values)
        if (template := self._templates.get(key)) and (made := template.with_values(values)):
            return made
        if choices not in self._bases:
            self._bases[choices] = pickle.dumps(_slim(self._whole(choices)))
        config = pickle.loads(self._bases[choices])
        sweep_dir = str(config.hydra.sweep._get_node("dir"))
        if "hydra" in sweep_dir:  # it depends on the job's words
            return _without_hydra(self._whole(words))
        ConfigLoaderImpl._apply_overrides_to_config(values, config)
        made = _without_hydra(config)
        self._templates.setdefault(key, _Template(made, sweep_dir))
        return made

    def _parse(self, word: str) -> tuple[Override, str]:
        """An override, and of what kind it is."""
        if word not in self._parsed:
            (override,) = self.parser.parse_overrides([word])
            self._parsed[word] = override, self._kind(override)
        return self._parsed[word]

    def _kind(self, override: Override) -> str:
        """Special is what is Hydra's own, or takes something away, or is a choice and a value at once."""
        is_choice = self.loader.repository.group_exists(override.key_or_group)
        is_mapping = not override.is_sweep_override() and isinstance(override.value(), dict)
        is_hydras = override.key_or_group.partition(".")[0].partition("/")[0] == "hydra"
        is_mixed = is_mapping if is_choice else override.package is not None
        if is_hydras or is_mixed or override.is_delete():
            return SPECIAL
        return CHOICE if is_choice else VALUE

    def _whole(self, words: Sequence[str]) -> DictConfig:
        composed: DictConfig = self.loader.load_sweep_config(self.sweep, list(words))
        return composed


class _Template:
    """A job, from which others follow that make the same choices and set the same keys.

    Args:
        job: its config.
        sweep_dir: where the sweep lies, as written.
    """

    def __init__(self, job: Composed, sweep_dir: str) -> None:
        self.job, self.plain = job, pickle.dumps(job.plain)
        self.written = {**job.written, "hydra.sweep.dir": sweep_dir}
        self._opened: dict[tuple[str, ...], _Opened] = {}
        self._is_clear = all(_leads_somewhere(job.plain, key) for key in job.written)

    def with_values(self, overrides: Sequence[Override]) -> Composed | None:
        """Another job; None if its overrides are more than numbers and words for keys that have some."""
        values: dict[str, Any] = {override.key_or_group: override.value() for override in overrides}
        new = any(override.is_add() for override in overrides)
        if new or not self._is_clear or not all(map(self._is_plain, values, values.values())):
            return None
        values = {key: value for key, value in values.items() if not _is_same(value, self.written[key])}
        if tuple(values) not in self._opened:
            self._opened[tuple(values)] = _Opened(self.job.config, self.written, values)
        opened = self._opened[tuple(values)]
        if opened.moves_sweep:
            return None
        written = {**self.job.written, **values}
        values |= {key: values[source] for key, source in opened.copies.items()}
        if opened.mappings:
            config = pickle.loads(opened.config)
            for key, value in values.items():
                OmegaConf.update(config, key, value)
            settle(config, below=opened.mappings)
            return Composed(plain(config), written, self.job.sweep_dir, config)
        as_plain = pickle.loads(self.plain)
        for key, value in values.items():
            *parents, last = key.split(".")
            node = as_plain
            for name in parents:
                node = node[name]
            node[last] = value
        return Composed(as_plain, written, self.job.sweep_dir)

    def _is_plain(self, key: str, value: Any) -> bool:
        return key not in FOLDERS and _is_literal(value) and _is_literal(self.written.get(key, "${}"))


class _Opened:
    """A job's config, ready for other values of some keys.

    Args:
        settled: the config.
        written: the same as it was written.
        keys: the keys.
    """

    def __init__(self, settled: DictConfig, written: Mapping[str, Any], keys: Collection[str]) -> None:
        dependent = _dependent(written, keys)
        self.moves_sweep = "hydra.sweep.dir" in dependent  # then Hydra has to say where to
        dependent.discard("hydra.sweep.dir")
        self.copies = {key: written[key][2:-1] for key in dependent if written[key] in [f"${{{k}}}" for k in keys]}
        dependent -= set(self.copies)
        config = settled.copy()
        for key in dependent:
            parent, _, last = key.rpartition(".")
            OmegaConf.select(config, parent)[last] = written[key]
        self.config = pickle.dumps(config)
        self.mappings = sorted({key.rpartition(".")[0] for key in dependent})  # that have what is to be resolved


def _dependent(written: Mapping[str, Any], keys: Collection[str]) -> set[str]:
    """The keys whose values depend on others', or may do so."""
    references = {key: _references(key, value) for key, value in written.items() if not _is_literal(value)}
    found: set[str] = set()
    while True:
        more = {
            key
            for key, names in references.items()
            if names is None or any(_overlap(name, other) for name in names for other in (*keys, *found))
        }
        if more == found:
            return found
        found = more


def _references(key: str, value: Any) -> list[str] | None:
    """The keys that a value refers to; None if that cannot be told."""
    if not isinstance(value, str) or "${" in REFERENCE.sub("", value.replace("${project_root:}", "")):
        return None
    names = []
    for dots, name in REFERENCE.findall(value):
        above = key.split(".")[: -len(dots)] if dots else []
        names.append(".".join([*above, name]))
    return names


def _leads_somewhere(nested: Any, key: str) -> bool:
    """Whether a dotted key is that of a value: names may have dots of their own, too."""
    for name in key.split("."):
        if not isinstance(nested, dict) or name not in nested:
            return False
        nested = nested[name]
    return True


def _overlap(one: str, other: str) -> bool:
    """Whether one key is the other, or is above it."""
    return f"{one}.".startswith(f"{other}.") or f"{other}.".startswith(f"{one}.")


def _is_literal(value: Any) -> bool:
    if isinstance(value, list):
        return all(map(_is_literal, value))
    return not isinstance(value, dict) and not (isinstance(value, str) and ("${" in value or value == "???"))


def _is_same(one: Any, other: Any) -> bool:
    """Whether values are written alike: 1 is neither 1.0 nor true."""
    return type(one) is type(other) and repr(one) == repr(other)


def _slim(composed: DictConfig) -> DictConfig:
    """A config that has, of Hydra's part, only where the sweep lies."""
    with open_dict(composed):
        composed.hydra = {"sweep": {"dir": str(composed.hydra.sweep._get_node("dir"))}}
    return composed


def _without_hydra(composed: DictConfig) -> Composed:
    sweep_dir = str(composed.hydra.sweep.dir)
    with open_dict(composed):
        del composed["hydra"]
    return settled(composed, sweep_dir)
