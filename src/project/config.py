"""What a config may say: checked before anything is imported, built or written."""

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from project.errors import UserError, nearest

ROOT = Path(__file__).resolve().parents[2]
CONF = ROOT / "conf"
OPEN_NODES = ("callbacks", "logger")  # a user may add entries of his own


@dataclass(frozen=True)
class Limit:
    """The values that a key may have: numbers from `low` to `high`, and `words`."""

    whole: bool
    low: float
    high: float = float("inf")
    open_low: bool = False
    open_high: bool = False
    words: tuple[str | None, ...] = ()

    def __contains__(self, value: object) -> bool:
        if value in self.words and not isinstance(value, bool | int | float):
            return True
        if isinstance(value, bool) or not isinstance(value, int if self.whole else int | float):
            return False
        above = value > self.low if self.open_low else value >= self.low
        return above and (value < self.high if self.open_high else value <= self.high)

    def __str__(self) -> str:
        kind = "a whole number" if self.whole else "a number"
        bounds = [f"{'above' if self.open_low else 'from'} {self.low:g}"]
        if self.high != float("inf"):
            bounds.append(f"{'below' if self.open_high else 'to'} {self.high:.10g}")
        words = "".join(f" or {'null' if word is None else word}" for word in self.words)
        return f"{kind} {' '.join(bounds)}{words}"


COUNT = Limit(whole=True, low=1)
FRACTION = Limit(whole=False, low=0, high=1, open_high=True)
NOT_NEGATIVE = Limit(whole=False, low=0)
POSITIVE = Limit(whole=False, low=0, open_low=True)
LIMITS = {
    "seed": Limit(whole=True, low=0, high=2**32 - 1),
    "optimizer.lr": POSITIVE,
    "optimizer.momentum": FRACTION,
    "optimizer.weight_decay": NOT_NEGATIVE,
    "init.scale": NOT_NEGATIVE,
    "datamodule.batch_size": COUNT,
    "datamodule.eval_batch_size": COUNT,
    "datamodule.steps_per_epoch": Limit(whole=True, low=1, words=(None,)),
    "datamodule.num_workers": Limit(whole=True, low=0),
    "datamodule.val_fraction": FRACTION,
    "datamodule.test_fraction": Limit(whole=False, low=0, high=1, open_low=True, open_high=True),
    "datamodule.image_size": COUNT,
    "datamodule.samples": COUNT,
    "datamodule.in_features": COUNT,
    "datamodule.out_features": COUNT,
    "datamodule.noise": NOT_NEGATIVE,
    "module.num_classes": COUNT,
    "module.hidden": COUNT,
    "module.in_features": COUNT,
    "module.out_features": COUNT,
    "trainer.max_epochs": Limit(whole=True, low=1, words=(None,)),
    "trainer.max_steps": Limit(whole=True, low=-1),
    "trainer.log_every_n_steps": COUNT,
    "trainer.devices": Limit(whole=True, low=1, words=("auto",)),
    "callbacks.checkpoints.every_n_steps": COUNT,
}


def register_resolvers() -> None:
    """Make `${project_root:}` known to OmegaConf: the folder that holds conf/, data/ and logs/."""
    OmegaConf.register_new_resolver("project_root", lambda: str(ROOT), replace=True)


