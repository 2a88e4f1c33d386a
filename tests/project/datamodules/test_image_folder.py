"""Images in folders: what is read of them, and what is refused."""

import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from commands import only_run, run_train
from engine import ImageCache, Split, find_images
from engine.data import image_cache
from engine.data.image_files import SUFFIXES
from engine.errors import UserError
from image_folders import LAYOUT, datamodule, decodes, pixels, prepared, save


def test_folders_may_be_words_as_they_are_in_a_config(folder: Path, tmp_path: Path) -> None:
    found = find_images(str(folder))
    assert found == find_images(folder)
    places = (tmp_path / "home", folder), (str(tmp_path / "home"), str(folder))
    first, second = (ImageCache(*own, found.splits, 8) for own in places)
    first.fill()
    assert torch.equal(second.read("train", True).inputs, first.read("train", True).inputs)


@pytest.mark.parametrize("in_memory", [True, False], ids=["in memory", "memory-mapped"])
def test_images_and_targets_are_those_of_the_files(folder: Path, in_memory: bool) -> None:
    data = prepared(folder, in_memory=in_memory)
    assert data.class_names == ["ant", "cat"]
    assert list(data.splits) == ["train", "test"]
    for split, counts in (("train", [4, 4]), ("test", [2, 2])):
        inputs, targets = data.splits[split].inputs, data.splits[split].targets
        files = sorted((folder / split).glob("ant/*")) + sorted((folder / split).glob("cat/*"))
        assert (inputs.dtype, targets.dtype, inputs.is_contiguous()) == (
            torch.uint8,
            torch.int64,
            True,
        )
        np.testing.assert_array_equal(inputs, np.stack([pixels(file) for file in files]))
        assert targets.tolist() == np.repeat([0, 1], counts).tolist()


@pytest.mark.parametrize("mode", ["L", "P"])
def test_images_of_other_sizes_and_modes_become_square_colour_images(
    folder: Path, mode: str
) -> None:
    path = folder / "train" / "ant" / "0.png"
    save(path, 7, size=(40, 24), mode=mode)
    with Image.open(path) as image:
        expected = torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)[None].float()
    expected = torch.nn.functional.interpolate(expected, (8, 8), mode="bilinear", antialias=True)
    torch.testing.assert_close(
        prepared(folder).splits["train"].inputs[:1].float(), expected, rtol=0, atol=1
    )


