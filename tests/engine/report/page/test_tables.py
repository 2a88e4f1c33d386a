"""The ranking and the runs as text."""

import csv
import html
import io
import math
import re
from dataclasses import replace
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from engine.report.page import latex, method, page, tables, trained
from engine.report.read.collect import of_summary
from engine.report.statistics.content import Content
from engine.run.summaries import BEST_EPOCH, LAST_PASS, Objective
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
    return page.markdown([page.Part(content, trained.of(content, "mine.train"), [])])


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


def test_markdown_shows_an_ampersand_as_it_is() -> None:
    """As it happened: a name with `&lt;` was shown as one with `<`."""
    name = "a&lt;b&amp;c & d"
    shown = MarkdownIt("commonmark").render(page.escaped(name))
    assert html.unescape(shown) == f"<p>{name}</p>\n"


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


def test_terminal_lines(content: Content, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    text = tables.terminal(content)
    assert text.splitlines()[:6] == [
        "7 runs (6 finished, 1 failed) in 2 groups; val/acc, last value: higher is better",
        "",
        "rank  optimizer       n  mean ± 95 % CI  best  time  vs best  Holm p  left out",
        f"────  ─────────  ──────  {'─' * 14}  ────  ────  ───────  ──────  ────────",
        "   1  Adam            3  0.910 ± 0.025   0.92  10 s  best          –",
        "   2  SGD        3 of 4  0.60 ± 0.25      0.7  10 s  worse      0.03  1 failed",
    ]


# columns of the terminal, keys that differ, and the fewest of the six that tell the groups apart
WIDTHS = [(80, 1, 1), (80, 5, 5), (80, 40, 6), (120, 40, 6), (40, 1, 1), (40, 40, 2)]


@pytest.mark.parametrize(("columns", "keys", "shown"), WIDTHS)
def test_terminal_lines_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, columns: int, keys: int, shown: int
) -> None:
    """Cells are cut. Where that is not enough, keys are left out, and nothing else after them."""
    monkeypatch.setenv("COLUMNS", str(columns))
    for number in range(2 ** min(keys, 6)):
        changes = {f"trainer.a_rather_long_name_{i}": number >> i & 1 for i in range(keys)}
        write_run(
            tmp_path / str(number),
            changes={**changes, "trainer.text": f"{number:x<60}"},
            status=["finished", "failed"][number % 2],
            metrics={"val/acc": 0.5},
        )
    content = content_of(tmp_path)
    lines = tables.terminal(content).splitlines()
    head = next(line for line in lines if line.startswith("rank"))
    assert max(map(len, lines)) <= columns
    assert len(re.findall(r"\ba_\w*", head)) >= shown
    assert "val/acc, last value" in head
    monkeypatch.setenv("COLUMNS", "5")
    assert "\nrank  val/acc, last value\n" in tables.terminal(content)


