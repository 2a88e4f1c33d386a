"""The config of one run: plain values, resolved once, and handed on from there."""

import functools
import hashlib
import json
import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

from hydra import compose
from hydra.core.global_hydra import GlobalHydra
from omegaconf import MISSING, DictConfig, OmegaConf

from engine.config import objects, plain_yaml, secrets
from engine.config.keys import (
    BUILT,
    CHOICES,
    ENGINES,
    FOLDERS,
    OPEN,
    OWN,
    PRESETS,
    TARGET,
    TREATMENT,
    is_below,
    orders,
    relevant,
)
from engine.config.limits import LIMITS, shown
from engine.config.nested import dotted
from engine.errors import UserError, nearest

HAVE_KEYS = ("sweep", "paths")  # nodes of the engine's
KNOWN = (*LIMITS, "sweep.trial")
PLAIN = (str, int, float, bool, type(None))
TABLE = "CSV"  # in the names of the loggers that write metrics.csv
# ${optimizer.lr}, ${..optimizer}, ${oc.select:optimizer}; with an odd number of backslashes before
# it, OmegaConf takes it for a word.
REFERENCE = re.compile(r"(?<!\\)(?:\\\\)*(\$\{[^}]*)")


class Config(Mapping[str, Any]):
    """Holds the resolved config of a run: dicts, lists, numbers and words, read by dotted key.

    `config["trainer.devices"]` and `config["trainer"]["devices"]` are the same.

    Args:
        values: nested.
        written: the values by dotted key before they were resolved, such as `${seed}`.
        overrides: the words of the command line that made the config. Those that say how a sweep
            treats its jobs are left out.
    """

    def __init__(
        self,
        values: dict[str, Any],
        written: Mapping[str, Any] | None = None,
        overrides: Sequence[str] = (),
    ) -> None:
        self.values_by_node = values
        self.written = dict(written or {})
        self.overrides = [word for word in overrides if not word.startswith("sweep.")]
        self.is_ours = True  # made by this user, now or in a run that has the signature
        self.is_trusted = False  # by trust=true

    def nodes(self, group: str) -> dict[str, dict[str, Any]]:
        """Returns the nodes of a group of named objects, by dotted key; a name may stand for none.

        Args:
            group: `callbacks` or `logger`.
        """
        nodes = (self.get(group) or {}).items()
        return {f"{group}.{name}": node for name, node in nodes if node}

    @classmethod
    def resolve(
        cls,
        composed: DictConfig,
        overrides: Sequence[str] = (),
        mentioned: Collection[str] | None = None,
    ) -> "Config":
        """Resolves what Hydra composed, with absolute data folders.

        An object that no part of the run refers to is left out. Secrets stay `${oc.env:NAME}`.

        Args:
            composed: by Hydra.
            overrides: the words of the command line.
            mentioned: names of objects that the user's `train(run)` refers to. If None, every
                object stays.

        Raises:
            OmegaConfBaseException: if an interpolation leads nowhere; names the key.
            UserError: if an override is about an object that is left out, a secret does not come
                from the environment, or a key has no value, or one that is not plain.
        """
        raw: Any = OmegaConf.to_container(composed, resolve=False)
        written = dotted(raw)
        make_absolute(composed, written)
        return cls.checked(secrets.resolve(composed, raw), written, overrides, mentioned)

    @classmethod
    def checked(
        cls,
        values: dict[str, Any],
        written: Mapping[str, Any],
        overrides: Sequence[str],
        mentioned: Collection[str] | None,
    ) -> "Config":
        """Makes a config of resolved values; takes and raises what `resolve` does."""
        if mentioned is not None:
            references = _references(written)
            used = _used(references, mentioned)
            said = _used(references, {*mentioned, *ENGINES})
            _check_names([name for name in values if name not in said], written, overrides)
            _check_inner(written)
            groups = [name for name, node in values.items() if isinstance(node, dict | list)]
            for name in [own for own in groups if own not in used]:
                if name not in OPEN and not any(objects.nodes(values[name], name)):
                    continue  # a part of a run that no object is built of
                _check_unused(name, written, overrides)
                del values[name]
        for name in sorted(values, key=BUILT.__contains__):  # they repeat what others have
            _check_plain(values[name], name, name)
        return cls(values, written, overrides)

    def of_a_job(self) -> "Config":
        """Returns the config for the run of a job, without how the sweep treats its jobs."""
        sweep = {**self.values_by_node["sweep"], **TREATMENT}
        return Config({**self.values_by_node, "sweep": sweep}, self.written, self.overrides)

    def following(self, keys: Collection[str]) -> list[str]:
        """Returns the keys whose values are made of those of others, as they were written."""
        referring = {
            key: [_absolute_path(path, key) for path in paths]
            for key, text in self.written.items()
            if (paths := _paths(text))
        }
        found = new = set(keys)
        while new:
            new = {
                key
                for key, paths in referring.items()
                if key not in found
                and any(is_below(own, (path,)) for path in paths for own in found)
            }
            found = found | new
        return sorted(key for key in found - set(keys) if key.partition(".")[0] in self)

    def __getitem__(self, key: str) -> Any:
        try:
            return self._read(key)
        except KeyError:
            known = [*self.values_by_node, *dotted(self.values_by_node)]
            raise KeyError(f"{key}: no such key.{nearest(key, known)}") from None

    def __contains__(self, key: object) -> bool:
        return self.get(str(key), self) is not self

    def get(self, key: str, default: Any = None) -> Any:
        """Returns the value of a key, or the default; sooner than where each miss is worded."""
        try:
            return self._read(key)
        except KeyError:
            return default

    def _read(self, key: str) -> Any:
        node: Any = self.values_by_node
        for name in key.split("."):
            if not isinstance(node, (dict, Mapping)):  # a dict is found sooner
                raise KeyError(key)
            node = node[name]
        return node

    def __iter__(self) -> Iterator[str]:
        return iter(self.values_by_node)

    def __len__(self) -> int:
        return len(self.values_by_node)

    @cached_property
    def flat(self) -> dict[str, Any]:
        """Returns the values by dotted key."""
        return dotted(self.values_by_node)

    @cached_property
    def ordered(self) -> dict[str, Any]:
        """Returns the values by dotted key, and the names in each mapping whose order counts."""
        return {**dict(orders(self.values_by_node)), **self.flat}

    @cached_property
    def yaml(self) -> str:
        """Returns the values as YAML."""
        return plain_yaml.dump(self.values_by_node)

    @cached_property
    def relevant(self) -> str:
        """Returns all values that can change the result of a run, by dotted key, as JSON.

        Which loggers a run has changes nothing, but without a table it has no metrics, and often no
        objective. A table is told by its name: to import its class takes too long.
        """
        kept = relevant(self.ordered)
        loggers = objects.nodes(self.get("logger"))
        if not any(TABLE in str(node[TARGET]) for _, node in loggers):
            kept["logger"] = "no table"
        return json.dumps(kept, sort_keys=True)

    @cached_property
    def hash(self) -> str:
        """Returns the SHA-256 of all values that can change the result of a run."""
        return hashlib.sha256(self.relevant.encode()).hexdigest()


