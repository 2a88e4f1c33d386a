"""Jobs composed from shared choices: to the last value what Hydra composes for each."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import ConfigCompositionException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationKeyError

from engine.config.nested import dotted
from engine.config.resolved import Config
from engine.errors import UserError
from engine.sweep.compose import Composer
from project.train import train

JOBS = [
    ["seed=1"],
    ["experiment=curve_fit", "seed=1", "optimizer.lr=0.1", "name=x"],
    ["optimizer.lr=0.1", "experiment=curve_fit", "seed=2"],
    ["experiment=curve_fit", "optimizer=adam", "optimizer.betas=[0.8,0.9]", "module.hidden=3"],
    [
        "experiment=lenet",
        "callbacks=[classification,histograms]",
        "+trainer.min_epochs=2",
        "paths.log_dir=/x",
    ],
    ["experiment=curve_fit", "~callbacks.curve", "seed=3"],
    ["datamodule=line", "datamodule={samples: 4}", "seed=3"],
    ["seed=1", "optimizer.lr=${seed}", "++a.b=[1,{c: null}]"],
    ["hydra.sweep.dir=/y", "seed=1"],
    # the same choices and keys twice: no value of the first is left in the second
    ["experiment=curve_fit", "seed=4", "datamodule.samples=7"],
    ["experiment=curve_fit", "seed=5", "datamodule.samples=8"],
    ["init=he", "init.gain=1", "optimizer.lr=0.5", "optimizer.momentum=0", "compile=true"],
    ["init=he", "init.gain=2", "optimizer.lr=1e-2", "optimizer.momentum=0.9", "compile=false"],
    [
        "init=he",
        "init.gain=tanh",
        "optimizer.lr=${seed}",
        "optimizer.momentum='${init.gain}'",
        "compile=false",
    ],
    ["datamodule=cifar10", "datamodule.data_dir=here", "seed=1"],
    ["datamodule=cifar10", "datamodule.data_dir='~/there'", "seed=2"],
    ["datamodule=cifar10", "paths.root=/somewhere", "name=x"],
    ["datamodule=cifar10", "paths.root=/anywhere", "name=y"],
    ["paths.data_dir=/data", "datamodule=cifar10"],
    ["paths.data_dir=data", "datamodule=cifar10"],
    ["paths.data_dir='~/data/'", "datamodule=cifar10"],
    ["paths.log_dir='~/logs'", "seed=1"],
    ["paths.log_dir=logs/", "seed=2"],
    ["experiment=lenet", "++paths={log_dir: '~/logs'}", "seed=2"],
    ["+trainer.min_epochs=1", "seed=1"],
    ["+trainer.min_epochs=2", "seed=2"],
    ["++module.optimizer.lr=1", "datamodule.seed=3"],
    ["++module.optimizer.lr=2", "datamodule.seed=4"],
    ["optimizer=adam", "optimizer.betas=[0.5,0.6]", "module.num_classes=3"],
    ["optimizer=adam", "optimizer.betas=[0.7,0.6]", "module.num_classes=3"],
    ["optimizer=adam", "optimizer.betas=[0.6,'${optimizer.lr}']", "module.num_classes=4"],
    [
        "callbacks.step_seed.seed='a ${callbacks.step_seed.x}${oc.env:HOME} ${compile}'",
        "+callbacks.step_seed.x='${seed}'",
    ],
    ["seed=1", "++names={a.b: {c: '${seed}'}}"],
    ["seed=2", "++names={a.b: {c: '${seed}'}}"],
    ["experiment=init_depth", "seed=1"],
    ["experiment=init_depth", "seed=2"],
    ["++note='a ${seed}'", "seed=1"],
    ["++note='a ${seed}'", "seed=2"],
    ["++note='${name} ${seed}'", "++more='${root:} ${note}'", "seed=1"],
    ["++note='${name} ${seed}'", "++more='${root:} ${note}'", "seed=2"],
    ["seed=9", "logger.tensorboard.name='${oc.select:no,${seed}}'"],
    ["seed=10", "logger.tensorboard.name='${oc.select:no,${seed}}'"],
    ["seed=1", "logger.tensorboard.name=a"],
    ["seed=1", "logger.tensorboard.name=my_token"],  # a word that is looked at as a secret's may be
    ["seed=2", "logger.tensorboard.name=null"],
]
SWEEP_DIRS = [
    "${paths.log_dir}/${name}",
    "/z/${hydra.job.override_dirname}",
    "/z/${oc.select:hydra.job.override_dirname,no}",
    "/z/${seed}",
    "${name}",
]


@dataclass
class Composed:
    """What Hydra composes for a job.

    Args:
        folders: of the sweep, by `hydra.sweep.dir`.
        written: the values as they are written, by dotted key.
        values: the same, resolved.
        yaml: the resolved values.
    """

    folders: dict[str, str]
    written: dict[str, Any]
    values: dict[str, Any]
    yaml: str


@contextmanager
def sweep_to(folder: str, *more: str) -> Iterator[tuple[Any, DictConfig]]:
    """Give Hydra's loader of configs, and the config of a sweep."""
    train.open()
    with initialize_config_dir(str(train.conf), version_base="1.3"):
        loader: Any = GlobalHydra.instance().config_loader()
        words = [f"hydra.sweep.dir={folder}", *more]
        yield loader, loader.load_configuration("config", words, RunMode.MULTIRUN)


