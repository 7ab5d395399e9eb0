"""Pictures that carry text: labelled counts, a histogram, a table and a grid of captioned tiles.

    draw_matrix(Matrix(counts, ("cat", "dog")), normalize="true")      # -> Image
    draw_labels(counts, ("cat", "dog"))                                # -> Image, from counts [L, 2, 2]
    draw_histogram(Histogram(counts, edges, nan=3))                    # -> Image
    draw_table(Table(("class", "recall"), rows))                       # -> Image
    captioned_grid([Image(pixels, "true 3, pred 5"), ...], nrow=8)     # -> Image

matplotlib and PIL are imported when one of these runs, not before. Figures are made by matplotlib's objects alone:
pyplot, whose state belongs to the user and to the main thread, is never touched.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from lwcallbacks.media.names import labels_of, shorten
from lwcallbacks.media.render import as_rgb, enlarge
from lwcallbacks.media.values import Cell, Grid, Histogram, Image, Matrix, Table

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont, ImageFont

Normalize = Literal["true", "pred", "all"]

MAX_CELLS_WITH_TEXT = 25
MAX_TICKS = 40
MAX_NAME = 24
MAX_ROWS, MAX_CELL = 60, 40
BAR = (66, 113, 174)
PLAIN: dict[str, Any] = {"parse_math": False, "usetex": False}  # a class may be called "$5"


def draw_matrix(matrix: Matrix, title: str | None = None, normalize: Normalize | None = None) -> Image:
    """A heatmap of a confusion matrix with the truth downwards and the prediction to the right, as an RGB Image.

    Up to 25 classes the cells hold their counts, or percentages of the row ("true"), the column ("pred") or the sum
    ("all"). Colour is the share of the row (with "pred": of the column), so that a rare class is as visible as a
    frequent one; a class that never occurs stays pale. Above 40 classes only some of the names are written.

    Raises ValueError for an unknown `normalize`.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    share = _shares(matrix.counts, normalize)
    shade = _shares(matrix.counts, "pred" if normalize == "pred" else "true")
    size = len(matrix.class_names)
    names = labels_of(matrix.class_names, MAX_NAME)
    longest = max((len(name) for name in names), default=0)

    side = min(max(0.5 * size, 3.2), 11.0)  # inches of the square that holds the cells
    figure = Figure(figsize=(side + 1.9 + 0.07 * longest, side + 1.0 + 0.07 * longest), dpi=100, layout="constrained")
    canvas: Any = FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    heat = axes.imshow(shade, cmap="Blues", vmin=0.0, vmax=1.0, interpolation="nearest")
    bar = figure.colorbar(heat, ax=axes, shrink=0.8)
    bar.set_label("share of the predicted class" if normalize == "pred" else "share of the true class")

    ticks = range(0, size, -(-size // MAX_TICKS) or 1)
    shown = [names[i] for i in ticks]
    upright = max((len(name) for name in shown), default=0) * 0.085 <= side / max(1, len(shown))
    axes.set_xticks(list(ticks), shown, fontsize=9, rotation=0 if upright else 90, **PLAIN)
    axes.set_yticks(list(ticks), shown, fontsize=9, **PLAIN)
    axes.set_xlabel("Predicted")
    axes.set_ylabel("True")
    if title:
        axes.set_title(title, fontsize=11, **PLAIN)

    if size <= MAX_CELLS_WITH_TEXT:
        if normalize is None:
            texts = [[_compact(int(count)) for count in row] for row in matrix.counts]
        else:
            texts = [[f"{100 * value:.1f}" for value in row] for row in share]
        width = max((len(text) for row in texts for text in row), default=1)
        fontsize = min(10.0, side / max(1, size) * 72 / (0.7 * width))
        for i, row in enumerate(texts):
            for j, text in enumerate(row):
                colour = "white" if shade[i, j] > 0.5 else "black"
                cell = axes.text(j, i, text, ha="center", va="center", color=colour, fontsize=fontsize, **PLAIN)
                cell.set_in_layout(False)  # it is inside the axes: measuring it would only take time
    if normalize is not None and size <= MAX_CELLS_WITH_TEXT:
        axes.set_xlabel(f"Predicted\n(cells: percent of the {_OF[normalize]})")

    canvas.draw()
    return Image(np.asarray(canvas.buffer_rgba())[..., :3].copy(), title)


_OF = {"true": "true class", "pred": "predicted class", "all": "total"}


def draw_labels(counts: np.ndarray, class_names: Sequence[str], title: str | None = None) -> Image:
    """A heatmap of counts int64 [L, 2, 2], the truth as rows, with a row for each of L labels, as an RGB Image.

    A row's cells count the samples where the label is there and predicted, there and missed, absent and wrongly
    predicted, absent and not predicted. Up to 25 labels they hold their counts. Colour is the share of the samples
    where the label is there, or absent: a good model has a pale second and third column. Above 40 labels only some
    names are written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    cells = counts[:, [1, 1, 0, 0], [1, 0, 1, 0]]
    shade = (counts / np.maximum(counts.sum(axis=2, keepdims=True), 1))[:, [1, 1, 0, 0], [1, 0, 1, 0]]
    size = len(class_names)
    names = labels_of(class_names, MAX_NAME)
    longest = max((len(name) for name in names), default=0)

    height = min(max(0.35 * size, 1.6), 11.0)  # inches of the cells
    figure = Figure(figsize=(5.4 + 0.07 * longest, height + 1.3), dpi=100, layout="constrained")
    canvas: Any = FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    heat = axes.imshow(shade, cmap="Blues", vmin=0.0, vmax=1.0, interpolation="nearest", aspect="auto")
    figure.colorbar(heat, ax=axes, shrink=0.8).set_label("share of there / absent")
    axes.set_xticks(
        range(4), ["there,\nfound", "there,\nmissed", "absent,\npredicted", "absent,\nleft out"], fontsize=9
    )
    ticks = range(0, size, -(-size // MAX_TICKS) or 1)
    axes.set_yticks(list(ticks), [names[i] for i in ticks], fontsize=9, **PLAIN)
    axes.set_ylabel("Label")
    if title:
        axes.set_title(title, fontsize=11, **PLAIN)
    if size <= MAX_CELLS_WITH_TEXT:
        for i, row in enumerate(cells):
            for j, count in enumerate(row):
                colour = "white" if shade[i, j] > 0.5 else "black"
                cell = axes.text(j, i, _compact(int(count)), ha="center", va="center", color=colour, fontsize=9)
                cell.set_in_layout(False)
    canvas.draw()
    return Image(np.asarray(canvas.buffer_rgba())[..., :3].copy(), title)


def _shares(counts: np.ndarray, normalize: Normalize | None) -> np.ndarray:
    """Float64 [C, C] in [0, 1]: each count by the sum that `normalize` names, 0 where that sum is 0."""
    axes: dict[str | None, int | tuple[int, int]] = {"true": 1, "pred": 0, "all": (0, 1), None: (0, 1)}
    if normalize not in axes:
        raise ValueError(f"normalize is {normalize!r}, expected 'true', 'pred', 'all' or None")
    values = counts.astype(np.float64)
    return np.asarray(values / np.maximum(values.sum(axis=axes[normalize], keepdims=True), 1.0))


def _compact(count: int) -> str:
    for limit, unit, suffix in ((10**9, 10**9, "G"), (10**6, 10**6, "M"), (10**5, 10**3, "k")):
        if count >= limit:
            return f"{count / unit:.3g}{suffix}"
    return str(count)


def draw_histogram(histogram: Histogram, title: str | None = None) -> Image:
    """The counts as bars over the edges, an RGB Image of 360 x 220; what is not finite is written in red above them.

    Below stand the first and the last edge, and 0 where it lies between them; on the left the largest count. Drawn
    without matplotlib in a few milliseconds, since there may be one for each of hundreds of parameters.
    """
    import PIL.Image
    from PIL import ImageDraw, ImageFont

    page = PIL.Image.new("RGB", (360, 220), "white")
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(size=12)
    left, top, right, bottom, line = 48, 58, 348, 196, 15
    for k, text in enumerate(_wrap(title or "", page.width - 16, draw, font, max_lines=2)):
        draw.text((8, 6 + k * line), text, fill="black", font=font)
    odd = (("NaN", histogram.nan), ("+Inf", histogram.posinf), ("-Inf", histogram.neginf))
    told = ", ".join(f"{count} {name}" for name, count in odd if count)
    draw.text((left, top - 20), told, fill=(200, 0, 0), font=font)

    edges, most = histogram.edges.astype(np.float64), int(histogram.counts.max(initial=0))
    low, high = float(edges[0]), float(edges[-1])
    scale = (right - left) / (high - low or 1.0)
    for count, start, end in zip(histogram.counts.tolist(), edges[:-1], edges[1:], strict=True):
        if count:
            height = max(1, round((bottom - top) * count / most))  # a bin that is not empty is always seen
            x = left + int((start - low) * scale)
            draw.rectangle((x, bottom - height, max(x, left + int((end - low) * scale) - 1), bottom - 1), fill=BAR)
    draw.line((left, bottom, right, bottom), fill="black")

    def label(x: float, text: str, anchor: str) -> None:
        draw.line((x, bottom, x, bottom + 3), fill="black")
        draw.text((x, bottom + 5), text, fill="black", font=font, anchor=anchor)

    label(left, f"{low:.3g}", "la")
    label(right, f"{high:.3g}", "ra")
    zero = left - low * scale
    if left + 70 < zero < right - 70:  # farther in than the other two reach
        label(zero, "0", "ma")
    draw.text((left - 6, top), _compact(most), fill="black", font=font, anchor="ra")
    return Image(np.asarray(page), title)


def draw_table(table: Table, title: str | None = None) -> Image:
    """The cells as text in columns, an RGB Image; an image cell is left empty.

    A cell has at most 40 characters. After 60 rows the number of those that are left out is written.
    """
    import PIL.Image
    from PIL import ImageDraw, ImageFont

    font, pitch, gap = ImageFont.load_default(size=12), 18, 14
    shown = [[_cell_text(cell) for cell in row] for row in (table.columns, *table.rows[:MAX_ROWS])]
    ruler = ImageDraw.Draw(PIL.Image.new("RGB", (1, 1)))
    widths = [max(round(ruler.textlength(text, font=font)) for text in column) for column in zip(*shown, strict=True)]
    header = [shorten(title, MAX_CELL)] if title else []
    rest = [f"and {len(table.rows) - MAX_ROWS} rows more"] if len(table.rows) > MAX_ROWS else []
    width = max(sum(widths) + gap * (len(widths) + 1), *(2 * gap + 8 * len(text) for text in (*header, *rest, "")))
    page = PIL.Image.new("RGB", (width, pitch * (len(shown) + len(header) + len(rest)) + gap), "white")
    draw = ImageDraw.Draw(page)
    for i, line in enumerate([header, *shown, rest] if header else [*shown, rest]):
        x = gap
        for text, column in zip(line, widths, strict=False):
            draw.text((x, gap // 2 + i * pitch), text, fill="black", font=font)
            x += column + gap
    below = gap // 2 + pitch * (len(header) + 1) - 1
    draw.line((gap, below, width - gap, below), fill="grey")
    return Image(np.asarray(page), title)


def _cell_text(cell: Cell) -> str:
    if cell is None or isinstance(cell, Image):
        return ""
    return shorten(" ".join((f"{cell:.6g}" if isinstance(cell, float) else str(cell)).split()), MAX_CELL)


def with_caption(image: Image, unless: str | None = None) -> Image:
    """The image with its caption drawn below it, for a place that keeps pixels only.

    Untouched where there is no caption, or where it equals `unless`.
    """
    return image if image.caption in (None, "", unless) else captioned_grid([image])


def captioned_grid(images: Sequence[Image], nrow: int = 8, title: str | None = None, min_side: int = 84) -> Grid:
    """The images as one RGB picture, `nrow` to a row, each with its caption below it.

    Small images are enlarged by an integer so that their shorter side has at least `min_side` pixels. A caption is
    wrapped to the width of its tile, at most three lines and cut with an ellipsis, so that it never reaches its
    neighbour.
    Raises ValueError when there is no image.
    """
    import PIL.Image
    from PIL import ImageDraw, ImageFont

    if not images or nrow < 1:
        raise ValueError(f"a grid of {len(images)} images, {nrow} to a row: expected at least one of each")
    gap, line, font = 8, 15, ImageFont.load_default(size=12)
    tiles = [as_rgb(enlarge(image.pixels[None], min_side))[0] for image in images]
    width, height = max(tile.shape[1] for tile in tiles), max(tile.shape[0] for tile in tiles)
    columns = min(nrow, len(tiles))
    rows = -(-len(tiles) // columns)

    ruler = ImageDraw.Draw(PIL.Image.new("RGB", (1, 1)))
    captions = [_wrap(image.caption or "", width, ruler, font, max_lines=3) for image in images]
    header = _wrap(title or "", columns * (width + gap) - gap, ruler, font, max_lines=2)
    pitch = height + gap + line * max(len(caption) for caption in captions)
    top = gap + (line * len(header) + gap // 2 if header else 0)

    page = PIL.Image.new("RGB", (columns * (width + gap) + gap, top + rows * pitch), "white")
    draw = ImageDraw.Draw(page)
    for k, text in enumerate(header):
        draw.text((gap, gap + k * line), text, fill="black", font=font)
    boxes = []
    for i, (tile, caption) in enumerate(zip(tiles, captions, strict=True)):
        x, y = gap + (i % columns) * (width + gap), top + (i // columns) * pitch
        left, upper = x + (width - tile.shape[1]) // 2, y + (height - tile.shape[0]) // 2
        page.paste(PIL.Image.fromarray(tile), (left, upper))
        boxes.append((left, upper, tile.shape[1], tile.shape[0]))
        for k, text in enumerate(caption):
            indent = (width - draw.textlength(text, font=font)) / 2
            draw.text((x + indent, y + height + 1 + k * line), text, fill="black", font=font)
    return Grid(np.asarray(page), title, tuple(boxes))


def _wrap(text: str, width: int, ruler: ImageDraw, font: FreeTypeFont | ImageFont, max_lines: int) -> list[str]:
    """Lines no wider than `width` pixels, broken between words where possible and inside a word where not."""

    def fits(line: str) -> bool:
        return ruler.textlength(line, font=font) <= width

    lines: list[str] = []
    for paragraph in text.splitlines():
        current = ""
        for word in paragraph.split():
            joined = f"{current} {word}" if current else word
            if fits(joined):
                current = joined
                continue
            if current:
                lines.append(current)
            while word and not fits(word):
                cut = next((n for n in range(2, len(word)) if not fits(word[:n])), len(word)) - 1 or 1
                lines.append(word[:cut])
                word = word[cut:]
            current = word
        if current:
            lines.append(current)
    if len(lines) <= max_lines:
        return lines
    last = lines[max_lines - 1]
    while last and not fits(last + "…"):
        last = last[:-1]
    return [*lines[: max_lines - 1], last + "…"]
