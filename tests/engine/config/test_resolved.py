"""The config of a run: resolved once, read by dotted key, and its hash."""

import json
import re
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from engine.config import objects
from engine.config.resolved import Config, word_about
from engine.errors import UserError
from engine.run import folders

CONFIG: dict[str, Any] = {
    "name": "lenet",
    "seed": 0,
    "paths": {"data_dir": "/data", "log_dir": "/logs"},
    "optimizer": {"_target_": "torch.optim.SGD", "lr": 0.001},
    "module": {"_target_": "project.Net", "optimizer": "${optimizer}"},
    "datamodule": {
        "_target_": "project.Data",
        "batch_size": 4,
        "data_dir": "${paths.data_dir}/cifar10",
        "cache_dir": "/cache",
        "num_workers": 0,
    },
    "trainer": {
        "_target_": "engine.BlockTrainer",
        "max_epochs": 5,
        "accelerator": "auto",
        "devices": "auto",
        "strategy": "auto",
    },
    "logger": {"csv": {"_target_": "engine.MetricsCSV"}},
    "callbacks": {"progress_bar": {"refresh_seconds": 0.2}, "checkpoints": {"every_n_steps": 1000}},
}


def config(**changes: Any) -> DictConfig:
    """`CONFIG` with changes by dotted key."""
    made = OmegaConf.create(CONFIG)
    for key, value in changes.items():
        OmegaConf.update(made, key, value)
    return made


def resolved(made: DictConfig) -> Config:
    return Config.resolve(made)


