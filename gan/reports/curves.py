"""Curves over training steps as SVG, drawn without a library so that a report needs none."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from gan.runs.records import Points

# Okabe and Ito's colours, which colour-blind readers tell apart; further curves repeat them dashed
COLORS = "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7a5c00", "#000000"
_WIDTH, _HEIGHT = 640, 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 24, 12, 36
_MOST_POINTS = 300


@dataclass(frozen=True)
class Curve:
    """A group's curves.

    Attributes:
        name: Of the group.
        number: Of the group: its colour.
        runs: The points of each run.
    """

    name: str
    number: int
    runs: list[Points]


def color(number: int) -> str:
    """Return the colour of a group."""
    return COLORS[number % len(COLORS)]


def dashes(number: int) -> str:
    """Return how a group's lines are dashed; empty: not at all."""
    return ("", "6 3", "2 3")[number // len(COLORS) % 3]


def draw(title: str, curves: Sequence[Curve], may_be_log: bool = False) -> str:
    """Return an SVG of thin lines for runs and thick ones for their means; empty if there are no points.

    Args:
        title: What the picture is called for those who do not see it.
        curves: The curves.
        may_be_log: Let the scale be logarithmic if all values are positive and span more than a factor of 20.
    """
    points = [point for curve in curves for run in curve.runs for point in run if math.isfinite(point[1])]
    if not points:
        return ""
    scale = _Scale(points, may_be_log)
    parts = [*scale.grid()]
    for curve in curves:
        style = f'stroke="{color(curve.number)}" stroke-dasharray="{dashes(curve.number)}"'
        if len(curve.runs) > 1:
            parts += [scale.line(run, f'{style} class="run"', "") for run in curve.runs]
        parts.append(scale.line(_mean(curve.runs), f'{style} class="mean"', curve.name))
    name = escape(title)
    return f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{name}">{"".join(parts)}</svg>'


class _Scale:
    """Where a point lies in the picture."""

    def __init__(self, points: Points, may_be_log: bool) -> None:
        values = [value for _, value in points]
        low, high = min(values), max(values)
        self.log = may_be_log and low > 0 and high / low > 20
        self.low, self.high = (math.log10(low), math.log10(high)) if self.log else (low, high)
        if self.low == self.high:
            self.low, self.high = self.low - 0.5, self.high + 0.5
        self.last = max(1, max(step for step, _ in points))

    def x(self, step: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * step / self.last

    def y(self, value: float) -> float:
        height = (math.log10(value) if self.log else value) - self.low
        return _HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * height / (self.high - self.low)

    def grid(self) -> list[str]:
        right, bottom = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM
        parts = []
        for value in self._values():
            y = f"{self.y(value):.1f}"
            parts.append(f'<line class="grid" x1="{_LEFT}" x2="{right}" y1="{y}" y2="{y}"/>')
            parts.append(f'<text x="{_LEFT - 6}" y="{y}" dy=".35em" text-anchor="end">{value:.4g}</text>')
        for step in _ticks(0, self.last):
            x = f"{self.x(step):.1f}"
            parts.append(f'<text x="{x}" y="{bottom + 16}" text-anchor="middle">{step:g}</text>')
        parts.append(f'<text x="{right}" y="{_HEIGHT - 4}" text-anchor="end">step</text>')
        return parts

    def line(self, points: Points, style: str, name: str) -> str:
        path, pen = [], "M"
        for step, value in _thinned(points):
            if math.isfinite(value):
                path.append(f"{pen}{self.x(step):.1f} {self.y(value):.1f}")
                pen = "L"
            else:  # a gap
                pen = "M"
        title = f"<title>{escape(name)}</title>" if name else ""
        return f'<path fill="none" {style} d="{" ".join(path)}">{title}</path>'

    def _values(self) -> list[float]:
        if not self.log:
            return _ticks(self.low, self.high)
        decades = range(math.floor(self.low), math.ceil(self.high) + 1)
        values = [factor * 10.0**decade for decade in decades for factor in (1, 2, 5)]
        return [value for value in values if self.low - 1e-9 <= math.log10(value) <= self.high + 1e-9]


def _mean(runs: Sequence[Points]) -> Points:
    """Return the mean at the steps that all runs have; without such, of one run, that run's points."""
    values = [dict(run) for run in runs if run]
    if not values:
        return []
    common = sorted(set.intersection(*(set(run) for run in values)))
    return [(step, sum(run[step] for run in values) / len(values)) for step in common]


def _thinned(points: Points) -> Points:
    stride = math.ceil(len(points) / _MOST_POINTS)
    return points if stride <= 1 else [*points[::stride], points[-1]]


def _ticks(low: float, high: float) -> list[float]:
    rough = (high - low) / 5
    unit = 10 ** math.floor(math.log10(rough))
    step = next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= rough)
    return [number * step for number in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]
