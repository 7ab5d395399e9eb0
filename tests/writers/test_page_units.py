"""The page's pure functions, run in Chromium; and what holds for its scripts as text."""

from __future__ import annotations

import json
import re
import struct
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.browser import CHROMIUM, NEEDS, Browser, Page

from lwcallbacks import html as page_module
from lwcallbacks.html import SCRIPTS, page_html

FOLDER = Path(page_module.__file__).parent / "writers" / "page"
OWN = {path.stem: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.js")}
in_browser = pytest.mark.skipif(CHROMIUM is None, reason=NEEDS)


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """A page with nothing to show: its functions are there."""
    target = tmp_path_factory.mktemp("page") / "index.html"
    target.write_bytes(page_html(before="LW.files = {};"))
    with Browser() as browser:
        page = browser.open(target)
        page.wait("document.body.dataset.ready")
        yield page


CALLS: dict[str, list[tuple[str, Any]]] = {
    "names in natural order": [
        ("['b', 'a10', 'a2', 'A2', ''].sort(natural)", ["", "A2", "a2", "a10", "b"]),
        ("['train/a', 'other', 'test/a', 'val/b', 'val/a10', 'val/a9'].sort(byStage)",
         ["val/a9", "val/a10", "val/b", "test/a", "train/a", "other"]),
    ],
    "numbers with the digits that matter": [
        ("[0, 1, -3, 12345, 0.123456].map(value => brief(value))", ["0", "1", "−3", "12,345", "0.1235"]),
        ("[1e-7, 1.5e12, true, null, 'x'].map(value => brief(value))",
         ["1.00e-7", "1,500,000,000,000", "yes", "", "x"]),
        ("[NaN, Infinity, -Infinity, 12345678.5, -0.5].map(value => brief(value))",
         ["NaN", "∞", "−∞", "1.23e7", "−0.5"]),
        ("[brief(0.99996), brief(0.9996, 3), brief(-0.99996), brief(1.00001)]", ["0.99996", "0.9996", "−0.99996", "1"]),
        ("[3, -0.25, 0].map(signed)", ["+3", "−0.25", ""]),
        ("[percent(1), percent(0.9795), percent(0.5, 0)]", ["100 %", "98 %", "50 %"]),
        ("[299 / 300, 1 - 1e-6, 1 / 900, 0, 1, 1.5].map(share => percent(share, 0))",
         ["99.7 %", "99.9999 %", "0.1 %", "0 %", "100 %", "150 %"]),
    ],
    "numbers of an axis are short, and as long as it takes to tell them apart": [
        ("axisTexts([0, 1e9, 2e9, 1.5e9, null])", ["0", "1e9", "2e9", "1.5e9", ""]),
        ("axisTexts([1e-12, -1e-12, 2.5e-300])", ["1e-12", "−1e-12", "2.5e-300"]),
        ("[axisTexts([-1234567]), axisTexts([0.1]), axisTexts([200000, -0.25])]",
         [["−1.23e6"], ["0.1"], ["200,000", "−0.25"]]),
        ("axisTexts([-1234567, -1234568])", ["−1.234567e6", "−1.234568e6"]),
        ("axisTexts([0.70001, 0.70002, 3, 3])", ["0.70001", "0.70002", "3", "3"]),
        ("axisTexts([0.1 + 0.2, 0.3, Infinity])", ["0.3", "0.3", "∞"]),
    ],
    "a shortened name keeps both ends and whole letters": [
        ("shorten('a long name of a layer', 9)", "a lo…ayer"),
        ("shorten('short', 9)", "short"),
        ("[shortest(['abcdefgh', 'x'], 3), shortest(['a1234z', 'a5678z', 'a5678z'], 3)]", [3, 7]),
        ("shorten('😀😁😂🤣😃', 4)", "😀😁…😃"),
    ],
    "a name says its stage, its metric and how often it comes": [
        ("partsOf('train/loss_step')", {"stage": "train", "rest": "loss", "every": "step"}),
        ("partsOf('val_loss')", {"stage": "val", "rest": "loss", "every": ""}),
        ("partsOf('validation/acc/dataloader_idx_1')", {"stage": "val", "rest": "acc", "every": ""}),
        ("['loss/val/dataloader_idx_1', 'loss/train_step', 'val/test', 'a/b', 'val/a_epoch/dataloader_idx_0']"
         ".map(name => Object.values(partsOf(name)).join())",
         ["val,loss,", "train,loss,step", "val,test,", ",a/b,", "val,a,epoch"]),
        ("partsOf('lr-Adam')", {"stage": "", "rest": "lr-Adam", "every": ""}),
        ("partsOf('train')", {"stage": "", "rest": "train", "every": ""}),
        ("['val/acc', 'val/loss', 'lr', 'top5_error', 'val/AUROC', 'perplexity', 'val/curves_ap', 'gap'].map(bestOf)",
         ["max", "min", "", "min", "max", "min", "max", ""]),
    ],
    "a link is read back as it was written": [
        ("linkOf({key: 'val/a b', step: 3})", "val/a%20b@3"),
        ("stateOf(linkOf({key: 'a@2~#%', step: 3, other: 1}))", {"key": "a@2~#%", "step": 3, "other": 1}),
        ("stateOf(linkOf({key: 'a@2', step: null}))", {"key": "a@2", "step": None, "other": None}),
        ("stateOf(linkOf({step: 7}))", {"key": "", "step": 7, "other": None}),
        ("stateOf('')", {"key": "", "step": None, "other": None}),
        ("stateOf('100%')", {"key": "100%", "step": None, "other": None}),
    ],
    "the last of ascending numbers that is not above": [
        ("[0, 1, 2, 9, 10].map(value => lastAtMost([1, 2, 2, 9], value))", [-1, 0, 2, 3, 3]),
        ("lastAtMost([], 5)", -1),
    ],
    "the best of a list is its first best finite value": [
        ("bestIndex([NaN, 1, 3, 3, Infinity, null], 'max')", 2),
        ("bestIndex([NaN, 1, 3, -1, -Infinity, -1], 'min')", 3),
        ("bestIndex([NaN, null], 'max')", -1),
    ],
    "smoothing begins at the first value and leaves gaps": [
        ("smoothed([1, 1, 1], 0.9).map(value => +value.toFixed(12))", [1, 1, 1]),
        ("smoothed([2, null, NaN, 4], 0.5)", [2, None, None, (0.5 * (0.5 * 2) + 0.5 * 4) / (0.75)]),
        ("smoothed([3, 4], 0)", [3, 4]),
    ],
    "columns of a chart have the places of all its series": [
        ("columnsOf([{steps: [1, 3], values: [1, 2]}, {steps: [2, 3], values: [5, NaN]}], 0, false)",
         [[1, 2, 3], [1, None, 2], [None, 5, None]]),
        ("columnsOf([{steps: [1, 3], values: [1, -2]}], 0, true)", [[1, 3], [1, None]]),
        ("columnsOf([{steps: [1], values: [4]}], 0.5, false)", [[1], [4], [4]]),
    ],
    "charts have all stages of a metric, those of validation and training first": [
        ("chartsOf(['lr', 'val/acc', 'train/loss_step', 'val/loss', 'train/loss_epoch'])",
         [{"title": "loss", "names": ["val/loss", "train/loss_epoch", "train/loss_step"]},
          {"title": "acc", "names": ["val/acc"]}, {"title": "lr", "names": ["lr"]}]),
        ("coloursOf(['val/loss', 'train/loss_epoch', 'train/loss_step', 'a', 'b'])", ["c1", "c2", "c2", "c3", "c4"]),
        ("mainMetrics(['train/loss_step', 'val/f1', 'val/acc', 'val/loss', 'test/acc'])",
         {"score": "val/acc", "loss": "val/loss"}),
        ("mainMetrics(['acc/val', 'val/acc', 'loss/val']).score", "val/acc"),
        ("coloursOf([0, 1].map(i => `val/loss/dataloader_idx_${i}`))", ["c1", "c3"]),
        ("new Set(looksOf(Array.from({length: 28}, (_, i) => `val/acc_${i}`)).map(JSON.stringify)).size", 28),
        ("looksOf(['acc/val/dataloader_idx_0', 'val/acc/dataloader_idx_0', 'train/loss_step', 'train/loss_epoch'])"
         ".map(({tint, thin, dash}) => [tint, thin, dash.length])",
         [["c1", False, 0], ["c3", False, 0], ["c2", True, 0], ["c2", False, 0]]),
        ("[['val/curves_ece', 'loss/val'], ['val/curves_ece', 'val_loss'], ['val/curves_ece', 'val/loss', 'val/a_mae'],"
         " ['val/curves_ece', 'train/loss'], ['val/curves_ece']]"
         ".map(names => mainMetrics(names, name => name.includes('curves')).loss)",
         ["loss/val", "val_loss", "val/loss", "train/loss", "val/curves_ece"]),
        ("['val/c_ece', 'val/c_ece/dataloader_idx_1', 'val/loss', 'val/cold'].map("
         "oursAmong(['val/c_roc/dataloader_idx_0', 'val/plain']))", [True, True, False, False]),
        ("mainMetrics(['lr'])", {"score": None, "loss": None}),
    ],
    "many numbers of one thing share a chart": [
        ("chartsOf(['val/m_kappa', 'val/m_iou', 'val/m_mean_cost', 'val/acc', 'g/a.b', 'g/a.c', 'h/only'],"
         " ['val/m_chart', 'val/m_report']).map(({title, names}) => [title, names])",
         [["acc", ["val/acc"]], ["m", ["val/m_iou", "val/m_kappa"]], ["m, lower is better", ["val/m_mean_cost"]],
          ["g", ["g/a.b", "g/a.c"]], ["h/only", ["h/only"]]]),
        ("chartsOf([0, 1, 2, 3].map(i => `val/recall_${i}`).concat('val/loss_a', 'val/loss_b')).map(c => c.title)",
         ["loss_a", "loss_b", "recall"]),
        ("chartsOf([0, 1, 2, 3, 4].flatMap(i => ['precision', 'recall'].map(rate => `val/m_${rate}_${i}`)),"
         " ['val/m_chart']).map(({title, names}) => [title, names.length])", [["m_precision", 5], ["m_recall", 5]]),
    ],
    "a chart of many lines draws the worst, a search what it finds": [
        ("(names => { names.forEach((name, i) => LW.series.set(name, {steps: [1], values: [i / 10]}));"
         " const found = [drawnOf(names, ''), drawnOf(names, 'all').length, drawnOf(names, 'm/acc_3'),"
         " drawnOf(names, '', '_9'), drawnOf(names, '', 'nowhere').length];"
         " names.forEach(name => LW.series.delete(name)); return found; })"
         "(Array.from({length: 10}, (_, i) => `m/acc_${i}`))",
         [[f"m/acc_{i}" for i in range(7)], 10, ["m/acc_3"], ["m/acc_9"], 7]),
        ("(names => { names.forEach((name, i) => LW.series.set(name, {key: name.slice(2), run: i % 2, values: [1]}));"
         " const found = [drawnOf(names, ''), drawnOf(names, 'm/b'), coloursOf(names),"
         " looksOf(names.slice(1)).map(look => look.dash)];"
         " names.forEach(name => LW.series.delete(name)); return found; })"
         "(['A val/m/a', 'B val/m/a', 'A val/m/b', 'B val/m/b'])",
         [["A val/m/a", "B val/m/a"], ["A val/m/b", "B val/m/b"], ["c1", "c3", "c1", "c3"], [[], [7, 3], [7, 3]]]),
    ],
    "a matrix of some of its classes, and how shares differ": [
        ("withClasses({names: ['a', 'b', 'c'], places: [0, 2, 8], counts: [1, 2, 3],"
         " examples: {'0,2': ['x'], '1,0': ['y']}}, ['c', 'a'])",
         {"names": ["c", "a"], "places": [0, 2, 3], "counts": [3, 2, 1], "examples": {"1,0": ["x"]}}),
        ("(([a, b]) => shareDifference(b, a, 'rows'))([[1, 1], [3, 0]].map(counts => "
         "summed({names: ['a', 'b'], places: [0, 1], counts})))",
         {"names": ["a", "b"], "places": [0, 1], "counts": [50, -50]}),
    ],
    "a slider reads what a line knows at its threshold, or at the next lower one, and says which": [
        ("[0.12, 0.1249, 0.3, 0.05]"
         ".map(at => readingOf({readings: [[0.1, 0.12, 0.2], [0.3, 0.2, 0], [0.9, 0.8, 'nan']]}, at))",
         [[0.2, 0.8, 0.12], [0.2, 0.8, 0.12], [0, "nan", 0.2], [0.3, 0.9, 0.1]]),
        ("readingOf({x: [0, 0.5, 1], y: [0, 0.7, 1], at: ['inf', 0.6, 0.1]}, 0.5)", [0.5, 0.7, 0.6]),
        ("thresholdsOf([{readings: [[0, 0.5, 1], [], []]}, {readings: [[0, 0.499, 1], [], []]}])",
         {"min": 0, "max": 1, "step": 0.5}),
        ("thresholdsOf([{at: ['inf', 0.9, 0.1]}])", {"min": 0.1, "max": 0.9, "step": 0.0008}),
        ("nearestTo(['inf', 0.9, 0.1], 0.2)", 2),
        ("[[['best F1 0.7 at 0.05', 'best F1 1e-05 at -3'], true], [['here', 'there'], false], [[], true], [[], false]]"
         ".map(([texts, has]) => markWords([{marks: texts.map(text => [0, 0, text])}, {}], has))",
         ["● best F1, ○ at the threshold below", "● marked", "○ at the threshold below", ""]),
        ("pointWords({x: 'Recall', y: 'Precision'}, {name: 'a'}, 0.99998, 'nan', 0.11993408203125)",
         "a: Recall 0.99998, Precision not defined at threshold 0.119934082031"),
        ("sentences(['mean AUROC 0.9, off by 0.1', 'Done.'])", "Mean AUROC 0.9, off by 0.1. Done."),
    ],
    "a class looks the same in all curves of one thing, and no two look alike": [
        ("['val/c_roc', 'val/c_pr', 'val/d_roc'].map((key, i) =>"
         " looks(key, (i ? ['b', 'a'] : ['a', 'b']).map(name => ({name})))('b'))",
         [{"tint": "c2", "dash": []}, {"tint": "c2", "dash": []}, {"tint": "c1", "dash": []}]),
        ("new Set((names => names.map(looks('many', names.map(name => ({name})))).map(JSON.stringify))"
         "([...Array(28).keys()].map(String))).size", 28),
    ],
    "round numbers for an axis": [
        ("ticks(0, 1)", [0, 0.2, 0.4, 0.6, 0.8, 1]),
        ("ticks(-3, 12, 4)", [0, 5, 10]),
        ("ticks(2, 2)", [2]),
    ],
    "an axis of nothing, and of zeros alone": [
        ("[reach({}, null, null), reach({}, 0, 0)]", [[None, None], [0, 1]]),
        ("reach({}, 0, 5e-324)", [0, 1]),  # less than a power of ten that is a number
    ],
    "what a curve reaches over, in words": [
        ("[span(1, 1), span(-1, 2.5)]", ["always 1", "−1 to 2.5"]),
    ],
    "evenly has the first and the last": [
        ("evenly([0, 1, 2, 3, 4, 5, 6, 7, 8, 9], 4)", [0, 3, 6, 9]),
        ("evenly([0, 1], 4)", [0, 1]),
    ],
    "values of a picture of norms are the largest of their time": [
        ("binned({steps: [0, 1, 8, 9], values: [1, 5, 2, NaN]}, [0, 9], 3).map(String)", ["5", "null", "NaN"]),
        ("[0.01, 1, 0.1, 0, NaN, null].map(value => String(strengthOf(value, 0.01, 1)))",
         ["0", "1", "0.5", "0", "Infinity", "null"]),
    ],
    "rows are sorted by numbers, then text, then nothing": [
        ("sortedRows([3, null, 'b', 1, 'a10', 'a2'], [0, 1, 2, 3, 4, 5], false)", [3, 0, 5, 4, 2, 1]),
        ("sortedRows([3, null, 1, 3], [0, 1, 2, 3], true)", [0, 3, 2, 1]),
    ],
    "samples are chosen by what the filter says": [
        ("chosenRows([{pred: 'a', target: 'a'}, {pred: 'a', target: 'b'}], {wrong: true})",
         [{"pred": "a", "target": "b"}]),
        ("chosenRows([{pred: 1, loss: 1}, {pred: 1, loss: 3}], {sort: 'loss'}).map(row => row.loss)", [3, 1]),
        ("chosenRows([{pred: 'a', confidence: 0.9}, {pred: 'a', confidence: 0.4}], {high: 0.5}).length", 1),
        ("[isRight({correct: false, pred: 1, target: 1}), isRight({pred: '1', target: 1}), isRight({pred: 1})]",
         [False, True, None]),
        ("sinceWords([true, null, false, false].map((right, step) => ({step, right})))", "wrong since step 2"),
        ("sinceWords([{step: 1, right: true}, {step: 2, right: true}])", "always right"),
        ("sinceWords([false, null, false].map((right, step) => ({step, right})))", "wrong in 2 of 2 epochs listed"),
        ("sinceWords([null, false].map((right, step) => ({step, right})))", "wrong in 1 of 1 epoch listed"),
        ("[sinceWords([{step: 1, right: true}]), sinceWords([1, 2].map(step => ({step, right: null})))]", ["", ""]),
        ("['cat,dog', 'crane, a bird', 7, null].map(labelsIn)", [["cat", "dog"], ["crane, a bird"], ["7"], []]),
        ("chosenRows([{pred: 'a,b', target: 'b'}, {pred: 'ab', target: 'c'}], {label: 'a'}).length", 1),
        ("rowsOf({columns: ['true', 'predicted', 'id'], cells: [['a'], ['b'], [1]], length: 1})",
         [{"target": "a", "pred": "b", "id": 1}]),
        ("rowsOf({columns: ['target', 'true'], cells: [['a'], ['b']], length: 1})", [{"target": "a", "true": "b"}]),
    ],
    "the worst label of a report": [
        ("worstRow({columns: ['label', 'recall', 'f1', 'support'], cells: [['a', 'b', 'c', 'macro average'],"
         " [0.9, 0.8, 0, 0.5], [0.9, 0.7, 0, 0.5], [3, 4, 0, 7]], length: 4})",
         {"what": "label", "name": "b", "f1": 0.7, "recall": 0.8, "support": 4}),
        ("worstRow({columns: ['label', 'recall'], cells: [['a'], [1]], length: 1})", None),
    ],
    "nested configuration by path": [
        ("flattened({a: {b: [1, 2], c: null}, d: 'x', e: {}})",
         [["a.b", "1, 2"], ["a.c", None], ["d", "x"], ["e", "{}"]]),
        ("flattened({a: [{b: 1}]})", [["a.0.b", 1]]),
    ],
    "names in the order of a list, each other behind the one that it follows": [
        ("inOrder(['head', 'a', 'b', 'own'], ['a', 'b', 'head'])", ["a", "b", "own", "head"]),
        ("inOrder(['a', 'b', 'c', 'd'], ['c', 'gone', 'd'])", ["a", "b", "c", "d"]),
        ("inOrder(['b', 'a'])", ["b", "a"]),
    ],
    "a table of files has a column for each of their metrics": [
        ("filesTable([{step: 2, value: {name: 'm', aliases: ['a'], metadata: {step: 3, score: null,"
         " metrics: {loss: 0.5}}, type: 'model', path: 'p'}}])",
         {"columns": ["name", "step", "aliases", "loss", "type", "path"],
          "cells": [["m"], [2], [["a"]], [0.5], ["model"], ["p"]], "length": 1}),
        ("filesTable([{step: 2, value: {name: 'm', aliases: ['a', 'b-c'], metadata: {hparams: {lr: 1},"
         " num_parameters: 2, versions: {torch: '2'}, versionsOfMine: 1, epoch: 4, score: 0.5, monitor: 'loss',"
         " metrics: {loss: 0.5, epoch: 5}, data: 'v2'}}}]).columns",
         ["name", "step", "aliases", "score", "loss", "epoch", "versionsOfMine", "data", "num_parameters", "hparams.lr",
          "versions.torch", "monitor"]),
        ("filesTable([['new'], ['new', 'best'], ['best']].map(aliases => ({step: 1, value: {name: 'm', aliases}})))"
         ".cells[2]", [["new"], ["best"], []]),
    ],
    "a colour for each label that is shown": [
        ("lookups(new Set([1])).map(table => table.split(' ').length)", [256, 256, 256, 256]),
        ("lookups(new Set([2]), {2: '#ff8000'}).map(table => table.split(' ')[2])", ["1", "0.502", "0", "0.6"]),
        ("['#0072b2', 'red', '#00', undefined].map(ofHex)", [[0, 114, 178], None, None, None]),
        ("[lettersFor([], 96, 96), lettersFor([{box: [0, 0, 50, 90]}], 800, 600), lettersFor([], 2400, 2400)]",
         [6, 10, 100]),
        ("lookups(new Set([1, 255]))[3].split(' ').flatMap((value, i) => value === '0' ? [] : [i])", [1, 255]),
    ],
    "what a cell shows, and how strong": [
        ("['count', 'truth', 'pred', 'since'].map(mode => cellOf(summed({names: ['a', 'b'], places: [0, 1, 3],"
         " counts: [1, 3, 6]}), mode, 3, 0, 1, 3)).map(cell => [cell.text, +cell.share.toFixed(3), cell.wrong])",
         [["3", 1, True], ["75", 0.866, True], ["33", 0.577, True], ["+3", 1, True]]),
        ("['count', 'since'].map(mode => cellOf(summed({names: ['a'], places: [0], counts: [4]}), mode, 4, 0, 0, 4))",
         [{"share": 1, "wrong": False, "text": "4"}, {"share": 1, "wrong": False, "text": "+4"}]),
        ("cellOf({}, 'count', 0, 0, 0, 1)", None),
    ],
    "histograms over the steps": [
        ("rebinned({counts: [2, 4, 2], edges: [-1, 0, 1, 3]}, -2, 2, 4)", [0, 0.25, 0.5, 0.125 + 0.125]),
        ("rebinned({counts: [0, 0], edges: [0, 1, 2]}, 0, 2, 2)", [0, 0]),
        ("rebinned({counts: [1], edges: [5, 9]}, 0, 2, 2)", [0, 1]),
        ("reachOf([{counts: [0, 3, 0], edges: [0, 1, 2, 3]}])", [1, 2]),
        ("reachOf([{counts: [0], edges: [0, 1]}])", [0, 1]),
        ("reachOf([...Array(19)].map((_, i) => ({counts: [1], edges: [-1 - i / 100, 2 + i / 100]}))"
         ".concat({counts: [1], edges: [-1e9, 1e9]})).map(end => +end.toFixed(2))", [-1.17, 2.17]),
    ],
    "since when a count has been there": [
        ("[[0, 1, 2], [1, 0], [1, 1], []].map(presentSince)", [1, -1, 0, -1]),
    ],
}  # fmt: skip


@in_browser
@pytest.mark.parametrize("fact", CALLS)
def test_pure_functions(scripts: Page, fact: str) -> None:
    """Each gives what is written beside it."""
    for expression, expected in CALLS[fact]:
        assert scripts.value(expression) == expected, expression


def matrix_of(counts: np.ndarray, names: list[str] | None = None) -> str:
    """A matrix as the page's functions take it."""
    size = len(counts)
    filled = np.flatnonzero(counts)
    cells = np.stack([np.diff(filled, prepend=-1), counts.ravel()[filled]], 1).ravel().tolist()
    value = {"class_names": names or [f"class {i}" for i in range(size)], "cells": cells}
    return f"summed(expanded('matrix', {json.dumps(value)}))"


COUNTS: dict[str, Any] = {
    "u1": [0, 1, 255],
    "u2": [0, 1, 256, 258, 65_535],
    "u4": [65_536, 0, 16_909_060, 2**32 - 1],
    "more": [2**32, 3, 2**53 - 1],
    "negative": [-1, 300, 0],
    "float": [0.5, 300.0],
    "not finite": ["nan", "inf"],
    "empty": [],
}


@in_browser
@pytest.mark.parametrize("name", COUNTS)
def test_counts_of_any_size_are_unpacked(scripts: Page, name: str) -> None:
    """Little-endian integers of one, two and four bytes; what is a list stays one."""
    counts = COUNTS[name]
    formats = {"u1": "B", "u2": "H", "u4": "I"}
    packed = counts
    if name in formats:
        packed = [name, b64encode(struct.pack(f"<{len(counts)}{formats[name]}", *counts)).decode()]
    assert scripts.value(f"unpacked({json.dumps(packed)})") == counts
    value = {"counts": packed, "edges": [0, len(counts)] if counts else [0]}
    expected = {"counts": counts, "edges": list(range(len(counts) + 1)), "nan": 0, "posinf": 0, "neginf": 0}
    assert scripts.value(f"expanded('histogram', {json.dumps(value)})") == expected


@in_browser
def test_a_matrix_is_summed_as_numpy_sums_it(scripts: Page) -> None:
    """Rows, columns, diagonal, single cells, pairs, differences, the worst class and orders, of random counts."""
    rng = np.random.default_rng(0)
    for size in (1, 2, 5, 30):
        counts, before = (rng.integers(0, 4, (size, size)) * rng.integers(0, 2, (size, size)) for _ in range(2))
        counts[rng.integers(size)] = 0
        scripts.value(f"globalThis.m = {matrix_of(counts)}, globalThis.b = {matrix_of(before)}, null")
        assert scripts.value("[[...m.rows], [...m.columns], [...m.right], m.total, m.hits]") == [
            counts.sum(1).tolist(), counts.sum(0).tolist(), np.diag(counts).tolist(), counts.sum(), np.trace(counts),
        ]  # fmt: skip
        cells = f"Array.from({{length: {size}}}, (_, i) => Array.from({{length: {size}}}, (_, j) => countAt(%s, i, j)))"
        assert scripts.value(cells % "m") == counts.tolist()
        assert scripts.value(cells % "difference(m, b)") == (counts - before).tolist()
        off = [(-int(counts[i, j]), i, j) for i in range(size) for j in range(size) if i != j and counts[i, j]]
        expected = [
            {"row": i, "column": j, "count": -n, "change": -n - int(before[i, j])} for n, i, j in sorted(off)[:7]
        ]
        assert scripts.value("confused(m, b, 7)") == expected
        recall = [int(counts[i, i]) / int(counts[i].sum()) if counts[i].sum() else None for i in range(size)]
        assert scripts.value("recalls(m)") == recall
        worst = min((r for r in recall if r is not None), default=None)
        assert scripts.value("worstClass(m)?.recall ?? null") == worst
        assert sorted(scripts.value("classOrder(m, 'errors')")) == list(range(size))
        errors = (counts.sum(0) + counts.sum(1) - 2 * np.diag(counts)).tolist()
        assert scripts.value("classOrder(m, 'errors')") == sorted(range(size), key=lambda i: -errors[i])


@in_browser
def test_large_counts_are_exact(scripts: Page) -> None:
    """Up to 2^53, which JSON's numbers hold."""
    counts = np.array([[2**53 - 1, 0], [2**40, 1]])
    assert scripts.value(
        f"(() => {{ const m = {matrix_of(counts)}; return [countAt(m, 0, 0), countAt(m, 1, 0)]; }})()"
    ) == [2**53 - 1, 2**40]


def rgb(scripts: Page, name: str) -> np.ndarray:
    return np.array(re.findall(r"[\d.]+", scripts.value(f"colour('{name}')"))[:3], float)


def luminance(colours: np.ndarray) -> np.ndarray:
    """As WCAG defines it, of colours [..., 3] in 0 to 255."""
    parts = colours / 255
    linear = np.where(parts <= 0.03928, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return linear @ np.array([0.2126, 0.7152, 0.0722])


@in_browser
def test_colours_of_cells_leave_their_text_legible(scripts: Page) -> None:
    """WCAG AA for 256 strengths of both colours in both themes: the contrast of text and cell is 4.5 or more."""
    for theme in ("light", "dark"):
        scripts.value(f"document.documentElement.dataset.theme = '{theme}'")
        ink, panel = (rgb(scripts, name) for name in ("ink", "panel"))
        for name in ("ok", "err"):
            most = float(scripts.value(f"getComputedStyle(document.documentElement).getPropertyValue('--{name}-most')"))
            strengths = np.linspace(0, most, 256)[:, None]
            cells = luminance(rgb(scripts, f"{name}-ink") * strengths + panel * (1 - strengths))
            high, low = np.maximum(cells, luminance(ink)), np.minimum(cells, luminance(ink))
            assert ((high + 0.05) / (low + 0.05)).min() >= 4.5, (theme, name)


def test_every_script_is_in_its_place() -> None:
    """All files of the folder are joined, each once."""
    assert sorted(SCRIPTS) == sorted(OWN)


def test_a_name_is_declared_once() -> None:
    """The scripts share one scope: a second declaration would take the first one's place."""
    names = [
        name
        for text in OWN.values()
        for name in re.findall(r"^(?:async )?(?:function|const|let|class) (\w+)", text, re.MULTILINE)
    ]
    assert len(names) > 100
    assert sorted(names) == sorted(set(names))


def test_the_page_makes_no_html_of_what_it_shows() -> None:
    """Names are users' data: the page inserts text only, makes no code of text, loads nothing from elsewhere."""
    own = "\n".join([*OWN.values(), (FOLDER / "index.html").read_text(), (FOLDER / "page.css").read_text()])
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|fetch\(|XMLHttp", own
    )
    assert re.findall(r"https?://[^\"' ]+", own) == ["http://www.w3.org/2000/svg"]
    assert "</script" not in "\n".join(OWN.values())


def test_the_page_is_small() -> None:
    """A run's folder has at most 300 kB of it, with what draws the curves."""
    assert len(page_html()) < 300_000
    assert not re.search(rb"^/[/*]", page_html()[page_html().index(b"const order = ") :], re.MULTILINE)
    assert len(page_html()) + (0 if b"uPlot.js" in page_html() else 125_000) < 300_000


def test_no_text_of_a_script_goes_over_a_line() -> None:
    """The space before a line is left out on its way to the page: it must not be part of a text."""
    for name, text in OWN.items():
        code = re.sub(r"/\*\*.*?\*/", "", text, flags=re.DOTALL)
        assert [line for line in code.splitlines() if line.count("`") % 2] == [], name


def test_the_page_cannot_be_left_by_a_script_before_it() -> None:
    """What is put before it may hold the end of a tag in a string."""
    html = page_html(before='LW.run({"name":"</script><b>"});').decode()
    assert html.count("</script>") == page_html().decode().count("</script>")