def test_a_value_is_resolved_once_also_when_a_run_s_folder_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each class got what the words led to: another value than its config said, and hash."""
    found = []
    for place in ("one", "two"):
        monkeypatch.setenv("WORD_OF_TESTS", "${seed}")
        monkeypatch.setenv("OTHER_OF_TESTS", place)
        words = [r"\${seed}", "${oc.env:WORD_OF_TESTS}", r"\${oc.env:OTHER_OF_TESTS}", "${name}"]
        node = {"_target_": "builtins.dict", "words": words, "api_key": "${oc.env:OTHER_OF_TESTS}"}
        made = resolved(config(extra=node, **{"paths.data_dir": r"/\${a}"}))
        folders.save_config(tmp_path / place, made, "mine.train")
        read = folders.load_config(tmp_path / place)
        assert {**read} == {**made}
        for own in (made, read):
            plain = ["${seed}", "${seed}", "${oc.env:OTHER_OF_TESTS}", "lenet"]
            assert objects.build(own["extra"], "extra") == {"words": plain, "api_key": place}
            data = {**own["datamodule"], "_target_": "builtins.dict"}
            assert objects.build(data, "datamodule")["data_dir"] == "/${a}/cifar10"
            found.append(own.hash)
    assert len(set(found)) == 1


def backwards(node: Any) -> Any:
    """The same mapping, with the arguments of each class in the opposite order."""
    if isinstance(node, list):
        return [backwards(inner) for inner in node]
    if not isinstance(node, dict):
        return node
    names = reversed(node) if "_target_" in node else node
    return {name: backwards(node[name]) for name in names}


def test_hash_does_not_depend_on_the_order_of_keys_that_are_read_by_name() -> None:
    crop = {"_target_": "project.Crop", "size": 3, "_partial_": True, "by": [1, {"a": 1, "b": 2}]}
    own = {**CONFIG, "module": {"_target_": "project.Net", "crop": crop, "all": [[crop], 2]}}
    other = OmegaConf.create({key: backwards(own[key]) for key in reversed(own)})
    assert resolved(other).hash == resolved(OmegaConf.create(own)).hash
    shown_last = dict(CONFIG["callbacks"])
    shown_last["progress_bar"] = shown_last.pop("progress_bar")
    assert resolved(config(callbacks=shown_last)).hash == resolved(config()).hash


FLIP, ERASE = {"_target_": "project.Flip"}, {"_target_": "project.Erase", "p": 0.5}


@pytest.mark.parametrize(
    ("key", "one", "other"),
    [
        ("augment", {"flip": FLIP, "erase": ERASE}, {"erase": ERASE, "flip": FLIP}),
        ("callbacks", {"a": FLIP, "b": ERASE}, {"b": ERASE, "a": FLIP}),
        ("module.free", {"a": 1, "b": 2}, {"b": 2, "a": 1}),
        ("module.free", [1, {"a": 1, "b": [2]}], [1, {"b": [2], "a": 1}]),
        ("module.free", {"x": {"a": {}, "b": {}}}, {"x": {"b": {}, "a": {}}}),
        ("module.free", {0: "x"}, {"0": "x"}),
        ("module.free", {1: "x"}, {True: "x"}),
        ("module.free", [{0: "x"}], [{"0": "x"}]),
        ("module.free", {1: "x"}, {1.0: "x"}),
        ("module.free", {"a.b": 1}, {"a": {"b": 1}}),
        ("module.free", {"a": {}}, {"a": []}),
    ],
)
def test_hash_tells_mappings_apart_that_are_handed_on_as_they_are(
    key: str, one: Any, other: Any
) -> None:
    """As it happened: a job with transforms in another order was given the results of the first."""
    made, otherwise = (resolved(config(**{key: value})) for value in (one, other))
    assert made.hash != otherwise.hash
    assert repr(json.loads(made.relevant)) != repr(json.loads(otherwise.relevant))
    assert resolved(OmegaConf.create(made.yaml)).hash == made.hash


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("name", "other"),
        ("paths.log_dir", "/elsewhere"),
        ("paths.data_dir", "/elsewhere"),
        ("logger", {}),
        ("callbacks.progress_bar.refresh_seconds", 9),
        ("callbacks.progress_bar", None),
        ("datamodule.cache_dir", "/c"),
        ("datamodule.num_workers", 8),
        ("trainer.accelerator", "gpu"),
        ("trainer.devices", 1),
        ("trainer.strategy", "ddp"),
        ("trainer.strategy", "ddp_find_unused_parameters_true"),
    ],
)
def test_hash_does_not_depend_on_what_cannot_change_the_result(key: str, value: object) -> None:
    assert resolved(config(**{key: value})).hash == resolved(config()).hash


def test_of_the_loggers_only_a_table_counts() -> None:
    """Without one, a run has no metrics: a sweep took such runs for those that it asked for."""
    board = {"tensorboard": {"_target_": "engine.TensorBoard"}}
    with_table = [{"a": {"_target_": "mine.CSVLogger"}}, {"csv": CONFIG["logger"]["csv"], **board}]
    without = [None, {}, board, {"csv": None}]
    hashes = [
        [resolved(OmegaConf.create({**CONFIG, "logger": own})).hash for own in loggers]
        for loggers in ([CONFIG["logger"]], with_table, without)
    ]
    assert set(hashes[0]) == set(hashes[1])
    assert len(set(hashes[2])) == 1
    assert hashes[0][0] not in hashes[2]


def test_hash_tells_all_else_apart() -> None:
    changes = [
        {},
        {"seed": 1},
        {"optimizer.lr": 0.002},
        {"datamodule.batch_size": 8},
        {"trainer.max_epochs": 6},
        {"callbacks.checkpoints.every_n_steps": 10},
        {"trainer.precision": "bf16"},
        {"module.name": "x"},
        {"module.name": {}},
        {"datamodule.data_dir": "/elsewhere/cifar10"},
        {"named": "x"},
        {"trainer.strategy": {"_target_": "lightning.pytorch.strategies.DDPStrategy"}},
        {"trainer.strategy": {"_target_": "mine.Rounding", "bits": 16}},
        {"trainer.strategy": "fsdp"},
        {"trainer.devices": 2},
        {"trainer.devices": 3},
    ]
    hashes = {resolved(config(**change)).hash for change in changes}
    assert len(hashes) == len(changes)
    assert all(re.fullmatch(r"[0-9a-f]{64}", digest) for digest in hashes)


def test_hash_leaves_the_config_as_it_was() -> None:
    _ = resolved(made := config()).hash
    assert made == config()
    assert OmegaConf.is_interpolation(made.module, "optimizer")


def test_keys_that_follow_another_one_are_known_as_they_were_written() -> None:
    made = config(
        **{
            "trainer.epochs": "${trainer.max_epochs}",
            "trainer.relative": "${.max_epochs}",
            "module.relative": "${..trainer.max_epochs}",
            "module.of_both": "${seed} of ${trainer.epochs}",
            "module.inner": {"whole": "${trainer}", "other": "${seed}"},
            "module.no_reference": "trainer.max_epochs",
            "module.of_seed": "${seed}",
        }
    )
    keys = ["module.inner.whole", "module.of_both", "module.relative"]
    keys += ["trainer.epochs", "trainer.relative"]
    assert resolved(made).following(["trainer.max_epochs"]) == keys
    assert Config(resolved(made).values_by_node).following(["trainer.max_epochs"]) == []


@pytest.mark.parametrize("before", ["", "a ", "${seed}", r"\${seed}"])
@pytest.mark.parametrize("backslashes", range(6))
def test_what_is_escaped_follows_no_other_key(before: str, backslashes: int) -> None:
    """As it happened: a longer run was said to go on with what is made of the shorter length.

    OmegaConf itself knows: a value that is made of another one changes with it.
    """
    text = before + backslashes * "\\" + "${trainer.max_epochs}"
    one, other = (
        resolved(config(**{"module.text": text, "trainer.max_epochs": epochs})) for epochs in (5, 6)
    )
    is_made_of_it = one["module.text"] != other["module.text"]
    assert is_made_of_it is (backslashes % 2 == 0)
    assert one.following(["trainer.max_epochs"]) == ["module.text"] * is_made_of_it


def test_a_value_is_read_by_dotted_key() -> None:
    made = resolved(config())
    assert made["trainer.max_epochs"] == made["trainer"]["max_epochs"] == 5
    assert made["module.optimizer.lr"] == 0.001
    assert made.written["module.optimizer"] == "${optimizer}"
    assert made.get("sweep.trial.study") is None
    assert made.get("trainer.max_epochs.x") is None
    assert "trainer.accelerator" in made
    assert "trainer.acelerator" not in made
    with pytest.raises(KeyError, match=r"trainer\.max_epochs\.x"):
        _ = made["trainer.max_epochs.x"]
    assert "sweep.trial.study" not in made
    with pytest.raises(KeyError) as refused:
        _ = made["optimizer.lrr"]
    assert refused.value.args == ("optimizer.lrr: no such key. Did you mean optimizer.lr?",)
    with pytest.raises(KeyError, match=r"optimizerr: no such key\. Did you mean optimizer\?"):
        _ = made["optimizerr"]
    assert {**made} == made.values_by_node
    assert len(made) == len(CONFIG)


def test_words_for_a_sweep_are_no_part_of_a_run() -> None:
    words = ["seed=1", "sweep.retry=failed", "sweep.trial={study:x}", "optimizer.lr=1"]
    assert Config({}, overrides=words).overrides == ["seed=1", "optimizer.lr=1"]


def test_data_folders_are_absolute_for_all_who_refer_to_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    written = {
        "datamodule": {"data_dir": "${folder}/images", "cache_dir": None},
        "folder": "mine",
        "other": "${datamodule.data_dir}",
    }
    images = str(tmp_path / "mine" / "images")
    made = resolved(OmegaConf.create(written))
    assert made["datamodule.data_dir"] == made["other"] == images
    assert made["datamodule.cache_dir"] is None


def test_the_places_of_runs_and_data_are_absolute_for_all_who_refer_to_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it happened: a folder of the name ~ was made in the current one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/me")
    paths = {"log_dir": "~/logs/", "data_dir": "../d/./"}
    made = resolved(
        config(paths=paths, module={"a": "${paths.log_dir}/a", "d": "${paths.data_dir}"})
    )
    data_dir = str(tmp_path.parent / "d")
    assert made["paths"] == {"log_dir": "/home/me/logs", "data_dir": data_dir}
    assert (made["module.a"], made["module.d"]) == ("/home/me/logs/a", data_dir)
    assert made["datamodule.data_dir"] == f"{data_dir}/cifar10"


def test_the_data_folder_counts_by_where_it_lies_below_the_place_of_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    written = ["/d", "/d/", "d", "~/d", "/d/../e"]
    same = {resolved(config(**{"paths.data_dir": own})).hash for own in written}
    same |= {
        resolved(config(**{"paths.data_dir": "/d", "datamodule.data_dir": "/d/cifar10/"})).hash
    }
    assert same == {resolved(config()).hash}
    others = ["/d", "/cifar10", "/dcifar10", "/d/cifar10/x", "cifar10"]
    hashes = {
        resolved(config(**{"paths.data_dir": "/d", "datamodule.data_dir": own})).hash
        for own in others
    }
    assert len(hashes | same) == len(others) + 1


def test_an_interpolation_that_leads_nowhere_names_its_key() -> None:
    with pytest.raises(OmegaConfBaseException, match=r"full_key: a\.b"):
        resolved(OmegaConf.create({"a": {"b": "${nowhere}"}}))


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"name": "???"}, "name: has no value (???); write name=VALUE"),
        (
            {"module": {"of": "${scheduler}"}, "scheduler": {"power": "???"}},
            "scheduler.power: has no value (???); write scheduler.power=VALUE",
        ),
        (
            {"module": {"by": [1, {"a": ["???"]}]}},
            "module.by.1.a.0: has no value (???); write module.by=VALUE",
        ),
    ],
)
def test_a_key_without_a_value_is_refused(values: Any, says: str) -> None:
    """As it happened: a partial trained with its default, and a run's folder was named ???."""
    with pytest.raises(UserError) as refused:
        resolved(OmegaConf.create(values))
    assert str(refused.value) == says


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (np.float32(0.5), "numpy.float32"),
        (np.float64(0.5), "numpy.float64"),
        (np.int64(5), "numpy.int64"),
        (np.str_("a"), "numpy.str_"),
        (Fraction(1, 2), "fractions.Fraction"),
        (Path("a"), f"{type(Path()).__module__}.PosixPath"),
        (b"a", "bytes"),
    ],
)
def test_a_value_that_is_not_plain_is_refused(value: Any, said: str) -> None:
    """As it happened: a traceback that YAML or JSON has no such value."""
    OmegaConf.register_new_resolver("gives", lambda: value, replace=True)
    written = {
        "optimizer.lr": {"module": {"by": "${optimizer}"}, "optimizer": {"lr": "${gives:}"}},
        "module.by.0.a": {"module": {"by": [{"a": "${gives:}"}]}},
    }
    for key, values in written.items():
        with pytest.raises(UserError) as refused:
            resolved(OmegaConf.create(values))
        assert str(refused.value).splitlines() == [
            f"{key}: is a {said}, which no file of a run can hold.",
            "A resolver may give a str, an int, a float, a bool, None, a list or a dict of Python.",
        ]


