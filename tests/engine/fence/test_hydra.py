"""What is relied on of Hydra beyond its documentation: a new version breaks here, by name."""

import itertools
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cloudpickle  # type: ignore[import-untyped]  # what joblib, Ray and submitit send by
import pytest
from hydra import initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import ConfigCompositionException
from hydra.plugins.launcher import Launcher
from hydra.types import RunMode
from omegaconf import OmegaConf

import kept_configs
from engine.errors import UserError
from engine.fence import hydra as fence


@pytest.fixture
def _by_hydra() -> Iterator[None]:
    with kept_configs.by_hydra():
        yield


@pytest.fixture
def loader(tmp_path: Path) -> Iterator[Any]:
    """Give Hydra's loader of a config with one group, `model`."""
    (tmp_path / "model").mkdir()
    (tmp_path / "config.yaml").write_text("defaults: [_self_, model: small]\nseed: 1\n")
    for name, width in (("small", 8), ("large", 64)):
        (tmp_path / "model" / f"{name}.yaml").write_text(f"width: {width}\n")
    with initialize_config_dir(str(tmp_path), version_base="1.3"):
        yield GlobalHydra.instance().config_loader()


def test_locate_imports_what_a_path_names_and_logs_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert fence.locate("collections.OrderedDict") is OrderedDict
    assert fence.locate("hydra.core.utils.JobReturn") is JobReturn
    for path in ("collections.OrderedDictt", "no_such_module.Name", "hydra..x", ""):
        with pytest.raises((ImportError, ValueError)):
            fence.locate(path)
    assert caplog.messages == []


def test_a_config_is_merged_of_files_and_each_has_a_node(tmp_path: Path, loader: Any) -> None:
    (tmp_path / "model" / "wide.yaml").write_text("defaults: [small, deep/er@x, _self_]\n")
    (tmp_path / "model" / "deep").mkdir()
    (tmp_path / "model" / "deep" / "er.yaml").write_text("depth: 2\n")
    found = fence.merged_files(["model=wide"])
    assert [pair for pair in found if not pair[0].startswith("hydra")] == [
        ("config", ""),
        ("model/small", "model"),
        ("model/deep/er", "model.x"),
        ("model/wide", "model"),
    ]


def test_values_of_a_sweep_have_no_quotes() -> None:
    override = OverridesParser.create().parse_override("""x=1,'2',["a",{b:'3'}]""")
    assert list(fence.swept_values(override)) == [1, "2", ["a", {"b": "3"}]]


def test_options_are_those_of_hydra_and_the_rest_is_unknown(
    capsys: pytest.CaptureFixture[str],
) -> None:
    options, unknown = fence.options_of(["-m", "seed=1,2", "x=3", "--lr", "0.1"])
    assert (options.multirun, options.overrides) == (True, ["seed=1,2", "x=3"])
    assert unknown == ["--lr", "0.1"]
    names = {"run", "multirun", "cfg", "info", "shell_completion", "resolve", "help"}
    assert names <= vars(options).keys()
    assert fence.options_of(["a=1", "-c", "job"])[0].cfg == "job"
    with pytest.raises(ValueError, match="expected one argument"):
        fence.options_of(["--cfg"])
    assert capsys.readouterr() == ("", "")


def test_composed_by_hydra_is_the_job_of_a_sweep(loader: Any) -> None:
    sweep = loader.load_configuration("config", ["seed=1,2"], RunMode.MULTIRUN)
    job = fence.composed_by_hydra(loader, sweep, ("model=large", "seed=2"))
    assert job.model.width == 64
    assert job.seed == 2
    assert job.hydra.overrides.task == ["model=large", "seed=2"]


def test_apply_overrides_sets_values_as_hydra_does(loader: Any) -> None:
    words = ["model.width=9", "seed=${model.width}", "+more=[1,{a: null}]"]
    parsed = OverridesParser.create(loader).parse_overrides(words)
    sweep = loader.load_configuration("config", [], RunMode.MULTIRUN)
    config, whole = (fence.composed_by_hydra(loader, sweep, given) for given in ([], words))
    fence.apply_overrides(parsed, config)
    keys = ["model", "seed", "more"]
    ours, theirs = (OmegaConf.masked_copy(made, keys) for made in (config, whole))
    assert OmegaConf.to_yaml(ours) == OmegaConf.to_yaml(theirs)
    assert ours.model.width == ours.seed == 9


FLAGS = ("struct", "readonly")
WORDS = (
    ["seed=2", "model.width=9"],
    ["model=large", "seed=3"],
    ["model=large", "+seeds=[1,2]"],
    ["+model@other=large", "model=small"],
    ["~model"],
)


def everything(loader: Any, words: list[str], mode: RunMode) -> tuple[str, list[Any]]:
    """Returns all that there is in a config, Hydra's part as well, and its flags."""
    config = loader.load_configuration("config", words, mode)
    flags = [(config._get_flag(name), config.hydra._get_flag(name)) for name in FLAGS]
    return repr(OmegaConf.to_container(config, resolve=False)), flags


@pytest.mark.usefixtures("_by_hydra")
def test_composing_once_changes_nothing_of_what_hydra_composes(loader: Any) -> None:
    cases = list(itertools.product(WORDS, (RunMode.RUN, RunMode.MULTIRUN)))
    expected = [everything(loader, *case) for case in cases]
    with fence.composing_once():
        for _ in range(2):
            assert [everything(loader, *case) for case in cases] == expected