def make_absolute(composed: DictConfig, written: Mapping[str, Any]) -> None:
    """Makes the folders in a composed config absolute; `written` has the values by dotted key."""
    for key in FOLDERS:
        folder = OmegaConf.select(composed, key) if written.get(key) else None
        if isinstance(folder, str):
            OmegaConf.update(composed, key, secrets.escaped(absolute(folder)))


def absolute(path: str) -> str:
    """Returns the absolute path of a file or folder, without a `~` for the user's home.

    A URL stays as it is, and so does an empty word, which is refused.
    """
    return path if not path or "://" in path else os.path.abspath(os.path.expanduser(path))


def _check_plain(node: Any, key: str, word: str) -> None:
    """Refuses what no file can hold, a missing value, and keys without an order, as {1: 2, a: 3}.

    A resolver of the user's own may give anything, such as a number of NumPy.

    Args:
        node: a value of the config.
        key: its dotted key.
        word: the same, or the key of the list around it: what the command line can set.
    """
    kind = type(node)
    if kind is dict:
        kinds = set(map(type, node))
        if kinds - {str} and kinds - {int, float, bool}:
            names = ", ".join(map(shown, node))
            raise UserError(f"{key}={{{names}: …}}: its keys must be of one kind.")
        for name, inner in node.items():
            own = f"{key}.{name}"
            _check_plain(inner, own, own if word == key else word)
    elif kind is list:
        for number, inner in enumerate(node):
            _check_plain(inner, f"{key}.{number}", word)
    elif kind not in PLAIN:
        path = f"{kind.__module__}.{kind.__name__}".removeprefix("builtins.")
        raise UserError(
            f"{key}: is a {path}, which no file of a run can hold.\n"
            "A resolver may give a str, an int, a float, a bool, None, a list or a dict of Python."
        )
    elif node == MISSING:
        raise UserError(f"{key}: has no value (???); write {word}=VALUE")


def _paths(text: Any) -> list[str]:
    """Returns the dotted keys that a value refers to, as it is written: some begin with dots."""
    if "${" not in (words := str(text)):
        return []
    return re.findall(r"[\w.-]+", " ".join(REFERENCE.findall(words)))


def _absolute_path(path: str, key: str) -> str:
    """Returns a dotted key that the value of another refers to: `.x` lies beside that."""
    name = path.lstrip(".")
    dots = len(path) - len(name)
    return ".".join([*key.split(".")[:-dots], name]) if dots else path


