"""What a kind of media becomes where a logger cannot take it: the one place that says so.

    nearest(Matrix(counts, names), "val/confusion", takes=(Picture, Text))    # {"": Picture of the heatmap}
    fitted({"val/confusion": matrix}, takes=(Image, Table))     # "val/confusion": Image, "val/confusion_counts": Table

    Kind             Becomes the first that is taken of
    Image            Picture: its caption drawn below it; a list of one image
    list of Image    Image: a grid with the captions below the tiles
    Matrix           Image: the labelled heatmap, and a Table of the counts ("counts") beside it; Table
    Table            Text: Markdown, and an Image of its images, numbered as in the text ("images"); Image of its cells
    Histogram        Image: the bars; Table of the bins
    Curve            Image: the lines; Table of their points
    File             Table: its path, aliases and metadata; Text; Image

A kind in `takes` stands for its subclasses; `list` stands for a list of images. A new kind of media is one more line in
`_WAYS`.
"""

from __future__ import annotations

import contextlib
import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from typing import Any

from lwcallbacks.media.charts import draw_histogram, draw_table
from lwcallbacks.media.grid import captioned_grid, with_caption
from lwcallbacks.media.heatmap import draw_matrix
from lwcallbacks.media.lines import draw_curve
from lwcallbacks.media.values import Cell, Curve, Entry, File, Histogram, Image, Matrix, Picture, Table, Text

EVERY_KIND: tuple[type, ...] = (Image, list, Table, Matrix, Histogram, Curve, File)

Form = Entry | Text
Way = Callable[[Any, str], Form]

_Drawn = dict[tuple[Way, int, str], tuple[Any, Form]]
_drawn: ContextVar[_Drawn | None] = ContextVar("drawn", default=None)


@contextlib.contextmanager
def drawn_once() -> Iterator[None]:
    """Within, what an entry becomes is made once for all that ask, so that writers share the picture and its PNG.

    >>> report = Table(("class", "recall"), [["cat", 0.5]])
    >>> with drawn_once():
    ...     nearest(report, "val/report", (Image,))[""] is nearest(report, "val/report", (Image,))[""]
    True
    """
    token = _drawn.set({})
    try:
        yield
    finally:
        _drawn.reset(token)


def _made(way: Way, entry: Any, key: str) -> Form:
    drawn = _drawn.get()
    if drawn is None:
        return way(entry, key)
    if (way, id(entry), key) not in drawn:
        drawn[way, id(entry), key] = entry, way(entry, key)  # with the entry, so that no other gets its id meanwhile
    return drawn[way, id(entry), key][1]


def nearest(entry: Entry, key: str, takes: Sequence[type]) -> dict[str, Form]:
    """The entry where its kind is in `takes`, else what it becomes; by its role, which is "" for the main one.

    Empty where none of `takes` is near, and for a list without images.

    >>> table = Table(("class", "recall"), [["cat", 0.5]])
    >>> nearest(table, "val/report", takes=(Table, Image))[""] is table
    True
    >>> print(nearest(table, "val/report", takes=(Text,))[""].markdown)
    | class | recall |
    | --- | --- |
    | cat | 0.5 |

    Raises TypeError for a value that is no Entry.
    """
    kind = kind_of(key, entry)
    if kind is list and not entry:
        return {}
    if kind in takes:  # as nearly always
        return {"": entry}
    ways = _route(kind, takes)
    if ways is None:
        return {}
    form: Form = entry
    for way in ways:
        form = _made(way, form, key)
    forms = {"": form} | ({} if not ways else _beside(entry, key, takes))
    return {role: _as_taken(one, key, takes) for role, one in forms.items()}


def fitted(entries: Mapping[str, Entry], takes: Sequence[type]) -> dict[str, Form]:
    """All entries in the nearest forms that are taken; a form that stands beside another has `_<role>` in its key."""
    return {
        f"{key}_{role}" if role else key: form
        for key, entry in entries.items()
        for role, form in nearest(entry, key, takes).items()
    }


def kind_of(key: str, entry: object) -> type:
    """The kind of an entry; `list` for a list or tuple of images. Raises TypeError for a value that is none."""
    if type(entry) in _WAYS and type(entry) is not list:
        return type(entry)
    if isinstance(entry, list | tuple) and all(isinstance(image, Image) for image in entry):
        return list
    kind = next((kind for kind in _WAYS if kind is not list and isinstance(entry, kind)), None)
    if kind is None:
        found = type(entry).__name__
        if isinstance(entry, list | tuple):
            found += f" with a {next(type(item).__name__ for item in entry if not isinstance(item, Image))} in it"
        expected = "expected Image, a list of Image, Table, Matrix, Histogram, Curve or File, or a float for a number"
        raise TypeError(f"{key!r} is a {found}, {expected}")
    return kind


def _route(kind: type, takes: Sequence[type]) -> list[Way] | None:
    """The shortest way from a kind to one that is taken, those that are listed first going before."""
    reached, waiting = {kind}, deque[tuple[type, list[Way]]]([(kind, [])])
    while waiting:
        kind, ways = waiting.popleft()
        if _is_taken(kind, takes):
            return ways
        for target, way in _WAYS.get(kind, ()):
            if target not in reached:
                reached.add(target)
                waiting.append((target, [*ways, way]))
    return None


