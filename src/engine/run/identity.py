"""engine.run.identity"""

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

from engine.config.resolved import Config, dotted, plain

# What cannot change a run's result: where things lie, what is shown, and the names of devices.
IRRELEVANT = (
    "name", "paths", "sweep", "logger", "callbacks.progress_bar", "datamodule.cache_dir",
    "datamodule.num_workers", "trainer.accelerator", "trainer.devices", "trainer.strategy",
    "trainer.steps_per_call",
)  # fmt: skip


def config_hash(config: Config) -> str:
    """SHA-256 of the resolved config less what cannot change the result: equal hashes, equal runs."""
    return hashlib.sha256(json.dumps(relevant(dotted(plain(config))), sort_keys=True).encode()).hexdigest()


def relevant(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config by dotted key, less what cannot change the result."""
    ignored = tuple(f"{key}." for key in IRRELEVANT)
    kept = {key: value for key, value in config.items() if not f"{key}.".startswith(ignored)}
    if isinstance(folder := kept.get("datamodule.data_dir"), str):  # other data, wherever the project's data lie
        kept["datamodule.data_dir"] = folder.removeprefix(str(config.get("paths.data_dir")))
    return kept


def slug(overrides: list[str], longest: int = 80) -> str:
    """Overrides as the readable part of a folder's name, in `longest` bytes: `optimizer.lr=0.1` -> lr=0.1."""
    pairs = [word.lstrip("+~").partition("=") for word in overrides]
    name = ",".join(f"{key.rsplit('.', 1)[-1].rsplit('/', 1)[-1]}={value}" for key, _, value in pairs)
    return re.sub(r"[^\w.,=+-]+", "_", name).encode()[:longest].decode(errors="ignore") or "default"
