"""The config of a received folder runs no code: each payload would leave a marker, and does not."""

import contextlib
import os
import re
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from commands import EXPERIMENTS, ROOT, composed
from engine.config import admission, objects, plain_yaml
from engine.errors import UserError
from engine.run import folders
from engine.run.checkpoint import file as checkpoint_file
from payloads import OWN, PAYLOADS, built, received


@pytest.mark.parametrize("payload", PAYLOADS.values(), ids=PAYLOADS)
def test_a_payload_is_refused(payload: Callable[[str], Any], marker: Path, tmp_path: Path) -> None:
    node = payload(str(marker))
    run_dir = received(tmp_path / "run", plain_yaml.dump({"callbacks": {"evil": node}}))
    with pytest.raises(UserError) as refused:
        objects.build(folders.load_config(run_dir, OWN)["callbacks.evil"], "evil")
    says, how = str(refused.value).splitlines()
    assert says.startswith(
        f"{run_dir}: its config was not made here, or was edited, and callbacks.evil"
    )
    assert how == "If you trust whoever did so, add trust=true: it may then run any code."
    assert not marker.exists()


@pytest.mark.parametrize("payload", PAYLOADS.values(), ids=PAYLOADS)
def test_the_same_payload_does_its_work_where_nobody_refuses_it(
    payload: Callable[[str], Any], marker: Path
) -> None:
    kept = None
    with warnings.catch_warnings(), contextlib.suppress(Exception):  # once it has done its work
        warnings.simplefilter("ignore")
        kept = built(payload(str(marker)))  # an open file, say
    assert marker.exists() or marker.is_symlink()
    getattr(kept, "close", lambda: None)()


def test_there_are_as_many_payloads_as_were_seen() -> None:
    assert len(PAYLOADS) >= 39


@pytest.mark.parametrize("words", ["${writes:MARKER}", r"\${writes:MARKER}", "a ${oc.env:HOME} b"])
@pytest.mark.parametrize("key", ["name", "_target_"])
def test_nothing_is_looked_up_for_a_received_config(
    words: str, key: str, marker: Path, tmp_path: Path
) -> None:
    OmegaConf.register_new_resolver("writes", os.mkdir, replace=True)  # a user may have any
    text = plain_yaml.dump({"module": {key: words.replace("MARKER", str(marker))}})
    run_dir = received(tmp_path / "run", text)
    with pytest.raises(UserError, match=f"module.{key}="):
        folders.load_config(run_dir, OWN)
    assert not marker.exists()
    OmegaConf.clear_resolver("writes")


@pytest.mark.parametrize(
    "target", [None, 3, ["os.mkdir"], {"a": 1}, "", "os", "os..mkdir", "os.mkdir ", "???"]
)
def test_a_target_that_is_no_path_is_refused(target: Any, tmp_path: Path) -> None:
    run_dir = received(tmp_path, plain_yaml.dump({"module": {"_target_": target}}))
    with pytest.raises(UserError, match=r"module\._target_=.* is not the path of a class"):
        folders.load_config(run_dir, OWN)


def test_an_archive_that_grows_is_no_checkpoint(tmp_path: Path) -> None:
    torch.save({"state_dict": {"w": torch.zeros(1000)}}, tmp_path / "sound.ckpt")
    with (
        zipfile.ZipFile(tmp_path / "sound.ckpt") as sound,
        zipfile.ZipFile(tmp_path / "bomb.ckpt", "w", zipfile.ZIP_DEFLATED) as bomb,
    ):
        for member in sound.infolist():
            bomb.writestr(member.filename, sound.read(member))
    model = torch.nn.Linear(1, 1)
    assert checkpoint_file.read(tmp_path / "sound.ckpt")["state_dict"]["w"].shape == (1000,)
    says = r"bomb\.ckpt: cannot be read: it is packed"
    with pytest.raises(UserError, match=says):
        checkpoint_file.load_weights(model, tmp_path / "bomb.ckpt")
    with pytest.raises(UserError, match=says):
        checkpoint_file.WholeFileIO().load_checkpoint(tmp_path / "bomb.ckpt", weights_only=True)


MORE = {
    "augment, schedule": ["augment=flip_crop", "scheduler=one_cycle", "optimizer=adamw"],
    "plateau": ["scheduler=plateau", "init=xavier", "logger=csv"],
    "callbacks": ["callbacks=[classification,early_stopping,ema,histograms,device_stats]"],
    "profiler": ["debug=profiler"],
}


