"""Finds the image files of each split and each class below a folder."""

import logging
import os
import stat
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, NoReturn

import torch

from engine.data.image_cache import ImageFile
from engine.data.split import Split
from engine.data.validation import fold_of
from engine.errors import UserError
from engine.messages import sayable

log = logging.getLogger(__name__)

SUFFIXES = (
    ".bmp",
    ".gif",
    ".jfif",
    ".jpe",
    ".jpeg",
    ".jpg",
    ".pbm",
    ".pgm",
    ".png",
    ".ppm",
    ".tif",
    ".tiff",
    ".webp",
)
LAYOUT = "It must hold train/ and test/, and may hold val/, with one folder of images per class."
VALIDATION = ("val", "valid", "validation")  # names that the folder of validation images may have
JUNK = ("Thumbs.db", "desktop.ini", "__MACOSX")  # what systems leave, beside hidden files


class FoundImages(NamedTuple):
    """Holds the classes, the images of each split, and what is left out as no images.

    Args:
        classes: the names of the class folders, sorted.
        splits: the images of "train", "test" and maybe "val", each sorted by class and path.
        left_out: files, and folders beside those of the splits, by their paths below the data
            folder.
    """

    classes: list[str]
    splits: dict[str, list[ImageFile]]
    left_out: list[str]


def find_images(data_dir: str | Path) -> FoundImages:
    """Finds the images in data_dir/{train,test[,val]}/<class>, and in sub-folders of <class>.

    The folder of the validation images may be valid/ or validation/, too. Hidden files do not
    count, and a file with another ending than those of `SUFFIXES` is no image.

    Raises:
        UserError: if a split is missing or has other classes, or a class has no image.
    """
    data_dir = Path(data_dir)
    classes = class_folders(data_dir, "train")
    splits = folders_of_splits(data_dir)
    for folder in splits.values():
        _compare(data_dir / folder, class_folders(data_dir, folder), classes)
    folders, _ = entries(data_dir)
    left_out = [f"{name}/" for name in folders if name not in splits.values()]
    images: dict[str, list[ImageFile]] = {split: [] for split in splits}
    found_at: dict[str, str] = {}
    for split, folder in splits.items():
        _, files = entries(data_dir / folder)
        left_out += [f"{folder}/{name}" for name in files]
        read: dict[str, str] = {}
        for target, name in enumerate(classes):
            own, others = list_images(data_dir, f"{folder}/{name}", target, read)
            images[split] += own
            left_out += others
        for real in read:
            if (other := found_at.setdefault(real, folder)) != folder:
                log.warning("%s: by a link, its images are in %s/ and in %s/", real, other, folder)
                break
    return FoundImages(classes, images, left_out)


def fold_of_files(
    splits: dict[str, list[ImageFile]], folds: int, fold: int
) -> dict[str, list[ImageFile]]:
    """Divides all files but those of "test" as `TensorDataModule` divides samples by `folds`.

    Images that do not fit in memory are divided before they are decoded.

    Raises:
        UserError: if there is no such fold, or there are too few images for so many folds.
    """
    files = [file for name in ("train", "val") for file in splits.get(name, [])]
    numbers = Split(torch.arange(len(files)), torch.tensor([file.target for file in files]))
    divided = fold_of({"train": numbers}, folds, fold, by_class=True)
    parts = {name: [files[n] for n in part.inputs.tolist()] for name, part in divided.items()}
    return {**splits, **parts}


def class_folders(data_dir: Path, split: str) -> list[str]:
    """Returns the sorted names of a split's class folders.

    Raises:
        UserError: if there are none, a name cannot be written into a line, or two look the same.
    """
    if not data_dir.is_dir():
        raise UserError(f"datamodule.data_dir={data_dir}: no such folder. {LAYOUT}")
    if not (data_dir / split).is_dir():
        meant = (split, f"{split}s", f"{split}ing")
        has = [name for name in entries(data_dir)[0] if name.lower() in meant]
        how = f" Rename {has[0]}/ to {split}/." if has else ""
        raise UserError(f"datamodule.data_dir={data_dir}: holds no folder {split}/.{how} {LAYOUT}")
    folders, _ = entries(data_dir / split)
    if not folders:
        raise UserError(f"{data_dir / split}: holds no class folder. {LAYOUT}")
    alike: dict[str, str] = {}
    for name in folders:
        if (other := alike.setdefault(_in_parts(name), name)) != name:
            raise UserError(
                f"{data_dir / split}: holds the folders {other!a} and {name!a}, which look "
                "the same.\nPut their images into one."
            )
        if (shown := sayable(name)) != name:
            raise UserError(
                f"{data_dir / split}: holds the folder {shown}, whose name is not UTF-8.\n"
                "Rename it: it is the name of a class."
            )
        if name.splitlines() != [name]:
            raise UserError(
                f"{data_dir / split}: holds the folder {name!a}, whose name has a line break.\n"
                "Rename it: it is the name of a class."
            )
    return folders


