"""The page of a comparison in headless Chromium: what is seen, clicked, typed and read out; and that nothing runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import page_runs
from support.browser import CHROMIUM, NEEDS, Browser, Page
from support.runs import EVIL, append, written

from lwcallbacks.cli.runs import mode_of
from lwcallbacks.html import page_html
from lwcallbacks.media import Image, Matrix, Table, label_report
from lwcallbacks.sharing import comparison
from lwcallbacks.writers import FolderWriter

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason=NEEDS)
HAS_UPLOT = b"uPlot.js" in page_html()
needs_uplot = pytest.mark.skipif(not HAS_UPLOT, reason="needs the built wheel, or uplot-python beside the source tree")
CONTRAST = Path(page_runs.__file__).with_name("contrast.js")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with Browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three runs, of ten, four and ten epochs, as one file."""
    root = tmp_path_factory.mktemp("compared")
    runs = [page_runs.everything(root / f"run{i}" / "media", epochs) for i, epochs in enumerate((10, 4, 10))]
    page_runs.write_run(runs[1], name="short", config={"optimizer": {"name": "SGD", "lr": 1e-3}, "seed": 0})
    (root / "compare.html").write_text(comparison(runs))
    return root / "compare.html"


def opened(browser: Browser, target: Path, **how: Any) -> Page:
    page = browser.open(target, **how)
    page.wait("document.body.dataset.ready")
    return page


@pytest.fixture
def page(browser: Browser, compared: Path) -> Iterator[Page]:
    """In the end nothing may have gone wrong, and nothing been asked for."""
    found = opened(browser, compared)
    yield found
    assert found.errors == []
    assert all(address.startswith(("data:", "about:", compared.as_uri())) for address in found.asked)
    found.close()


def lines(page: Page, selector: str) -> list[str]:
    return [line for line in page.text(selector).split("\n") if line.strip()]


def test_the_answers_of_each_run_are_below_each_other(page: Page) -> None:
    """With what is better or worse than A, in words and not by colour alone."""
    titles = page.value("[...document.querySelectorAll('.stat h3')].map(node => node.textContent)")
    assert titles == ["val/acc, highest", "val/loss, lowest", "worst class", "cost of these callbacks"]
    answers = page.value("[...document.querySelectorAll('.stat:first-child .answer')].map(node => node.innerText)")
    assert [answer.split()[0] for answer in answers] == ["A", "B", "C"]
    assert "worse" in answers[1]
    assert "same as A" in answers[2]
    assert page.value("document.querySelectorAll('.stat:first-child .worse').length") == 1
    assert page.text("h1") == "3 runs compared"


@needs_uplot
def test_curves_of_all_runs_are_over_each_other(page: Page) -> None:
    """A colour for each run, and other dashes for each key; over epochs, where all runs know theirs, or over steps."""
    page.wait("document.querySelectorAll('.chart canvas').length >= 2")
    names = page.value("[...document.querySelectorAll('.chart:nth-child(2) .name')].map(node => node.innerText)")
    assert names[:3] == ["A val/loss", "B val/loss", "C val/loss"]
    assert {"A train/loss_epoch", "B train/loss_step"} < set(names)
    colours = page.value(
        "[...document.querySelectorAll('.chart:nth-child(2) .legend i')].map(node => node.style.background)"
    )
    assert len(set(colours)) == 3
    looks = page.value(
        "[...document.querySelectorAll('.chart:nth-child(2) .legend i')]"
        ".map(node => [node.style.background, node.style.mask, node.className].join())"
    )
    assert len(set(looks)) == len(names)
    assert "at epoch 9" in page.text(".chart:nth-child(2) .legend")
    low, high = page.value("curves.charts[1].range()")
    assert -1 <= low < 0 < high == 9
    page.click("#curves [data-value=step]")
    page.wait("curves.charts[1].range()[1] === 629")
    page.click("#curves [data-value=epoch]")
    assert "lowest" in page.text(".chart:nth-child(2) .legend")
    page.value("document.querySelector('.chart:nth-child(2)').focus()")
    page.key("End")
    page.wait("document.getElementById('said').textContent.startsWith('epoch 9: A val/loss 0.')")
    page.key("+")
    page.wait("curves.zoom !== null")
    page.click("#curves input[type=search]")
    page.type("val/f1")
    page.wait("document.querySelectorAll('.chart').length === 1")


