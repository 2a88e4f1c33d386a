"""The command that evaluates a run: it measures the run's best weights again."""

import json
import logging
import shlex
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from engine import files, messages, signals
from engine.checks import imports
from engine.config import secrets
from engine.config.help import asks_for_help
from engine.config.keys import EVALUATED_WITH, FOLDERS
from engine.config.overrides import changed
from engine.config.resolved import Config
from engine.door import Door
from engine.errors import UserError, blamed_on, exit_codes, nearest
from engine.run import folders, identity, summaries
from engine.run.records import read

log = logging.getLogger(__name__)
# Of any data module: however these are, the same samples are in the splits.
ALIKE = [
    f"datamodule.{name}"
    for name in ("batch_size", "eval_batch_size", "steps_per_epoch", "num_workers", "in_memory")
]

USAGE = """\
Evaluate a run: rebuild its model and data from its own config, load its best
checkpoint (the last one where it had no validation), and measure.

  python -m {command} run=RUN_DIR

  split=val          on another split than test: val or train
  datamodule=digits  on other data; datamodule.KEY=VALUE, too
  accelerator=cpu    on another device; trainer.KEY=VALUE, too
  trust=true         a run of somebody else's, whatever its config names

Prints the metrics; writes them to RUN_DIR/evaluation/SPLIT.json, and the
figures to RUN_DIR/evaluation/figures/."""
OWN = ("run", "split", "trust")
TAKEN = (*OWN, *EVALUATED_WITH)


def evaluate(door: Door) -> None:
    """Runs the command line of the evaluating command.

    Args:
        door: of the training command, which knows where conf/ is.
    """
    with exit_codes():
        door.open()
        words = sys.argv[1:]
        secrets.check_words(words)
        if not words or asks_for_help(words):
            print(USAGE.format(command=door.beside("evaluate")))
            return
        for name in OWN:
            given = [word for word in words if word.startswith(f"{name}=")]
            if given[1:]:
                raise UserError(f"{' '.join(given)}: give one.")
        values = {key: value for key, _, value in (word.partition("=") for word in words)}
        others = [word for word in words if word.partition("=")[0] not in (*OWN, "hydra.run.dir")]
        if not values.get("run"):
            raise UserError("run: missing; write run=RUN_DIR, the folder of a run.")
        run_dir = Path(values["run"]).absolute()
        own = door.received(run_dir, values.get("trust", ""))
        measure(run_dir, own, values.get("split", "test"), others, door.conf)


def measure(
    run_dir: Path, own: Config, split: str, overrides: Sequence[str], conf: Path
) -> dict[str, float]:
    """Measures the run in `run_dir` on a split: metrics by name, such as {"test/acc": 0.97}.

    Args:
        run_dir: the run's folder.
        own: the run's config.
        split: test, val or train.
        overrides: words of the command line, about other data or another device.
        conf: the folder with config.yaml.

    Raises:
        UserError: if there is no such run, split or checkpoint, or an override is wrong.
    """
    messages.to_terminal()
    config = _changed(own, overrides, conf)
    if split not in ("train", "val", "test"):
        raise UserError(f"split={split}: must be test, val or train.")
    with imports.large():
        from engine.callbacks.as_in_training import AsInTraining
        from engine.checks.config import check, try_update
        from engine.kept.between import put_back
        from engine.kept.values import make_room
        from engine.run import build, code
        from engine.run.checkpoint.choice import in_memory, to_measure
        from engine.run.checkpoint.file import whether_compiled_or_not
        from engine.run.run import mistakes_as_lightning_says

        messages.silence_harmless()
        check(config)  # imports what the config names
        with put_back(code.digests(config, ""), is_within=True):
            try_update(config)
    checkpoint = to_measure(run_dir, own)
    made_of = identity.load(run_dir) or {}
    for change in made_of.get("mixed", []):
        log.warning("not exact: since %s began, %s", run_dir, change)
    data: Any = build.datamodule(config)
    _serve(data, split)
    _check_classes(run_dir, data, made_of)
    has_other_data = any(word.lstrip("+").startswith("datamodule") for word in overrides)
    _say_what_has_changed(run_dir, own, data, made_of, has_other_data)
    _say_what_was_trained_on(own, data, split, overrides)
    model: Any = build.module(config, data)
    way = _way_to_measure(model, data, split)
    trainer = build.trainer(config, run_dir / "evaluation", logs=False)
    _limit(trainer, split)
    trainer.precision_plugin.convert_module(model)  # before a checkpoint is loaded, see Run.fit
    model.register_load_state_dict_pre_hook(whether_compiled_or_not)
    model.register_load_state_dict_pre_hook(make_room)
    saved = in_memory(run_dir, own, checkpoint, split)
    trainer.strategy.checkpoint_io = AsInTraining(trainer, saved, not has_other_data)
    method = getattr(trainer, way)
    # Of several processes that measure, the first one writes.
    is_writer = trainer.is_global_zero
    with ExitStack() as held:
        try:
            if is_writer:
                held.enter_context(folders.held(run_dir, split))
        except files.CannotWrite:
            trainer.draws = False  # type: ignore[attr-defined]  # figures have no place
        with (
            _blamed_before_a_batch(trainer, split, build.serving(model, data), model),
            mistakes_as_lightning_says(config, trainer),
            messages.silenced(model, data),
        ):
            # A ModelCheckpoint that only measures needs no folder of before.
            warnings.filterwarnings("ignore", message="The dirpath has changed")
            measured = method(model, data, ckpt_path=checkpoint, verbose=False, weights_only=True)
        if not any(measured):
            reason = build.why_nothing(trainer, way, data)
            raise UserError(f"split={split}: nothing is measured: {reason}.")
        metrics = {
            f"{split}/{name.removeprefix('test/')}" if name.startswith("test/") else name: value
            for of_loader in measured
            for name, value in of_loader.items()
        }
        if is_writer:
            try:
                _write(run_dir, split, checkpoint, overrides, metrics, trainer)
            except files.CannotWrite as refused:
                log.info("%s\n%s on %s", summaries.table(metrics), checkpoint.name, split)
                refused.else_ = files.A_COPY
                log.warning("not saved: %s", refused)
    return metrics