def test_plain_values_of_a_resolver_are_as_it_gives_them() -> None:
    given = {"a": [1, 0.5, None, True, "b", {}, {1: 2, 0.5: 3}]}
    OmegaConf.register_new_resolver("gives", lambda: given, replace=True)
    assert repr(resolved(OmegaConf.create({"x": "${gives:}"}))["x"]) == repr(given)


def test_an_object_that_is_left_out_needs_no_values() -> None:
    written = {"module": {"_target_": "package.Net"}, "mine": {"_target_": "package.X", "n": "???"}}
    assert "mine" not in Config.resolve(OmegaConf.create(written), [], ())


def object_of(kind: str, **values: Any) -> dict[str, Any]:
    return {"_target_": f"package.{kind}", **values}


@pytest.mark.parametrize(
    ("module", "callbacks"),
    [
        ({"optimizer": "${optimizer}"}, {}),
        ({"lr": "${optimizer.lr}"}, {}),
        ({"optimizer": "${..optimizer}"}, {}),
        ({"parts": ["${mine}"]}, {}),
        ({"optimizer": "${oc.select:optimizer,null}"}, {}),
        ({"rate": "${rates.${optimizer.name}}"}, {}),
        ({}, {"ema": {"of": "${mine}"}}),
    ],
    ids=["object", "value", "relative", "in a list", "by a resolver", "nested", "of a callback"],
)
def test_an_object_that_a_part_of_the_run_refers_to_stays(module: Any, callbacks: Any) -> None:
    written = {
        "module": object_of("Net", **module),
        "callbacks": callbacks,
        "mine": {"own": "${optimizer.lr}"},
        "rates": {"fast": 1},
        "optimizer": object_of("SGD", lr=0.1, name="fast"),
    }
    made = Config.resolve(OmegaConf.create(written), ["optimizer=sgd", "optimizer.lr=1"], ())
    assert "optimizer" in made