def composed(whole: DictConfig, words: list[str]) -> Composed:
    folders = {}
    for sweep_dir in SWEEP_DIRS:
        if not any(word.startswith("hydra.sweep.dir=") for word in words):
            whole.hydra.sweep.dir = sweep_dir
        folders[sweep_dir] = str(Path.cwd() / Path(whole.hydra.sweep.dir).expanduser())
    own = OmegaConf.masked_copy(whole, [key for key in whole if key != "hydra"])
    written: Any = OmegaConf.to_container(own)
    for key in ("paths.data_dir", "paths.log_dir", "datamodule.data_dir"):
        if (folder := OmegaConf.select(own, key)) is not None:
            OmegaConf.update(own, key, str(Path.cwd() / Path(folder).expanduser()))
    values: Any = OmegaConf.to_container(own, resolve=True)
    return Composed(folders, dotted(written), values, OmegaConf.to_yaml(own, resolve=True))


@pytest.fixture(scope="module")
def by_hydra() -> list[Composed]:
    """What Hydra composes for the jobs, of choices that it composes once (kept_configs.py)."""
    with sweep_to("/x") as (loader, sweep):
        return [composed(loader.load_sweep_config(sweep, words), words) for words in JOBS]


@pytest.mark.slow
@pytest.mark.parametrize("sweep_dir", SWEEP_DIRS)
def test_every_job_is_as_hydra_composes_it(sweep_dir: str, by_hydra: list[Composed]) -> None:
    with sweep_to(sweep_dir) as (loader, sweep):
        compose = Composer(loader, sweep)
        # The folder is another question than the values: for most folders some jobs will do.
        every = 1 if sweep_dir == SWEEP_DIRS[0] else 6
        pairs = list(zip(JOBS, by_hydra, strict=True))[::every]
        if "hydra" not in sweep_dir:  # a job may depend on what has been composed before
            pairs += reversed(pairs)
        for words, expected in pairs:
            made = compose(words)
            assert str(made.sweep_dir) == expected.folders[sweep_dir]
            assert made.overrides == words
            # by repr, as 1 is neither 1.0 nor true
            assert repr(sorted(made.config.written.items())) == repr(
                sorted(expected.written.items())
            )
            assert repr(made.config.values_by_node) == repr(expected.values)
            assert made.config.yaml == expected.yaml


def test_a_key_that_is_not_there_is_hydras_error() -> None:
    error = pytest.raises(ConfigCompositionException, match=r"Could not override 'optimizer\.no'")
    with sweep_to("/x") as (loader, sweep), error:
        Composer(loader, sweep)(["seed=1", "optimizer.no=1"])


REFERRING = """
seed: 0
name: a
width: 8
sizes: [1, "${width}", {deep: ["${sizes.1}", "x${name}"]}]
module: {_target_: torch.nn.Linear, in_features: "${width}", out_features: "${.in_features}"}
optimizer: {lr: 0.1, decay: "${oc.select:no,${.lr}}", words: {"a.b": "${name}"}}
copy: {optimizer: "${optimizer}", of: {sizes: "${sizes}"}, empty: "", escaped: 'a \\${name}'}
chosen: "${copy.${pick}}"
pick: empty
datamodule: {data_dir: "data/${name}", cache_dir: null, also: "${.data_dir}"}
through: ["${copy.optimizer.lr}", "${copy.of.sizes.2.deep.0}"]
fixed: {z: 1}
alike: {fixed: "${fixed}", z: "${alike.fixed.z}"}
now: "${oc.env:NO_SUCH_VARIABLE,${seed}}"
sweep: {retry: null, force: false, dry_run: false, wait: false}
hydra: {sweep: {dir: "/s/${name}/${copy.optimizer.lr}"}}
"""
SETTINGS: list[dict[str, Any]] = [
    {
        "seed": 1,
        "name": "b",
        "width": 3,
        "optimizer.lr": 0.5,
        "pick": "optimizer",
        "datamodule.cache_dir": "here",
    },
    {
        "seed": 2,
        "name": "",
        "width": None,
        "optimizer.lr": 1,
        "pick": "of",
        "datamodule.cache_dir": "'~/there'",
    },
    {
        "seed": 1,
        "name": "b",
        "width": 3.0,
        "optimizer.lr": True,
        "pick": "escaped",
        "datamodule.cache_dir": "",
    },
    {
        "seed": 2,
        "name": "'0.5'",
        "width": "w",
        "optimizer.lr": 0.25,
        "pick": "empty",
        "datamodule.cache_dir": None,
    },
]