@contextmanager
def _blamed_before_a_batch(trainer: Any, split: str, loaders: Any, model: Any) -> Iterator[None]:
    """Shows an error from before the first batch as a run does one from before its first step.

    A `setup` that knows no stage but "fit" leaves nothing to measure: the line says its stage. What
    does not fit in size or in name, a RuntimeError, is of the module, and so is its `setup`.

    Raises:
        UserError: with what was raised, and where in the user's code.
    """
    from lightning.pytorch.utilities.model_helpers import is_overridden

    from engine.data.datamodule import TensorDataModule
    from engine.fence.lightning import has_measured

    try:
        with signals.undisguised():
            yield
    except Exception as error:
        if has_measured(trainer):
            raise
        own = [model] if isinstance(error, RuntimeError) else dict.fromkeys([loaders, model])
        stage = trainer.state.fn.value
        called = " and ".join(
            f'{type(one).__name__}.setup(stage="{stage}")'
            for one in own
            if is_overridden("setup", one) and not isinstance(one, TensorDataModule)
        )
        with blamed_on(f"split={split}{called and f', where Lightning calls {called}'}"):
            raise


def _changed(own: Config, overrides: Sequence[str], conf: Path) -> Config:
    """Returns a run's config, with other data or another device.

    Raises:
        UserError: if an override is about anything else.
    """
    for key in (word.lstrip("+").partition("=")[0] for word in overrides):
        node = key.partition(".")[0]
        if node not in EVALUATED_WITH:
            hint = nearest(node, [name for name in TAKEN if name != "trust"])  # never advised
            raise UserError(f"{key}: not for evaluation.{hint} It takes {', '.join(TAKEN)}.")
    return Config.resolve(changed(OmegaConf.create(own.values_by_node), overrides, conf))


def _serve(data: Any, split: str) -> None:
    """Has a data module of ours serve a split for "test".

    Raises:
        UserError: if it has no such split.
    """
    from engine.data.datamodule import TensorDataModule

    if isinstance(data, TensorDataModule):
        if split not in data.splits:
            has = ", ".join(data.splits)
            raise UserError(f"split={split}: {type(data).__name__} has only: {has}.")
        data.test_split = split


def _limit(trainer: Any, split: str) -> None:
    """Has as much of the validation split measured as the run's validations measured.

    Whatever the split of a data module of ours, Lightning measures it as "test".
    """
    key = "limit_val_batches" if split == "val" else "limit_test_batches"
    trainer.limit_test_batches = limit = getattr(trainer, key)
    if isinstance(limit, int) or limit < 1.0:  # 1 is a batch, 1.0 is all of them
        key = "overfit_batches" if split == "val" and trainer.overfit_batches else key
        log.warning("%s: not all of it is measured, by trainer.%s=%s", split, key, limit)