def check_command_line(words: list[str]) -> None:
    """Check every override of a command line, of all the jobs of a sweep, against the config that it changes.

    The YAML files are the schema: a key must be there, and its new value of the type of the value there.

    Raises:
        UserError: for the first that is wrong; it names the key, the value, what is allowed and the nearest right.
    """
    overrides = [word for word in words if not word.startswith("-")]
    if any(word.startswith(("--config", "-c")) and word != "--cfg" for word in words):
        return  # not our config: Hydra's own checks must do
    register_resolvers()
    for word in overrides:
        if "=" not in word and not word.startswith("~") and word not in ("job", "hydra", "all"):
            raise UserError(f"{word}: not an override; write key=value, such as experiment=lenet")
    with initialize_config_dir(str(CONF), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        parsed = OverridesParser.create(loader).parse_overrides([word for word in overrides if "=" in word])
        groups = [o for o in parsed if loader.get_group_options(o.key_or_group)]
        for override in groups:
            _check_choice(override, loader.get_group_options(override.key_or_group))
        for choices in itertools.product(*map(_values, groups)):
            chosen = [f"{o.get_key_element()}={c}" for o, c in zip(groups, choices, strict=True) if c is not None]
            config = compose("config", overrides=chosen)
            known = [*loader.list_groups(""), *_dotted_keys(config)]
            for override in parsed:
                if override not in groups and not override.key_or_group.startswith("hydra"):
                    _check_value(override, config, known)


def check_config(config: DictConfig) -> None:
    """Check the values of a whole config, wherever they come from, against `LIMITS`."""
    for key, limit in LIMITS.items():
        if _has(config, key) and (value := OmegaConf.select(config, key)) not in limit:
            raise UserError(f"{key}={_show(value)}: must be {limit}.")


def _values(override: Override) -> list[Any]:
    """The values that an override stands for: one, or all of a sweep's."""
    if override.is_discrete_sweep():
        return list(override.sweep_iterator())
    return [] if override.is_sweep_override() else [override.value()]


def _check_choice(override: Override, options: list[str]) -> None:
    group = override.key_or_group
    for choice in _values(override):
        for name in choice if isinstance(choice, list) else [choice]:
            if name is not None and str(name) not in options:
                hint = nearest(str(name), options)
                raise UserError(f"{group}={name}: no such choice.{hint} {group} is one of: {', '.join(options)}.")


def _check_value(override: Override, config: DictConfig, known: list[str]) -> None:
    key = override.key_or_group
    if not _has(config, key):
        parent = OmegaConf.select(config, key.rpartition(".")[0]) if "." in key else None
        takes_more = isinstance(parent, DictConfig) and ("_target_" in parent or key.split(".")[0] in OPEN_NODES)
        if override.is_add() and takes_more:
            return
        has = f" {key.rpartition('.')[0]} has: {', '.join(map(str, parent))}." if isinstance(parent, DictConfig) else ""
        raise UserError(f"{key}: no such key.{nearest(key, known)}{has}")
    if override.is_delete():
        return
    present = OmegaConf.select(config, key)
    for value in _values(override):
        if isinstance(value, str) and value.startswith("${"):
            continue
        if key in LIMITS:
            if value not in LIMITS[key]:
                raise UserError(f"{key}={_show(value)}: must be {LIMITS[key]}.")
        elif not _fits(value, present):
            raise UserError(f"{key}={_show(value)}: must be {_kind(present)}, like {_show(present)}.")


def _fits(value: Any, present: Any) -> bool:
    """Whether a value is of the kind of the one that it replaces."""
    if value is None or present is None or isinstance(present, str):
        return not isinstance(value, dict | list) or present is None
    if OmegaConf.is_config(present):
        return isinstance(value, dict | list)
    if isinstance(present, bool) or isinstance(value, bool):
        return isinstance(present, bool) and isinstance(value, bool)
    return isinstance(value, int if isinstance(present, int) else int | float)


def _kind(present: Any) -> str:
    if OmegaConf.is_config(present):
        return "a list or a mapping"
    return {bool: "true or false", int: "a whole number", float: "a number", str: "a word"}[type(present)]


def _has(config: DictConfig, key: str) -> bool:
    """Whether a dotted key is there, be its value null."""
    parent, _, last = key.rpartition(".")
    node = OmegaConf.select(config, parent) if parent else config
    return isinstance(node, DictConfig) and last in node.keys()


def _dotted_keys(config: DictConfig, prefix: str = "") -> list[str]:
    keys = []
    for name in config:
        child = config._get_node(name)
        keys.append(f"{prefix}{name}")
        if isinstance(child, DictConfig):
            keys += _dotted_keys(child, f"{prefix}{name}.")
    return keys


def _show(value: Any) -> str:
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)