def test_jobs_that_set_the_same_keys_are_resolved_as_one_by_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    parser = OverridesParser.create()
    resolved_whole: list[Any] = []
    resolve = Config.resolve

    def counted(*arguments: Any) -> Config:
        resolved_whole.append(arguments)
        return resolve(*arguments)

    compose = Composer(mock.Mock(), OmegaConf.create({"hydra": {}}))
    monkeypatch.setattr(compose, "_parser", parser)
    monkeypatch.setattr("engine.sweep.compose.is_group", lambda loader, name: False)
    monkeypatch.setattr(
        "engine.sweep.compose.composed_by_hydra",
        lambda loader, sweep, words: OmegaConf.create(REFERRING),
    )
    monkeypatch.setattr("engine.sweep.compose.check_values", lambda config: None)
    for settings in [*SETTINGS, *reversed(SETTINGS)]:
        words = [f"{key}={'null' if own is None else own}" for key, own in settings.items()]
        expected: Any = OmegaConf.create(REFERRING)
        for override in parser.parse_overrides(words):
            OmegaConf.update(expected, override.key_or_group, override.value())
        folder = Path(expected.hydra.sweep.dir)
        del expected["hydra"]
        whole = resolve(expected, words)
        with monkeypatch.context() as patch:
            patch.setattr(Config, "resolve", counted)
            made = compose(words)
        assert repr(made.config.values_by_node) == repr(whole.values_by_node)
        assert repr(made.config.written) == repr(whole.written)
        assert made.config.overrides == whole.overrides
        assert made.sweep_dir == folder
    assert not resolved_whole


ELSEWHERE = """# @package _global_
defaults: [linear, {override /hydra/launcher: joblib}]
hydra: {launcher: {n_jobs: 2}}
"""


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "hydra/launcher=basic"),
        (["hydra/launcher=joblib"], "hydra.launcher.n_jobs=null"),
        (["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"], None),
        (["experiment=elsewhere"], None),
    ],
)
def test_an_experiment_s_own_launcher_is_not_lost_among_others(
    words: list[str], says: str | None, tmp_path: Path
) -> None:
    """As it happened: jobs for a cluster ran in the process that was to send them there."""
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment/elsewhere.yaml").write_text(ELSEWHERE)
    with sweep_to("/x", f"hydra.searchpath=[file://{tmp_path}]", *words) as (loader, sweep):
        compose = Composer(loader, sweep)
        if says is None:
            assert compose(["experiment=elsewhere", "seed=3"]).config["seed"] == 3
            return
        with pytest.raises(UserError) as refused:
            compose(["experiment=elsewhere", "seed=3"])
    assert str(refused.value) == (
        f"experiment=elsewhere: sets {says.partition('=')[0]} for a sweep of its own, which would "
        f"be lost in a sweep over more.\nSweep over it by itself, or leave that out: {says}"
    )


def test_a_reference_that_leads_nowhere_for_one_job_is_named() -> None:
    with sweep_to("/x") as (loader, sweep):
        whole = loader.load_sweep_config(sweep, ["++a={b: 1}", "++c='${a.${name}}'"])
        loader.load_sweep_config = lambda sweep, words: whole
        compose = Composer(loader, sweep)
        assert compose(["name=b"]).config["c"] == 1
        with pytest.raises(InterpolationKeyError, match=r"a\.d"):
            compose(["name=d"])
        assert compose(["name=b"]).config["c"] == 1


def test_a_job_without_a_value_that_it_needs_is_refused() -> None:
    with sweep_to("/x") as (loader, sweep):
        compose = Composer(loader, sweep)
        says = r"^optimizer\.lr: has no value \(\?\?\?\); write optimizer\.lr=VALUE$"
        for _ in range(2):
            assert compose(["seed=1", "optimizer.lr=0.5"]).config["module.optimizer.lr"] == 0.5
            with pytest.raises(UserError, match=says):
                compose(["seed=1", "optimizer.lr=???"])
        whole = loader.load_sweep_config(sweep, ["++x.lr=???"])
        loader.load_sweep_config = lambda sweep, words: whole
        compose = Composer(loader, sweep)
        for seed in (1, 2):
            with pytest.raises(UserError, match=r"^x\.lr: has no value"):
                compose([f"seed={seed}"])


def test_a_resolver_that_gives_a_number_of_numpy_is_refused_for_each_job() -> None:
    OmegaConf.register_new_resolver("root_of", np.sqrt, replace=True)
    with sweep_to("/x") as (loader, sweep):
        whole = loader.load_sweep_config(sweep, ["++width='${root_of:${seed}}'"])
        loader.load_sweep_config = lambda sweep, words: whole
        compose = Composer(loader, sweep)
        for seed in (1, 2):
            with pytest.raises(
                UserError, match=r"^width: is a numpy\.float64, which no file of a run"
            ):
                compose([f"seed={seed}"])


def test_jobs_have_what_a_resolver_has_said_before() -> None:
    """Such as the time of ${now:…}, which all jobs of a sweep share."""
    with sweep_to("/x") as (loader, sweep):
        whole = loader.load_sweep_config(sweep, ["++time='${now:%S-%f}'"])
        said = whole.time
        loader.load_sweep_config = lambda sweep, words: whole
        compose = Composer(loader, sweep)
        assert [compose([f"seed={seed}"]).config["time"] for seed in (1, 2)] == [said, said]