def test_an_object_that_no_part_refers_to_is_left_out() -> None:
    """So the hash does not depend on it, nor on whether its config was known in the first place."""
    written = {"module": object_of("Net"), "optimizer": object_of("SGD"), "tags": {"a": "b"}}
    made = Config.resolve(OmegaConf.create(written), ["+tags.a=b"], ())
    assert dict(made) == {"module": object_of("Net"), "tags": {"a": "b"}}
    del written["optimizer"]
    assert made.hash == Config(written).hash


def test_named_objects_that_no_part_refers_to_are_left_out_together() -> None:
    written = {"module": object_of("Net"), "augment": {"crop": object_of("Crop"), "erase": None}}
    assert dict(Config.resolve(OmegaConf.create(written), [], ())) == {"module": object_of("Net")}
    with pytest.raises(UserError, match=r"^augment=crop: no part of this run refers to augment"):
        Config.resolve(OmegaConf.create(written), ["augment=crop"], ())
    written["module"]["augment"] = "${augment}"  # type: ignore[assignment]
    assert "augment" in Config.resolve(OmegaConf.create(written), ["augment=crop"], ())


@pytest.mark.parametrize(
    "node", [{"csv": object_of("CSV")}, {"a": {"b": [1, object_of("B")]}}, [object_of("Crop")]]
)
def test_objects_at_any_depth_that_no_part_refers_to_are_left_out(node: Any) -> None:
    written = {"module": object_of("Net"), "x": node, "tags": {"a": [1, {"b": 2}]}}
    left = {"module": object_of("Net"), "tags": {"a": [1, {"b": 2}]}}
    assert dict(Config.resolve(OmegaConf.create(written), [], ())) == left
    for word in ("+logger@x=csv", "+x.csv.name=a", "logger@module:x=csv"):
        says = rf"^{re.escape(word)}: no part of this run refers to x,"
        with pytest.raises(UserError, match=says):
            Config.resolve(OmegaConf.create(written), [word], ())
    assert "x" in Config.resolve(OmegaConf.create(written), ["+logger@x=csv"], {"x"})


