"""The page of a run in headless Chromium: what is seen, clicked, typed and read out, in both themes and two widths."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support import page_runs
from support.browser import CHROMIUM, NEEDS, Browser, Page

from lwcallbacks import html as page_module
from lwcallbacks.curves import charts, summarised
from lwcallbacks.html import page_html
from lwcallbacks.media import Curve, File, Histogram, Image, Layer, Line, Matrix, Table, annotated
from lwcallbacks.readers import read_folder
from lwcallbacks.reductions import ScoreCounts
from lwcallbacks.writers import chunks
from lwcallbacks.writers.folder import FolderWriter

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason=NEEDS)
HAS_UPLOT = b"uPlot.js" in page_html()
needs_uplot = pytest.mark.skipif(not HAS_UPLOT, reason="needs the built wheel, or uplot-python beside the source tree")
CONTRAST = Path(page_runs.__file__).with_name("contrast.js")
HOSTILE = '<img src=x onerror="document.title=1">'


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with Browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with a value of every kind, in a folder whose name has to be quoted."""
    return page_runs.everything(tmp_path_factory.mktemp("media") / "media #1 %")


def opened(browser: Browser, folder: Path, link: str = "", missing: int = 0, **how: Any) -> Page:
    """The page once it is put together. So many scripts may be missing: the browser says so on its console."""
    page = browser.open(f"{(folder / 'index.html').as_uri()}{link}", **how)
    page.wait("document.body.dataset.ready")
    page.settle(0.1)
    assert all("ERR_FILE_NOT_FOUND" in error for error in page.errors), page.errors
    assert len(page.errors) == missing
    page.errors.clear()
    return page


@pytest.fixture
def page(browser: Browser, run: Path) -> Iterator[Page]:
    """The page of the run with everything; in the end nothing may have gone wrong on it."""
    found = opened(browser, run)
    yield found
    assert found.errors == []
    found.close()


def go(page: Page, step: int) -> None:
    page.value(f"goTo({step})")
    page.settle(0.1)


def show(page: Page, selector: str, content: str) -> None:
    """Scroll to a part of the page and wait until it holds something: what is far away is not drawn."""
    page.value(f"document.querySelector('{selector}').scrollIntoView()")
    page.wait(f"document.querySelector('{selector} {content}')")


def test_four_answers_come_first(page: Page) -> None:
    """How good, best when, worst class, what it cost: before anything else, of the last step."""
    answers = page.value(
        "[...document.querySelectorAll('.stat')].map(node => node.innerText.split('\\n').filter(Boolean))"
    )
    assert [answer[0] for answer in answers] == ["val/acc", "val/loss", "worst class", "cost of these callbacks"]
    assert answers[0][1:] == ["0.981", "highest of 10 values"]
    assert re.fullmatch(r"lowest 0\.\d+ at epoch 7", answers[1][2])
    assert answers[2][1:] == ["9", "recall 96 %, 4 of 100 missed"]
    assert answers[3][1:] == ["0.7 %", "of the run; 30 collectives, 1.1 MiB on disk"]


def test_the_run_has_its_name_state_and_configuration(page: Page) -> None:
    """Nested configuration by path."""
    assert page.text("h1") == "digits 9eqq36ma, 10 epochs, finished"
    assert page.value("document.title") == "digits"
    configuration = page.text("#configuration dl").split("\n")
    assert configuration[configuration.index("model.layers") + 1] == "32, 64, 128"
    assert configuration[configuration.index("optimizer.lr") + 1] == "0.001"
    assert configuration[configuration.index("seed") + 1] == "none"


@pytest.mark.parametrize(
    ("info", "words"),
    [
        ({"state": "failed", "error": f"ValueError: {HOSTILE}"}, f"The run failed: ValueError: {HOSTILE}"),
        ({"state": "interrupted", "error": "KeyboardInterrupt"}, "The run was interrupted: KeyboardInterrupt"),
        ({"state": "failed"}, "The run failed"),
        ({"state": "finished"}, ""),
    ],
)
def test_a_run_that_ended_early_says_why_before_everything_else(
    browser: Browser, tmp_path: Path, info: dict[str, Any], words: str
) -> None:
    """By type and first line of the error, as text."""
    writer = FolderWriter(tmp_path)
    writer.write({"val/picture": Image(np.zeros((4, 4), np.uint8))}, 1)
    writer.write_run(info)
    page = opened(browser, tmp_path, missing=2)
    assert page.value("[...document.querySelector('main').children].filter(node => !node.hidden)[0].innerText") == (
        words or page.value("document.querySelector('main > section:not([hidden])').innerText")
    )
    assert page.value("document.title") != "1"
    page.close()


def test_one_time_for_everything(page: Page) -> None:
    """The keyboard moves it: by steps, by epochs, to the ends; what is shown and read out follows, and the address."""
    page.value("document.querySelector('.scrub input').focus()")
    page.key("Home")
    page.key("PageUp")
    page.wait("document.getElementById('at').textContent.startsWith('epoch 0 · step 62')")
    page.key("PageUp")
    page.wait("document.getElementById('at').textContent.startsWith('epoch 1 · step 125')")
    page.key("ArrowLeft")
    page.wait("document.getElementById('at').textContent.startsWith('epoch 1 · step 104')")
    page.key("PageUp")
    show(page, "#confusion", ".matrix")
    page.wait("document.querySelector('#confusion .note').textContent.includes('85.9 % right')")
    page.wait("document.querySelector('.stat b').textContent === '0.859'")
    page.wait("document.getElementById('said').textContent === 'epoch 1 · step 125'")
    page.wait("location.hash === '#@125'")
    assert page.value("document.querySelector('.scrub input').getAttribute('aria-valuetext')") == "epoch 1 · step 125"
    page.key("End")
    page.wait("document.getElementById('at').textContent === 'epoch 9 · step 629 · best'")


def test_brackets_and_arrows_move_the_time_from_anywhere(page: Page) -> None:
    """Without the focus on the slider."""
    page.key("[")
    page.wait("document.getElementById('at').textContent.startsWith('epoch 8 · step 566')")
    page.key("ArrowLeft")
    page.wait("document.getElementById('at').textContent.startsWith('epoch 8 · step 545')")
    page.key("]", 2)
    page.wait("document.getElementById('at').textContent.startsWith('epoch 9')")


def test_the_best_step_is_a_click_away(page: Page) -> None:
    """The button, and the answer that names it."""
    go(page, 62)
    page.click("#best")
    page.wait("document.getElementById('at').textContent.includes('best')")
    page.click(".stat:nth-child(2) button")  # the lowest loss, at another step
    page.wait("document.getElementById('at').textContent.startsWith('epoch 7')")


@needs_uplot
def test_best_is_what_a_checkpoint_monitors(browser: Browser, tmp_path: Path) -> None:
    """Its key and its mode, whatever the names say: the first answer, the button and the triangle."""
    page_runs.write_run(tmp_path, monitor="val/weird_acc", mode="min")
    values = [(3, 0.5, 0.9, 0.1), (2, 0.9, 0.2, 0.3), (5, 0.95, 0.8, 0.05)]
    names = ("val/loss", "val/acc", "val/weird_acc", "val/curves_ece")
    page_runs.write_scalars(
        tmp_path, [(10 * i + 9, i, dict(zip(names, row, strict=True))) for i, row in enumerate(values)]
    )
    (tmp_path / "index.html").write_bytes(page_html())
    page = opened(browser, tmp_path, missing=2)
    each = "node => node.innerText.split('\\n').filter(Boolean)"
    cards = page.value(f"[...document.querySelectorAll('.stat')].map({each})")
    assert cards[0] == ["val/weird_acc", "0.8", "lowest 0.2 at epoch 1"]
    assert cards[1][0] == "val/loss"
    page.click("#best")
    page.wait("document.getElementById('at').textContent === 'epoch 1 · step 19 · best'")
    assert page.value("document.querySelector('.marks .best').title") == "best: epoch 1 · step 19"
    page.close()