def _is_taken(kind: type, takes: Sequence[type]) -> bool:
    if kind is Image:
        return _is_taken(Picture, takes) or list in takes
    return any(issubclass(kind, taken) for taken in takes)


def _beside(entry: Entry, key: str, takes: Sequence[type]) -> dict[str, Form]:
    """What stands beside the main form, where both are taken."""
    if not _is_taken(Image, takes):
        return {}
    if isinstance(entry, Matrix) and Table in takes:
        return {"counts": _made(_counts, entry, key)}
    if isinstance(entry, Table) and any(isinstance(cell, Image) for row in entry.rows for cell in row):
        return {"images": _made(_numbered_grid, entry, key)}
    return {}


def _as_taken(form: Form, key: str, takes: Sequence[type]) -> Form:
    """An image as the kind of image that is taken."""
    if not isinstance(form, Image) or any(isinstance(form, taken) for taken in takes):
        return form
    return _made(_picture, form, key) if Picture in takes else [form]


def _picture(image: Image, key: str) -> Picture:
    drawn = with_caption(image, unless=key)
    picture = Picture(drawn.pixels, drawn.caption)
    if "png" in vars(drawn):  # encoded already, and the same pixels
        vars(picture)["png"] = drawn.png
    return picture


def _counts(matrix: Matrix, key: str) -> Table:
    return counts_table(matrix)


def _numbered_grid(table: Table, key: str) -> Image:
    return captioned_grid(_numbered(table))


def counts_table(matrix: Matrix) -> Table:
    """The counts with the true class in the first column."""
    rows = [[name, *row] for name, row in zip(matrix.class_names, matrix.counts.tolist(), strict=True)]
    return Table(("true / predicted", *matrix.class_names), rows)


def _bins_table(histogram: Histogram) -> Table:
    """A row for each bin that is not empty, then what is not finite."""
    bins = zip(histogram.edges[:-1].tolist(), histogram.edges[1:].tolist(), histogram.counts.tolist(), strict=True)
    odd = (("NaN", histogram.nan), ("+Inf", histogram.posinf), ("-Inf", histogram.neginf))
    rows: list[list[Cell]] = [[low, high, count] for low, high, count in bins if count]
    return Table(("from", "to", "count"), [*rows, *([name, None, count] for name, count in odd if count)])


def _points_table(curve: Curve) -> Table:
    """A row for each point of each line."""
    has_at = any(line.at is not None for line in curve.lines)
    rows: list[list[Cell]] = []
    for line in curve.lines:
        columns = [line.x.tolist(), line.y.tolist()]
        if has_at:
            columns.append([None] * len(line.x) if line.at is None else line.at.tolist())
        rows += [[line.name, *point] for point in zip(*columns, strict=True)]
    return Table(("line", curve.x, curve.y, *(("at",) if has_at else ())), rows)


def _details_table(file: File) -> Table:
    details = {"path": str(file.path), "aliases": ", ".join(file.aliases), **file.metadata}
    return Table((file.type, file.name), [(str(name), str(value)) for name, value in details.items()])


def markdown(table: Table) -> str:
    """The table in Markdown; what would break its lines and columns is escaped. Its images are counted row by row."""

    def text(cell: Cell) -> str:
        return "" if cell is None else " ".join(str(cell).split()).replace("|", "\\|")

    lines: list[Iterable[Cell]] = [table.columns, ["---"] * len(table.columns), *_without_images(table).rows]
    return "\n".join("| " + " | ".join(text(cell) for cell in line) + " |" for line in lines)


def _without_images(table: Table) -> Table:
    """The table with "(image 1)" and so on, row by row, in place of its images."""
    number = itertools.count(1)
    rows = [[f"(image {next(number)})" if isinstance(cell, Image) else cell for cell in row] for row in table.rows]
    return Table(table.columns, rows)


def _numbered(table: Table) -> list[Image]:
    """The images of a table, each with the number that `markdown` gives it before its caption."""
    images = [cell for row in table.rows for cell in row if isinstance(cell, Image)]
    return [Image(image.pixels, f"{n}. {image.caption or ''}".rstrip()) for n, image in enumerate(images, start=1)]


_WAYS: dict[type, tuple[tuple[type, Way], ...]] = {
    Image: (),  # each way of an image is `_as_taken`
    list: ((Image, lambda images, key: captioned_grid(images)),),
    Matrix: (
        (Image, lambda matrix, key: draw_matrix(matrix, title=key)),
        (Table, _counts),
    ),
    Table: (
        (Text, lambda table, key: Text(markdown(table))),
        (Image, lambda table, key: draw_table(_without_images(table), title=key)),
    ),
    Histogram: (
        (Image, lambda histogram, key: draw_histogram(histogram, title=key)),
        (Table, lambda histogram, key: _bins_table(histogram)),
    ),
    Curve: (
        (Image, lambda curve, key: draw_curve(curve, title=key)),
        (Table, lambda curve, key: _points_table(curve)),
    ),
    File: ((Table, lambda file, key: _details_table(file)),),
}