def test_the_callback_of_a_trial_stays_with_the_engines_own_values() -> None:
    trial = {"study": "s", "number": 3, "callback": object_of("engine.Pruning")}
    written = {"module": object_of("Net"), "sweep": {"force": False, "trial": trial}}
    words = ["sweep.trial={study:s,number:3,callback:{_target_:engine.Pruning}}"]
    assert dict(Config.resolve(OmegaConf.create(written), words, ())) == written


def test_a_name_with_a_hyphen_is_found_in_a_reference() -> None:
    written = {"module": {**object_of("Net"), "net": "${my-net}"}, "my-net": object_of("Inner")}
    assert "my-net" in Config.resolve(OmegaConf.create(written), ["+my-net.a=1"], ())


def test_an_object_that_the_users_function_mentions_stays() -> None:
    written = {"module": object_of("Net"), "ema": object_of("EMA")}
    assert "ema" in Config.resolve(OmegaConf.create(written), ["+ema=slow"], {"ema", "module"})


@pytest.mark.parametrize("word", ["optimizer=adam", "optimizer.lr=0.1", "+optimizer.nesterov=true"])
def test_a_word_about_an_object_that_is_left_out_is_refused(word: str) -> None:
    written = {"module": object_of("Net"), "optimizer": object_of("SGD")}
    with pytest.raises(UserError) as refused:
        Config.resolve(OmegaConf.create(written), ["seed=1", word], ())
    assert str(refused.value).splitlines() == [
        f"{word}: no part of this run refers to optimizer, so this would change nothing.",
        "A class that takes it gets it by its config, such as conf/module/NAME.yaml: "
        "optimizer: ${optimizer}",
    ]


def test_a_word_that_puts_a_choice_elsewhere_is_about_that_place() -> None:
    words = ["optimizer@module.optimizer_d=sgd", "optimizers=1", "a=b@optimizer", "optimizer@y:z=a"]
    assert word_about("optimizer", words) is None
    assert word_about("module", words) == words[0]
    assert [word_about(name, words) for name in "yz"] == [None, words[-1]]
    assert word_about("optimizer", ["seed=1", "~optimizer", "optimizer=sgd"]) == "~optimizer"
    assert word_about("", ["seed=1", "=1"]) is None


def test_a_url_in_the_place_of_a_folder_stays_as_it_is() -> None:
    values = {
        "paths": {"data_dir": "s3://bucket/data"},
        "datamodule": {"url": "${paths.data_dir}/x"},
    }
    config = Config.resolve(OmegaConf.create(values))
    assert config["datamodule.url"] == "s3://bucket/data/x"
