"""Jobs composed from shared choices: to the last value what Hydra composes for each."""

from typing import Any

import pytest
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import ConfigCompositionException
from hydra.types import RunMode
from omegaconf import OmegaConf

from project.composing import Composer
from project.config import CONF, register_resolvers

JOBS = [
    ["seed=1"],
    ["experiment=curve_fit", "seed=1", "optimizer.lr=0.1", "name=x"],
    ["optimizer.lr=0.1", "experiment=curve_fit", "seed=2"],
    ["experiment=curve_fit", "optimizer=adam", "optimizer.betas=[0.8,0.9]", "module.hidden=3"],
    ["experiment=lenet", "callbacks=[classification,histograms]", "+trainer.min_epochs=2", "paths.log_dir=/x"],
    ["experiment=curve_fit", "~callbacks.curve", "seed=3"],
    ["datamodule=line", "datamodule={samples: 4}", "seed=3"],
    ["seed=1", "optimizer.lr=${seed}", "++a.b=[1,{c: null}]"],
    ["hydra.sweep.dir=/y", "seed=1"],
]


def loader() -> Any:
    return GlobalHydra.instance().config_loader()


@pytest.mark.parametrize("sweep_dir", ["${paths.log_dir}/${name}", "/z/${hydra.job.override_dirname}"])
def test_every_job_is_as_hydra_composes_it(sweep_dir: str) -> None:
    register_resolvers()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        sweep = loader().load_configuration("config", [f"hydra.sweep.dir={sweep_dir}"], RunMode.MULTIRUN)
        compose = Composer(loader(), sweep)
        for words in [*JOBS, *reversed(JOBS)]:  # whatever has been composed before
            theirs = loader().load_sweep_config(sweep, words)
            folder = theirs.hydra.sweep.dir
            own = OmegaConf.masked_copy(theirs, [key for key in theirs if key != "hydra"])
            ours, our_folder = compose(words)
            assert our_folder == folder
            assert list(ours) == list(own)
            assert OmegaConf.to_container(ours) == OmegaConf.to_container(own)
            assert OmegaConf.to_yaml(ours, resolve=True) == OmegaConf.to_yaml(own, resolve=True)
            assert OmegaConf.is_struct(ours)  # as the config that Hydra gives a job


def test_a_key_that_is_not_there_is_hydras_error() -> None:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        sweep = loader().load_configuration("config", [], RunMode.MULTIRUN)
        with pytest.raises(ConfigCompositionException, match=r"Could not override 'optimizer\.no'"):
            Composer(loader(), sweep)(["seed=1", "optimizer.no=1"])
