"""What is kept of Hydra's composing is what Hydra composes anew."""

from pathlib import Path
from typing import Any

import pytest
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import ConfigCompositionException, OverrideParseException
from hydra.types import RunMode
from omegaconf import OmegaConf

import kept_configs
from project.train import train

WORDS = [
    ["seed=1"],
    ["experiment=curve_fit", "seed=2", "optimizer.lr=0.1", "name=x"],
    ["experiment=curve_fit", "seed=3", "optimizer=adam", "optimizer.betas=[0.8,0.9]"],
    ["experiment=lenet", "datamodule=digits", "callbacks=[classification,histograms]"],
    ["experiment=curve_fit", "~callbacks.curve", "+trainer.min_epochs=2"],
    ["~scheduler", "optimizer=sgd,adam", "seed=1,2", "hydra/launcher=joblib"],
    [
        "datamodule=line",
        "datamodule={samples: 4}",
        "hydra/launcher=ray",
        "hydra.launcher.num_cpus=2",
    ],
]


def composed(words: list[str], mode: RunMode, conf: Path = train.conf) -> str:
    with initialize_config_dir(str(conf), version_base="1.3"):
        loader: Any = GlobalHydra.instance().config_loader()
        config = loader.load_configuration("config", words, mode)
    flags = [(name, config._get_flag(name)) for name in ("struct", "readonly")]
    return f"{OmegaConf.to_container(config, resolve=False)!r} {flags}"


@pytest.mark.parametrize("words", WORDS, ids=" ".join)
def test_it_is_what_hydra_composes(words: list[str]) -> None:
    modes = [RunMode.MULTIRUN] if "seed=1,2" in words else [RunMode.RUN, RunMode.MULTIRUN]
    for mode in modes:
        with kept_configs.by_hydra():
            expected = composed(words, mode)
        other = [word for word in words if not word.startswith("seed=")]
        composed([*other, "seed=77", "threads=3"], mode)  # the same choices, with other values
        size = len(kept_configs.kept())
        assert composed(words, mode) == expected
        assert len(kept_configs.kept()) == size  # that was a copy


def modes(folder: Path, commands: list[list[str]]) -> list[RunMode | None]:
    with initialize_config_dir(str(folder), version_base="1.3"):
        hydra = GlobalHydra.instance().hydra
        assert hydra is not None
        return [hydra.get_mode("config", words) for words in commands]


def test_the_mode_is_what_the_config_or_the_command_says(tmp_path: Path) -> None:
    commands = [
        [],
        ["seed=2"],
        ["hydra.mode=MULTIRUN"],
        ["hydra.mode=MULTIRUN", "model.width=3"],
        ["hydra.mode=RUN"],
        ["model=large"],
        ["hydra.mode=RUN", "model=large"],
        ["no_such_key=2"],
    ]
    (tmp_path / "model").mkdir()
    (tmp_path / "model/small.yaml").write_text("width: 1\n")
    (tmp_path / "model/large.yaml").write_text("# @package _global_\nhydra: {mode: MULTIRUN}\n")
    for text in ("seed: 1\n", "seed: 1\nhydra: {mode: MULTIRUN}\n"):
        (tmp_path / "config.yaml").write_text(f"defaults: [_self_, model: small]\n{text}")
        with kept_configs.by_hydra():
            expected = modes(tmp_path, commands)
        assert expected[2:6] == [RunMode.MULTIRUN, RunMode.MULTIRUN, RunMode.RUN, RunMode.MULTIRUN]
        for _ in range(2):
            assert modes(tmp_path, commands) == expected


def test_a_wrong_value_leaves_no_wrong_mode_behind(tmp_path: Path) -> None:
    """Hydra has no mode for it, and what the run is composed of is the error."""
    (tmp_path / "config.yaml").write_text("model: {width: 1}\n")
    commands = [["hydra.mode=MULTIRUN", word] for word in ("model.no_such=1", "model.width=2")]
    assert modes(tmp_path, commands)[1] == RunMode.MULTIRUN


def test_a_word_is_parsed_as_hydra_parses_it_each_time() -> None:
    words = ["seed=1,2", "a@b=c", "+x={y:[1,2.5,null,true]}", "~z", "w=range(3)", "v='${u}'"]
    with kept_configs.by_hydra():
        expected = list(map(repr, OverridesParser.create().parse_overrides(words)))
    for _ in range(2):
        parsed = OverridesParser.create().parse_overrides(words)
        assert list(map(repr, parsed)) == expected
        parsed[0]._value = None  # of a copy
        with pytest.raises(OverrideParseException, match="a b"):
            OverridesParser.create().parse_overrides(["a b"])


def test_a_file_that_changes_is_read_again(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "config.yaml").write_text("defaults: [_self_, model: small]\nseed: 1\n")
    for name, width in (("small", 8), ("large", 64)):
        (tmp_path / "model" / f"{name}.yaml").write_text(f"width: {width}\n")
    assert "{'width': 8}" in composed([], RunMode.RUN, tmp_path)
    assert "{'width': 64}" in composed(["model=large"], RunMode.RUN, tmp_path)
    (tmp_path / "model/small.yaml").write_text("width: 16\n")
    assert "{'width': 16}" in composed([], RunMode.RUN, tmp_path)
    (tmp_path / "model/large.yaml").unlink()
    with pytest.raises(ConfigCompositionException, match="model/large"):
        composed(["model=large"], RunMode.RUN, tmp_path)


def test_a_choice_that_follows_another_one_is_as_hydra_composes_it(tmp_path: Path) -> None:
    text = "defaults: [_self_, model: a, loss: '${model}']\n"
    (tmp_path / "config.yaml").write_text(text)
    for group in ("model", "loss"):
        (tmp_path / group).mkdir()
        for name in "ab":
            (tmp_path / group / f"{name}.yaml").write_text(f"name: {group} {name}\n")
    assert "{'name': 'loss a'}" in composed([], RunMode.RUN, tmp_path)
    assert "{'name': 'loss b'}" in composed(["model=b"], RunMode.RUN, tmp_path)


def test_choices_that_are_wrong_are_hydras_error_each_time() -> None:
    says = "Could not override 'optimizer@nowhere'"
    for _ in range(2):
        with pytest.raises(ConfigCompositionException, match=says):
            composed(["optimizer@nowhere=adam"], RunMode.RUN)