def test_the_difference_of_matrices_is_seen_and_read(page: Page) -> None:
    """Blank where nothing has changed, else blue or orange; each run's own counts are a click away."""
    page.value("document.getElementById('confusion').scrollIntoView()")
    page.wait("document.querySelector('#confusion .matrix')")
    cells = page.value(
        "[...document.querySelectorAll('#confusion [role=gridcell]')].map(c => [c.at, c.textContent, c.className])"
    )
    for (row, column), text, look in cells:
        change = float(text.replace("−", "-") or 0)
        assert look == ("" if not change else "ok" if (change > 0) == (row == column) else "err")
    assert any(text for _, text, _ in cells)
    recalls = page.value("[...document.querySelectorAll('#confusion tbody .rate')].map(cell => cell.textContent)")
    assert all(not text or text[0] in "+−" for text in recalls)
    assert any(recalls)
    assert "A at step 629: 981 of 1,000 right, 98.1 %. B at step 251:" in page.text("#confusion")
    page.click("#confusion [data-value=a]")
    page.wait("document.querySelectorAll('#confusion tbody tr')[4].cells[5].textContent === '97'")
    page.click("#confusion [data-value=rows]")
    page.wait("document.querySelectorAll('#confusion tbody tr')[4].cells[10].textContent === '3'")
    page.set("#confusion select", "2")
    page.click("#confusion [data-value=change]")
    page.wait("[...document.querySelectorAll('#confusion [role=gridcell]')].every(cell => !cell.textContent)")
    assert "No cell differs." in page.text("#confusion .behind")


def test_a_cell_shows_its_samples_in_each_run(page: Page) -> None:
    """By the keyboard; how many they are is read out, and a tile opens."""
    page.value("document.getElementById('confusion').scrollIntoView()")
    page.wait("document.querySelector('#confusion .matrix')")
    page.value("document.querySelector('#confusion [aria-selected=true]').focus()")
    place = page.value("document.activeElement.at")
    page.wait(f"document.querySelector('#confusion .note').textContent.startsWith('true {place[0]}, predicted')")
    page.value("document.querySelectorAll('#confusion tbody tr')[4].cells[10].focus()")
    page.key("Enter")
    page.wait("document.querySelector('#confusion .behind h4').textContent === 'true 4, predicted 9'")
    text = page.text("#confusion .behind")
    assert "A 3" in text
    assert page.value("document.querySelectorAll('#confusion .behind .tiles').length") == 2
    assert page.value(
        "[...document.querySelectorAll('#confusion .crop image')].every(i => i.href.baseVal.startsWith('data:image/'))"
    )
    page.click("#confusion .behind .tile .open")
    page.wait("document.querySelector('dialog[open] .crop')")
    page.key("Escape")
    page.wait("!document.querySelector('dialog')")


def test_samples_that_flipped_are_tiles(page: Page) -> None:
    """With what A said; how many were fixed and broken equals a plain look at the tables."""
    rows = {run: page.value(f"[...LW.runs[{run}].samples.get('val/predictions_table').rows]") for run in (0, 1)}
    a, b = (dict(rows[run]) for run in (0, 1))
    broken = [name for name in a if name in b and a[name]["correct"] and not b[name]["correct"]]
    heads = page.value("[...document.querySelectorAll('#samples article:nth-child(2) h4')].map(n => n.textContent)")
    assert heads[1] == f"Broken: {len(broken)}, right in A, wrong in B"
    assert len(broken) > 0
    assert page.value("document.querySelectorAll('#samples article:nth-child(2) .tile.wrong').length") >= len(broken)
    assert page.text("#samples .tile .since").startswith("A said ")
    page.click("#samples .tile .open")
    page.wait("document.querySelector('dialog[open]').innerText.includes('pred in B')")


def test_what_differs_in_the_configuration(page: Page) -> None:
    """By path; what a run does not have is not known."""
    text = page.text("#configuration")
    assert "6 of 7 hyperparameters differ." in text
    assert "optimizer.name\tAdam\tSGD\tAdam" in text
    assert "batch_size\t64\tnot known\t64" in text
    assert "optimizer.lr" not in text