def test_curves_of_everything_that_was_logged(page: Page) -> None:
    """A chart for each metric, training and validation over each other, those that have both first."""
    titles = page.value("[...document.querySelectorAll('.chart h3')].map(node => node.innerText)")
    assert titles == ["acc", "loss", "f1", "gradients/norm/total", "lr-Adam"]
    page.wait("document.querySelectorAll('.chart canvas').length >= 3")
    assert page.value("[...document.querySelectorAll('.chart:nth-child(2) .name')].map(node => node.innerText)") == [
        "val/loss", "train/loss_epoch", "train/loss_step",
    ]  # fmt: skip
    assert "at epoch 7" in page.text(".chart:nth-child(2) .legend")


@needs_uplot
def test_curves_are_searched_smoothed_and_hidden(page: Page) -> None:
    """Each by its control; the best value stays that of what was logged."""
    page.wait("document.querySelector('.chart canvas')")
    best = page.text(".chart .legend")
    page.click("#curves input[type=search]")
    page.type("acc")
    page.wait("document.querySelectorAll('.chart').length === 1")
    page.set("#curves input[type=range]", "0.9")
    page.click("#curves input[type=checkbox]")
    page.settle(0.2)
    assert page.text(".chart .legend") == best
    page.click(".chart .legend button")
    page.wait("document.querySelector('.chart .legend button').getAttribute('aria-pressed') === 'false'")


@needs_uplot
def test_curves_are_read_and_zoomed_by_keys(page: Page) -> None:
    """Arrows read values out, Enter goes there, plus zooms all charts and Escape shows the whole run."""
    page.wait("document.querySelector('.chart canvas')")
    page.value("document.querySelector('.chart').focus()")
    page.key("Home")
    page.wait("document.getElementById('said').textContent.startsWith('epoch 0 · step 6: val/acc')")
    page.key("+")
    page.wait("curves.zoom !== null && curves.zoom[1] < 400")
    assert not page.value("curves.reset.hidden")
    page.key("Escape")
    page.wait("curves.zoom === null")
    page.key("End")
    page.key("ArrowLeft")
    page.key("Enter")
    page.wait("time.now < 629")


@needs_uplot
def test_many_numbers_of_one_thing_are_one_chart(browser: Browser, tmp_path: Path) -> None:
    """60 rates of 10 classes are a handful of charts; a list chooses lines, a search and a link find each number."""
    matrix = Matrix(np.eye(10, dtype=np.int64), [f"c{i}" for i in range(10)])
    FolderWriter(tmp_path).write({"val/m_chart": matrix}, 3)
    rates = [
        f"val/m_{rate}_c{i}" for rate in ("precision", "recall", "f1", "iou", "share", "support") for i in range(10)
    ]
    page_runs.write_scalars(tmp_path, [(3, None, {key: i / 60 for i, key in enumerate(rates)} | {"val/loss": 0.5})])
    page = opened(browser, tmp_path, missing=2)
    assert page.value("curves.charts.map(chart => chart.title)") == [
        "loss", "m_f1", "m_iou", "m_precision", "m_recall", "m_share", "m_support",
    ]  # fmt: skip
    recall = (
        "[...document.querySelectorAll('.chart')].find(node => node.querySelector('h3').textContent === 'm_recall')"
    )
    names = f"[...{recall}.querySelectorAll('.name')].map(node => node.textContent)"
    page.value(f"{recall}.scrollIntoView()")
    page.wait(f"{names}.length === 7")
    assert page.value(names) == [f"val/…_c{i}" for i in range(7)]
    assert page.value(f"{recall}.querySelector('option').textContent") == "the lowest 7 of 10"
    assert page.value(f"{recall}.querySelector('select').getAttribute('aria-label')") == "Lines of m_recall"
    page.value("location.hash = '#val/m_recall_c9@3'")
    page.wait(f"{names}.join() === 'val/…_c9'")
    page.wait(f"document.activeElement === {recall}")
    page.click("#curves input[type=search]")
    page.type("recall_c3")
    page.wait(f"document.querySelectorAll('.chart').length === 1 && {names}.join() === 'val/…_c3'")
    page.set(".chart select", "all")
    page.value("location.hash = '#val/m_iou_c1@3'")
    page.wait("document.activeElement.querySelector('h3')?.textContent === 'm_iou'")
    assert page.errors == []
    page.close()


@needs_uplot
@needs_uplot
def test_numbers_beside_a_chart_fit(browser: Browser, tmp_path: Path) -> None:
    """Large, small and negative ones are short, none is cut, and a curve of tiny values fills its chart."""
    writer = FolderWriter(tmp_path)
    ends = {"a": (0, 2e9), "b": (1e-12, 2e-12), "c": (-1234567, -1534567), "d": (0.1, 0.2), "e": (12345678, 12345679)}
    for step in range(2):
        writer.write_scalars({name: value[step] for name, value in ends.items()}, 1_000_000 * step)
    page = opened(browser, tmp_path, missing=3)
    show(page, "#curves", ".uplot")
    found = page.value("""(() => {
      const found = [], plain = CanvasRenderingContext2D.prototype.fillText;
      CanvasRenderingContext2D.prototype.fillText = function (text, x, y) {
        const {width} = this.measureText(text), left = x - width * {right: 1, center: 0.5, left: 0}[this.textAlign];
        found.push([text, left, left + width <= this.canvas.width]);
        plain.call(this, text, x, y);
      };
      curves.smooth = 0.001;
      for (const chart of curves.charts) { chart.node.seen = true; chart.draw(); }
      return new Promise(done => setTimeout(() => done(found), 200));
    })()""")
    assert {"2e9", "2e-12", "−1.5e6", "0.2", "1e6"} < {text for text, _, _ in found}
    assert [text for text, left, fits in found if left < 0 or not fits] == []
    page.close()


def test_a_drag_zooms_all_charts(page: Page) -> None:
    """To the steps between the two ends; a double click shows the whole run."""
    page.wait("document.querySelectorAll('.chart .u-over').length >= 2")
    box = "document.querySelector('.u-over').getBoundingClientRect()"
    left, top, width, height = (page.value(f"{box}.{side}") for side in ("left", "top", "width", "height"))
    middle = top + height / 2
    for kind, x in (("mouseMoved", 0.25), ("mousePressed", 0.25), ("mouseMoved", 0.5), ("mouseReleased", 0.5)):
        page.mouse(kind, left + x * width, middle)
        page.settle(0.05)
    low, high = page.wait("curves.zoom")
    assert 130 < low < 180
    assert 290 < high < 340
    assert page.wait("curves.charts[1].range()")[0] == pytest.approx(low)
    page.click("#curves .tools > button:last-child")
    page.wait("curves.zoom === null")


