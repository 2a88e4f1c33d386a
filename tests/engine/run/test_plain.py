"""What a checkpoint may have, against what `torch.load(weights_only=True)` loads."""

import collections
import io
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.fabric.utilities.data import AttributeDict
from lightning.pytorch import LightningModule
from omegaconf import OmegaConf
from torch import nn

from engine.run.plain import in_words, plain


class Colour(Enum):
    RED = "red"


NET = nn.Linear(2, 1)


def loaded(value: Any) -> Any:
    file = io.BytesIO()
    torch.save(value, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


PLAIN = {
    "None": None,
    "truth": True,
    "a whole number": 10**30,
    "a number": 0.1,
    "complex": 1 + 2j,
    "words": "ü",
    "bytes": b"x",
    "a list": [1, (2, {3})],
    "a dict": {"a": 1, 2: [3], (4, 5): None},
    "in order": collections.OrderedDict(b=1, a=2),
    "counts": collections.Counter("aab"),
    "a dtype": torch.float16,
    "a device": torch.device("cpu"),
    "a shape": torch.Size([1, 2]),
}
NOT_PLAIN = {
    "a network": NET,
    "a partial": partial(torch.optim.SGD, lr=0.1),
    "a class": torch.optim.SGD,
    "a function": max,
    "a frozenset": frozenset({1}),
    "a defaultdict": collections.defaultdict(int),
    "a deque": collections.deque([1]),
    "a range": range(3),
    "an array": np.zeros(3),
    "a number of 32 bits": np.float32(0.1),
    "a path": Path("/x"),
    "a choice": Colour.RED,
    "a config": OmegaConf.create({"a": 1}),
    "a generator": torch.Generator(),
}


@pytest.mark.parametrize("value", PLAIN.values(), ids=PLAIN)
def test_what_torch_loads_is_kept_as_it_is(value: Any) -> None:
    made, dropped, needed = plain({"callbacks": {"Mine": {"key": value}}})
    assert made["callbacks"]["Mine"]["key"] is value
    assert loaded(made) == {"callbacks": {"Mine": {"key": value}}}
    assert dropped == needed == []


@pytest.mark.parametrize("value", NOT_PLAIN.values(), ids=NOT_PLAIN)
def test_what_a_resumed_run_would_lack_is_named(value: Any) -> None:
    made, dropped, needed = plain({"callbacks": {"Mine": {"key": [1, value], "other": 2}}})
    assert [str(lacking) for lacking in needed] == [
        f"callbacks.Mine.key.1 ({type(value).__name__})"
    ]
    assert dropped == []
    assert loaded(made) == {"callbacks": {"Mine": {"other": 2}}}


def test_numbers_of_numpy_that_calculate_alike_become_pythons() -> None:
    state = {"a": np.float64(0.1), "b": np.int64(3), "c": np.bool_(True), np.int64(4): "d"}
    made, _, needed = plain({"callbacks": state})
    assert needed == []
    assert loaded(made) == {"callbacks": {"a": 0.1, "b": 3, "c": True, 4: "d"}}
    assert [type(value) for value in made["callbacks"].values()] == [float, int, bool, str]


def test_hyper_parameters_are_kept_as_far_as_they_are_plain() -> None:
    given = {
        "net": NET,
        "optimizer": partial(torch.optim.SGD),
        "root": Path("/data"),
        "rate": np.float32(0.5),
        "config": OmegaConf.create({"a": 1, "b": "${a}", "c": [1, {"d": None}]}),
        "nested": AttributeDict(net=NET, width=8),
        "layers": [1, NET],
        "words": ("a", None, True),
        "count": collections.defaultdict(int, a=1),
    }
    made, dropped, needed = plain({"hyper_parameters": given, "datamodule_hyper_parameters": given})
    kept = {
        "root": "/data",
        "rate": 0.5,
        "config": {"a": 1, "b": 1, "c": [1, {"d": None}]},
        "nested": {"width": 8},
        "words": ("a", None, True),
        "count": {"a": 1},
    }
    assert loaded(made) == {"hyper_parameters": kept, "datamodule_hyper_parameters": kept}
    assert needed == []
    assert [str(one) for one in dropped[:4]] == [
        "net (Linear)",
        "optimizer (partial)",
        "nested.net (Linear)",
        "layers.1 (Linear)",
    ]
    assert given["net"] is NET  # the module's own are untouched


def test_the_version_of_a_state_dict_stays() -> None:
    """PyTorch keeps the version in an attribute, and BatchNorm reads it there."""
    weights = nn.BatchNorm1d(2).state_dict()
    weights["extra"] = np.float64(1.0)
    made, _, _ = plain({"state_dict": weights})
    assert made["state_dict"]._metadata == weights._metadata
    assert list(made["state_dict"]) == list(weights)
    assert type(made["state_dict"]["extra"]) is float


class WithConfig(LightningModule):
    def __init__(self, config: Any, net: nn.Module | None = None) -> None:
        super().__init__()
        self.save_hyperparameters(config)
        self.width = config.width
        self.net = nn.Linear(config.width, 1)


def test_a_module_of_a_config_is_loaded_from_its_checkpoint(tmp_path: Path) -> None:
    """Lightning makes a dict with attributes of the config."""
    config = OmegaConf.create({"width": 3})
    module = WithConfig(config)
    checkpoint = {
        "pytorch-lightning_version": "2.6.0",
        "state_dict": module.state_dict(),
        "hyper_parameters": module.hparams,
        "hparams_name": "config",
        "hparams_type": type(config),
    }
    torch.save(plain(checkpoint)[0], tmp_path / "a.ckpt")
    again = WithConfig.load_from_checkpoint(tmp_path / "a.ckpt", weights_only=True)
    assert again.width == 3
    assert torch.equal(again.net.weight, module.net.weight)


def test_hyper_parameters_keep_their_kinds() -> None:
    given = {"counts": collections.Counter("aab"), "order": collections.OrderedDict(b=1, a=2)}
    made = plain({"hyper_parameters": given})[0]["hyper_parameters"]
    assert made == given
    assert list(map(type, made.values())) == [collections.Counter, collections.OrderedDict]


def test_loggers_get_words_for_what_is_not_plain() -> None:
    given = {"net": NET, "deep": {"layers": [NET]}, "root": Path("/x"), "lr": 0.1}
    words = "Linear(in_features=2, out_features=1, bias=True)"
    assert in_words(given) == {"net": words, "deep": {"layers": [words]}, "root": "/x", "lr": 0.1}
