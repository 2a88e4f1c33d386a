"""The ranking and the runs as text."""

import csv
import io
import math
import re
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from engine.report.page import latex, markdown, tables, trained
from engine.report.statistics.content import Content
from synthetic_runs import content_of, write_run


@pytest.fixture
def content(tmp_path: Path) -> Content:
    for optimizer, accuracies in {"sgd": [0.5, 0.6, 0.7], "adam": [0.9, 0.92, 0.91]}.items():
        for seed, acc in enumerate(accuracies):
            write_run(
                tmp_path / f"{optimizer},seed={seed}",
                optimizer=optimizer,
                seed=seed,
                metrics={"val/acc": acc, "train/loss": 0.1},
                seconds=10 * seed,
            )
    error = "ValueError: <b>|*bold*|</b>"
    write_run(
        tmp_path / "sgd,seed=3",
        seed=3,
        status="failed",
        error=error,
        metrics={"val/loss": math.nan},
    )
    return content_of(tmp_path)


MEAN = "val/acc, last value: mean ± 95 % CI"
HEADER = [
    *("rank", "optimizer", "n", MEAN, "median", "best", "time"),
    *("vs best", "Holm p", "left out"),
]
ROWS = [
    ["1", "Adam", "3", "0.910 ± 0.025", "0.91", "0.92", "10 s", "best", "–", ""],
    ["2", "SGD", "3 of 4", "0.60 ± 0.25", "0.6", "0.7", "10 s", "worse", "0.03", "1 failed"],
]


def document(content: Content) -> str:
    return markdown.document([content], [trained.of(content, "mine.train")])


def test_ranking(content: Content) -> None:
    assert tables.as_rows(tables.ranking(content)) == (HEADER, ROWS)


def test_markdown_table_reads_back(content: Content) -> None:
    text = document(content)
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    cells = [
        tokens[i + 1].content
        for i, token in enumerate(tokens)
        if token.type in ("th_open", "td_open")
    ]
    assert cells == [*HEADER, *ROWS[0], *ROWS[1]]
    headings = [
        tokens[i + 1].content for i, token in enumerate(tokens) if token.type == "heading_open"
    ]
    assert headings[1:] == [
        "What differs by more than noise",
        "Notes",
        "Failed, diverged or mixed",
        "How it was computed",
    ]


def test_markdown_shows_text_as_it_is(content: Content) -> None:
    shown = MarkdownIt("commonmark").render(document(content))
    assert (
        "sgd,seed=3: failed: ValueError: &lt;b&gt;|*bold*|&lt;/b&gt; (see sgd,seed=3/train.log)"
        in shown
    )


def test_runs_csv_reads_back_exactly(content: Content) -> None:
    rows = list(csv.DictReader(io.StringIO(tables.csv([content]))))
    assert list(rows[0]) == [
        "folder",
        "status",
        "optimizer",
        "seed",
        "fold",
        "objective",
        "objective_name",
        "train/loss",
        "val/acc",
        "val/loss",
        "seconds",
        "error",
    ]
    assert len(rows) == 7
    by_folder = {row["folder"]: row for row in rows}
    assert float(by_folder["adam,seed=1"]["val/acc"]) == 0.92
    assert (by_folder["adam,seed=1"]["optimizer"], by_folder["adam,seed=1"]["seed"]) == (
        "Adam",
        "1",
    )
    failed = by_folder["sgd,seed=3"]
    assert (failed["status"], failed["val/acc"], failed["error"]) == (
        "failed",
        "",
        "ValueError: <b>|*bold*|</b>",
    )


def test_terminal_lines(content: Content) -> None:
    text = tables.terminal(content)
    assert text.splitlines()[:6] == [
        "7 runs (6 finished, 1 failed) in 2 groups; val/acc, last value: higher is better",
        "",
        "rank  optimizer       n  val/acc, last value: mean ± 95 % CI  median  best  time  "
        "vs best  Holm p  left out",
        f"────  ─────────  ──────  {'─' * 35}  ──────  ────  ────  ───────  ──────  ────────",
        f"   1  Adam            3  {'0.910 ± 0.025':<35}    0.91  0.92  10 s  best          –",
        f"   2  SGD        3 of 4  {'0.60 ± 0.25':<35}     0.6   0.7  10 s  "
        "worse      0.03  1 failed",
    ]


@pytest.mark.parametrize(
    ("keys", "metric", "shown"),
    [
        (1, "val/acc", 1),
        (5, "val/acc", 5),
        (40, "val/acc", 6),
        (40, "val/a_long_name_of_a_metric/acc", 3),
    ],
)
def test_terminal_lines_fit_in_120_columns(
    tmp_path: Path, keys: int, metric: str, shown: int
) -> None:
    """Cells are cut. Where that is not enough, keys are left out.

    These are keys of the six that tell the groups apart.
    """
    for number in range(2 ** min(keys, 6)):
        changes = {f"trainer.a_rather_long_name_{i}": number >> i & 1 for i in range(keys)}
        write_run(
            tmp_path / str(number),
            changes={**changes, "trainer.text": f"{number:x<60}"},
            status=["finished", "failed"][number % 2],
            metrics={metric: 0.5},
        )
    lines = tables.terminal(content_of(tmp_path)).splitlines()
    assert max(map(len, lines)) <= 120
    assert len(re.findall(r"\ba_ra?\w*", lines[2])) >= shown
    assert all(word in lines[2] for word in ("rank", f"{metric}, last value", "vs best"))


def test_a_paper_s_table_reads_back(content: Content) -> None:
    """The cells between & and \\\\ are those of the ranking; the best row is bold."""
    lines = latex.table(content).splitlines()
    rules = [line for line in lines if line.endswith("rule")]
    assert rules == [r"\toprule", r"\midrule", r"\bottomrule"]
    head, best, other = (
        [cell.strip() for cell in line.removesuffix(r"\\").split("&")]
        for line in lines
        if line.endswith(r"\\")
    )
    assert head == ["rank", "optimizer", "n", r"val/acc, last value: mean $\pm$ 95 \% CI", "Holm p"]
    assert best == [
        rf"\textbf{{{cell}}}" for cell in ("1", "Adam", "3", r"0.910 $\pm$ 0.025", "--")
    ]
    assert other == ["2", "SGD", "3 of 4", r"0.60 $\pm$ 0.25", "0.03"]


def test_many_groups_are_counted(tmp_path: Path) -> None:
    for number in range(40):
        write_run(
            tmp_path / str(number), metrics={"val/acc": 0.5}, changes={"optimizer.lr": number}
        )
    assert "… and 10 more groups in report.md" in tables.terminal(content_of(tmp_path))


def test_one_group_is_not_compared(tmp_path: Path) -> None:
    write_run(tmp_path / "a", metrics={"val/acc": 0.5})
    assert tables.as_rows(tables.ranking(content_of(tmp_path))) == (
        ["rank", "val/acc, last value", "time"],
        [["1", "0.5", "10 s"]],
    )