def test_without_uplot_the_page_says_so_and_shows_the_rest(
    browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As from a source tree: curves are missing, with the reason; all else is there."""
    folder = page_runs.everything(tmp_path / "media", 2)
    page_module.parts.cache_clear()
    monkeypatch.setattr(page_module, "_uplot", lambda: None)
    (folder / "index.html").write_bytes(page_html())
    page_module.parts.cache_clear()
    page = opened(browser, folder)
    assert "Curves need uPlot, which the built package carries" in page.text("#curves")
    show(page, "#confusion", ".matrix")
    assert page.errors == []
    page.close()


def test_the_matrix_has_blank_zeros_and_says_what_a_cell_is(page: Page) -> None:
    """Counts on the diagonal blue, beside it orange, nothing where there is none."""
    show(page, "#confusion", ".matrix")
    row = page.value(
        "[...document.querySelectorAll('#confusion tbody tr')[4].cells].map(cell => [cell.textContent, cell.className])"
    )
    assert row[0] == ["4", ""]
    assert [cell for cell in row[1:11] if cell[0]] == [["97", "ok"], ["3", "err"]]
    assert row[11][0] == "97 %"
    page.value("document.querySelectorAll('#confusion tbody tr')[4].cells[10].focus()")
    page.wait("document.querySelector('#confusion .note').textContent === 'true 4, predicted 9: 3, 3 % of true 4'")


def test_the_matrix_is_normalised_and_compared_with_the_epoch_before(page: Page) -> None:
    """By truth, by prediction, and what has changed."""
    show(page, "#confusion", ".matrix")
    cell = "document.querySelectorAll('#confusion tbody tr')[9].cells[1].textContent"
    assert page.value(cell) == "2"
    for mode, text in (("truth", "2"), ("pred", "2"), ("since", "−1")):
        page.click(f"#confusion button[data-value={mode}]")
        page.wait(f"{cell} === '{text}'")
    assert page.text("#confusion button[data-value=since]") == "since epoch 8"


def test_a_cell_shows_the_samples_behind_it(page: Page) -> None:
    """Chosen by a click or the keyboard: its examples, how many they were by epoch, and since when."""
    show(page, "#confusion", ".matrix")
    page.wait("document.querySelector('#confusion .behind h4').textContent === 'true 4, predicted 9: 3'")
    assert page.value("document.querySelectorAll('#confusion .behind .tile.wrong').length") == 3
    assert page.text("#confusion .tile .names").split() == ["9", "true", "4"]
    assert page.value("document.querySelectorAll('#confusion .bars rect').length") == 10
    assert "in every epoch so far" in page.text("#confusion .history")
    page.value("document.querySelectorAll('#confusion tbody tr')[4].cells[10].focus()")
    page.key("ArrowDown", 5)
    page.key("ArrowLeft", 9)
    page.key("Enter")
    page.wait("document.querySelector('#confusion .behind h4').textContent === 'true 9, predicted 0: 2'")
    assert "1 fewer than at epoch 8" in page.text("#confusion .behind header")
    assert page.value("document.activeElement.getAttribute('aria-selected')") == "true"


def test_the_most_confused_pairs_are_listed_with_their_change(page: Page) -> None:
    """A click chooses the cell."""
    show(page, "#confusion", ".pairs")
    assert page.text("#confusion .pairs li").split("\n") == ["4 as 9", "3", "±0"]
    page.click("#confusion .pairs li:nth-child(2) button")
    page.wait("document.querySelector('#confusion .behind h4').textContent === 'true 2, predicted 3: 2'")


def test_classes_are_sorted_and_searched(page: Page) -> None:
    """By recall the worst is first; a search leaves what it finds and what that is confused with."""
    show(page, "#confusion", ".matrix")
    names = "[...document.querySelectorAll('#confusion tbody th')].map(node => node.textContent)"
    page.set("#confusion .tools select", "recall")
    page.wait(f"{names}[0] === '9'")
    page.click("#confusion .tools input")
    page.type("8")
    page.wait(f"{names}.length < 10 && {names}.includes('8')")


def test_samples_are_real_images_with_text_and_history(page: Page) -> None:
    """Cut from their sheet, with what was predicted and what is true, and right or wrong by epoch."""
    show(page, "#samples", ".tile")
    assert page.value("document.querySelectorAll('#samples .tile').length") == 32
    first = page.value("document.querySelector('#samples .tile .open').getAttribute('aria-label')")
    assert re.fullmatch(r"predicted \d, true \d, confidence [\d.]+, wrong", first)
    page.wait("document.querySelectorAll('#samples .tile .strip').length === 32")
    assert page.value("document.querySelectorAll('#samples .tile:first-child .strip rect').length") == 10
    assert page.text("#samples .tile .since") == "always wrong"
    file = page.value("document.querySelector('#samples .crop image').href.baseVal")
    [width, _] = page.value(f"sizeOf({file!r})")
    assert width >= 28


def test_what_cannot_be_compared_with_another_run_is_said(browser: Browser, tmp_path: Path) -> None:
    """Below samples that were chosen by how wrong they are, before there is a second run."""
    for name, losses in (("hard", [5, 4, 3, 2, 1]), ("fixed", [1, 4, 3, 2, 5])):
        rows = [[i, "ab"[i % 2], "a", float(loss)] for i, loss in enumerate(losses)]
        FolderWriter(tmp_path).write({f"val/{name}": Table(("id", "pred", "target", "loss"), rows)}, 1)
    page = opened(browser, tmp_path, missing=3)
    page.wait("document.querySelectorAll('#samples .tile').length === 10")
    said = page.value(
        "Object.fromEntries([...document.querySelectorAll('#samples .card')].map(card => [card.querySelector('h3')"
        ".textContent, card.innerText.includes(FIXED)]))"
    )
    assert said == {"val/hard": True, "val/fixed": False}
    page.close()


def test_a_sample_has_one_history_over_the_tables_of_its_stage(browser: Browser, tmp_path: Path) -> None:
    """Right in one table and later wrong in the other: both say so. Another target, or stage, is another sample."""
    writer = FolderWriter(tmp_path)
    for step, pred in ((1, "a"), (2, "b"), (3, "b")):
        samples = Table(("id", "pred", "target"), [["x", pred, "a"], ["y", "a", "b"]])
        writer.write({"val/predictions": samples} if step < 3 else {"test/predictions": samples}, step)
        if step > 1:
            rows = [["x", "a", pred], ["z", "b", "b"]]
            writer.write({"val/m_examples": Table(("id", "target", "pred"), rows)}, step + (step == 3))
    page = opened(browser, tmp_path, missing=3)
    page.value("goTo(4)")
    show(page, "#samples", ".tile .strip")
    page.settle(0.3)
    told = page.value(
        "Object.fromEntries([...document.querySelectorAll('#samples .card')].map(card => [card.querySelector('h3')"
        ".textContent, [...card.querySelectorAll('.tile')].map(node => node.querySelector('.since')?.textContent)]))"
    )
    assert told["val/predictions"][0] == told["val/m_examples"][0] == "wrong since step 2"
    assert told["val/predictions"][1] == "wrong in 2 of 2 epochs listed"
    assert told["test/predictions"] == [None, None]
    assert "grey: not listed" in page.value("document.querySelector('#samples .strip > title').textContent")
    page.close()


def test_a_file_of_data_that_was_cut_is_named(browser: Browser, tmp_path: Path) -> None:
    """With what helps: no browser runs a part of a script."""
    writer = FolderWriter(tmp_path)
    for step in (1, 2):
        writer.write({"val/matrix": Matrix(np.eye(2, dtype=np.int64), ("a", "b"))}, step)
    data = tmp_path / "data/00000.js"
    data.write_text(data.read_text()[:-9])
    page = browser.open(tmp_path / "index.html")
    page.wait("document.body.dataset.ready")
    page.value("document.querySelector('#confusion').scrollIntoView()")
    page.wait("document.querySelector('#confusion').innerText.includes('data/00000.js is missing, damaged')")
    assert "lwcallbacks export" in page.text("#confusion")
    page.errors.clear()
    page.close()


def test_samples_are_filtered(page: Page) -> None:
    """Wrong only, a class, a confidence, words; how many are left is read out."""
    show(page, "#samples", ".tile")
    status = "document.querySelector('#samples [role=status]').textContent"
    page.click("#samples button[data-value=wrong]")
    page.wait(f"{status} === '19 of 32 samples, 19 wrong'")
    page.set("#samples select[aria-label=Class]", "4")
    page.wait(f"!{status}.startsWith('19')")
    assert page.value(
        "[...document.querySelectorAll('#samples .tile .open')].every(node => / 4\\b/.test(node.ariaLabel))"
    )
    page.set("#samples .range input", "0")
    page.wait(f"{status} === '0 of 32 samples, 19 wrong'")


def test_a_sample_opens_with_everything_about_it(page: Page) -> None:
    """In a window that Escape closes: every column, and what was predicted in each epoch."""
    show(page, "#samples", ".tile .strip")
    page.click("#samples .tile .open")
    page.wait("document.querySelector('dialog[open]')")
    text = page.text("dialog")
    assert "always wrong" in text
    assert "epoch 0 · step 62" in text
    assert "top-3" in text
    page.key("Escape")
    page.wait("!document.querySelector('dialog')")


def test_pictures_have_a_strip_of_the_other_epochs_and_zoom(page: Page) -> None:
    """A click on one of the strip goes there; a click on the picture opens it, and keys zoom."""
    show(page, "#pictures", ".film button")
    card = "[...document.querySelectorAll('#pictures .card')].find(node => node.innerText.startsWith('val/mosaic'))"
    page.wait(f"{card}.querySelector('.frame img')")
    assert page.value(f"{card}.querySelector('.frame img').alt") == "Top: output, Bottom: input"
    page.value(f"{card}.querySelector('.film button:nth-child(3)').click()")
    page.wait("time.now === 188")
    page.value(f"{card}.querySelector('.frame button').click()")
    page.wait("document.querySelector('dialog .stage')")
    before = page.text("dialog output")
    page.key("+")
    page.wait(f"document.querySelector('dialog output').textContent !== {before!r}")
    page.key("Escape")


def test_masks_and_boxes_are_shown_and_hidden(page: Page, tmp_path: Path) -> None:
    """A label map is drawn in the colours of its classes, which a pixel shows; a class can be hidden, so can boxes."""
    show(page, "#pictures", ".labels")
    page.settle(0.3)
    names = page.value("[...document.querySelectorAll('#pictures .switches label')].map(node => node.innerText.trim())")
    assert names == [
        "show truth",
        "disc",
        "box",
        "show prediction",
        "disc",
        "box",
        "boxes: truth",
        "boxes: prediction",
    ]
    swatches = page.value("[...document.querySelectorAll('#pictures .switches i')].map(node => node.style.background)")
    assert swatches == ["rgb(0, 114, 178)", "rgb(204, 121, 167)"] * 2, "those that the writer names"
    red = "document.querySelector('#pictures feFuncR').getAttribute('tableValues').split(' ')"
    assert page.value(f"{red}[2]") == "0.8"
    shown = "[...document.querySelectorAll('#pictures g.boxes')].map(node => node.getAttribute('visibility'))"
    assert page.value(shown) == ["hidden", "hidden"], "a picture has its boxes drawn already"
    page.value("document.querySelectorAll('#pictures .switches input')[6].click()")
    assert page.value(shown) == ["visible", "hidden"]
    inside = """[...document.querySelectorAll('#pictures .boxes rect')].every(box => {
        const [y, top] = [box.nextSibling, box].map(node => +node.getAttribute("y"));
        return top < y && y < top + +box.getAttribute("height"); })"""
    assert page.value(inside), "labels are within their boxes, where no caption is"
    layers = (
        "[...document.querySelectorAll('#pictures .labels')]"
        ".map(node => node.closest('[visibility]').getAttribute('visibility'))"
    )
    assert page.value(layers) == ["hidden", "hidden"], "and its masks"
    assert page.value("document.querySelectorAll('#pictures .classes:disabled').length") == 2
    for i in (6, 0):  # boxes, and the truth
        page.value(f"document.querySelectorAll('#pictures .switches input')[{i}].click()")
    assert page.value(layers) == ["visible", "hidden"]
    crop = "#pictures .crop"

    def blue() -> int:
        """Pixels in which the blue of class 1 is."""
        pixels = page_runs.pixels_of(page.screenshot(tmp_path / "masks.png", selector=crop)).astype(int)
        return int(((pixels[..., 2] - pixels[..., 0]) > 40).sum())

    with_discs = blue()
    page.value("document.querySelectorAll('#pictures .switches input')[1].click()")
    page.settle(0.2)
    assert with_discs > 2000
    assert blue() < with_discs / 4
    assert page.value(
        "[...document.querySelectorAll('#pictures .boxes.prediction rect title')].map(node => node.textContent)[2]"
    ) == ("prediction shape 0.5, not matched")


def test_a_picture_with_overlays_is_zoomed_into(page: Page) -> None:
    """By its button; what is drawn over it is in the window too."""
    show(page, "#pictures", ".labels")
    page.click("#pictures .overlaid button")
    page.wait("document.querySelector('dialog[open] .stage .boxes rect')")
    before = page.text("dialog output")
    page.key("+")
    page.wait(f"document.querySelector('dialog output').textContent !== {before!r}")
    page.key("Escape")
    page.wait("!document.querySelector('dialog')")


def test_lines_that_are_no_time_have_a_threshold(page: Page) -> None:
    """ROC curves: a slider says what a threshold means, a legend hides lines."""
    show(page, "#scores", "polyline")
    assert page.value("document.querySelectorAll('#scores polyline').length") == 3
    assert "off by at most 0.0002" in page.text("#scores .legend")
    page.set("#scores input", "0.5")
    assert re.search(
        r"class 0: false positive rate [\d.]+, true positive rate [\d.]+ at threshold 0\.\d+",
        page.text("#scores .note"),
    )
    page.click("#scores .legend button")
    page.wait("document.querySelectorAll('#scores polyline').length === 2")


def test_of_many_lines_a_few_are_drawn_in_full(browser: Browser, tmp_path: Path) -> None:
    """Those that come first, until others are clicked; what the points on them are is said."""
    lines = [
        Line(
            f"class {i}",
            np.array([0.0, 1.0]),
            np.array([i / 10, 1.0]),
            "AUROC 0.5",
            [(0.5, 0.5, f"best F1 0.{i} at 0.2")],
        )
        for i in range(9)
    ]
    for number in (9, 8):
        FolderWriter(tmp_path / str(number)).write({"val/c_roc": Curve(lines[:number], "x", "y")}, 1)
    page = opened(browser, tmp_path / "9", missing=3)
    show(page, "#scores", "polyline")
    faint = "[...document.querySelectorAll('#scores polyline')].map(node => node.classList.contains('faint'))"
    pressed = "[...document.querySelectorAll('#scores .legend button')].map(node => node.getAttribute('aria-pressed'))"
    assert page.value(faint) == [True] * 5 + [False] * 4, "and these are drawn last"
    assert page.value(pressed) == ["true"] * 4 + ["false"] * 5
    assert page.value("document.querySelectorAll('#scores circle').length") == 4
    assert "● best F1" in page.text("#scores")
    page.value("document.querySelectorAll('#scores .legend button')[8].click()")
    page.wait(f"{pressed}[8] === 'true'")
    assert page.value(faint).count(False) == 5
    page.close()
    page = opened(browser, tmp_path / "8", missing=3)
    show(page, "#scores", "polyline")
    assert page.value(faint) == [False] * 8
    page.close()


@pytest.mark.parametrize("task", ["binary", "multiclass"])
def test_the_threshold_slider_says_the_truth(browser: Browser, tmp_path: Path, task: str) -> None:
    """For each class what a plain loop over the scores counts at the threshold that is said, of ROC and of PR."""
    generator = torch.Generator().manual_seed(3)
    scores = torch.randn(500, 3, generator=generator).softmax(1)
    targets = torch.multinomial(scores, 1, generator=generator)[:, 0]
    rows = {str(k): (scores[:, k].tolist(), (targets == k).tolist()) for k in range(3)}
    counts = ScoreCounts(3, logits=False)
    if task == "binary":
        rows = {"1": rows["1"]}
        scores, targets, counts = scores[:, 1], (targets == 1).long(), ScoreCounts(2, task="binary", logits=False)
    found = summarised(counts.value(counts.lift(scores, targets)), list(rows), 16, "f1")
    folder = tmp_path / "media"
    FolderWriter(folder).write(charts("val/c", found, "f1"), 5)
    page = opened(browser, folder, missing=3)
    for name in ("roc", "pr"):
        card = f"#scores article:nth-child({1 + ['calibration', 'pr', 'roc'].index(name)})"
        show(page, card, "polyline")
        assert page.text(f"{card} h3") == f"val/c_{name}"
        for wanted in (0.12, 0.5, 0.75):
            page.set(f"{card} input", str(wanted))
            said = re.findall(r"(\d): (.+?) ([\d.]+), (.+?) ([\d.]+) at threshold ([\d.]+)", page.text(f"{card} .note"))
            assert [each[0] for each in said] == list(rows)
            for of, x_name, x, y_name, y, at in said:
                assert 0 <= wanted - float(at) < 0.001
                taken = [truth for score, truth in zip(*rows[of], strict=True) if score >= float(at)]
                positives = sum(rows[of][1])
                truths = {
                    "True positive rate": sum(taken) / positives,
                    "False positive rate": (len(taken) - sum(taken)) / (500 - positives),
                    "Recall": sum(taken) / positives,
                    "Precision": sum(taken) / len(taken),
                }
                assert (float(x), float(y)) == pytest.approx((truths[x_name], truths[y_name]), abs=0.6e-4)
    page.close()


def test_gradients_are_one_picture_before_single_histograms(page: Page) -> None:
    """The norm of each layer over time; a layer opens its histogram."""
    show(page, "#gradients", "canvas")
    page.wait("document.querySelector('#gradients .note').textContent.includes('norms from')")
    assert page.value("[...document.querySelectorAll('#gradients [role=option]')].map(node => node.innerText)") == [
        f"net.{i}.{part}" for i in (0, 3, 8) for part in ("weight", "bias")
    ]  # fmt: skip
    page.click("#gradients [role=option]:nth-child(3)")
    page.wait("document.querySelector('#gradients article h3').innerText === 'gradients/net.3.weight'")
    page.wait("document.querySelector('#gradients .histogram')")
    assert re.search(r"2,000 finite values\. Between −0\.\d+ and 0\.\d+\.", page.text("#gradients article"))


def test_rows_of_layers_are_in_the_order_of_the_model_and_say_where_they_have_no_value(
    browser: Browser, tmp_path: Path
) -> None:
    """Also of a layer that learns later than the others, and of one that stops."""
    writer = FolderWriter(tmp_path)
    histogram = Histogram(np.array([1, 6, 1]), np.linspace(-1, 1, 4))
    learning = {0: ["z.stem", "a.head"], 10: ["z.stem", "m.body", "a.head"], 20: ["m.body", "a.head"]}
    for step, layers in learning.items():
        writer.write({f"gradients/{layer}": histogram for layer in layers}, step)
        table = Table(("layer", "norm"), [[layer, 1.0] for layer in layers])
        writer.write({"gradients/layers": table}, step)
        writer.write_scalars({f"gradients/norm/{layer}": 1e-3 * (layer != "m.body") for layer in layers}, step)
    writer.write({"val/picture": Image(np.zeros((9, 9), np.uint8))}, 25)
    page = opened(browser, tmp_path, missing=2)
    show(page, "#gradients", "canvas")
    page.wait("document.querySelector('#gradients .norms .note').textContent.includes('norms from')")
    texts = "[...document.querySelectorAll('#gradients %s')].map(node => node.textContent)"
    assert page.value(texts % "[role=option]") == ["z.stem", "m.body", "a.head"]
    assert page.value(texts % "select option") == ["z.stem", "m.body", "a.head"]
    for step, expected in ((25, ["–", "0", "0.001"]), (10, ["0.001", "0", "0.001"]), (0, ["0.001", "–", "0.001"])):
        go(page, step)
        assert page.value(texts % ".numbers div") == expected
    looks = page.value("""(() => {
      const {width, height} = document.querySelector('#gradients canvas'), w = width / 3, h = height / 3,
        {data} = document.querySelector('#gradients canvas').getContext('2d').getImageData(0, 0, width, height);
      return [0, 1, 2].map(row => [0, 1, 2].map(column => {
        const strengths = new Set();
        for (let y = Math.ceil(row * h) + 4; y < row * h + h - 4; y++)
          for (let x = Math.ceil(column * w) + 4; x < column * w + w - 4; x++)
            strengths.add(data[4 * (y * width + x) + 3]);
        return strengths.size > 1 ? 'hatched' : strengths.has(0) ? 'blank' : 'plain';
      }));
    })()""")
    assert looks == [["plain", "plain", "hatched"], ["hatched"] * 3, ["plain"] * 3]  # zero is no small one
    assert "hatched is zero or no value" in page.text("#gradients .norms header")
    assert page.errors == []
    page.close()


@needs_uplot
def test_gradients_begin_with_what_looks_ill_and_have_all_steps(browser: Browser, tmp_path: Path) -> None:
    """The table of layers in words, pictures of norms and of update ratios, and a histogram over the steps."""
    writer = FolderWriter(tmp_path)
    for step in range(0, 500, 50):
        reach = 1e-3 * (1 + step / 50)
        histogram = Histogram(np.array([1, 6, 1]), np.linspace(-reach, reach, 4))
        writer.write({"gradients/activations/net.1": histogram, "gradients/net.0.weight": histogram}, step)
        numbers = {"norm/net.0.weight": reach, "update_ratio/net.0.weight": 1e-5 * 2.0 ** (step / 50)}
        writer.write_scalars({f"gradients/{name}": value for name, value in numbers.items()}, step)
        writer.write_scalars({"train/loss": 1.0, **({"gradients/loss_spike": 25.0} if step == 200 else {})}, step)
    found = Table(("layer", "what", "since step", "how much"), [["net.0", "vanishes", 50, "norm 1e-9"]])
    picture = Image(np.zeros((9, 9), np.uint8))
    writer.write({"gradients/diagnosis": found, "gradients/norm_by_step": picture}, 450)
    writer.close()
    page = opened(browser, tmp_path, missing=2)
    show(page, "#gradients", "article table")
    assert "net.0 vanishes 50 norm 1e-9" in " ".join(page.text("#gradients article table").split())
    assert page.value("[...document.querySelectorAll('#tables, #pictures')].length") == 0
    page.wait("document.querySelector('#gradients .norms .note').textContent.includes('norms from 0.001 to 0.01')")
    layers = page.value("[...document.querySelectorAll('#gradients .tools select option')].map(node => node.innerText)")
    assert layers == ["net.0.weight", "activations/net.1"]  # the gradient is what is open first
    page.click("#gradients .norms .choice button:nth-child(2)")
    page.wait("document.querySelector('#gradients .norms .note').textContent.includes('update ratios from 1.0e-5')")
    assert page.value("document.querySelector('#gradients .ridge').hidden")
    page.click("#gradients article .tools button")
    page.wait("document.querySelector('#gradients .ridge .note').textContent.includes('10 steps from step 0')")
    assert page.value("document.querySelector('#gradients .ridge canvas').width") == 10
    page.value("document.querySelector('#gradients .ridge canvas').focus()")
    page.key("ArrowRight")
    page.wait("document.querySelector('#gradients .ridge .note').textContent.startsWith('step 50, ')")
    page.key("Enter")
    page.wait("time.now === 50")
    show(page, "#curves", ".legend")
    page.wait("document.querySelector('#curves .charts').innerText.includes('▼ 1 spike')")
    assert page.errors == []
    page.close()


def test_the_files_beside_a_histogram_s_are_there_before_the_time_moves(
    browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once the time has rested: the next step, in another file, is shown without one being asked for."""
    monkeypatch.setattr(chunks, "MIN_CHUNK", 1000)
    page_runs.many_parameters(tmp_path, 3, 30)
    page = opened(browser, tmp_path, "#gradients/backbone.layers.0.weight@15", missing=2)
    page.wait("document.querySelector('#gradients .histogram')")
    here = page.value("entryAt('gradients/backbone.layers.0.weight', 15).chunk")
    for chunk in (here - 1, here + 1):
        page.wait(f"LW.chunks.get({chunk})?.histograms.size > 0")
    page.settle(0.2)
    before = len(page.asked)
    step = page.value(f"LW.steps.find(({{chunk}}) => chunk === {here + 1}).step")
    page.value(f"goTo({step})")
    page.wait(f"document.querySelector('#gradients article .at').textContent === '' && time.now === {step}")
    page.value("time.drawn")
    assert [address for address in page.asked[before:] if f"/{here + 1:05d}.js" in address] == []
    page.close()


def test_tables_sort_and_filter(page: Page) -> None:
    """By any column, either way; numbers as numbers."""
    show(page, "#tables", "tbody tr")
    first = "document.querySelector('#tables tbody td').textContent"
    page.click("#tables th:nth-child(3) button")
    page.click("#tables th:nth-child(3) button")
    page.wait(f"{first} === '9'")
    assert page.value("document.querySelector('#tables th:nth-child(3)').getAttribute('aria-sort')") == "ascending"
    assert page.value("document.activeElement.textContent") == "recall ↑"
    page.click("#tables input")
    page.type("macro")
    page.wait("document.querySelectorAll('#tables tbody tr').length === 1")


def test_checkpoints_have_their_metrics(page: Page) -> None:
    """Every version in one table, the newest first."""
    show(page, "#files", "tbody tr")
    assert page.value("document.querySelectorAll('#files tbody tr').length") == 10
    assert page.text("#files tbody tr").split("\t")[:3] == ["model-digits", "629", "best, latest"]
    columns = page.text("#files thead").split("\t")
    assert {"val/loss", "val/acc"} < set(columns[3:7])
    assert page.value("[...document.querySelectorAll('#files .word')].every(x => x.getClientRects().length === 1)")


def test_a_checkpoint_is_no_stop_of_the_time(browser: Browser, tmp_path: Path) -> None:
    """The page opens at the last step that was logged, as `lwcallbacks view` says; checkpoints alone have theirs."""
    writer = FolderWriter(tmp_path / "some")
    for step in (47, 95):
        writer.write({"val/picture": Image(np.zeros((4, 4), np.uint8))}, step)
        writer.write({"model": File(Path("a.ckpt"), "model")}, step + 1)
        writer.write_scalars({"val/loss": 0.5}, step)
    FolderWriter(tmp_path / "alone").write({"model": File(Path("a.ckpt"), "model")}, 96)
    for name, stops, missing in (("some", [47, 95], 2), ("alone", [96], 3)):
        page = opened(browser, tmp_path / name, missing=missing)
        assert page.value("[time.steps, time.epochSteps, time.now]") == [stops, stops, stops[-1]]
        assert read_folder(tmp_path / name).last_step == stops[-1]
        show(page, "#files", "tbody tr")
        assert page.text("#files tbody tr").split("\t")[:2] == ["model", "96"]
        page.close()


def test_two_steps_are_compared_side_by_side(page: Page) -> None:
    """Everything has both; the address keeps them."""
    page.click(".actions button[aria-pressed]")
    show(page, "#confusion", ".side:nth-child(2) .matrix")
    assert page.value("[...document.querySelectorAll('#confusion .when')].map(node => node.innerText)") == [
        "epoch 9 · step 629",
        "epoch 8 · step 566",
    ]
    page.wait("location.hash === '#@629~566'")
    assert page.text(".stat:first-child").endswith("0.975 at epoch 8")
    page.click(".actions button[aria-pressed]")
    page.wait("document.querySelectorAll('#confusion .side').length === 1")


def test_a_link_opens_a_key_at_a_step(browser: Browser, run: Path) -> None:
    """Also a histogram, which has no card until it is asked for; and a part of the page."""
    page = opened(browser, run, "#gradients/net.8.bias@104")
    page.wait("document.querySelector('#gradients article h3')?.innerText === 'gradients/net.8.bias'")
    page.wait("document.getElementById('at').textContent.startsWith('epoch 1 · step 104')")
    page.wait("document.querySelector('#gradients article').getBoundingClientRect().top < innerHeight")
    page.value("location.hash = '#val/confusion_matrix_chart@62~125'")
    page.wait("document.querySelectorAll('#confusion .side').length === 2")
    page.wait("document.activeElement.innerText.startsWith('val/confusion_matrix')")
    assert page.errors == []
    page.close()


def test_names_and_captions_are_text(browser: Browser, tmp_path: Path) -> None:
    """Markup in any name is shown as it is, and nothing of it runs."""
    rows = [[Image(np.zeros((8, 8), np.uint8), HOSTILE), HOSTILE, "cat", 0.5], [None, "dog", HOSTILE, 0.25]]
    FolderWriter(tmp_path).write(
        {
            f"val/{HOSTILE}": Matrix(np.array([[5, 1], [2, 7]]), (HOSTILE, "dog")),
            "val/samples": Table(("image", "pred", "target", HOSTILE), rows),
            "val/table": Table(("class", HOSTILE), [[HOSTILE, 1.0]]),
            f"val/image{HOSTILE}": Image(np.zeros((8, 8), np.uint8), HOSTILE),
        },
        3,
    )
    page_runs.write_run(tmp_path, name=HOSTILE, config={HOSTILE: HOSTILE})
    page_runs.write_scalars(tmp_path, [(3, None, {f"val/{HOSTILE}": float("nan"), "val/acc": 0.5})])
    page = opened(browser, tmp_path, missing=1)
    for part in ("confusion", "samples", "pictures", "tables"):
        show(page, f"#{part}", ".view > *")
    page.click("#samples .tile .open")
    page.settle(0.3)
    assert page.value("document.title") == HOSTILE
    assert page.value("document.querySelectorAll('img[onerror], [onerror]').length") == 0
    assert HOSTILE in page.text("#configuration")
    assert page.errors == []
    page.close()


def test_a_folder_without_anything_but_pictures_is_shown(browser: Browser, tmp_path: Path) -> None:
    """No curves, no name, no epochs, no cost: what is there is there."""
    writer = FolderWriter(tmp_path / "my run" / "media")
    for step in (1, 2):
        writer.write({"a": Image(np.full((4, 4), 9 * step, np.uint8), f"caption {step}")}, step)
    page = opened(browser, tmp_path / "my run" / "media", missing=3)
    assert page.text("h1").strip() == "my run"
    show(page, "#pictures", "img")
    assert page.text("#at") == "step 2"
    assert "caption 2" in page.text("#pictures")
    assert page.value("[...document.querySelectorAll('main > section')].map(node => node.id)") == [
        "overview",
        "pictures",
    ]
    page.close()


def test_a_file_of_data_that_is_missing_costs_its_own_steps(browser: Browser, tmp_path: Path) -> None:
    """The card says that it has no data, and shows the steps that are there."""
    matrix = Matrix(np.eye(3, dtype=np.int64), ["a", "b", "c"])
    for step in (1, 2):
        FolderWriter(tmp_path).write({"val/confusion_matrix_chart": matrix}, step)
    data = (tmp_path / "data" / "00000.js").read_text().splitlines(keepends=True)
    (tmp_path / "data" / "00000.js").write_text(data[0])
    page = opened(browser, tmp_path, missing=3)
    page.wait("document.querySelector('#confusion .side').innerText.startsWith('No data of step 2.')")
    go(page, 1)
    page.wait("document.querySelector('#confusion .note').textContent.startsWith('3 counted, 100 % right')")
    go(page, 2)
    page.wait("document.querySelector('#confusion .side').innerText.startsWith('No data of step 2.')")
    assert page.errors == []
    page.close()


def test_an_empty_folder_says_so(browser: Browser, tmp_path: Path) -> None:
    """The page alone."""
    (tmp_path / "index.html").write_bytes(page_html())
    page = opened(browser, tmp_path, missing=4)
    assert "Nothing has been written yet." in page.text("main")
    page.close()


def test_the_samples_of_a_cell_come_from_tables_where_the_matrix_has_none(browser: Browser, tmp_path: Path) -> None:
    """A table of samples of the same stage and step."""
    rows = [[i, pred, target] for i, (pred, target) in enumerate([("cat", "dog"), ("dog", "dog"), ("cat", "dog")])]
    FolderWriter(tmp_path).write(
        {
            "val/confusion_matrix_chart": Matrix(np.array([[5, 0], [2, 7]]), ("cat", "dog")),
            "val/samples_table": Table(("id", "pred", "target"), rows),
            "test/samples_table": Table(("id", "pred", "target"), rows),
        },
        3,
    )
    page = opened(browser, tmp_path, missing=3)
    show(page, "#confusion", ".behind .tile")
    assert page.value("document.querySelectorAll('#confusion .behind .tile').length") == 2
    page.close()


def of_rows(folder: Path, **columns: list[Any]) -> None:
    """Two loaders' matrices, and the table of samples behind that of the second."""
    matrix = Matrix(np.array([[5, 0], [2, 7]]), ("cat", "dog"))
    tables = {f"val/m_examples/dataloader_idx_{i}": Table(tuple(columns), []) for i in (0, 1)}
    tables["val/m_examples/dataloader_idx_1"] = Table(tuple(columns), list(zip(*columns.values(), strict=True)))
    FolderWriter(folder).write({f"val/m_chart/dataloader_idx_{i}": matrix for i in (0, 1)} | tables, 3)


def test_samples_without_images_are_behind_a_cell_of_their_own_loader(browser: Browser, tmp_path: Path) -> None:
    """As a ConfusionMatrix keeps them of rows of numbers; and what it has is not advised."""
    of_rows(tmp_path, true=["dog", "dog"], predicted=["cat", "cat"], id=[53, 16], loss=[2.0, 1.0])
    page = opened(browser, tmp_path, missing=3)
    show(page, "#confusion", ".card:nth-child(2) .behind .tile")
    behind = page.value("[...document.querySelectorAll('.behind')].map(node => node.innerText)")
    tiles = page.value("[...document.querySelectorAll('.behind')].map(node => node.querySelectorAll('.tile').length)")
    assert tiles == [0, 2]
    assert "None of them was kept." in behind[0]
    assert "examples_per_cell" not in behind[0] + behind[1]
    page.click("#confusion .card:nth-child(2) .behind .tile .open")
    page.wait("document.querySelector('dialog[open]').innerText.includes('53')")
    page.close()


def test_what_could_be_kept_of_a_cell_is_said_where_it_can_be(browser: Browser, tmp_path: Path) -> None:
    """Of a confused pair; not of what is right, and not where there are masks: there a matrix counts pixels."""
    matrix = Matrix(np.array([[5, 0], [2, 7]]), ("cat", "dog"))
    layer = Layer("truth", np.ones((4, 4), np.uint8), {1: "dog"}, {1: (0, 0, 9)})
    mask = annotated(Image(np.zeros((4, 4), np.uint8)), (layer,))
    for name, entries in (("labels", {}), ("pixels", {"val/masks": mask})):
        FolderWriter(tmp_path / name).write({"val/m_chart": matrix, **entries}, 3)
    said = {}
    for name in ("labels", "pixels"):
        page = opened(browser, tmp_path / name, missing=3)
        show(page, "#confusion", ".behind h4")
        page.wait("document.querySelector('.behind').innerText.includes('None of them')")
        said[name] = "examples_per_cell=3" in page.text(".behind")
        page.value("document.querySelectorAll('#confusion tbody tr')[0].cells[1].click()")
        page.wait("document.querySelector('.behind h4').textContent === 'true cat, found: 5'")
        assert "examples_per_cell" not in page.text(".behind")
        page.close()
    assert said == {"labels": True, "pixels": False}


@pytest.mark.parametrize("width", [420, 1400, 1900])
def test_thirty_classes_fit_or_scroll_between_names_and_recall(browser: Browser, tmp_path: Path, width: int) -> None:
    """On a wide page all cells and whole names are there; on a narrow one the ends stay, and a focused cell is seen."""
    kinds = [f"{kind} {state}" for kind in ("invoice", "receipt", "contract", "letter", "claim", "order")
             for state in ("incoming", "outgoing", "draft", "signed", "cancelled")]  # fmt: skip
    FolderWriter(tmp_path).write({"val/m_chart": Matrix(np.eye(30, dtype=np.int64) * 99, kinds)}, 3)
    page = opened(browser, tmp_path, missing=3, width=width)
    show(page, "#confusion", ".matrix")
    scroll = "document.querySelector('#confusion .scroll')"
    assert page.value("document.documentElement.scrollWidth") <= width
    names = page.value("[...document.querySelectorAll('.matrix tbody th')].map(node => node.textContent)")
    if width > 1000:
        assert page.value(f"{scroll}.scrollWidth <= {scroll}.clientWidth")
        assert names == kinds
    assert len(set(names)) == 30
    page.value("document.querySelector('.matrix tbody tr').cells[30].focus()")
    page.settle(0.2)
    ends = page.value(
        "['.matrix tbody th', '.matrix [role=gridcell]:focus', '.matrix tbody .rate', '#confusion .scroll']"
        ".map(one => document.querySelector(one).getBoundingClientRect()).map(box => [box.left, box.right])"
    )
    (_, name), (left, right), (rate, end), (_, whole) = ends
    assert name <= left + 1
    assert right <= rate + 1
    assert end <= whole + 1
    page.close()


def test_many_classes_are_a_picture_that_zooms(browser: Browser, tmp_path: Path) -> None:
    """Each cell is reached by a search, a click or the keyboard; then it has its names and its count."""
    names = [f"class number {i}" for i in range(300)]
    counts = np.diag(np.arange(1, 301))
    counts[123, 45] = 9
    FolderWriter(tmp_path).write({"val/confusion_matrix_chart": Matrix(counts, names)}, 3)
    page = opened(browser, tmp_path, missing=3)
    show(page, "#confusion", "canvas")
    assert "true class number 123, predicted class number 45: 9" in page.text("#confusion .behind")
    page.value("document.querySelector('#confusion canvas').focus()")
    page.key("ArrowRight")
    page.wait("document.querySelector('#confusion .note').textContent.includes('predicted class number 46: 0')")
    page.key("ArrowLeft")
    page.key("Enter")
    page.wait("document.querySelector('#confusion td[aria-selected=true]')?.textContent === '9'")
    assert page.value("document.querySelectorAll('#confusion tbody tr').length") == 20
    page.value("[...document.querySelectorAll('#confusion .tools button')].at(-1).click()")
    page.wait("document.querySelector('#confusion canvas')")
    page.click("#confusion .tools input[type=search]")
    page.type("number 123")
    page.wait("document.querySelectorAll('#confusion tbody tr').length === 2")
    assert page.errors == []
    page.close()


def test_a_run_that_goes_on_is_shown_without_reloading(browser: Browser, tmp_path: Path) -> None:
    """New steps, keys, curves and its end; the last step is followed, and one that was chosen is kept."""
    folder = page_runs.everything(tmp_path / "media", 2, state="running")
    page = opened(browser, folder)
    assert page.text("#state") == "9eqq36ma, 2 epochs, running, last written 2026-11-26 10:00 UTC"
    page_runs.write_run(folder, state="running", written="2026-11-26T10:02:59+00:00")
    page.value("readAgain()")
    page.wait("document.getElementById('state').innerText.endsWith('last written 2026-11-26 10:02 UTC')")
    show(page, "#confusion", ".matrix")
    writer = FolderWriter(folder)
    writer.write(
        {
            "val/new": Image(np.zeros((4, 4), np.uint8)),
            "val/confusion_matrix_chart": Matrix(np.eye(10, dtype=np.int64), [str(i) for i in range(10)]),
        },
        188,
    )
    page_runs.write_scalars(folder, [(188, 2, {"val/acc": 0.9999, "val/new": 1.0})])
    page.value("readAgain()")
    page.wait("document.getElementById('at').textContent.startsWith('epoch 2 · step 188')")
    page.wait("document.querySelector('#confusion .note').textContent.startsWith('10 counted')")
    page.wait("panels.has('val/new')")
    page.wait("document.querySelector('.stat b').textContent === '0.9999'")
    go(page, 62)
    writer.write({"val/new": Image(np.zeros((4, 4), np.uint8))}, 251)
    page_runs.write_run(folder, state="finished")
    page.value("readAgain()")
    page.wait("document.querySelector('#state').textContent.endsWith('finished')")
    assert page.value("time.now") == 62
    assert page.value("time.steps.at(-1)") == 251
    assert page.value("LW.series.get('val/acc').steps") == [62, 125, 188]
    known = page.value("[LW.version, LW.steps.length]")
    page.value("readAgain()")
    assert page.value("[LW.version, LW.steps.length]") == known, "lines that are known are passed over"
    assert page.errors == []
    page.close()


def test_a_running_page_reads_again_by_itself(browser: Browser, tmp_path: Path) -> None:
    """Every few seconds, until the run has ended."""
    folder = page_runs.everything(tmp_path / "media", 1, state="running")
    page = opened(browser, folder)
    page_runs.write_run(folder, state="failed")
    page.wait("document.querySelector('#state').textContent.endsWith('failed')", 30)
    assert page.value("live.timer === null || LW.info.state !== 'running'")
    page.close()


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [420, 1400])
def test_nothing_is_cut_and_text_has_contrast(browser: Browser, run: Path, width: int, dark: bool) -> None:
    """In both themes and two widths: no sideways scrolling, and WCAG AA for every text that is seen."""
    page = opened(browser, run, width=width, height=6000, dark=dark)
    page.wait("['#tables tbody tr', '#samples .strip', '#files tbody'].every(part => document.querySelector(part))")
    assert page.value("document.documentElement.scrollWidth") <= width
    found = page.value(CONTRAST.read_text())
    assert found["texts"] > 200
    assert found["low"] == []
    page.close()