def test_numbers_sort_and_filter(page: Page) -> None:
    """The value of every key by which runs are compared, which it is, and its change."""
    page.value("document.getElementById('numbers').scrollIntoView()")
    page.click("#numbers input")
    page.type("val/acc")
    page.wait("document.querySelectorAll('#numbers tbody tr').length === 1")
    cells = page.text("#numbers tbody tr").split("\t")
    assert cells[:3] == ["val/acc", "highest", "0.981"]
    assert "worse" in cells


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [420, 1400])
def test_nothing_is_cut_and_text_has_contrast(browser: Browser, compared: Path, width: int, dark: bool) -> None:
    """No sideways scrolling, and WCAG AA for every text that is seen."""
    page = opened(browser, compared, width=width, height=5000, dark=dark)
    page.wait("document.querySelector('#confusion .tile') && document.querySelector('#numbers tbody tr')")
    assert page.value("document.documentElement.scrollWidth") <= width
    assert page.value("document.querySelector('h1').clientWidth") > 60
    found = page.value(CONTRAST.read_text())
    assert found["texts"] > 150
    assert found["low"] == []
    page.close()


def test_every_control_has_a_name_and_the_page_prints(page: Page) -> None:
    """What a screen reader says; on paper controls are left out."""
    page.value("document.getElementById('confusion').scrollIntoView()")
    page.wait("document.querySelector('#confusion .behind .tile')")
    nameless = page.value(
        """[...document.querySelectorAll("button, input, select, a, canvas, svg[role=img], img, [role=grid]")]
        .filter(node => node.checkVisibility() && !node.closest(".uplot"))
        .filter(node => !node.ariaLabel && !node.textContent.trim() && !node.title)
        .filter(node => !node.closest("label")?.textContent.trim())
        .map(node => node.outerHTML.slice(0, 100))"""
    )
    assert nameless == []
    page.click(".theme")
    page.wait("document.querySelector('.theme').getAttribute('aria-label') === 'Theme: light'")
    page.call("Emulation.setEmulatedMedia", media="print")
    assert page.value("getComputedStyle(document.querySelector('nav')).display") == "none"
    assert len(page.call("Page.printToPDF")["data"]) > 10_000


def test_a_hostile_folder_runs_nothing(browser: Browser, tmp_path: Path) -> None:
    """Markup in a name, a key, a class, a caption, a cell or a hyperparameter is text; `__proto__` is a name."""
    a = written(tmp_path / "a", name=EVIL, classes=("a", EVIL), config={EVIL: EVIL, "__proto__": {"x": 1}})
    b = written(tmp_path / "b", preds="bbb", classes=("a", EVIL))
    cell = {"image": "val/image/00000010.png", "box": [0, 0, 8, 8], "caption": EVIL}
    for folder, pred in ((a, "a"), (b, EVIL)):
        append(folder, "scalars.js", ("scalars", [1, 0, {EVIL: 0.5, "__proto__": 1.0, "constructor": 2.0}]))
        value = {
            "class_names": ["a", EVIL],
            "cells": [2, 1 + len(pred)],
            "examples": {"1,0": [cell], "__proto__": [cell]},
        }
        append(folder, "data/00000.js", ("data", [0, 20, value]))
        rows = {
            "columns": ["id", "image", "pred", "target"],
            "cells": [["__proto__", "x"], [cell] * 2, [pred] * 2, ["a"] * 2],
        }
        append(folder, "data/00000.js", ("data", [1, 20, rows]))
    target = tmp_path / "compare.html"
    target.write_text(comparison([a, b]))
    page = opened(browser, target)
    for part in ("overview", "confusion", "samples", "configuration", "numbers"):
        page.value(f"document.getElementById('{part}').scrollIntoView()")
        page.settle(0.2)
    page.wait("document.querySelector('#confusion .tile')")
    page.click("#samples .tile .open")
    page.settle(0.2)
    assert page.value("document.title") == "Runs compared"
    assert page.value("document.querySelectorAll('img[src=x], [onerror]').length") == 0
    assert EVIL in page.text("#configuration")
    assert "Broken: 2" in page.text("#samples")
    assert page.errors == []
    page.close()


