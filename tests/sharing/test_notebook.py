"""A page shows itself in a notebook: `lw.page(trainer)`, or a callback."""

from __future__ import annotations

import html
import pickle
import re
from pathlib import Path
from typing import Any, ClassVar

import pytest
from pytorch_lightning.loggers import CSVLogger
from support.modules import CLASSES, Classifier, loader, trainer
from support.runs import EVIL, written

import lwcallbacks as lw
from lwcallbacks.sharing import Page, single_file


def inside(shown: str) -> str:
    [page] = re.findall(r"srcdoc='([^']*)'", shown)
    return html.unescape(page)


def test_the_page_is_inside_with_its_size(tmp_path: Path) -> None:
    """In a frame whose scripts cannot reach the notebook; quotes in the data end nothing."""
    folder = written(tmp_path, name='it\'s "quoted" &amp; ' + EVIL)
    shown = Page(folder)._repr_html_()
    assert inside(shown) == single_file(folder).html
    assert "sandbox='allow-scripts allow-popups'" in shown
    assert re.search(r"<p>0\.\d MiB, from <code>.*index\.html</code></p>", shown)


def test_a_page_that_is_too_large_says_what_to_do(tmp_path: Path) -> None:
    """With its size, a command, and the argument that shows it all the same, which does."""
    folder = written(tmp_path)
    for most in (1_000, 20_000):
        shown = Page(folder, max_bytes=most)._repr_html_()
        assert "<iframe" not in shown
        assert f"python -m lwcallbacks export {folder} run.html" in shown
    [told] = re.findall(r"max_bytes=(\d+)", shown)
    assert "<iframe" in Page(folder, max_bytes=int(told))._repr_html_()


def test_what_cannot_be_read_is_said_in_the_notebook(tmp_path: Path) -> None:
    """No traceback in place of a picture; its words are no markup."""
    assert "cannot be shown" in Page(tmp_path)._repr_html_()
    folder = written(tmp_path / "<b>")
    with open(folder / "manifest.js", "a") as file:
        file.write(EVIL + "\n")
    shown = Page(folder)._repr_html_()
    assert "cannot be shown" in shown
    assert "<img" not in shown
    assert "<b>" not in shown


class Looks(lw.LoggingCallback):
    """Where the page is while a run goes on."""

    seen: ClassVar[list[str]] = []

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        self.seen.append(str(lw.page(trainer).path))


def test_a_trainer_has_a_page_while_it_runs_and_afterwards(tmp_path: Path) -> None:
    """So have its callbacks, also as copies; before, there is none, and a folder is not made for the question."""
    Looks.seen.clear()
    matrix = lw.ConfusionMatrix(CLASSES)
    assert matrix._repr_html_() is None
    t = trainer(default_root_dir=tmp_path, logger=False, callbacks=[matrix, Looks()], max_epochs=2)
    with pytest.raises(ValueError, match="this Trainer has written no page, expected one that has run"):
        lw.page(t)
    assert not list(tmp_path.iterdir())
    t.fit(Classifier(), loader(), loader())
    path = tmp_path / "lwcallbacks_logs" / "version_0" / "media" / "index.html"
    assert lw.page(t).path == path
    assert Looks.seen == [str(path)]
    assert inside(matrix._repr_html_() or "") == single_file(path.parent).html
    assert pickle.loads(pickle.dumps(matrix))._repr_html_() == matrix._repr_html_()


def test_a_run_for_debugging_has_no_page(tmp_path: Path) -> None:
    """Nor does it take that of an earlier one."""
    t = trainer(default_root_dir=tmp_path, callbacks=[lw.ConfusionMatrix(CLASSES)], fast_dev_run=True)
    t.fit(Classifier(), loader(), loader())
    with pytest.raises(ValueError, match="no page"):
        lw.page(t)


def test_the_page_of_a_logger_is_beside_its_numbers(tmp_path: Path) -> None:
    """In its own folder."""
    t = trainer(
        logger=CSVLogger(tmp_path), callbacks=[lw.ScalarMetrics({"loss": lw.reductions.ExactMean()}, fields=("loss",))]
    )
    t.fit(Classifier(), loader(), loader())
    assert lw.page(t).path == Path(t.logger.log_dir, "media", "index.html")


def test_a_path_shows_the_page_of_its_run(tmp_path: Path) -> None:
    """The run's folder, the folder media in it, or the page, as text or as a path."""
    folder = written(tmp_path / "run")
    for path in (str(tmp_path / "run"), tmp_path / "run", folder, folder / "index.html"):
        assert lw.page(path).path == folder / "index.html"
    assert inside(lw.page(folder)._repr_html_()) == single_file(folder).html
    assert "max_bytes=" in lw.page(folder, max_bytes=1)._repr_html_()
    with pytest.raises(FileNotFoundError, match="nowhere: no such folder, expected that of a run"):
        lw.page("nowhere")


@pytest.mark.parametrize("wrong", [3, None, ["runs"], Classifier, object()])
def test_what_is_neither_a_trainer_nor_a_path_is_refused(wrong: Any) -> None:
    """With words that say what to write."""
    with pytest.raises(TypeError, match=r"^lw.page: found .*, expected a Trainer or a path: lw.page\(trainer\) or lw"):
        lw.page(wrong)