def test_the_theme_is_switched(page: Page) -> None:
    """System, light, dark; curves and matrices are drawn in its colours."""
    background = "getComputedStyle(document.body).backgroundColor"
    assert page.value(background) == "rgb(255, 255, 255)"
    page.click(".theme")
    page.click(".theme")
    page.wait(f"{background} === 'rgb(15, 18, 22)'")
    assert page.value("document.querySelector('.theme').getAttribute('aria-label')") == "Theme: dark"
    page.click(".theme")
    page.wait(f"{background} === 'rgb(255, 255, 255)'")


def test_every_control_has_a_name_and_every_image_a_text(page: Page) -> None:
    """What a screen reader says: no button, input or picture without words."""
    for part in ("confusion", "samples", "pictures", "scores", "gradients", "tables", "files"):
        show(page, f"#{part}", "*")
        page.settle(0.2)
    nameless = page.value(
        """[...document.querySelectorAll("button, input, select, a, canvas, svg[role=img], img, [role=grid]")]
        .filter(node => node.checkVisibility() && !node.closest(".uplot"))
        .filter(node => !node.ariaLabel && !node.textContent.trim() && !node.title && node.getAttribute("alt") === null)
        .filter(node => !node.closest("label")?.textContent.trim())
        .map(node => node.outerHTML.slice(0, 100))"""
    )
    assert nameless == []