@pytest.mark.usefixtures("_by_hydra")
def test_composing_once_reads_files_and_lists_of_choices_once(
    loader: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    (files,) = {type(source) for source in loader.get_sources() if source.provider == "main"}
    load = files.load_config

    def noted(self: Any, config_path: str) -> Any:
        read.append(config_path)
        return load(self, config_path)

    monkeypatch.setattr(files, "load_config", noted)
    with fence.composing_once():
        first = loader.load_configuration("config", ["seed=1,2"], RunMode.MULTIRUN)
        assert sorted(read) == ["config", "model/small"]
        first.model.width = 0  # what is kept stays as it was
        assert loader.load_configuration("config", ["seed=5"], RunMode.RUN).model.width == 8
        assert fence.composed_by_hydra(loader, first, ("seed=2",)).model.width == 8
        assert sorted(read) == ["config", "model/small"]
        loader.load_configuration("config", ["model=large"], RunMode.RUN)
        assert sorted(read) == ["config", "model/large", "model/small"]
    loader.load_configuration("config", ["model=large"], RunMode.RUN)
    assert len(read) == 5  # outside, Hydra reads them each time


@pytest.mark.usefixtures("_by_hydra")
def test_composing_once_leaves_a_missing_choice_to_hydra(loader: Any, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("defaults: [_self_, model: '???']\nseed: 1\n")
    with fence.composing_once():
        for _ in range(2):
            with pytest.raises(ConfigCompositionException, match="You must specify 'model'"):
                loader.load_configuration("config", [], RunMode.RUN)
            sweep = loader.load_configuration("config", ["model=small,large"], RunMode.MULTIRUN)
            assert fence.composed_by_hydra(loader, sweep, ("model=large",)).model.width == 64


@pytest.mark.usefixtures("_by_hydra")
def test_defaults_that_lead_back_to_their_file_are_named(loader: Any, tmp_path: Path) -> None:
    for name, other in (("a", "b"), ("b", "c"), ("c", "b")):
        (tmp_path / "model" / f"{name}.yaml").write_text(f"defaults: [small, {other}]\n")
    with fence.composing_once(), pytest.raises(UserError) as refused:
        loader.load_configuration("config", ["model=a"], RunMode.RUN)
    assert str(refused.value) == (
        "conf/model/b.yaml: its defaults lead back to it: model/b, model/c, model/b."
    )


@pytest.mark.usefixtures("_by_hydra")
def test_a_group_that_two_files_choose_is_named_with_the_file(loader: Any, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("defaults: [{model: small}, {deep: outer}]\n")
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep/outer.yaml").write_text("defaults: [inner]\n")
    (tmp_path / "deep/inner.yaml").write_text("# @package _global_\ndefaults: [{/model: large}]\n")
    with fence.composing_once(), pytest.raises(UserError) as refused:
        loader.load_configuration("config", [], RunMode.RUN)
    assert str(refused.value) == (
        "conf/deep/inner.yaml: model is chosen already: write `override /model: large`"
    )


@pytest.mark.usefixtures("_by_hydra")
def test_composing_once_composes_what_pickle_does_not_know(loader: Any, tmp_path: Path) -> None:
    @dataclass
    class Local:
        width: int = 4

    ConfigStore.instance().store(group="model", name="local", node=Local)
    try:
        with fence.composing_once():
            for seed in (1, 2):
                words = ["model=local", f"seed={seed}"]
                config = loader.load_configuration("config", words, RunMode.RUN)
                assert (config.model.width, config.seed) == (4, seed)
    finally:
        del ConfigStore.instance().repo["model"]


def test_own_config_reads_one_file(loader: Any) -> None:
    assert fence.own_config(loader, "config") == ({"seed": 1}, True)
    assert fence.own_config(loader, "model/large") == ({"width": 64}, False)


def test_with_number_is_what_hydra_parses() -> None:
    parse = OverridesParser.create().parse_overrides
    for key in ("seed", "a.b"):
        one, other = parse([f"{key}=1", f"{key}=20"])
        assert fence.with_number(one, 20, f"{key}=20") == other
        assert one.value() == 1


def test_is_group_knows_the_folders_of_configs(loader: Any) -> None:
    assert fence.is_group(loader, "model")
    assert not fence.is_group(loader, "seed")
    assert not fence.is_group(loader, "model.width")


def test_answer_of_neither_prints_nor_raises() -> None:
    error = ValueError("broken")
    failed = JobReturn(status=JobStatus.FAILED)
    failed.return_value = error
    assert fence.answer_of(failed) is error
    done = JobReturn(status=JobStatus.COMPLETED)
    done.return_value = 0.5
    assert fence.answer_of(done) == 0.5


def test_take_over_brings_singletons_and_resolvers_from_another_process(loader: Any) -> None:
    OmegaConf.register_new_resolver("answer", _answer)
    before = fence.registries()
    config = loader.load_configuration("config", ["hydra.job.id=7"], RunMode.RUN)
    try:
        HydraConfig.instance().set_config(config)
        sent = cloudpickle.dumps(fence.registries())
        HydraConfig.instance().cfg = None
        OmegaConf.clear_resolver("answer")
        fence.take_over(cloudpickle.loads(sent))
        assert HydraConfig.get().job.id == "7"
        assert OmegaConf.create({"a": "${answer:}"}).a == 42
    finally:
        fence.take_over(before)
        OmegaConf.clear_resolver("answer")


def _answer() -> int:
    return 42


def test_basic_launcher_runs_jobs_here_one_by_one() -> None:
    assert issubclass(fence.BasicLauncher, Launcher)
    assert not fence.BasicLauncher.__abstractmethods__
    launcher: Any = fence.BasicLauncher()
    assert {"config", "hydra_context", "task_function"} <= vars(launcher).keys()