def test_keys_may_have_the_names_of_columns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As n and time, which are left out first in a narrow terminal, and in a paper."""
    monkeypatch.setenv("COLUMNS", "40")
    for number in range(4):
        changes = {"module.n": number % 2, "module.time": f"t{number // 2}"}
        write_run(tmp_path / str(number), metrics={"val/acc": 0.1 * number}, changes=changes)
    content = content_of(tmp_path)
    lines = tables.terminal(content).splitlines()
    head = next(i for i, line in enumerate(lines) if line.startswith("rank"))
    assert lines[head].split()[:3] == ["rank", "n", "time"]
    assert lines[head + 2].split()[:4] == ["1", "1", "t1", "0.3"]
    best = r"\textbf{1} & \textbf{1} & \textbf{t1} & \textbf{0.3} \\"
    assert best in latex.table(content).splitlines()


def test_a_paper_shows_the_signs_that_latex_takes_for_commands(tmp_path: Path) -> None:
    for value in ("a_b", "50 % & {c}", "~^\\#$<"):
        write_run(tmp_path / str(len(value)), metrics={"val/acc": 0.5}, changes={"a.x": value})
    text = latex.table(content_of(tmp_path))
    for shown in (
        r"a\_b",
        r"50 \% \& \{c\}",
        r"\textasciitilde{}\textasciicircum{}\textbackslash{}\#\$$<$",
    ):
        assert rf"\textbf{{{shown}}}" in text


def test_a_paper_shows_an_interval_that_no_number_can_hold(tmp_path: Path) -> None:
    """LaTeX knows no ∞: it ends with an error."""
    for seed, value in enumerate((1e200, 5e200)):
        write_run(tmp_path / str(seed), seed=seed, metrics={"val/loss": value})
    assert r"3e+200 $\pm$ $\infty$" in latex.table(content_of(tmp_path))


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


def test_metrics_with_the_names_of_columns_replace_none(tmp_path: Path) -> None:
    metrics = {"val/acc": 0.5, "error": 0.25, "seconds": 1.5}
    write_run(tmp_path / "a", metrics=metrics, seconds=10.0)
    write_run(tmp_path / "b", status="failed", error="KeyError: x")
    a, b = csv.DictReader(io.StringIO(tables.csv([content_of(tmp_path)])))
    assert (a["metrics.error"], a["metrics.seconds"], a["seconds"]) == ("0.25", "1.5", "10.0")
    assert (a["error"], b["error"]) == ("", "KeyError: x")


@pytest.mark.parametrize("taken", [BEST_EPOCH, LAST_PASS])
def test_the_last_value_of_a_run_is_not_shown_as_another(taken: str, tmp_path: Path) -> None:
    best = Objective("val/acc", taken, "max", 0.9)
    write_run(tmp_path / "a", metrics={"val/acc": 0.6}, objective=best)
    write_run(tmp_path / "b", seed=1, metrics={"val/acc": 0.1}, status="diverged")
    write_run(tmp_path / "c", seed=2, metrics={}, status="failed")
    (shown,) = [one for one in tables.runs(content_of(tmp_path)) if one.name == best.name]
    assert shown.texts == ["0.9", "0.1 (last value)", "–"]
    asked = content_of(tmp_path, metric_name="val/acc")
    (shown,) = [one for one in tables.runs(asked) if one.name == "val/acc, last value"]
    assert shown.texts == ["0.6", "0.1", "–"]


@pytest.mark.parametrize("form", ["{0:x>90}", "{0}xxx", "xxx{0}", "{0:x^7}"])
def test_different_values_look_different_in_a_terminal(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    for number in range(3):
        changes = {"trainer.text": form.replace("xxx", 90 * "x").format(number)}
        write_run(tmp_path / str(number), changes=changes, metrics={"val/acc": 0.5})
    lines = tables.terminal(content_of(tmp_path)).splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("rank  text"))
    rows = lines[start + 2 : start + 5]
    assert len({row.split()[1] for row in rows}) == 3
    assert max(map(len, rows)) <= 60


def test_a_terminal_names_the_keys_that_it_has_no_room_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    middle = 45 * "x"  # alike in all values, as are their ends: they cannot be cut
    for number in range(2):
        changes = {"trainer.long": f"{middle}{number}{middle}"}
        changes |= {f"trainer.word_{i}": f"{number}{i}" for i in range(12)}
        write_run(tmp_path / str(number), changes=changes, metrics={"val/acc": 0.5})
    content = content_of(tmp_path, group_by=[f"word_{i}" for i in range(12)] + ["long"])
    text = " ".join(tables.terminal(content).split())
    shown = len(re.findall(r"wo\S*_\d", text[text.index("rank") : text.index("──")]))
    (lost,) = re.findall(r"… and (\d+) more keys? in report.md: ((?:word_\d+, )*long)", text)
    assert lost[1].split(", ") == [*(f"word_{i}" for i in range(12)), "long"][shown:]
    assert int(lost[0]) == 13 - shown
    assert 2 <= shown <= 11


def test_a_report_says_which_time_it_shows(content: Content) -> None:
    (said,) = [text for text in method.sentences(content) if "Time is" in text]
    assert "without processes that were killed and, of a retried job, without what failed" in said
    assert "trained together with others has the time of all of them" in said


def test_a_report_says_how_many_runs_tested_other_weights(content: Content) -> None:
    of = {"metric": "val/acc", "taken": "best epoch", "mode": "max"}
    summary = {"status": "finished", "objective": 0.5, "objective_of": of}
    for tested, others in ((None, False), ("best.ckpt", False), ("last.ckpt", True)):
        found = of_summary({**summary, "tested": tested})["tests_others"]
        assert found == others
        runs = [replace(run, tests_others=found) for run in content.runs]
        (said,) = [
            text
            for text in method.sentences(replace(content, runs=runs))
            if text.startswith("Compared")
        ]
        words = f" (of {len(runs)} runs, of the weights that train() had tested)"
        assert (words in said) == others