@pytest.mark.parametrize(
    "words", [[f"experiment={name}"] for name in EXPERIMENTS] + list(MORE.values()), ids=str
)
def test_a_received_run_of_this_template_needs_no_trust(words: list[str], tmp_path: Path) -> None:
    config = composed(words)
    run_dir = received(tmp_path, plain_yaml.dump(config.values_by_node))
    assert folders.load_config(run_dir, "project").hash == config.hash


ALLOWED = [
    "torch.nn.Linear",
    "torch.nn.functional.relu",
    "torch.nn.init.zeros_",
    "torch.optim.lr_scheduler.ReduceLROnPlateau",
    "torch.utils.data.TensorDataset",
    "torch.utils.data.RandomSampler",
    "torchvision.models.resnet18",
    "torchvision.datasets.FakeData",
    "torchvision.transforms.Compose",
    "torchvision.transforms.v2.RandomRotation",
    "torchmetrics.classification.MulticlassAccuracy",
    "lightning.pytorch.Trainer",
    "lightning.pytorch.callbacks.LambdaCallback",
    "lightning.pytorch.loggers.CSVLogger",
    "lightning.pytorch.profilers.SimpleProfiler",
    "lightning.pytorch.strategies.DDPStrategy",
    "engine.augment.Each",
    "engine.schedules.cosine",
    "project.init.he",
]
NOT_ALLOWED = [
    "torch.load",
    "torch.jit.load",
    "torch.hub.load",
    "torch.nn.Module.load_state_dict",
    "torch.nn.modules.module.torch.load",
    "torchvision.datasets.LSUN",  # reads a pickle
    "torchvision.datasets.utils.download_url",
    "torchmetrics.multimodal.clip_score.CLIPScore",  # runs the code of a model in any folder
    "torchmetrics.text.bert.BERTScore",
    "torch.fx.GraphModule",
    "torch.jit.ScriptModule",
    "torch.distributed.nn.RemoteModule",
    "torch.utils.data.DataLoader",
    "torch.utils.data.datapipes.iter.FileOpener",
    "lightning.pytorch.LightningModule.load_from_checkpoint",
    "engine.command",
    "engine.evaluate",
    "engine.seeds.generator",
    "project.modules.lenet.LeNet5.load_from_checkpoint",
    "project.train.train",
    "project.train.command",
    "numpy.load",
    "sklearn.datasets.load_files",
    "hydra.utils.instantiate",
    "optuna.create_study",
]


@pytest.mark.parametrize("target", ALLOWED)
def test_what_runs_need_is_admitted(target: str, tmp_path: Path) -> None:
    admission.admit({"x": [{"_target_": target, "_partial_": True}]}, "project", tmp_path)


@pytest.mark.parametrize("target", NOT_ALLOWED)
def test_what_no_run_needs_is_refused(target: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"x\.0\._target_="):
        admission.admit({"x": [{"_target_": target}]}, "project", tmp_path)


def test_an_archive_behind_another_checkpoint_is_none(marker: Path, tmp_path: Path) -> None:
    """torch.load would read the first, and Lightning's FSDP unpickle the second."""
    old = tmp_path / "old.ckpt"
    torch.save({"w": torch.zeros(2)}, old, _use_new_zipfile_serialization=False)
    assert checkpoint_file.read(old)["w"].shape == (2,)
    old.write_bytes(old.read_bytes() + (tmp_path / "marker.pt").read_bytes())
    assert torch.load(old, weights_only=True)["w"].shape == (2,)
    with pytest.raises(UserError, match="it is an archive behind something else"):
        checkpoint_file.read(old)
    assert not marker.exists()


def test_sources_load_no_pickles() -> None:
    """But for what a process has pickled itself, in memory; CIFAR-10's files have known md5s."""
    calls = {}
    for file in (ROOT / "src").rglob("*.py"):
        found = [
            line.strip()
            for line in file.read_text().splitlines()
            if re.search(r"pickle\.loads?\(|allow_pickle", line)
            or ("torch.load(" in line and "weights_only=True" not in line)
        ]
        if found:
            calls[file.name] = found
    assert calls == {
        "compose.py": ["config: DictConfig = pickle.loads(self._bases[choices])"],
        "hydra.py": ["return pickle.loads(kept[key])"],
    }