def test_threads_decode_the_same(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = prepared(folder, cache_dir=str(folder.parent / "alone")).splits["train"].inputs
    monkeypatch.setattr(image_cache, "LARGE", 0)
    assert torch.equal(prepared(folder).splits["train"].inputs, alone)


def test_what_is_no_image_does_not_count(folder: Path) -> None:
    (folder / "train" / "ant" / "notes.txt").write_text("no image")
    (folder / "train" / "ant" / "._1.png").write_text("what macOS leaves")
    (folder / "train" / ".hidden").mkdir()
    (folder / "train" / "README.md").write_text("no class")
    data = prepared(folder)
    assert data.class_names == ["ant", "cat"]
    assert len(data.splits["train"]) == 8


ENDINGS = [suffix.removeprefix(".") for suffix in SUFFIXES]


def test_every_ending_is_read_in_sub_folders_too(folder: Path) -> None:
    (folder / "train" / "ant" / "small").mkdir()
    formats = {"jfif": "JPEG", "jpe": "JPEG", "pbm": "PPM", "pgm": "PPM"}
    for number, ending in enumerate(ENDINGS):
        path = folder / "train" / "ant" / "small" / f"x.{ending.upper()}"
        picture = np.random.default_rng(number).integers(0, 256, (8, 8), dtype=np.uint8)
        Image.fromarray(picture).save(path, formats.get(ending))
    data = prepared(folder)
    files = sorted(str(path) for path in (folder / "train" / "ant").rglob("*.*"))
    assert len(files) == 4 + len(ENDINGS) == 17
    expected = np.stack([pixels(Path(file)) for file in files])
    np.testing.assert_array_equal(data.splits["train"].inputs[: len(files)], expected)
    assert data.splits["train"].targets.bincount().tolist() == [4 + len(ENDINGS), 4]
    assert data.remarks() == []


def test_what_is_left_out_is_counted_in_a_line(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "train" / "labels.csv").write_text("no class")
    (folder / "train" / "ant" / "more").mkdir()
    (folder / "train" / "ant" / "more" / "photo.heic").write_bytes(b"of a kind that is not read")
    (folder / "test" / "cat" / "notes.txt").write_text("no image")
    os.mkfifo(folder / "test" / "cat" / "pipe.jpg")  # to open it would take for ever
    monkeypatch.chdir(folder / "test" / "cat")  # an address has 107 bytes at most
    address = socket.socket(socket.AF_UNIX)
    address.bind("socket.jpg")
    for name in (".DS_Store", "Thumbs.db", "desktop.ini", "._1.png"):  # what systems leave
        (folder / "test" / "cat" / name).write_bytes(b"hidden")
    (folder / "__MACOSX").mkdir()
    data = prepared(folder)
    address.close()
    assert [len(split) for split in data.splits.values()] == [8, 4]
    assert data.remarks() == [
        f"{folder}: 5 files or folders hold no images by their names and are left out, "
        "such as train/labels.csv"
    ]
    (folder / "dev").mkdir()
    (remark,) = datamodule(folder).remarks()
    assert remark == (
        f"{folder}: 6 files or folders hold no images by their names and are left out, such as dev/"
    )


def test_the_log_of_a_run_has_the_line(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    (folder / "train" / "ant" / "notes.txt").write_text("no image")
    run_train(
        "datamodule=image_folder",
        f"datamodule.data_dir={folder}",
        f"datamodule.cache_dir={tmp_path / 'cache'}",
        "module.num_classes=2",
        "callbacks=default",
        "logger=csv",
        "accelerator=cpu",
        "trainer.max_steps=1",
        f"paths.log_dir={tmp_path / 'logs'}",
    )
    log = (only_run(tmp_path / "logs") / "train.log").read_text()
    assert log.count("are left out, such as train/ant/notes.txt\n") == 1


def test_a_link_to_a_folder_above_has_an_end(folder: Path) -> None:
    save(folder / "train" / "ant" / "small" / "9.png", 9)
    (folder / "train" / "ant" / "small" / "above").symlink_to(folder / "train" / "ant")
    (folder / "train" / "ant" / "small" / "itself").symlink_to(".", target_is_directory=True)
    assert prepared(folder).splits["train"].targets.bincount().tolist() == [5, 4]


def test_images_that_were_decoded_by_other_rules_are_decoded_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared(folder)
    names = decodes(monkeypatch)
    monkeypatch.setattr(image_cache, "FORMAT", image_cache.FORMAT - 1)
    prepared(folder)
    assert len(names) == 12
    monkeypatch.setattr(image_cache, "pillow", "0.1")
    prepared(folder)
    assert len(names) == 24


def test_a_class_folder_may_be_a_link(folder: Path, tmp_path: Path) -> None:
    (folder / "train" / "ant").rename(tmp_path / "elsewhere")
    (folder / "train" / "ant").symlink_to(tmp_path / "elsewhere")
    assert prepared(folder).splits["train"].targets.tolist() == [0] * 4 + [1] * 4


@pytest.mark.parametrize(("link", "to"), [("val", "test"), ("val/cat", "train/cat")])
def test_a_link_from_split_to_split_is_told(
    link: str, to: str, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As it happened: a validation chose weights by the images of the test, and no line said so."""
    find_images(folder)
    assert caplog.messages == []
    for name in ("ant", "cat") if link != "val" else ():
        save(folder / "val" / name / "1.png", 50)
    shutil.rmtree(folder / link, ignore_errors=True)
    (folder / link).symlink_to(folder / to)
    find_images(folder)
    one, other = sorted({link[:3], to.partition("/")[0]}, key=["train", "val", "test"].index)
    real = folder / ("test/ant" if link == "val" else to)
    assert caplog.messages == [f"{real}: by a link, its images are in {one}/ and in {other}/"]


def test_class_names_need_no_decoding(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = decodes(monkeypatch)
    assert datamodule(folder).class_names == ["ant", "cat"]
    assert names == []
    assert not (folder.parent / "cache").exists()


@pytest.mark.parametrize("in_memory", [True, False], ids=["in memory", "memory-mapped"])
def test_validation_images_are_carved_off_by_class(folder: Path, in_memory: bool) -> None:
    data = prepared(folder, val_fraction=0.25, in_memory=in_memory)
    assert {name: split.targets.bincount().tolist() for name, split in data.splits.items()} == {
        "train": [3, 3],
        "test": [2, 2],
        "val": [1, 1],
    }
    whole = prepared(folder).splits["train"].inputs
    parts = torch.cat([data.splits["train"].inputs, data.splits["val"].inputs])
    assert sorted(map(bytes, parts.numpy())) == sorted(map(bytes, whole.numpy()))
    assert data.splits["train"].inputs.is_contiguous()


@pytest.mark.parametrize("val_fraction", [0.0, 0.25])
def test_folds_are_the_same_whether_images_are_in_memory_or_mapped(
    val_fraction: float, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it happened: of folds, all images were read into memory."""
    options = {"val_fraction": val_fraction, "folds": 2}
    expected = [prepared(folder, **options, fold=fold).splits for fold in range(2)]
    mapped: list[int] = []
    read = ImageCache.read

    def spy(cache: ImageCache, split: str, in_memory: bool) -> Split:
        made = read(cache, split, in_memory)
        mapped.append(made.inputs.data_ptr())
        return made

    monkeypatch.setattr(ImageCache, "read", spy)
    for fold, theirs in enumerate(expected):
        ours = prepared(folder, **options, fold=fold, in_memory=False)
        for name, split in ours.splits.items():
            assert torch.equal(split.inputs, theirs[name].inputs)
            assert torch.equal(split.targets, theirs[name].targets)
            assert len(split) == 4
            assert split.inputs.data_ptr() in mapped  # no copy
        del mapped[:]


@pytest.mark.parametrize("name", ["val", "valid", "validation"])
def test_a_val_folder_is_the_validation_set(folder: Path, name: str) -> None:
    for number, label in enumerate(("ant", "cat")):
        save(folder / name / label / "1.png", 50 + number)
    data = prepared(folder)
    assert data.splits["val"].targets.tolist() == [0, 1]
    expected = [pixels(folder / name / label / "1.png") for label in ("ant", "cat")]
    np.testing.assert_array_equal(data.splits["val"].inputs, expected)
    assert data.remarks() == []


def break_no_folder(folder: Path) -> str:
    folder.rename(folder.parent / "elsewhere")
    return f"datamodule.data_dir={folder}: no such folder. {LAYOUT}"


def break_no_train(folder: Path) -> str:
    (folder / "train").rename(folder / "training")
    return (
        f"datamodule.data_dir={folder}: holds no folder train/. "
        f"Rename training/ to train/. {LAYOUT}"
    )


def break_no_test(folder: Path) -> str:
    (folder / "test").rename(folder / "testing")
    return (
        f"datamodule.data_dir={folder}: holds no folder test/. Rename testing/ to test/. {LAYOUT}"
    )


def break_empty_test(folder: Path) -> str:
    break_no_test(folder)
    (folder / "test").mkdir()
    return f"{folder}/test: holds no class folder. {LAYOUT}"


def break_empty_class(folder: Path) -> str:
    (folder / "train" / "bee").mkdir()
    (folder / "test" / "bee").mkdir()
    (folder / "train" / "bee" / "photo.heic").write_bytes(b"of a kind that is not read")
    return (
        f"{folder}/train/bee: holds no image. It has other files, such as train/bee/photo.heic. "
        "A class folder needs .bmp, .gif, .jfif, .jpe, .jpeg, .jpg, .pbm, .pgm, .png, .ppm, .tif, "
        ".tiff, .webp files."
    )


def break_test_classes(folder: Path) -> str:
    (folder / "test" / "ant").rename(folder / "test" / "bee")
    return f"{folder}/test: other classes than in train/: it lacks ant and adds bee."


def break_val_classes(folder: Path) -> str:
    save(folder / "val" / "cat" / "1.png", 1)
    return f"{folder}/val: other classes than in train/: it lacks ant."


def break_many_classes(folder: Path) -> str:
    for number in range(8):
        (folder / "test" / f"bee {number}").mkdir()
    return (
        f"{folder}/test: other classes than in train/: "
        "it adds bee 0, bee 1, bee 2, bee 3, bee 4 and 3 more."
    )


def break_two_val(folder: Path) -> str:
    save(folder / "val" / "cat" / "1.png", 1)
    save(folder / "validation" / "cat" / "1.png", 1)
    return (
        f"datamodule.data_dir={folder}: holds val/ and validation/, "
        "and one folder alone may have the validation images."
    )


def break_dangling_link(folder: Path) -> str:
    (folder / "test" / "ant" / "link.png").symlink_to("nowhere.png")
    return f"{folder}/test/ant/link.png: cannot be read: No such file or directory."


BREAKS = [
    break_no_folder,
    break_no_train,
    break_no_test,
    break_empty_test,
    break_empty_class,
    break_test_classes,
    break_val_classes,
    break_many_classes,
    break_two_val,
    break_dangling_link,
]


def break_link_to_another_class(folder: Path) -> str:
    """As it happened: the images of other classes had this one's label, too."""
    (folder / "train" / "ant" / "all").symlink_to(folder / "train")
    return (
        f"{os.path.realpath(folder)}/train/cat: by a link, it belongs to train/cat and to "
        "train/ant, which are two classes."
    )


def break_bytes_of_a_name(folder: Path) -> str:
    """As it happened: the run trained, and ended with a traceback of TensorBoard's."""
    for split in ("train", "test"):
        (folder / split / "ant").rename(folder / split / os.fsdecode(b"fourm\xe9"))
    return (
        f"{folder}/train: holds the folder fourm\\udce9, whose name is not UTF-8.\n"
        "Rename it: it is the name of a class."
    )


def break_two_lines(folder: Path) -> str:
    """As it happened: the message was about class_names, which nobody had written."""
    for split in ("train", "test"):
        (folder / split / "ant").rename(folder / split / "a\nb")
    return (
        f"{folder}/train: holds the folder 'a\\nb', whose name has a line break.\n"
        "Rename it: it is the name of a class."
    )


def break_big_letters(folder: Path) -> str:
    for split in ("train", "test"):
        (folder / split).rename(folder / split.title())
    return (
        f"datamodule.data_dir={folder}: holds no folder train/. Rename Train/ to train/. {LAYOUT}"
    )


def break_words_that_are_alike(folder: Path) -> str:
    """As it happened: latest/ was to be renamed to test/."""
    (folder / "test").rename(folder / "latest")
    (folder / "text").mkdir()
    return f"datamodule.data_dir={folder}: holds no folder test/. {LAYOUT}"


def break_many_letters(folder: Path) -> str:
    (folder / "test").rename(folder / "Tests")
    return f"datamodule.data_dir={folder}: holds no folder test/. Rename Tests/ to test/. {LAYOUT}"


def break_letters_of_a_split(folder: Path) -> str:
    """As it happened: the test lacked café and added café."""
    (folder / "train" / "ant").rename(folder / "train" / "caf\xe9")
    (folder / "test" / "ant").rename(folder / "test" / "cafe\u0301")
    return (
        f"{folder}/test: cafe\u0301 is 'cafe\\u0301', and that of train/ is 'caf\\xe9', "
        "which looks the same.\nRename one as the other."
    )


def alike(folder: Path, one: str, other: str) -> str:
    """Gives two classes names that look the same; returns what is said of them."""
    for split in ("train", "test"):
        (folder / split / "ant").rename(folder / split / one)
        (folder / split / "cat").rename(folder / split / other)
    return (
        f"{folder}/train: holds the folders {other!a} and {one!a}, which look the same.\n"
        "Put their images into one."
    )


def break_two_ways_of_a_letter(folder: Path) -> str:
    return alike(folder, "caf\xe9", "cafe\u0301")


def break_two_ways_of_hangul(folder: Path) -> str:
    """The parts of a syllable are no marks, and macOS writes them."""
    return alike(folder, "\ud55c", "\u1112\u1161\u11ab")


BREAKS += [break_link_to_another_class, break_bytes_of_a_name, break_big_letters]
BREAKS += [break_letters_of_a_split, break_two_ways_of_a_letter, break_two_ways_of_hangul]
BREAKS += [break_words_that_are_alike, break_many_letters, break_two_lines]


@pytest.mark.parametrize("damage", BREAKS, ids=lambda damage: damage.__name__[6:])
def test_what_is_wrong_with_the_folder_is_said_before_anything_is_written(
    folder: Path, damage: Callable[[Path], str]
) -> None:
    text = damage(folder)
    with pytest.raises(UserError) as raised:
        prepared(folder)
    assert str(raised.value) == text
    assert not (folder.parent / "cache").exists()


def test_two_signs_of_chinese_are_two_classes(folder: Path) -> None:
    """As it happened: they were refused, as Unicode puts the one in place of the other."""
    for split in ("train", "test"):
        (folder / split / "ant").rename(folder / split / "\u795e")
        (folder / split / "cat").rename(folder / split / "\ufa19")
    assert find_images(folder).classes == ["\u795e", "\ufa19"]


@pytest.mark.parametrize("name", ["val", "valid", "validation"])
def test_val_folder_and_val_fraction_exclude_each_other(folder: Path, name: str) -> None:
    for label in ("ant", "cat"):
        save(folder / name / label / "1.jpeg", 50)
    with pytest.raises(UserError) as raised:
        prepared(folder, val_fraction=0.5)
    assert str(raised.value) == (
        f"datamodule.val_fraction=0.5: {folder}/{name} holds the validation images.\n"
        "Set datamodule.val_fraction=0, or remove that folder."
    )


def test_a_fraction_too_small_for_the_classes_names_its_key(folder: Path) -> None:
    with pytest.raises(UserError, match=r"datamodule\.val_fraction=0\.01 divides .* 2 classes\.$"):
        prepared(folder, val_fraction=0.01)
    assert not (folder.parent / "cache").exists()