def test_runs_that_share_nothing_are_a_page(browser: Browser, tmp_path: Path) -> None:
    """Other classes, other samples, other numbers, an image only: each says what it has."""
    a = written(tmp_path / "a", classes=("a", "b"))
    writer = FolderWriter(tmp_path / "b" / "media")
    matrix = Matrix(np.eye(2, dtype=np.int64), ("x", "y"))
    samples = Table(("id", "pred", "target"), [["other", "x", "y"]])
    writer.write({"val/matrix": matrix, "val/samples": samples, "i": Image(np.zeros((4, 4), np.uint8))}, 3)
    writer.write_logged([(3, None, {"other": float("nan")})])
    target = tmp_path / "compare.html"
    target.write_text(comparison([a, tmp_path / "b"]))
    page = opened(browser, target)
    page.value("document.getElementById('confusion').scrollIntoView()")
    page.wait("document.getElementById('confusion').innerText.includes('no classes in common')")
    assert "No sample is in both tables." in page.text("#samples")
    assert page.errors == []
    page.close()


def hardest(root: Path, ids: range, target: str = "a") -> Path:
    """A run with a table of samples whose losses fall, half of them wrong."""
    rows = [[str(i), "ab"[n % 2], target, 9.0 - n] for n, i in enumerate(ids)]
    FolderWriter(root / "media").write({"val/hard": Table(("id", "pred", "target", "loss"), rows)}, 3)
    return root / "media"


def test_the_hardest_samples_cannot_show_what_was_fixed(browser: Browser, tmp_path: Path) -> None:
    """Of tables of other samples, chosen by their loss, no count of fixed samples is said, but where it shows."""
    (tmp_path / "c.html").write_text(
        comparison([hardest(tmp_path / "a", range(8)), hardest(tmp_path / "b", range(2, 10))])
    )
    (tmp_path / "d.html").write_text(comparison([hardest(tmp_path / "a", range(8)), hardest(tmp_path / "e", range(8))]))
    page = opened(browser, tmp_path / "c.html")
    said = page.text("#samples")
    assert "chosen by how wrong they were" in said
    assert "PredictionGrid(select='first', name='fixed')" in said
    assert "Fixed:" not in said
    assert "In A alone: 2, not among those chosen in B: their losses there are at most 2" in said
    assert "In B alone: 2, not among those chosen in A: their losses there are at most 2" in said
    tiles = page.value("[...document.querySelectorAll('#samples ul')].map(list => list.children.length)")
    assert tiles[-2:] == [2, 2]
    page.close()
    (tmp_path / "o.html").write_text(
        comparison([hardest(tmp_path / "a", range(8)), hardest(tmp_path / "o", range(2, 10), "b")])
    )
    page = opened(browser, tmp_path / "o.html")
    assert "6 with another target" in page.text("#samples")
    assert "alone" not in page.text("#samples"), "of other data nothing is known"
    page.close()
    page = opened(browser, tmp_path / "d.html")
    said = page.text("#samples")
    assert "chosen by how wrong" not in said
    assert "Fixed: 0" in said
    page.close()


def of_labels(root: Path, counts: list[list[list[int]]]) -> Path:
    """A run with a report of labels, by counts [L, 2, 2]."""
    report = label_report(np.array(counts), ["rain", "snow", "hail"][: len(counts)])
    FolderWriter(root / "media").write({"val/m_report": report}, 3)
    return root / "media"


def test_labels_are_compared_by_their_reports(browser: Browser, tmp_path: Path) -> None:
    """Where no matrix is: the worst label of each run, and a row for each label; not judged of another support."""
    a = of_labels(tmp_path / "a", [[[5, 0], [0, 5]], [[5, 1], [4, 0]], [[8, 0], [1, 1]]])
    b = of_labels(tmp_path / "b", [[[5, 0], [3, 2]], [[6, 0], [0, 4]], [[6, 0], [2, 2]]])
    (tmp_path / "c.html").write_text(comparison([a, b]))
    page = opened(browser, tmp_path / "c.html")
    assert page.text(".stat h3") == "worst label"
    answers = page.value("[...document.querySelectorAll('.answer')].map(node => node.innerText.split(/\\s*\\n\\s*/))")
    assert "snow" in answers[0]
    assert "rain" in answers[1]
    rows = page.value(
        "[...document.querySelectorAll('#classes tr')].map(row => [...row.cells].map(cell => cell.textContent))"
    )
    assert rows == [
        ["label", "support in A", "F1 A", "F1 B", "B − A ↑", "B is", "recall A", "recall B"],
        ["rain", "5", "1", "0.5714", "−0.4286", "worse", "1", "0.4"],
        ["hail", "2", "0.6667", "0.6667", "0", "of 4", "0.5", "0.5"],
        ["snow", "4", "0", "1", "1", "better", "0", "1"],
    ]
    page.close()