def _way_to_measure(model: Any, data: Any, split: str) -> str:
    """Returns the Trainer's method that measures a split.

    Raises:
        UserError: if there is none.
    """
    from engine.run import build

    ways = build.ways_to_measure(model, data)
    if split not in ways:
        pair = f"{type(model).__name__} on the data of {type(data).__name__}"
        if not ways:
            raise UserError(
                f"split={split}: {pair} measures nothing: it has no test_step with a "
                "test_dataloader, and no validation_step with a val_dataloader."
            )
        raise UserError(f"split={split}: {pair} measures only: {', '.join(ways)}.")
    return ways[split]


def _write(
    run_dir: Path,
    split: str,
    checkpoint: Path,
    overrides: Sequence[str],
    metrics: dict[str, float],
    trainer: Any,
) -> None:
    """Writes what was measured into the run's folder, and logs it."""
    from engine.run import versions

    folder = run_dir / "evaluation"
    files.make_folder(folder)
    report = {
        "run": str(run_dir),
        "checkpoint": str(checkpoint.relative_to(run_dir)),
        "overrides": list(overrides),
        "metrics": metrics,
        "device": versions.device(trainer),
    }
    with suppress(OSError, ValueError, LookupError, TypeError):  # none is there, or none whole
        words = json.loads((folder / f"{split}.json").read_text())["overrides"]
        if words != list(overrides):
            how = shlex.join(words) or "the run's own config"
            log.info("%s: what was measured with %s is replaced", f"{split}.json", how)
    summaries.save(folder, report, f"{split}.json")
    log.info("%s\n%s on %s: %s", summaries.table(metrics), checkpoint.name, split, folder)


def _check_classes(run_dir: Path, data: Any, made_of: dict[str, Any]) -> None:
    """Refuses data with other classes, or the same in another order: a number names a class.

    Raises:
        UserError: names the classes of both.
    """
    if not made_of:
        log.warning("%s: missing, so classes are not compared", run_dir / identity.MADE_OF)
    trained = made_of["data"]["classes"] if made_of else []
    names = identity.classes_of(data)
    if trained and names and names != trained:
        order = " in another order" if sorted(names) == sorted(trained) else ""
        raise UserError(
            f"{run_dir}: was trained on the classes {', '.join(trained[:10])}; these data have "
            f"{', '.join(names[:10])}{order}.\nEvaluate it on data with the same classes."
        )


def _say_what_has_changed(
    run_dir: Path, own: Config, data: Any, made_of: dict[str, Any], has_other_data: bool
) -> None:
    """Says where data or code are others than when the run was trained: a measure may be, too.

    Of data that the command line chooses, nothing is said.
    """
    door = read.door(run_dir / folders.DOOR)
    if made_of and door:
        now = identity.record(own, data, door)
        now |= {"data": made_of["data"]} if has_other_data else {}
        for change in identity.differences(made_of, now):
            if change not in made_of.get("mixed", []):
                log.warning("not as in training: since %s began, %s", run_dir, change)
        identity.warn_of_files(made_of, now)


def _say_what_was_trained_on(own: Config, data: Any, split: str, words: Sequence[str]) -> None:
    """Warns where a run is measured on samples that it was trained on.

    Looks where words may divide the same data otherwise: data from elsewhere are other data.
    """
    from engine.data.datamodule import TensorDataModule
    from engine.run import build

    keys = {word.lstrip("+~").partition("=")[0] for word in words}
    of_data = {key for key in keys if key.startswith("datamodule")} - set(ALIKE)
    is_elsewhere = of_data & {"datamodule", *FOLDERS}
    if not of_data or is_elsewhere or split == "train" or not isinstance(data, TensorDataModule):
        return
    trained: Any = build.datamodule(own)
    seen = {*trained.splits["train"].row_digests()}
    # The data may have some samples twice.
    counts = [
        sum(row in seen for row in both.splits[split].row_digests()) if split in both.splits else 0
        for both in (data, trained)
    ]
    if counts[0] > counts[1]:
        of = len(data.splits[split])
        given = " ".join(word for word in words if "datamodule" in word)
        log.warning("%s: the run was trained on %d of these %d samples", given, counts[0], of)
