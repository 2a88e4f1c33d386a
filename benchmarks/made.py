"""Reads all that commands have made in a log folder, and compares it.

Whatever is not listed here has to be the same after a kill and without one.
"""

import csv
import json
import logging
import math
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from tensorboard.backend.event_processing.plugin_event_accumulator import (
    GRAPH,
    TENSORS,
    EventAccumulator,
)
from tensorboard.plugins.hparams import metadata
from tensorboard.util.tensor_util import make_ndarray

from file_events import name_of

logging.getLogger("tensorboard").setLevel(logging.ERROR)  # it says what it hides

# Files that may be there or not, by the end of their names.
LEFT = {
    r"(^|/)\.[^/]+\.PID": "a kill leaves the part of a file that it was writing; nobody reads it",
    r"metrics\.unusable": "rows that a resumed run puts aside",
}
# Files that have to be there, and whose content may differ.
NAME_ONLY = {
    r"train\.log": "tells of each start, with the time",
    r"lock": "has the number of the process that held it last",
}
OF_THE_MOMENT = {
    "seconds": "of summary.json: how long the run took",
    "git": "of summary.json: files may change in the working tree meanwhile",
}
OF_A_PROCESS = {
    "loops": "of a checkpoint: has how often Lightning's loops were begun",
    "events": "of a checkpoint: has the name and the size of a process's file of events",
}
# Of jobs that train together, beside rounding.
OF_TOGETHER = {"so_far": "generators of random numbers, which each step seeds, are elsewhere"}
CHARTS = "custom_scalars__config__"  # a tag of which TensorBoard takes the last


def made(log_dir: Path) -> dict[str, Any]:
    """Returns all that the commands of a log folder have made, by file and part.

    A run that was killed before it had a config is left out: another one begins in its place.
    """
    found: dict[str, Any] = {}
    events: set[Path] = set()
    for path in sorted(path for path in log_dir.rglob("*") if path.is_file()):
        relative = path.relative_to(log_dir)
        name = name_of(str(relative))
        if is_listed(name, LEFT) or not _has_begun(log_dir, relative):
            continue
        if "tfevents" in name:
            events.add(path.parent)
        elif is_listed(name, NAME_ONLY):
            found[name] = None
        else:
            again = " (once more)" if f"{name}: path" in found else ""  # of a second run
            parts = {"path": None, **_content(path)}
            found |= {f"{name}{again}: {key}": value for key, value in parts.items()}
    for folder in sorted(events):
        name = name_of(str(folder.relative_to(log_dir)))
        found |= {f"{name}: {key}": value for key, value in _events(folder).items()}
    return found


def _has_begun(log_dir: Path, relative: Path) -> bool:
    is_of_a_run = len(relative.parts) > 3 and relative.parts[0] == "runs"
    return (
        not is_of_a_run or (log_dir.joinpath(*relative.parts[:3]) / ".hydra/config.yaml").exists()
    )


def is_listed(name: str, patterns: Mapping[str, str]) -> bool:
    """Tells whether the name of a file ends as one of some patterns says."""
    return any(re.search(f"{pattern}$", name) for pattern in patterns)


def _content(path: Path) -> dict[str, Any]:
    """Returns the parts of a file; the bytes of one that has none."""
    for end, read in READ.items():
        if path.name.endswith(end):
            return read(path)
    return {"bytes": path.read_bytes()}


def _summary(path: Path) -> dict[str, Any]:
    summary = json.loads(path.read_text())
    return {key: value for key, value in summary.items() if key not in OF_THE_MOMENT}


def _rows(path: Path) -> dict[str, Any]:
    with open(path, newline="") as table:
        return {"rows": [list(map(_number, row)) for row in csv.reader(table)]}


def _checkpoint(path: Path) -> dict[str, Any]:
    saved = torch.load(path, weights_only=True)
    return {key: value for key, value in saved.items() if key not in OF_A_PROCESS}


def _study(journal: Path) -> dict[str, Any]:
    """Returns the only study in a journal; a trial has all but its times."""
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    storage = JournalStorage(JournalFileBackend(str(journal)))
    (summary,) = optuna.get_all_study_summaries(storage)
    study = optuna.load_study(study_name=summary.study_name, storage=storage)
    trials = {f"trial {one.number}": dict(_of_trial(one)) for one in study.trials}
    return {"name": study.study_name, "attributes": study.user_attrs, **trials}