def with_numbers(root: Path, classes: tuple[str, ...], right: tuple[int, ...], steps: int = 1, **run: Any) -> Path:
    """A run with a matrix, a metric and its state."""
    writer = FolderWriter(root / "media")
    cells = np.diag(right) + np.triu(np.ones((len(classes), len(classes)), np.int64), 1)
    for step in range(1, steps + 1):
        writer.write({"val/matrix": Matrix(cells, classes)}, 10 * step)
        writer.write_logged([(10 * step, step, {"val/acc": sum(right) / 20 + step / 100})])
    writer.write_run({"name": root.name, "version": None, "state": "finished", "config": {}} | run)
    return root / "media"


def test_only_the_same_class_is_better(browser: Browser, tmp_path: Path) -> None:
    """Another worst class is no better one, and of runs without a class in common nothing is judged."""
    a = with_numbers(tmp_path / "a", ("p", "q"), (2, 5))
    others = [
        with_numbers(tmp_path / "b", ("p", "q"), (3, 5)),
        with_numbers(tmp_path / "c", ("q", "p"), (2, 9)),
        with_numbers(tmp_path / "d", ("x", "y"), (5, 6)),
    ]
    (tmp_path / "c.html").write_text(comparison([a, *others]))
    page = opened(browser, tmp_path / "c.html")
    answers = page.value(
        "[...document.querySelectorAll('.stat')].map(card => [...card.querySelectorAll('.answer')]"
        ".map(node => ['better', 'worse'].filter(word => node.innerText.includes(word)).join()))"
    )
    assert answers == [["", "better", "better", ""], ["", "better", "", ""]]
    assert page.value("[...document.querySelectorAll('#numbers tbody tr td')].at(-1).textContent") == ""
    page.close()


def test_the_headline_is_what_the_runs_monitor(browser: Browser, tmp_path: Path) -> None:
    """And not another number that is called alike; by its mode, the best of each run and not the last."""
    runs = []
    for name, values in (("a", (0.25, 0.5, 0.375)), ("b", (0.75, 0.625, 0.125))):
        writer = FolderWriter(tmp_path / name / "media")
        for step, value in enumerate(values):
            writer.write_logged(
                [(step, step, {"acc/val": 1 - value, "val/acc": 2.0, "val/own": value, "val/loss": value})]
            )
        writer.write_run({"name": name, "state": "finished", "monitor": "val/own", "mode": "max"})
        runs.append(tmp_path / name / "media")
    (tmp_path / "c.html").write_text(comparison(runs))
    page = opened(browser, tmp_path / "c.html")
    cards = page.value("[...document.querySelectorAll('.stat')].map(node => node.innerText.split(/\\s*\\n\\s*/))")
    assert [card[0] for card in cards] == ["val/own, highest", "val/loss, lowest"]
    assert ("0.5" in cards[0][1:], "0.75" in cards[0][1:], "+0.25, better" in cards[0][1:]) == (True, True, True)
    assert "−0.125, better" in cards[1]
    rows = page.value(
        "[...document.querySelectorAll('#numbers tbody tr')].map(row => [...row.cells].map(cell => cell.textContent))"
    )
    assert ["val/own", "highest", "0.5", "0.75", "0.25", "better"] in rows
    assert ["val/loss", "lowest", "0.25", "0.125", "−0.125", "better"] in rows
    page.close()


NAMES = [
    "val/acc/dataloader_idx_0", "acc/val", "val/confusion_matrix_matthews", "val/confusion_matrix_cohen_kappa",
    "val/curves_ece", "val/curves_ap", "gap", "heatmap", "val_map", "train/loss_step",
    "val/wer_epoch/dataloader_idx_1", "wer_total", "lr-Adam", "val/r2", "epoch", "val/confusion_matrix_macro_f1",
    "test/perplexity", "fid", "distance_step", "val/error_rate", "val/temperature", "ap_step", "dataloader_idx_0",
    "/dataloader_idx_0", "validation/score", "predict_loss", "val/AUROC", "val/mIoU",
]  # fmt: skip


def test_a_name_means_the_same_on_the_page_and_in_a_terminal(page: Page) -> None:
    """Which way is better: both have the rule, each in its own language."""
    told = [page.value(f"bestOf({name!r})") or None for name in NAMES]
    assert told == [mode_of(name) for name in NAMES]
    assert {None, "min", "max"} == set(told)


