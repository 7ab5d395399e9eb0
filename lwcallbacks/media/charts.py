"""Pictures that carry text: a histogram and a table.

    draw_histogram(Histogram(counts, edges, nan=3))                    # -> Image
    draw_table(Table(("class", "recall"), rows))                       # -> Image

They take less than a millisecond, since there may be a histogram for each of hundreds of parameters.
"""

from __future__ import annotations

import numpy as np

from lwcallbacks.media.lettering import BLACK, Anchor, line_height, width_of, wrap, write
from lwcallbacks.media.names import compact, shorten
from lwcallbacks.media.values import Cell, Histogram, Image, Table

MAX_ROWS, MAX_CELL = 60, 40
BAR, RED, GREY = (66, 113, 174), (200, 0, 0), (128, 128, 128)


def draw_histogram(histogram: Histogram, title: str | None = None) -> Image:
    """The counts as bars over the edges, an RGB Image of 360 x 220; what is not finite is written in red above them.

    Below stand the first and the last edge, and 0 where it lies between them; on the left the largest count.
    """
    page = np.full((220, 360, 3), 255, np.uint8)
    left, top, right, bottom = 48, 58, 348, 196
    for k, text in enumerate(wrap(title or "", page.shape[1] - 16, max_lines=2)):
        write(page, text, 8, 6 + k * line_height())
    odd = (("NaN", histogram.nan), ("+Inf", histogram.posinf), ("-Inf", histogram.neginf))
    write(page, ", ".join(f"{count} {name}" for name, count in odd if count), left, top - 20, ink=RED)

    edges, most = histogram.edges.astype(np.float64), int(histogram.counts.max(initial=0))
    low, high = float(edges[0]), float(edges[-1])
    scale = (right - left) / (high - low or 1.0)
    places = [left + int((edge - low) * scale) for edge in edges.tolist()]
    for count, start, end in zip(histogram.counts.tolist(), places[:-1], places[1:], strict=True):
        if count:
            height = max(1, round((bottom - top) * count / most))  # a bin that is not empty is always seen
            page[bottom - height : bottom, start : max(start + 1, end)] = BAR
    page[bottom, left : right + 1] = BLACK

    def label(x: int, text: str, anchor: Anchor) -> None:
        page[bottom : bottom + 4, x] = BLACK
        write(page, text, x, bottom + 5, anchor=anchor)

    label(left, f"{low:.3g}", "start")
    label(right, f"{high:.3g}", "end")
    zero = left - low * scale
    if left + 70 < zero < right - 70:  # farther in than the other two reach
        label(round(zero), "0", "middle")
    write(page, compact(most), left - 6, top, anchor="end")
    return Image(page, title)


def draw_table(table: Table, title: str | None = None) -> Image:
    """The cells as text in columns, an RGB Image; an image cell is left empty.

    A cell has at most 40 characters. After 60 rows the number of those that are left out is written.
    """
    pitch, gap = 18, 14
    shown = [[_cell_text(cell) for cell in row] for row in (table.columns, *table.rows[:MAX_ROWS])]
    widths = [max(map(width_of, column)) for column in zip(*shown, strict=True)]
    header = [shorten(title, MAX_CELL)] if title else []
    rest = [f"and {len(table.rows) - MAX_ROWS} rows more"] if len(table.rows) > MAX_ROWS else []
    width = max(sum(widths) + gap * (len(widths) + 1), *(2 * gap + width_of(text) for text in (*header, *rest, "")))
    page = np.full((pitch * (len(shown) + len(header) + len(rest)) + gap, width, 3), 255, np.uint8)
    for i, line in enumerate([header, *shown, rest] if header else [*shown, rest]):
        x = gap
        for text, column in zip(line, widths, strict=False):
            write(page, text, x, gap // 2 + i * pitch)
            x += column + gap
    page[gap // 2 + pitch * (len(header) + 1) - 1, gap : width - gap + 1] = GREY
    return Image(page, title)


def _cell_text(cell: Cell) -> str:
    if cell is None or isinstance(cell, Image):
        return ""
    return shorten(" ".join((f"{cell:.6g}" if isinstance(cell, float) else str(cell)).split()), MAX_CELL)