def _references(written: Mapping[str, Any]) -> set[tuple[str, str]]:
    """Returns pairs of the first names in a config: one, and another that it refers to."""
    return {
        (key.partition(".")[0], path.lstrip(".").partition(".")[0])
        for key, text in written.items()
        for path in _paths(text)
    }


def _used(references: Collection[tuple[str, str]], mentioned: Collection[str]) -> set[str]:
    """Returns the names that a built node or `train(run)` refers to, and those of such nodes."""
    used = {*BUILT, *OWN, *mentioned}
    found = used
    while found:
        found = {other for name, other in references if name in found} - used
        used = used | found
    return used


def _check_names(
    unused: Sequence[str], written: Mapping[str, Any], overrides: Sequence[str]
) -> None:
    """Refuses what stands at the top of a config, as a file may say it, and does nothing there."""
    # What ${${name}} refers to is known when it is resolved. A key like x-rates has an anchor for
    # other parts of its file.
    is_known = not any("${${" in str(text) for text in written.values())
    names = [name for name in unused if not name.startswith("x-")]
    for name in names if is_known and GlobalHydra.instance().is_initialized() else ():
        if name in PRESETS:
            chosen = word_about(name, overrides) or f"{name}=NAME"
            raise UserError(
                f"{chosen}: the first line of conf/{name}/{chosen.partition('=')[2]}.yaml must be "
                "`# @package _global_`.\nWithout it, the file would change nothing."
            )
        has_place = name in (*CHOICES, *ENGINES) or name in _by_default(
            GlobalHydra.instance().hydra
        )
        if not has_place and not _is_hydras(name, overrides):
            known = [own for own in (*CHOICES, *ENGINES, *written) if not is_below(own, (name,))]
            meant = nearest(name, ["defaults", *known])
            raise UserError(
                f"{name}: no part of this run refers to this key.{meant}\n"
                "One that is a note for the reader has its place in conf/config.yaml, too."
            )


def _check_inner(written: Mapping[str, Any]) -> None:
    """Refuses keys in nodes of the engine's that it does not know, and that nothing refers to."""
    unknown = [key for key in written if is_below(key, HAVE_KEYS) and not is_below(key, KNOWN)]
    for key in unknown:
        if not any(f"{{{key}}}" in str(text) for text in written.values()):
            raise UserError(f"{key}: no such key.{nearest(key, KNOWN)}")


def _is_hydras(name: str, overrides: Sequence[str]) -> bool:
    """Tells whether a key is one that Hydra's own part of the config refers to."""
    whole = compose("config", overrides=[*overrides], return_hydra_config=True)
    text = json.dumps(OmegaConf.to_container(whole.hydra, enum_to_str=True))
    return bool(re.search(rf"\{{{re.escape(name)}[}}.]", text))


def _check_unused(name: str, written: Mapping[str, Any], overrides: Sequence[str]) -> None:
    """Refuses what the command line or an experiment says of an object that is left out."""
    if said := word_about(name, overrides) or _preset_about(name, written, overrides):
        raise UserError(
            f"{said}: no part of this run refers to {name}, so this would change "
            "nothing.\nA class that takes it gets it by its config, such as "
            f"conf/module/NAME.yaml: {name}: ${{{name}}}"
        )


def _preset_about(name: str, written: Mapping[str, Any], overrides: Sequence[str]) -> str:
    """Returns `experiment=mine sets optimizer`, where one makes a node another; else "".

    A module that the command line puts in the place of the experiment's may take less.
    """
    chosen = [word for own in PRESETS if (word := word_about(own, overrides))]
    if not chosen or word_about("module", overrides) or not GlobalHydra.instance().is_initialized():
        return ""
    before = dotted(_by_default(GlobalHydra.instance().hydra))
    keys = [key for key in {*before, *written} if is_below(key, (name,))]
    is_changed = any(before.get(key) != written.get(key) for key in keys)
    return f"{chosen[0]} sets {name}" if is_changed else ""


@functools.lru_cache(maxsize=1)  # the jobs of a sweep ask once
def _by_default(command: object) -> dict[str, Any]:
    """Returns what conf/config.yaml says without a command line, nested and as it is written."""
    default: Any = OmegaConf.to_container(compose("config"), resolve=False)
    return {str(name): value for name, value in default.items()}


def word_about(name: str, overrides: Sequence[str]) -> str | None:
    """Returns the first word of a command line that chooses or changes a node, if one does."""
    # optimizer@module.optimizer_d=sgd changes module, and optimizer@module:x=sgd changes x.
    placed = re.compile(rf"[+~]*([^=@]*@([^=:]*:)?)?{re.escape(name)}([./=]|$)")
    return next((word for word in overrides if name and placed.match(word)), None)
