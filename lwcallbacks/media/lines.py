"""A chart of lines with axes, ticks and a legend, drawn in milliseconds.

    draw_curve(Curve([Line("cat", x, y, text="0.9312")], "False positive rate", "True positive rate"))     # -> Image

Ten lines at most are drawn, and the names of the others stand below. Lines are told apart by colour and by dashes; each
colour stands out from white by 3 to 1 or more, and each letter by 4.5 to 1, as WCAG's level AA asks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from lwcallbacks.media.lettering import line_height, width_of, wrap, write
from lwcallbacks.media.names import shorten
from lwcallbacks.media.values import Curve, Image, Line

MAX_LINES, MAX_NAME = 10, 28
DOTTED = 20  # points of a line that has no `at`: of so few each is seen
LEAST, MOST = 330, 460  # pixels of the square's side: as high as the legend, if it can
EDGE, TICK, SWATCH = 10, 4, 26
FINE = 4  # drawn so many times as large, then made smaller: that is what smooths the lines
GREY, GRID, FRAME = (89, 89, 89), (228, 228, 228), (118, 118, 118)
# Told apart by those who see no red or no green as well: after P. Tol's and Okabe and Ito's, none of them light.
COLOURS = ((0, 95, 160), (200, 80, 0), (17, 119, 51), (136, 34, 85), (51, 34, 136))
DASH = 7  # pixels

Span = tuple[float, float]
Tick = tuple[float, str]


def draw_curve(curve: Curve, title: str | None = None) -> Image:
    """The lines over their axes with a legend to the right, as an RGB Image.

    Axes run from 0 to 1 where all points lie there, else from the least to the most. Points that are not finite are
    left out, and the line with them.
    """
    shown, line = curve.lines[:MAX_LINES], line_height()
    spans = tuple(_span([getattr(one, axis) for one in curve.lines]) for axis in ("x", "y"))
    ticks = tuple(_ticks(*span) for span in spans)
    beside = sum(map(_legend_height, shown))
    side = min(max(LEAST, beside - TICK - 2 * line), MOST)
    left = EDGE + line + EDGE + max(width_of(text) for _, text in ticks[1]) + TICK + 4
    legend = left + side + 2 * EDGE
    width = legend + max((_legend_width(one) for one in shown), default=0) + EDGE
    notes = [text for note in _notes(curve) for text in wrap(note, width - 2 * EDGE, max_lines=3)]
    header = wrap(title or "", width - 2 * EDGE, max_lines=2)
    top = EDGE + line * len(header) + EDGE
    below = top + side + TICK + 4 + line + 4 + line + EDGE
    page = np.full((max(below, top + beside) + line * len(notes) + EDGE, width, 3), 255, np.uint8)

    for k, text in enumerate(header):
        write(page, text, EDGE, EDGE + k * line)
    page[top : top + side, left : left + side] = _plot(curve, shown, spans, ticks, side)
    for place, text in ticks[0]:
        x = left + round(place * (side - 1))
        page[top + side : top + side + TICK, x] = FRAME
        write(page, text, x, top + side + TICK + 2, anchor="middle")
    for place, text in ticks[1]:
        y = top + side - 1 - round(place * (side - 1))
        page[y, left - TICK : left] = FRAME
        write(page, text, left - TICK - 3, y - line // 2, anchor="end")
    write(page, curve.x, left + side // 2, top + side + TICK + 4 + line + 2, anchor="middle")
    write(page, curve.y, EDGE, top + side // 2, anchor="middle", up=True)
    y = top
    for k, one in enumerate(shown):
        _write_legend(page, one, k, legend, y)
        y += _legend_height(one)
    for k, text in enumerate(notes):
        write(page, text, EDGE, max(below, top + beside) + k * line, ink=GREY)
    return Image(page, title)


def _plot(
    curve: Curve, shown: Sequence[Line], spans: Sequence[Span], ticks: Sequence[list[Tick]], side: int
) -> np.ndarray:
    """The square between the axes, uint8 [side, side, 3]."""
    import PIL.Image
    from PIL import ImageDraw

    size = side * FINE
    drawn = PIL.Image.new("RGB", (size, size), (255, 255, 255))
    draw = ImageDraw.Draw(drawn)
    end = size - FINE  # the last pixel is of the frame
    for place, _ in ticks[0]:
        draw.line([(place * end, 0), (place * end, size)], fill=GRID, width=FINE)
    for place, _ in ticks[1]:
        draw.line([(0, end - place * end), (size, end - place * end)], fill=GRID, width=FINE)
    if curve.diagonal:
        for dash in _dashes(np.array([[0, end], [end, 0]], float), 4 * FINE):
            draw.line(dash, fill=FRAME, width=FINE)
    for k, line in reversed(list(enumerate(shown))):  # the first lies above the others
        places = _places(line.x, line.y, spans, end)
        places = places[np.isfinite(places).all(axis=1)]
        if len(places) > 1:
            for part in _strokes(places, k):
                draw.line(part, fill=COLOURS[k % len(COLOURS)], width=2 * FINE, joint="curve")
    for k, line in reversed(list(enumerate(shown))):
        few = line.at is None and len(line.x) <= DOTTED
        dots = [(x, y, 3) for x, y in zip(line.x.tolist(), line.y.tolist(), strict=True) if few]
        for x, y, radius in [*dots, *((x, y, 5) for x, y, _ in line.marks)]:
            [(at, above)] = _places(np.array([x]), np.array([y]), spans, end).tolist()
            if math.isfinite(at) and math.isfinite(above):
                box = [place + sign * radius * FINE for sign in (-1, 1) for place in (at, above)]
                draw.ellipse(box, fill=COLOURS[k % len(COLOURS)], outline=(255, 255, 255), width=FINE)
    draw.rectangle([0, 0, size - 1, size - 1], outline=FRAME, width=FINE)
    return np.asarray(drawn.reduce(FINE))


def _places(x: np.ndarray, y: np.ndarray, spans: Sequence[Span], end: int) -> np.ndarray:
    """Where points are in the square, float64 [K, 2]; y counts downwards."""
    shares = [(of - low) / (high - low) for of, (low, high) in zip((x, y), spans, strict=True)]
    return np.stack([shares[0] * end, end - shares[1] * end], axis=1).astype(np.float64)


def _strokes(places: np.ndarray, k: int) -> list[list[tuple[float, float]]]:
    """A line as it is drawn: whole, or in dashes where its colour comes a second time."""
    if k < len(COLOURS):
        return [list(map(tuple, places.tolist()))]
    return _dashes(places, DASH * FINE)


def _dashes(places: np.ndarray, dash: int) -> list[list[tuple[float, float]]]:
    """Every second piece of a line through points [K, 2], each `dash` long."""
    length = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(places, axis=0).T))])
    parts = []
    for start in np.arange(0, length[-1], 2 * dash):
        stop = min(start + dash, length[-1])
        inner = places[(length > start) & (length < stop)]
        ends = [[np.interp(at, length, places[:, axis]) for axis in (0, 1)] for at in (start, stop)]
        parts.append(list(map(tuple, [ends[0], *inner.tolist(), ends[1]])))
    return parts


def _span(values: Sequence[np.ndarray]) -> Span:
    """What an axis shows."""
    together = np.concatenate([np.zeros(0), *values])
    finite = together[np.isfinite(together)]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
    if low >= 0 and high <= 1:
        return 0.0, 1.0
    return (low, high) if low < high else (low - 0.5, high + 0.5)


def _ticks(low: float, high: float) -> list[Tick]:
    """Round numbers between the ends of an axis, four to ten: their places from 0 to 1, and how they are written."""
    step = 10.0 ** math.floor(math.log10((high - low) / 4))
    step *= next(factor for factor in (5, 2.5, 2, 1) if (high - low) / (factor * step) >= 4)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [((n * step - low) / (high - low), f"{n * step:.6g}") for n in range(first, last + 1)]


def _legend(line: Line) -> list[str]:
    """What stands below the name of a line."""
    return [*([line.text] if line.text else []), *(text for _, _, text in line.marks)]


def _legend_width(line: Line) -> int:
    return SWATCH + max(map(width_of, (shorten(line.name, MAX_NAME), *_legend(line))))


def _legend_height(line: Line) -> int:
    return line_height() * (1 + len(_legend(line))) + 4


def _write_legend(page: np.ndarray, line: Line, k: int, x: int, y: int) -> None:
    middle, colour = y + line_height() // 2, COLOURS[k % len(COLOURS)]
    for start in (0, 7, 14) if k >= len(COLOURS) else (0,):
        page[middle - 1 : middle + 1, x + start : x + start + (4 if k >= len(COLOURS) else 18)] = colour
    write(page, shorten(line.name, MAX_NAME), x + SWATCH, y)
    for n, text in enumerate(_legend(line), start=1):
        write(page, text, x + SWATCH, y + n * line_height(), ink=GREY)


def _notes(curve: Curve) -> list[str]:
    """What stands below the chart: the notes, and the names of the lines that it has no room for."""
    rest = [shorten(line.name, MAX_NAME) for line in curve.lines[MAX_LINES:]]
    return [*curve.notes, *([f"and {len(rest)} more: {', '.join(rest)}"] if rest else [])]
