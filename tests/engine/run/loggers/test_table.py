"""metrics.csv, as Python's own csv reader sees it."""

import csv
import errno
from pathlib import Path

import numpy as np
import pytest
import torch

from engine import files
from engine.errors import UserError
from engine.files import CannotWrite
from engine.run.loggers.table import Mark, MetricsCSV, Row
from limited import limited_to


def read(folder: Path) -> list[dict[str, str]]:
    with open(folder / "metrics.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def reopened(folder: Path, purge_step: int | None = None) -> MetricsCSV:
    """The logger of a resumed run, after what Lightning asks of it before training."""
    logger = MetricsCSV(folder, purge_step)
    assert logger.experiment is not None
    return logger


def test_every_number_reads_back_exactly(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    numbers = [
        0.1,
        1 / 3,
        -2.5e-300,
        5e-324,
        1.7976931348623157e308,
        2.0**53,
        1e15,
        123_456_789.0,
        0.0,
        -0.0,
        7,
        True,
        *rng.normal(size=100),
        *rng.integers(0, 2**63, 100).view(np.float64),
        torch.tensor(0.1).item(),
        torch.tensor(1 / 3),
        np.float32(0.7),
    ]
    logger = MetricsCSV(tmp_path)
    for step, number in enumerate(numbers):
        logger.log_metrics({"a/b": number}, step)
    rows = read(tmp_path)
    assert [int(row["step"]) for row in rows] == list(range(len(numbers)))
    found = np.array([float(row["a/b"]) for row in rows])
    expected = np.array([float(number) for number in numbers])
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(np.signbit(found), np.signbit(expected))  # of -0.0, too


@pytest.mark.parametrize("number", ["nan", "inf", "-inf"])
def test_what_is_no_number_reads_back_too(number: str, tmp_path: Path) -> None:
    MetricsCSV(tmp_path).log_metrics({"a": float(number)}, 0)
    assert str(float(read(tmp_path)[0]["a"])) == number


def test_the_file_is_plain_text_with_short_numbers(tmp_path: Path) -> None:
    logger = MetricsCSV(tmp_path)
    logger.log_metrics({"train/loss": 0.1, "epoch": 0}, 1)
    logger.log_metrics({"train/loss": 2.0, "epoch": 1}, 12_000)
    assert (tmp_path / "metrics.csv").read_bytes() == b"epoch,step,train/loss\n0,1,0.1\n1,12000,2\n"


def test_metrics_within_metrics_have_columns_of_their_own(tmp_path: Path) -> None:
    """As it happened: Lightning's loggers take a mapping as a metric, and this one failed."""
    table = MetricsCSV(tmp_path)
    table.log_metrics({"loss": 1.0, "parts": {"a": 0.25, "b": 0.75}}, step=3)  # type: ignore[dict-item]
    table.save()
    header, row = (tmp_path / "metrics.csv").read_text().splitlines()
    assert (header, row) == ("epoch,step,loss,parts.a,parts.b", ",3,1,0.25,0.75")


def test_new_columns_keep_the_old_rows(tmp_path: Path) -> None:
    logger = MetricsCSV(tmp_path)
    logger.log_metrics({"train/loss": 2.5, "epoch": 0}, 0)
    logger.log_metrics({"val/loss": 1.5, "epoch": 0}, 0)
    logger.log_metrics({"train/loss": 0.5, "epoch": 1}, 1)
    logger.log_metrics({"test/acc": 0.25}, 2)
    assert [list(row.values()) for row in read(tmp_path)] == [
        ["0", "0", "2.5", "", ""],
        ["0", "0", "", "1.5", ""],
        ["1", "1", "0.5", "", ""],
        ["", "2", "", "", "0.25"],
    ]
    assert list(read(tmp_path)[0]) == ["epoch", "step", "train/loss", "val/loss", "test/acc"]


def test_a_row_is_on_disk_at_once(tmp_path: Path) -> None:
    logger = MetricsCSV(tmp_path)
    for step in range(3):
        logger.log_metrics({"a": step}, step)
        assert len(read(tmp_path)) == step + 1


@pytest.mark.parametrize(
    "name",
    ["val/acc/a, b", 'val/acc/"c"', "val/acc/für", "val/acc/a\u2028b"],
    ids=["comma", "quotes", "umlaut", "Unicode's line separator"],
)
def test_a_column_may_have_any_name(name: str, tmp_path: Path) -> None:
    logger = MetricsCSV(tmp_path)
    logger.log_metrics({name: 0.5}, 0)
    logger.log_metrics({name: 0.25, "other": 1}, 1)
    reopened(tmp_path).log_metrics({name: 0.125}, 2)
    assert [row[name] for row in read(tmp_path)] == ["0.5", "0.25", "0.125"]
    assert [row["other"] for row in read(tmp_path)] == ["", "1", ""]


@pytest.mark.parametrize(
    ("purge_step", "kept"), [(None, [0, 1, 2, 3]), (2, [0, 1]), (0, []), (9, [0, 1, 2, 3])]
)
def test_a_resumed_run_keeps_the_rows_before_its_step(
    purge_step: int | None, kept: list[int], tmp_path: Path
) -> None:
    logger = MetricsCSV(tmp_path)
    for step in range(4):
        logger.log_metrics({"a": step / 4}, step)
    reopened(tmp_path, purge_step).log_metrics({"a": -1, "b": 1}, 100)
    rows = read(tmp_path)
    assert [int(row["step"]) for row in rows] == [*kept, 100]
    assert [float(row["a"]) for row in rows] == [*(step / 4 for step in kept), -1]


def test_a_resumed_run_has_the_columns_of_a_run_that_went_on(tmp_path: Path) -> None:
    """As it happened: a longer run had the column of the shorter one's test before that of val."""
    train, val, test = ({name: 0.5} for name in ("train/loss", "val/loss", "test/loss"))
    (tmp_path / "whole").mkdir()
    for folder in (tmp_path, tmp_path / "whole"):
        MetricsCSV(folder).log_rows([Row(0, train), Row(1, train)])
    MetricsCSV(tmp_path).log_metrics(test, 2)
    for table in (reopened(tmp_path, purge_step=2), MetricsCSV(tmp_path / "whole")):
        table.log_rows([Row(2, train), Row(2, val), Row(3, test)])
    tables = [(one / "metrics.csv").read_text() for one in (tmp_path, tmp_path / "whole")]
    assert tables[0] == tables[1]
    assert tables[0].startswith("epoch,step,train/loss,val/loss,test/loss\n")


def logged(folder: Path, *steps: int) -> MetricsCSV:
    """The logger that has logged a row for each of some steps; each row has its own number."""
    folder.mkdir(exist_ok=True)
    logger = MetricsCSV(folder)
    for number, step in enumerate(steps):
        logger.log_metrics({"a": number}, step)
    return logger


@pytest.mark.parametrize(
    ("steps", "after"),
    [
        pytest.param([0, 1, 2, 4, 4], [4, 5], id="a step that is the next one's"),
        pytest.param([0, 1, 2, 3, 0], [1, 0, 4], id="the number of the epoch"),
        pytest.param([0, 1, 2, 3], [], id="none after it"),
        pytest.param([], [7], id="none before it"),
    ],
)
def test_a_resumed_run_keeps_the_rows_before_its_checkpoint_whatever_their_steps(
    steps: list[int], after: list[int], tmp_path: Path
) -> None:
    """Rows that somebody logs by hand have any step; the next one of training is 4."""
    mark = logged(tmp_path, *steps).mark
    assert mark.rows == len(steps)
    logged(tmp_path / "more", *steps, *after)
    logger = MetricsCSV(tmp_path / "more", purge_step=4)
    logger.until = mark
    assert logger.lost() == ""
    assert logger.experiment is not None
    assert logger.mark == mark
    rows = read(tmp_path / "more") if steps or after else []
    assert [int(row["step"]) for row in rows] == steps
    assert [int(row["a"]) for row in rows] == list(range(len(steps)))


@pytest.mark.parametrize(
    ("left", "said"),
    [
        ([0, 1, 3, 4, 5, 6], "1 of 4 rows are lost: 3 are left, the last of them of step 3"),
        ([0, 1], "2 of 4 rows are lost: 2 are left, the last of them of step 1"),
        ([0, 1, 2, 2, 3, 4], "its first 4 rows have other steps: there are 5, the last of them of"),
    ],
    ids=["one amid them", "those at the end", "one more"],
)
def test_rows_that_are_lost_before_a_checkpoint_are_noticed(
    left: list[int], said: str, tmp_path: Path
) -> None:
    """Later ones, which a resumed run writes again, do not stand for them."""
    mark = logged(tmp_path, 0, 1, 2, 3).mark
    logged(tmp_path / "left", *left)
    logger = MetricsCSV(tmp_path / "left", purge_step=4)
    logger.until = mark
    assert logger.lost().startswith(said)
    assert [int(row["step"]) for row in logger.kept()] == [step for step in left if step < 4]


def test_a_mark_is_the_same_however_its_rows_came() -> None:
    steps = ["0", "10", "7"]
    assert Mark().after(steps[:1]).after(steps[1:]) == Mark().after(steps)
    assert Mark().after(["01", "0"]) != Mark().after(["0", "10"])


def test_rows_together_make_the_table_that_they_make_one_by_one(tmp_path: Path) -> None:
    """With a column that comes late, and in a table that is there already."""
    rows = [
        Row(step, {"a": step / 3, "epoch": 0, **({"b": 1.0} if step == 2 else {})})
        for step in range(4)
    ]
    tables = []
    for together in (False, True):
        (folder := tmp_path / str(together)).mkdir()
        for part in (rows[:1], rows[1:], []):
            logger = reopened(folder)
            if together:
                logger.log_rows(part)
            for row in [] if together else part:
                logger.log_metrics(row.values, row.step)
        tables.append((folder / "metrics.csv").read_text())
    assert tables[0] == tables[1]
    assert tables[1].splitlines()[0] == "epoch,step,a,b"
    assert [row["step"] for row in read(tmp_path / "True")] == ["0", "1", "2", "3"]


@pytest.mark.parametrize("cut", [1, 2, 5, 8], ids=lambda cut: f"{cut} bytes short")
def test_a_row_that_a_kill_cut_short_is_dropped(cut: int, tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    logger = MetricsCSV(tmp_path)
    for step in range(3):
        logger.log_metrics({"a": 0.1234, "b": step}, step)
    torn = path.read_bytes()
    assert torn.endswith(b",2,0.1234,2\n")
    path.write_bytes(torn[:-cut])
    reopened(tmp_path).log_metrics({"a": 0.5, "b": 9}, 2)
    assert [(row["step"], row["a"], row["b"]) for row in read(tmp_path)] == [
        ("0", "0.1234", "0"),
        ("1", "0.1234", "1"),
        ("2", "0.5", "9"),
    ]


def test_a_column_that_somebody_has_added_meanwhile_stays(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "metrics.csv"
    logger = MetricsCSV(tmp_path)
    logger.log_metrics({"a": 0.5}, 0)
    path.write_text("step,a,remark\n0,0.5,7\n")
    logger.log_metrics({"a": 0.25}, 1)
    assert path.read_text() == "epoch,step,a,remark\n,0,0.5,7\n,1,0.25,\n"
    logger.log_metrics({"a": 0.125, "b": 3}, 2)
    assert path.read_text().splitlines()[1:] == [",0,0.5,7,", ",1,0.25,,", ",2,0.125,,3"]
    (message,) = caplog.messages
    assert message.startswith(f"{path}: somebody else has changed it; it goes on with the 1 rows")


def test_without_tensorboard_whoever_writes_to_it_is_told_so(tmp_path: Path) -> None:
    writer = MetricsCSV(tmp_path).experiment
    assert not hasattr(writer, "add_image")  # whoever asks is answered
    says = r"^self\.logger\.experiment\.add_image: needs TensorBoard; choose logger=tensorboard\.$"
    with pytest.raises(UserError, match=says):
        writer.add_image("image", None)


def test_a_table_that_was_removed_is_not_made_empty_by_whoever_finds_that_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The table is written whole then; if there is no space for that, there is no file."""
    logger = MetricsCSV(tmp_path)
    logger.log_metrics({"train/loss": 1.0}, step=1)
    logger.path.unlink()

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files, "write_whole", full)
    with pytest.raises(OSError, match="No space"):
        logger.log_metrics({"train/loss": 0.5}, step=2)
    assert not logger.path.exists()


@pytest.mark.parametrize("is_new", [True, False], ids=["first row", "new column"])
def test_a_row_that_found_no_space_leaves_a_table_that_others_follow(
    is_new: bool, tmp_path: Path
) -> None:
    logger = MetricsCSV(tmp_path)
    if not is_new:
        logger.log_metrics({"a": 1.0}, 0)
    for step, room in ((1, 0), (2, 12)):
        with limited_to(room), pytest.raises(CannotWrite):
            logger.log_metrics({"a": 0.5, "b": 0.125}, step)
    logger.log_metrics({"a": 0.25, "b": 0.5}, 3)
    rows = read(tmp_path)
    assert [(row["step"], row["a"], row["b"]) for row in rows][-1] == ("3", "0.25", "0.5")
    assert len(rows) == (1 if is_new else 2)


def test_a_row_of_which_a_part_found_space_is_nobody_elses_fault(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    logger = MetricsCSV(tmp_path)
    logger.log_metrics({"a": 1.0}, 0)
    with limited_to(logger.path.stat().st_size + 2), pytest.raises(CannotWrite):
        logger.log_metrics({"a": 0.5}, 1)
    logger.log_metrics({"a": 0.25}, 2)
    assert [row["step"] for row in read(tmp_path)] == ["0", "2"]
    assert caplog.messages == []