def test_an_unfinished_run_is_not_judged_by_its_last_value(browser: Browser, tmp_path: Path) -> None:
    """Where it is at another step, both steps are said in place of better or worse."""
    a = with_numbers(tmp_path / "a", ("p", "q"), (2, 5), steps=5)
    b = with_numbers(tmp_path / "b", ("p", "q"), (3, 5), steps=2, state="running")
    c = with_numbers(tmp_path / "c", ("p", "q"), (3, 5), steps=2)
    (tmp_path / "c.html").write_text(comparison([a, b, c]))
    page = opened(browser, tmp_path / "c.html")
    answers = page.value("[...document.querySelectorAll('.answer')].map(node => node.innerText)")
    for unfinished, finished in ((answers[1], answers[2]), (answers[4], answers[5])):
        assert "at step 20, A at 50" in unfinished
        assert not {"better", "worse"} & set(unfinished.split())
        assert "better" in finished
    page.close()


FUNCTIONS: list[tuple[str, Any]] = [
    ("[0, 25, 26, 53].map(letterOf)", ["A", "Z", "A1", "B2"]),
    ("[0, 4, 9, 14, 19, 24].map(step => epochAt([[9, 0], [19, 1]], step))", [-0.9, -0.5, 0, 0.5, 1, 1.5]),
    ("epochAt([[46, 3]], 46)", 3),
    ("(names => [...reportRows({columns: ['class', 'f1', 'recall', 'support'], cells: [names, [], [], []]}).keys()])("
     "['a', 'macro average', 'c', 'macro average', 'accuracy'])", ["a", "macro average", "c"]),
    ("[[1, 'max'], [1, 'min'], [-1, 'min'], [0, 'max'], [1, '']].map(pair => verdict(...pair))",
     ["better", "worse", "better", "", ""]),
    ("mostChanged({names: ['a', 'b'], places: [0, 1, 3], counts: [1, -3, 2]}, 2)",
     [{"row": 0, "column": 1, "change": -3}, {"row": 1, "column": 1, "change": 2}]),
    ("(({a, b, apart}) => [a.names, [...b.places], [...b.counts], apart])(sideBySide("
     "{names: ['x', 'y'], places: [0], counts: [1]},"
     " {names: ['y', 'z', 'x'], places: [0, 1, 2, 6], counts: [1, 2, 3, 4]}))",
     [["x", "y"], [1, 2, 3], [4, 3, 1], 1]),
    ("(({a}) => [a.hits, a.total, a.elsewhere, a.rows, a.columns])(sideBySide("
     "{names: ['x', 'y', 'z'], places: [0, 2, 4, 6, 8], counts: [5, 3, 2, 4, 9]},"
     " {names: ['x', 'y'], places: [0], counts: [1]}))",
     [7, 10, 3, [8, 2], [9, 2]]),
    ("sideBySide({names: ['x', 'x'], places: [], counts: []}, {names: ['x', 'y'], places: [], counts: []})", None),
    ("(({fixed, broken, wrong, both, unlike}) => [fixed, broken, wrong, both.length, unlike])(flipped("
     "new Map(Object.entries({p: {correct: false}, q: {correct: true}, r: {correct: false},"
     " s: {correct: true, target: 1}, t: {correct: true}})),"
     " new Map(Object.entries({p: {correct: true}, q: {correct: false}, r: {correct: false},"
     " s: {correct: false, target: 2}}))))",
     [["p"], ["q"], ["r"], 4, 1]),
    ("[[0, 10], [1, 9], [2, 8]].map(pair => chosenByError({rows: new Map(pair.flatMap((count, right) =>"
     " Array.from({length: count}, (_, i) => [`${right} ${i}`, {correct: !right}])))}))", [True, True, False]),
]  # fmt: skip


def test_pure_functions(page: Page) -> None:
    """Each example."""
    for expression, expected in FUNCTIONS:
        assert page.value(f"JSON.parse(JSON.stringify({expression}))") == expected, expression


def test_scripts_keep_to_text() -> None:
    """Nothing that takes text for markup or for a script."""
    for script in Path(__file__).parents[2].joinpath("lwcallbacks", "sharing").glob("compare*.js"):
        code = script.read_text()
        for way in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function"):
            assert way not in code, f"{script.name}: {way}"