def test_the_page_asks_for_nothing_outside_of_its_folder(browser: Browser, run: Path) -> None:
    """Every address that it asks for is a file below it."""
    page = opened(browser, run)
    page.value("window.scrollTo(0, document.body.scrollHeight)")
    page.settle(0.5)
    assert len(page.asked) > 5
    assert all(address.startswith((run.as_uri(), "data:", "about:")) for address in page.asked)
    page.close()


def test_the_page_prints(page: Page) -> None:
    """Controls are left out, and what scrolls is whole."""
    page.call("Emulation.setEmulatedMedia", media="print")
    assert page.value("getComputedStyle(document.querySelector('nav')).display") == "none"
    assert page.value("getComputedStyle(document.querySelector('.top')).position") == "static"
    assert len(page.call("Page.printToPDF")["data"]) > 10_000


def test_paper_has_what_is_far_from_the_window(browser: Browser, run: Path) -> None:
    """By the key, which waits for files, every card is drawn; by the event those whose files are there."""
    page = opened(browser, run)
    undrawn = (
        "[...document.querySelectorAll('main article')].filter(node => node.update && !node.hidden)"
        ".filter(node => !node.querySelector('td, canvas, svg, img')).map(node => node.innerText)"
    )
    before = len(page.value(undrawn))
    page.value("window.dispatchEvent(new Event('beforeprint'))")
    page.settle(0.2)
    assert len(page.value(undrawn)) < before
    page.value(f"window.print = () => (window.left = {undrawn})")
    page.value("document.body.dispatchEvent(new KeyboardEvent('keydown', {key: 'p', ctrlKey: true, bubbles: true}))")
    page.wait("!!window.left")
    assert page.value("window.left") == []
    assert page.value("document.querySelectorAll('#pictures .frame img, #pictures .frame svg').length") > 1
    assert page.errors == []
    page.close()