def _in_parts(name: str) -> str:
    """Returns a name with each letter in its parts: é may be one character or two.

    A character that stands for one other character may look otherwise, as of the signs of Chinese.
    """
    apart = ((letter, unicodedata.normalize("NFD", letter)) for letter in name)
    return "".join(parts if len(parts) > 1 else letter for letter, parts in apart)


def entries(folder: Path) -> tuple[list[str], list[str]]:
    """Returns the sorted names of the folders and of the files in a folder; hidden ones are left.

    Raises:
        UserError: if the folder cannot be read.
    """
    try:
        found = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        _cannot_read(error)
    shown = [entry for entry in found if not is_hidden(entry.name)]
    folders = [entry.name for entry in shown if entry.is_dir()]
    return folders, [entry.name for entry in shown if not entry.is_dir()]


def is_hidden(name: str) -> bool:
    """Tells whether a file or folder is hidden, or is one that systems leave in any folder."""
    return name[0] == "." or name in JUNK


def folders_of_splits(data_dir: Path) -> dict[str, str]:
    """Returns the names of the folders of "train", "test" and, if there is such a folder, "val".

    Raises:
        UserError: if two folders could be the one of the validation images.
    """
    found = [name for name in VALIDATION if (data_dir / name).is_dir()]
    if len(found) > 1:
        raise UserError(
            f"datamodule.data_dir={data_dir}: holds {' and '.join(f'{name}/' for name in found)}, "
            "and one folder alone may have the validation images."
        )
    return {"train": "train", **({"val": found[0]} if found else {}), "test": "test"}


def _compare(folder: Path, found: list[str], classes: list[str]) -> None:
    """Refuses a split with other classes than the training images have."""
    if found == classes:
        return
    lacks = sorted(set(classes) - set(found))
    adds = sorted(set(found) - set(classes))
    trained = {_in_parts(name): name for name in lacks}
    for name in adds:
        if other := trained.get(_in_parts(name)):
            raise UserError(
                f"{folder}: {name} is {name!a}, and that of train/ is {other!a}, which "
                "looks the same.\nRename one as the other."
            )
    differences = [
        f"{verb} {', '.join(names[:5])}" + (f" and {len(names) - 5} more" if names[5:] else "")
        for verb, names in (("lacks", lacks), ("adds", adds))
        if names
    ]
    raise UserError(f"{folder}: other classes than in train/: it {' and '.join(differences)}.")


def list_images(
    data_dir: Path, folder: str, target: int, classes: dict[str, str]
) -> tuple[list[ImageFile], list[str]]:
    """Returns the images of one class, sorted by path, and the paths of the other files.

    Files in sub-folders count, too. What is no ordinary file, such as a pipe, is no image.

    Args:
        data_dir: the data folder.
        folder: of the class, below it.
        target: number of the class.
        classes: the folders of classes by the real folders that they have read so far.
    """
    images: list[ImageFile] = []
    others: list[str] = []
    try:
        for path in files_below(data_dir, folder, classes):
            found = os.stat(data_dir / path) if path.lower().endswith(SUFFIXES) else None
            if found and stat.S_ISREG(found.st_mode):
                size, mtime, ctime = found.st_size, found.st_mtime_ns, found.st_ctime_ns
                images.append(ImageFile(path, size, mtime, target, ctime))
            else:
                others.append(path)
    except OSError as error:
        _cannot_read(error)
    others.sort()
    if not images:
        has = f"It has other files, such as {others[0]}. " if others else ""
        raise UserError(
            f"{data_dir / folder}: holds no image. {has}"
            f"A class folder needs {', '.join(SUFFIXES)} files."
        )
    return sorted(images), others


def files_below(data_dir: Path, folder: str, classes: dict[str, str]) -> Iterator[str]:
    """Yields the files in a folder and its sub-folders, by their paths below the data folder.

    Hidden files and folders are left out. A folder that several links lead to is read once, so that
    a link to a folder above itself has an end.

    Raises:
        UserError: if a link leads to a folder of another class: its images would have two.
    """
    seen = set()
    root = os.path.join(data_dir, "")
    for here, folders, files in os.walk(root + folder, onerror=_cannot_read, followlinks=True):
        real = os.path.realpath(here)
        folders[:] = [] if real in seen else sorted(f for f in folders if not is_hidden(f))
        names = [] if real in seen else [f for f in files if not is_hidden(f)]
        seen.add(real)
        if (other := classes.setdefault(real, folder)) != folder:
            raise UserError(
                f"{real}: by a link, it belongs to {folder} and to {other}, which are two classes."
            )
        yield from (os.path.join(here, name).removeprefix(root) for name in names)


def _cannot_read(error: OSError) -> NoReturn:
    raise UserError(f"{error.filename}: cannot be read: {error.strerror}.") from error
