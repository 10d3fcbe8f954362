"""Charts as SVG."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

_WIDTH = 760
_MARGIN = 16
_LABELS = 210
_VALUES = 110
_BAR = 18
_GAP = 14
_HEAD = 44
_COLOURS = ("#1f6feb", "#d9822b", "#8250df", "#2da44e", "#8c959f")
_INK = "#24292f"
_SHADE = "#ffe8b3"
_PLOT_HEIGHT = 220
_TICKS = 5


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar: its length, and the ends of the line across it."""

    label: str
    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Group:
    """Bars under a common heading."""

    heading: str
    bars: Sequence[Bar]


@dataclass(frozen=True, slots=True)
class Line:
    """A line through points (x, y)."""

    label: str
    points: Sequence[tuple[float, float]]


def bar_chart(title: str, groups: Sequence[Group], digits: int = 0) -> str:
    """Horizontal bars on one scale from 0; a bar's colour follows its place in the group.

    Args:
        title: Stands above, with the unit.
        groups: From top to bottom.
        digits: Decimals of the values that are written beside the bars.
    """
    # Nothing may have taken any time.
    longest = max(bar.high for group in groups for bar in group.bars) or 1.0
    scale = (_WIDTH - _LABELS - _VALUES) / longest
    parts: list[str] = []
    y = _HEAD
    for group in groups:
        if group.heading:
            parts.append(_text(_MARGIN, y + 12, group.heading, weight="bold"))
            y += _BAR + 2
        for bar, colour in zip(group.bars, _cycle(len(group.bars)), strict=True):
            middle = y + _BAR / 2 - 1
            end = _LABELS + bar.value * scale
            parts += [
                _text(_LABELS - 8, middle + 4, bar.label, anchor="end"),
                _rectangle(_LABELS, y, max(1.0, bar.value * scale), _BAR - 3, colour),
                _line(_LABELS + bar.low * scale, middle, _LABELS + bar.high * scale, middle, _INK),
                _text(
                    max(end, _LABELS + bar.high * scale) + 6,
                    middle + 4,
                    f"{bar.value:,.{digits}f}",
                ),
            ]
            y += _BAR
        y += _GAP
    return _document(title, y, parts)


def timeline_chart(
    title: str, lines: Sequence[Line], windows: Sequence[Sequence[float]], x_unit: str
) -> str:
    """Lines over time.

    Args:
        title: Stands above, with the unit of y.
        lines: What is drawn, on one scale from 0.
        windows: Stretches of x, from and to, that are shaded.
        x_unit: Follows the numbers below.
    """
    left, top, right = 60, _HEAD + 20, _WIDTH - _MARGIN
    bottom = top + _PLOT_HEIGHT
    x_step = _tick_step(max(x for line in lines for x, _ in line.points))
    y_step = _tick_step(max(y for line in lines for _, y in line.points))
    x_scale = (right - left) / (x_step * _TICKS)
    y_scale = _PLOT_HEIGHT / (y_step * _TICKS)
    parts = []
    for start, end in windows:
        begin = left + max(0.0, start) * x_scale
        parts.append(_rectangle(begin, top, left + end * x_scale - begin, _PLOT_HEIGHT, _SHADE))
    for tick in range(_TICKS + 1):
        x, y = left + tick * x_step * x_scale, bottom - tick * y_step * y_scale
        parts += [
            _line(left, y, right, y, "#d0d7de"),
            _text(left - 6, y + 4, f"{tick * y_step:g}", anchor="end"),
            _text(x, bottom + 16, f"{tick * x_step:g} {x_unit}", anchor="middle"),
        ]
    for number, (line, colour) in enumerate(zip(lines, _cycle(len(lines)), strict=True)):
        points = " ".join(
            f"{left + x * x_scale:.1f},{bottom - y * y_scale:.1f}" for x, y in line.points
        )
        parts += [
            f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.5"/>',
            _rectangle(left + 170 * number, _HEAD - 4, 12, 12, colour),
            _text(left + 170 * number + 18, _HEAD + 6, line.label),
        ]
    return _document(title, bottom + 30, parts)


def _tick_step(highest: float) -> float:
    """The smallest of 1, 2, 2.5, 5 times a power of ten that reaches `highest` in _TICKS steps."""
    step = highest / _TICKS or 1.0
    power: float = 10.0 ** math.floor(math.log10(step))
    return next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= step)


def _cycle(count: int) -> list[str]:
    return [_COLOURS[index % len(_COLOURS)] for index in range(count)]


def _document(title: str, height: float, parts: Sequence[str]) -> str:
    size = f'width="{_WIDTH}" height="{height:g}"'
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif">',
            f'<rect {size} fill="#ffffff"/>',
            _text(_MARGIN, 24, title, weight="bold", size=15),
            *parts,
            "</svg>",
            "",
        ]
    )


def _rectangle(x: float, y: float, width: float, height: float, colour: str) -> str:
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{colour}"/>'
    )


def _line(x1: float, y1: float, x2: float, y2: float, colour: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}"/>'


def _text(
    x: float, y: float, text: str, *, anchor: str = "start", weight: str = "normal", size: int = 12
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" fill="{_INK}" text-anchor="{anchor}" '
        f'font-weight="{weight}" font-size="{size}">{escape(text)}</text>'
    )