def _of_trial(trial: Any) -> Iterator[tuple[str, Any]]:
    yield "state", trial.state.name
    yield "distributions", {key: str(value) for key, value in trial.distributions.items()}
    for name in ("params", "values", "intermediate_values", "user_attrs", "system_attrs"):
        yield name, getattr(trial, name)


READ: dict[str, Callable[[Path], dict[str, Any]]] = {
    "summary.json": _summary,
    "metrics.csv": _rows,
    ".ckpt": _checkpoint,
    "study.log": _study,
}


def _events(folder: Path) -> dict[str, Any]:
    """Returns what TensorBoard shows of a folder: the graph, and by tag steps and values."""
    events = EventAccumulator(str(folder), size_guidance={TENSORS: 0}).Reload()
    tags = events.Tags()
    shown: dict[str, Any] = {"graph": events.SerializedGraph()} if tags[GRAPH] else {}
    for tag in tags[TENSORS]:
        about = events.SummaryMetadata(tag).plugin_data
        points = events.Tensors(tag)[-1:] if tag == CHARTS else events.Tensors(tag)
        values = [(one.step, _value(one.tensor_proto, about.plugin_name)) for one in points]
        if values:
            shown[f"{about.plugin_name} {tag}"] = [_about(about), *values]
    return shown


def _value(tensor: Any, plugin: str) -> Any:
    """Returns what a tag has at a step: a text as numbers and words, all else as it is."""
    values = make_ndarray(tensor).tolist()
    return [_numbers_in(text) for text in values] if plugin == "text" else values


def _numbers_in(text: bytes) -> list[float | str]:
    return [_number(word) for word in text.decode().split()]


def _about(plugin: Any) -> bytes:
    """Returns what a tab of TensorBoard's knows of a tag, but for the time when a job began."""
    content: bytes = plugin.content
    if plugin.plugin_name != metadata.PLUGIN_NAME:
        return content
    begun = metadata.parse_session_start_info_plugin_data(content)
    begun.start_time_secs = 0.0
    written: bytes = begun.SerializeToString(deterministic=True)
    return written


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def different(ours: Mapping[str, Any], theirs: Mapping[str, Any], rel: float) -> list[str]:
    """Returns the names of the parts that are not the same, or that only one has.

    Args:
        ours: parts by name.
        theirs: what they should be.
        rel: how far numbers may be from each other; 0: not at all.
    """
    names = sorted({*ours, *theirs})
    if rel:
        names = [name for name in names if not is_listed(name, OF_TOGETHER)]
    return [
        name
        for name in names
        if (name in ours) != (name in theirs) or not same(ours[name], theirs[name], rel)
    ]


def same(ours: Any, theirs: Any, rel: float) -> bool:
    """Compares nested containers of tensors, numbers and words; NaN equals NaN."""
    if isinstance(ours, torch.Tensor) and isinstance(theirs, torch.Tensor):
        if ours.shape != theirs.shape or ours.dtype != theirs.dtype:
            return False
        if not rel:
            return torch.equal(_bits(ours), _bits(theirs))
        return torch.allclose(
            ours.double(), theirs.double(), rtol=rel, atol=rel * 1e-3, equal_nan=True
        )
    if isinstance(ours, dict) and isinstance(theirs, dict):
        return ours.keys() == theirs.keys() and all(same(ours[k], theirs[k], rel) for k in ours)
    if isinstance(ours, list | tuple) and isinstance(theirs, list | tuple):
        return len(ours) == len(theirs) and all(
            same(one, other, rel) for one, other in zip(ours, theirs, strict=True)
        )
    if isinstance(ours, float) and isinstance(theirs, float):
        both_nan = math.isnan(ours) and math.isnan(theirs)
        return both_nan or math.isclose(ours, theirs, rel_tol=rel, abs_tol=rel * 1e-3)
    return bool(ours == theirs)


def _bits(values: torch.Tensor) -> torch.Tensor:
    return values.reshape(-1).view(torch.uint8)