def test_a_test_after_a_fit_is_no_epoch_of_it(browser: Browser, tmp_path: Path) -> None:
    """Two epochs stay two, and what is written at the end of the fit stays of the second."""
    writer = FolderWriter(tmp_path)
    writer.write_logged([(9, 0, {"val/loss": 1.0}), (19, 1, {"val/loss": 0.5}), (20, 2, {"test/loss": 0.5})])
    page_runs.write_run(tmp_path)
    page = opened(browser, tmp_path, missing=2)
    assert "2 epochs" in page.text("h1")
    assert page.value("soon(20)") == "epoch 1"
    page.close()


def test_a_matrix_that_stays_says_so(browser: Browser, tmp_path: Path) -> None:
    """Where nothing changed there is no cell to see."""
    for step in (1, 2):
        FolderWriter(tmp_path).write({"val/matrix": Matrix(np.eye(2, dtype=np.int64), ("a", "b"))}, step)
    page = opened(browser, tmp_path, missing=3)
    show(page, "#confusion", ".matrix")
    assert "No cell changed" not in page.text("#confusion .note")
    page.click("#confusion button[data-value=since]")
    page.wait("document.querySelector('#confusion .note').textContent.includes('No cell changed since step 1.')")
    page.close()


def test_a_page_carries_its_files_itself_where_it_is_told_to(browser: Browser, run: Path, tmp_path: Path) -> None:
    """As a single file to mail has it: the folder's scripts inside, no script loaded."""
    scripts = [(run / name).read_text() for name in ("manifest.js", "scalars.js", "run.js", "cost.js")]
    (tmp_path / "one.html").write_bytes(page_html(before="LW.files = {};\n" + "\n".join(scripts)))
    page = browser.open(tmp_path / "one.html")
    page.wait("document.body.dataset.ready")
    assert page.text("h1").startswith("digits")
    assert [address for address in page.asked if address.endswith(".js")] == []
    page.close()
