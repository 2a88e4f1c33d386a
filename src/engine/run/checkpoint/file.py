"""Checkpoint files: written whole, with what they belong to; read with sums and `weights_only`."""

import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, Any, NamedTuple

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.plugins.io import TorchCheckpointIO
from torch import nn

from engine import files, signals
from engine.config.resolved import Config
from engine.errors import UserError
from engine.fence.lightning import batches_that_stepped
from engine.kept.structure import shapes_of, unlike
from engine.run.folders import LAST, PREVIOUS
from engine.run.plain import plain, refusal

BEGIN = b"PK\3\4"  # of an archive
MOST_NAMES = 5  # of tensors, in a message
COMPILED = "_orig_mod."  # torch.compile writes this into the names of weights
# Keys of a checkpoint: the hash of the run's config, and the values that it is the hash of.
HASH, VALUES = "config_hash", "config"
FORMAT_KEY = "format"
# Stands for what a run goes on from. Where other keys or other kinds of values are saved, or they
# mean something else: one more.
FORMAT = 15
# What to do where the state of a checkpoint does not fit what there is to load it.
NO_WAY = (
    "Take the code of then, begin a new run, or make in on_load_checkpoint what training has made."
)


class WholeFileIO(TorchCheckpointIO):
    """Writes a checkpoint beside its place and renames it: a kill leaves the old or the new one.

    Lightning writes through the system's temporary folder, whose content is copied where that is
    on another file system. The file has plain values only, see plain.py. The last.ckpt before is
    kept as previous.ckpt.

    Args:
        config: the run's, which each checkpoint names, with the number of its format. None: nobody
            will ask.
    """

    def __init__(self, config: Config | None = None) -> None:
        self.config = config

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        made, _, needed = plain(checkpoint)
        if needed:
            raise refusal(needed[0])
        if self.config:
            made |= {HASH: self.config.hash, VALUES: self.config.relevant, FORMAT_KEY: FORMAT}
        path = Path(path)
        files.make_folder(path.parent)
        temporary = path.with_name(f".{path.name}")
        disk = files.disk.get()
        with files.writing(path), files.no_part_left(temporary):
            with open(temporary, "wb") as file:
                torch.save(made, file)
                disk.sync(file)
            if path.name == LAST.name and path.exists():
                with files.writing(previous := path.with_name(PREVIOUS.name)):
                    disk.replace(path, previous)
            disk.replace(temporary, path)

    def load_checkpoint(
        self, path: str | Path, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        return read(Path(path))


def read(path: Path) -> dict[str, Any]:
    """Reads a checkpoint into memory of the CPU, and compares the sums of all its parts.

    The sums are those of the zip file, CRC-32. `torch.load` compares none, and would take a weight
    with another bit. A file of torch before 1.6 has none.

    Raises:
        UserError: if there is no such file, or it is damaged.
    """
    if not path.is_file():
        raise UserError(f"{path}: is not there.")
    try:
        # A signal may break the reading of a file that is whole, which would then be put aside.
        # The file is opened once: the path may have another one a moment later.
        with signals.undisguised(), open(path, "rb") as file:
            if zipfile.is_zipfile(file):
                _check_archive(file)
            file.seek(0)
            saved: dict[str, Any] = torch.load(file, weights_only=True, map_location="cpu")
            return saved
    except Exception as error:  # of zip files, pickle or torch
        reason = str(error).partition("\n")[0]
        raise UserError(f"{path}: cannot be read: {reason}") from None


def _check_archive(file: IO[bytes]) -> None:
    """Refuses a packed checkpoint, before it fills the memory, and a damaged one.

    What stands before an archive would be read in its place by some, and the archive by others:
    Lightning's FSDP unpickles the archive of what `torch.load` takes for an old checkpoint.

    Raises:
        ValueError: says which of them it is.
    """
    archive = zipfile.ZipFile(file)
    file.seek(0)
    if file.read(len(BEGIN)) != BEGIN:
        raise ValueError("it is an archive behind something else")
    if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
        raise ValueError("it is packed, and torch packs no checkpoint")
    if part := archive.testzip():
        raise ValueError(f"damaged, its part {part} has another checksum")


@contextmanager
def refused_if_unlike(trainer: Trainer) -> Iterator[None]:
    """Refuses a checkpoint of other layers, or other groups of weights, than there are to load it.

    Training has made them, or code that has changed since.

    Raises:
        UserError: names what does not fit, within this context.
    """
    strategy: Any = trainer.strategy
    loads = {"load_model_state_dict": _load_weights, "load_optimizer_state_dict": _load_optimizers}
    for name, load in loads.items():
        setattr(strategy, name, partial(load, trainer, getattr(strategy, name)))
    try:
        yield
    finally:
        for name in loads:
            delattr(strategy, name)


def _load_weights(
    trainer: Trainer, load: Callable[..., None], saved: Mapping[str, Any], *given: Any, **named: Any
) -> None:
    module = trainer.lightning_module
    try:
        load(saved, *given, **named)
    except RuntimeError as error:
        names = unlike(shapes_of(module), saved["state_dict"])
        if not names:  # it has another reason
            raise
        raise UserError(
            f"{trainer.ckpt_path}: does not fit {type(module).__name__}, whose layers training or "
            f"changed code has made otherwise: {some(names)}.\n{NO_WAY}"
        ) from error


def _load_optimizers(
    trainer: Trainer, load: Callable[..., None], saved: Mapping[str, Any], *given: Any
) -> None:
    try:
        load(saved, *given)
    except (LookupError, ValueError) as error:
        names = ", ".join(type(own).__name__ for own in trainer.optimizers)
        raise UserError(
            f"{trainer.ckpt_path}: its states of optimisers do not fit {names}: {error}.\n{NO_WAY}"
        ) from error


class Progress(NamedTuple):
    """Says how far the training of a checkpoint is, and whether it stopped by itself."""

    epochs: int
    steps: int
    row: int  # the step of the next row
    stopped: bool
    rows: tuple[Any, ...] = ()  # the mark of each metrics.csv of ours
    events: tuple[Any, ...] = ()  # of each logger of TensorBoard's, the place in each file
    fit: int = 1  # which of the run's trainings it is of


def progress_of(saved: Mapping[str, Any]) -> Progress:
    """Returns how far the training of a checkpoint is.

    A row is logged under the number of batches with a step, which is not the number of steps where
    a module has several optimisers.
    """
    stopped = saved.get("so_far", {}).get("stopped", False)
    row = batches_that_stepped(saved)
    rows, events = (tuple(saved.get(key, ())) for key in ("rows", "events"))
    fit = saved.get("fit", 1)
    return Progress(saved["epoch"], saved["global_step"], row, stopped, rows, events, fit)


def load_weights(
    model: nn.Module,
    checkpoint: Path,
    filled: dict[str, Any] | None = None,
    is_whole: bool = True,
) -> str:
    """Gives a model the weights of a checkpoint that have the same names and shapes.

    Args:
        model: takes the weights.
        checkpoint: of Lightning's, or a `state_dict` in a file.
        filled: the model's tensors that took weights of this checkpoint before, by the names there;
            it takes those of now. The model may have given them other names since.
        is_whole: whether the model has all its layers; else nothing is refused for its names.

    Returns:
        what matched and what did not, in a line or a few.

    Raises:
        UserError: if nothing matched, or the file is no checkpoint.
    """
    weights = _read_weights(checkpoint)
    whether_compiled_or_not(model, weights)
    filled = {} if filled is None else filled
    before = {id(own): name for name, own in filled.items()}
    own = model.state_dict()
    held: dict[str, Any] = dict(model.named_parameters(remove_duplicate=False))
    held |= dict(model.named_buffers(remove_duplicate=False))
    shapes = {name: _shape(tensor) for name, tensor in weights.items()}
    other = [name for name in own if name in weights and shapes[name] != _shape(own[name])]
    # What a hook has changed since stays as it is.
    done = [name for name in own if id(held.get(name)) in before]
    new = [name for name in own if name in weights and name not in (*other, *filled, *done)]
    if is_whole and not (new or filled):
        raise UserError(
            f"init_from={checkpoint}: has no weights for {type(model).__name__}. It has "
            f"{some(weights)}; the module has {some(own)}."
        )
    model.load_state_dict({**own, **{name: weights[name] for name in new}})
    said = [f"init_from={checkpoint}: {len(done) + len(new)} of {len(own)} tensors"]
    if gone := sorted({*filled} - {before[id(held[name])] for name in done}):
        said.append(f"taken, and replaced by setup or configure_model since: {some(gone)}")
    filled |= {name: held[name] for name in new if name in held}
    said += [f"other shape: {n} is {_shape(own[n])}, there {shapes[n]}" for n in other]
    if missing := [name for name in own if name not in weights and name not in done]:
        said.append(f"not there: {some(missing)}")
    if unused := [name for name in weights if name not in own and name not in filled]:
        said.append(f"not in the module: {some(unused)}")
    return "\n  ".join(said)


def _read_weights(checkpoint: Path) -> dict[str, Any]:
    try:
        saved = read(checkpoint)
        return dict(saved.get("state_dict", saved))
    except (UserError, AttributeError, TypeError, ValueError) as error:  # it may be a list
        says = error if isinstance(error, UserError) else f"{checkpoint}: has no names of weights"
        raise UserError(f"init_from={says}") from None


def whether_compiled_or_not(model: nn.Module, saved: dict[str, Any], *_: object) -> None:
    """Renames weights as the module has them, which may compile its network in `fit` only."""
    own = {name.replace(COMPILED, ""): name for name in model.state_dict()}
    for name in list(saved):
        if (plain := name.replace(COMPILED, "")) in own:
            saved[own[plain]] = saved.pop(name)


def _shape(value: Any) -> tuple[int, ...]:
    return tuple(getattr(value, "shape", ()))


def some(names: Iterable[str]) -> str:
    """Returns the first of some names for a message."""
    known = list(map(str, names))
    return f"{', '.join(known[:MOST_NAMES])}{', …' if len(known) > MOST_NAMES else ''}"
